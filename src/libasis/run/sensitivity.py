"""``libasis sensitivity``: how much importances and counts depend on threshold, sample size and seed.

The output folder gets ``sensitivity/`` (a `Sensitivity`, and what it was made of), ``sensitivity.json`` and
``sensitivity.csv`` for other programs, and ``figures/sensitivity.svg``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..evaluate import Sensitivity, Variation, sensitivity
from ..files import alone, check_file, csv_mark, write_csv, write_text
from ..report import draw_sensitivity, to_svg
from ..types import Plain
from .compare import SVG, json_mark, kept, read_made, study_of, with_seed, write_json
from .opened import Opened
from .settings import Config

FORMAT = "libasis-sensitivity"
COLUMNS = (
    "varied", "value", "site", "kept", "change", "leading", "change_leading", "change_total", "unsteady", "agreement",
    "edges_required_stable",
)  # fmt: skip
FILES = {
    "sensitivity.json": json_mark(FORMAT),
    "sensitivity.csv": csv_mark(COLUMNS),
    "figures/sensitivity.svg": SVG,
}
"""What is written beside the result, with the marks by which it is known again."""


def run_sensitivity(
    config: Config, *, out: Path, force: bool = False, say: Callable[[str], None] | None = None
) -> Plain:
    """Vary threshold, sample size and seed for the model of the settings (of several seeds the first), write and give.

    Results that are there and were made of the same are read instead of computed again.

    Raises:
        RunError: there are results of other settings, data or weights and ``force`` is false.
        LibasisError: whatever is wrong with model, data or settings.
    """
    with alone(out):
        for name, mark in FILES.items():
            check_file(out / name, mark)
        return _run(config, out, force=force, say=say)


def _run(config: Config, out: Path, *, force: bool, say: Callable[[str], None] | None) -> Plain:
    if config.compare.seeds:
        config = with_seed(config, config.compare.seeds[0])
    opened = Opened(config).at_most(config.compare.train_samples, config.compare.test_samples)
    made_of = opened.made_of("sensitivity")
    found = read_made(Sensitivity, out / "sensitivity", made_of, force=force)
    if found is None:
        section, start = config.sensitivity, time.process_time()
        variation = Variation(section.factors, section.shares, section.seeds, section.edges)
        found = sensitivity(*kept(opened), variation, study_of(config), say=say)
        info = {**found.info, "cpu_seconds": time.process_time() - start, "made_of": made_of.to_plain()}
        found = replace(found, info=info)
        found.save(out / "sensitivity", force=True)
    summary = {
        "format": FORMAT,
        "version": 1,
        "title": config.compare.title or out.name,
        "samples": found.samples,
        "reference": found.reference,
        "rows": found.fits,
        **found.info,
    }
    write_json(out / "sensitivity.json", summary)
    write_csv(out / "sensitivity.csv", COLUMNS, ([row.get(key) for key in COLUMNS] for row in found.fits))
    write_text(out / "figures" / "sensitivity.svg", to_svg(draw_sensitivity(found), text="paths"), SVG)
    return summary
