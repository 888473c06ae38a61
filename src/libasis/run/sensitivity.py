"""``libasis sensitivity``: how much importances and counts depend on threshold, sample size and seed.

The output folder gets ``sensitivity.json`` (with what it was made of), ``sensitivity.csv`` and
``figures/sensitivity.svg``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from ..evaluate import Variation, sensitivity
from ..files import write_text
from ..provenance import versions
from ..report import to_svg
from ..report.evaluation import draw_sensitivity
from ..types import Plain
from .compare import kept, read_made, study_of, with_seed, write_csv, write_json
from .config import Config
from .opened import Opened

FORMAT = "libasis-sensitivity"


def run_sensitivity(
    config: Config, *, out: Path, force: bool = False, say: Callable[[str], None] | None = None
) -> Plain:
    """Vary threshold, sample size and seed for the model of the settings (of several seeds the first), write and give.

    Results that are there and were made of the same are read instead of computed again.

    Raises:
        RunError: there are results of other settings, data or weights and ``force`` is false.
        LibasisError: whatever is wrong with model, data or settings.
    """
    path = out / "sensitivity.json"
    if config.compare.seeds:
        config = with_seed(config, config.compare.seeds[0])
    opened = Opened(config).at_most(config.compare.train_samples, config.compare.test_samples)
    made_of = opened.made_of("sensitivity")
    if saved := read_made(path, made_of, force=force):
        return saved
    start = time.process_time()
    section = config.sensitivity
    variation = Variation(section.factors, section.shares, section.seeds, section.edges)
    found = sensitivity(*kept(opened), variation, study_of(config), say=say)
    result = {
        "format": FORMAT,
        "version": 1,
        "title": config.compare.title or out.name,
        "max_drop": config.ablate.max_drop,
        **found,
        "cpu_seconds": time.process_time() - start,
        "made_of": made_of.to_plain(),
        "versions": versions(),
    }
    write_json(path, result)
    write_csv(out / "sensitivity.csv", result["rows"])
    draw(out / "figures" / "sensitivity.svg", result)
    return result


def draw(path: Path, result: Plain) -> None:
    """The figure, as SVG; needs the extra ``libasis[figures]``."""
    write_text(path, to_svg(draw_sensitivity(result), text="paths"))
