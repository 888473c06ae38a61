"""``libasis compare``: bases compared on a model or on several seeds of it, each result written as soon as it is there.

The output folder gets ``compare/MODEL/METHOD/`` (a `Comparison` of one basis, and what it was made of), for other
programs ``compare.json`` (means and intervals), ``edges.csv`` and ``features.csv``, and ``figures/``. What is there and
was made of the same settings, data and weights is not computed again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from ..cut import Traced
from ..errors import StoreError
from ..evaluate import Bootstrap, Comparison, Sensitivity, Study, compare, summarise
from ..files import alone, check_file, csv_mark, write_csv, write_text
from ..measure import Records, keep
from ..provenance import versions
from ..report import draw_needed, draw_recovered, to_svg
from ..store import check_target, tidy
from ..types import Plain
from .errors import RunError
from .made_of import MadeOf
from .objects import load_object
from .opened import Opened
from .pipeline import rule_of
from .settings import Config
from .show import finite

FORMAT = "libasis-comparison"
SVG = "<dc:title>libasis</dc:title>"
COUNTS = ("method", "models", "counts", "mean", "low", "high", "ratio", "ratio_low", "ratio_high")
EDGES = ("section", *COUNTS, "to", "edges_total", "edges_required")
NODES = ("site", *COUNTS, "d", "k", "recovered")
Say = Callable[[str], None]
R = TypeVar("R", Comparison, Sensitivity)


def run_comparison(config: Config, *, out: Path, force: bool = False, say: Say | None = None) -> Plain:
    """Compare the methods of the settings on every seed, write results, tables and figures, and give the summary.

    Raises:
        RunError: a result was made with other settings, data or weights and ``force`` is false.
        LibasisError: whatever is wrong with model, data or settings.
    """
    with alone(out):
        for name, mark in FILES.items():
            check_file(out / name, mark)
        return _run(config, out, force=force, say=say or (lambda line: None))


def _run(config: Config, out: Path, *, force: bool, say: Say) -> Plain:
    study, runs = study_of(config), {}
    for name, of_seed, methods in _members(config):
        runs[name] = _Member(name, of_seed, study, out, say).run(methods, force=force)
    summary = {
        "format": FORMAT,
        "version": 1,
        "title": config.compare.title or out.name,
        "max_drop": study.max_drop,
        "confidence": study.bootstrap.confidence,
        "replicates": study.bootstrap.replicates,
        **summarise(runs, study.bootstrap),
        "labels": {name: {m: r[m]["labels"] for m in r if r[m].get("labels")} for name, r in runs.items()},
        "settings": config.model_dump(exclude_none=True),
        "versions": versions(),
    }
    write_json(out / "compare.json", summary)
    write_csv(out / "edges.csv", EDGES, ([row.get(key) for key in EDGES] for row in summary["edges"]))
    write_csv(out / "features.csv", NODES, ([row.get(key) for key in NODES] for row in summary["nodes"]))
    draw(out / "figures", summary)
    return summary


def study_of(config: Config) -> Study:
    """The settings as a study."""
    section, ablate = config.compare, config.ablate
    shared = ablate.model_dump(include={"memory"})
    return Study(
        metric=load_object(ablate.metric, "ablate.metric") if ":" in ablate.metric else ablate.metric,
        max_drop=ablate.max_drop,
        nodes=ablate.nodes,
        edges=ablate.edges,
        bootstrap=Bootstrap(section.replicates, section.confidence, ablate.seed),
        seed=config.fit.seed,
        fit={
            **config.fit.model_dump(exclude={"method", "sparse", "progress", "spill"}),
            "moments": rule_of(config.fit.moments),
        },
        interactions=config.interactions.model_dump(exclude={"progress"}),
        ablate_nodes={**shared, **ablate.model_dump(include={"sites", "schedule", "replacement", "where", "seed"})},
        ablate_edges={**shared, **ablate.model_dump(include={"sections", "search", "stable"})},
    )


def _members(config: Config) -> Iterator[tuple[str, Config, list[str]]]:
    """Name, settings and methods of each model: one, or one per seed."""
    section = config.compare
    both = list(dict.fromkeys([*section.methods, *section.controls]))
    if section.seeds is None:
        yield "model", config, both
        return
    for number, seed in enumerate(section.seeds):
        yield f"seed-{seed}", with_seed(config, seed), list(section.methods) if number else both


def with_seed(config: Config, seed: int) -> Config:
    """The settings with ``seed`` among the arguments of both factories."""
    model, data = (
        part.model_copy(update={"arguments": {**part.arguments, "seed": seed}}) for part in (config.model, config.data)
    )
    return config.model_copy(update={"model": model, "data": data})


class _Member:
    """One model of the comparison and its files."""

    def __init__(self, name: str, config: Config, study: Study, out: Path, say: Say) -> None:
        self.name, self.study, self.say = name, study, say
        self.folder = out / "compare" / name
        self.opened = Opened(config).at_most(config.compare.train_samples, config.compare.test_samples)
        self.made_of = self.opened.made_of("comparison")

    def run(self, methods: Sequence[str], *, force: bool) -> dict[str, Plain]:
        saved = {m: read_made(Comparison, self.folder / m, self.made_of, force=force) for m in methods}
        done = {m: found.runs[self.name][m] for m, found in saved.items() if found is not None}
        if len(done) == len(methods):
            return done
        found = compare(*kept(self.opened), methods, self.study, done=done, each=self._save, describe=self._describe())
        return found.runs["model"]

    def _save(self, method: str, result: Plain) -> None:
        runs = {self.name: {method: result}}
        info = {"made_of": self.made_of.to_plain(), "versions": versions()}
        Comparison(runs, summarise(runs, self.study.bootstrap), info).save(self.folder / method, force=True)
        self.say(f"{self.name}, {method}: {sum(result['cpu_seconds'].values()):.1f} s")

    def _describe(self) -> Callable[[Traced, Any], Plain] | None:
        name = self.opened.config.compare.describe
        return load_object(name, "compare.describe") if name else None


def read_made(kind: type[R], path: Path, made_of: MadeOf, *, force: bool) -> R | None:
    """The result in a folder, if it was made of the same; None where there is none, or one to be replaced.

    Raises:
        RunError: it was made of something else, and ``force`` is false.
    """
    if not path.exists():
        return None
    tidy(path)
    try:
        saved = kind.load(path)
        changed = made_of.difference(saved.info.get("made_of"))
    except StoreError as error:
        saved, changed = None, f"something that cannot be read ({error})"
    if changed and not force:
        raise RunError(f"{path} was made with {changed}; give --force or another --out.")
    check_target(path, force=True)
    return None if changed else saved


def kept(opened: Opened) -> tuple[Traced, Records, Records]:
    """The cut model and its training and test data, with the activations kept."""
    fit, data = opened.config.fit, opened.data
    train, test = (keep(opened.traced, part, memory=fit.memory, spill=fit.spill) for part in (data.train, data.test))
    return opened.traced, train, test


def draw(folder: Path, summary: Plain) -> None:
    """The figures of a summary, as SVG; needs the extra ``libasis[figures]``."""
    for kind in ("edges", "nodes"):
        if summary[kind]:
            write_text(folder / f"{kind}.svg", to_svg(draw_needed(summary, kind), text="paths"), SVG)
    if any(row["recovered"] for row in summary["nodes"]):
        write_text(folder / "recovered.svg", to_svg(draw_recovered(summary), text="paths"), SVG)


def write_json(path: Path, data: Any) -> Path:
    """As JSON, atomically; numbers that are not finite as texts."""
    text = json.dumps(finite(data), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    return write_text(path, text, json_mark(data["format"]))


def json_mark(kind: str) -> str:
    """How the files of `write_json` begin."""
    return f'{{\n "format": "{kind}"'


FILES = {
    "compare.json": json_mark(FORMAT),
    "edges.csv": csv_mark(EDGES),
    "features.csv": csv_mark(NODES),
    **{f"figures/{name}.svg": SVG for name in ("edges", "nodes", "recovered")},
}
"""What is written beside the results, with the marks by which it is known again."""
