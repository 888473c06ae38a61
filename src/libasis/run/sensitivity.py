"""``libasis sensitivity``: how much importances and counts depend on threshold, sample size and seed.

The output folder gets ``sensitivity.json`` (with the settings that made it), ``sensitivity.csv`` and
``figures/sensitivity.svg``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluate import Variation, sensitivity
from ..files import write_text
from ..provenance import versions
from ..types import Plain
from .compare import cut_to, deciding, difference, study_of, with_seed, write_csv, write_json
from .errors import RunError
from .pipeline import open_run

if TYPE_CHECKING:
    from .config import Config

FORMAT = "libasis-sensitivity"


def run_sensitivity(
    config: Config, *, out: Path, force: bool = False, say: Callable[[str], None] | None = None
) -> Plain:
    """Vary threshold, sample size and seed for the model of the settings (of several seeds the first), write and give.

    Results of the same settings are read instead of computed again.

    Raises:
        RunError: there are results of other settings and ``force`` is false.
        LibasisError: whatever is wrong with model, data or settings.
    """
    path = out / "sensitivity.json"
    if config.compare.seeds:
        config = with_seed(config, config.compare.seeds[0])
    settings = json.loads(json.dumps({**deciding(config), "sensitivity": config.sensitivity.model_dump()}))
    settings["compare"] = {key: settings["compare"][key] for key in ("train_samples", "test_samples")}
    if path.exists():
        saved = json.loads(path.read_text(encoding="utf-8"))
        if saved.get("settings") == settings:
            return saved
        if not force:
            changed = difference(saved.get("settings"), settings)
            raise RunError(f"{path} was made with other settings: {changed}; give --force or another --out.")
    start = time.process_time()
    opened = cut_to(open_run(config), config)
    section = config.sensitivity
    variation = Variation(section.factors, section.shares, section.seeds, section.edges)
    found = sensitivity(opened.traced, opened.data.train, opened.data.test, variation, study_of(config), say=say)
    result = {
        "format": FORMAT,
        "version": 1,
        "title": config.compare.title or out.name,
        "max_drop": config.ablate.max_drop,
        **found,
        "cpu_seconds": time.process_time() - start,
        "settings": settings,
        "versions": versions(),
    }
    write_json(path, result)
    write_csv(out / "sensitivity.csv", result["rows"])
    draw(out / "figures" / "sensitivity.svg", result)
    return result


def draw(path: Path, result: Plain) -> None:
    """The figure, as SVG; needs the extra ``libasis[figures]``."""
    from ..report import to_svg
    from ..report.evaluation import draw_sensitivity

    write_text(path, to_svg(draw_sensitivity(result), text="paths"))
