"""``libasis compare``: bases compared on a model or on several seeds of it, each result written as soon as it is there.

The output folder gets ``compare/MODEL/METHOD.json`` (all that was measured, with the settings that made it),
``compare.json`` (means and intervals), ``edges.csv`` and ``features.csv``, and ``figures/``. A result of the same
settings is not computed again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor
from torch.utils import _pytree as pytree

from ..cut import Traced
from ..evaluate import Bootstrap, Study, compare, summarise
from ..files import write_text
from ..measure import keep
from ..provenance import versions
from ..types import Plain
from .errors import RunError
from .objects import load_object
from .pipeline import Opened, open_run
from .show import finite

if TYPE_CHECKING:
    from .config import Config

FORMAT = "libasis-comparison"
Say = Callable[[str], None]


def run_comparison(config: Config, *, out: Path, force: bool = False, say: Say | None = None) -> Plain:
    """Compare the methods of the settings on every seed, write results, tables and figures, and give the summary.

    Args:
        config: the settings.
        out: the folder for the results.
        force: compute again what was computed with other settings.
        say: told in a line what was measured.

    Raises:
        RunError: a result was made with other settings and ``force`` is false.
        LibasisError: whatever is wrong with model, data or settings.
    """
    say = say or (lambda line: None)
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
    write_csv(out / "edges.csv", summary["edges"])
    write_csv(out / "features.csv", summary["nodes"])
    draw(out / "figures", summary)
    return summary


def study_of(config: Config) -> Study:
    """The settings as a study; options that do not change results stay out of what is compared with saved ones."""
    section, ablate = config.compare, config.ablate
    metric = load_object(ablate.metric, "ablate.metric") if ":" in ablate.metric else ablate.metric
    shared = ablate.model_dump(include={"dtype", "device", "seed", "memory"})
    return Study(
        metric=metric,
        max_drop=ablate.max_drop,
        nodes=ablate.nodes,
        edges=ablate.edges,
        bootstrap=Bootstrap(section.replicates, section.confidence, ablate.seed),
        seed=config.fit.seed,
        fit=config.fit.model_dump(exclude={"method", "sparse", "progress"}),
        interactions=config.interactions.model_dump(exclude={"progress"}),
        ablate_nodes={**shared, **ablate.model_dump(include={"sites", "schedule", "replacement"})},
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
        self.name, self.config, self.study, self.say = name, config, study, say
        self.folder = out / "compare" / name
        self.settings = json.loads(json.dumps(deciding(config)))

    def run(self, methods: Sequence[str], *, force: bool) -> dict[str, Plain]:
        done = {method: result for method in methods if (result := self._saved(method, force=force)) is not None}
        if len(done) < len(methods):
            opened = cut_to(open_run(self.config), self.config)
            compare(
                opened.traced,
                opened.data.train,
                opened.data.test,
                methods,
                self.study,
                done=done,
                each=lambda method, result: done.__setitem__(method, self._save(method, result)),
                describe=self._describe(),
            )
        return {method: done[method] for method in methods}

    def _saved(self, method: str, *, force: bool) -> Plain | None:
        path = self.folder / f"{method}.json"
        if not path.exists():
            return None
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            settings, result = saved["settings"], saved["result"]
        except (ValueError, KeyError, TypeError):
            settings, result = None, {}
        if settings == self.settings:
            return result
        if not force:
            changed = difference(settings, self.settings)
            raise RunError(f"{path} was made with other settings: {changed}; give --force or another --out.")
        return None

    def _save(self, method: str, result: Plain) -> Plain:
        result = finite(result)
        write_json(self.folder / f"{method}.json", {"settings": self.settings, "result": result})
        self.say(f"{self.name}, {method}: {sum(result['cpu_seconds'].values()):.1f} s")
        return result

    def _describe(self) -> Callable[[Traced, Any], Plain] | None:
        name = self.config.compare.describe
        return load_object(name, "compare.describe") if name else None


def cut_to(opened: Opened, config: Config) -> Opened:
    """With at most as many samples as the settings say, and the activations kept in memory."""
    section, memory, data = config.compare, config.fit.memory, opened.data
    train, test = at_most(data.train, section.train_samples), at_most(data.test, section.test_samples)
    train, test = (keep(opened.traced, part, memory=memory) for part in (train, test))
    return Opened(replace(data, train=train, test=test), opened.traced)


def at_most(batches: Iterable[Any], samples: int | None) -> Iterable[Any]:
    """The first batches, the last one cut, as many as hold ``samples`` samples; all of them for None."""
    if samples is None:
        return batches
    taken, left = [], samples
    for batch in batches:
        tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor) and leaf.ndim]
        size = len(tensors[0])
        taken.append(batch if size <= left else pytree.tree_map(lambda x, n=left: x[:n], batch))
        left -= min(size, left)
        if not left:
            break
    return taken


def deciding(config: Config) -> Plain:
    """The settings that decide a result: all but how it is shown, where it is stored, and which others are computed."""
    data = config.model_dump(include={"sites", "model", "data", "fit", "interactions", "ablate", "compare"})
    for section in ("fit", "interactions", "ablate"):
        for key in ("device", "progress", "memory", "spill"):
            data[section].pop(key, None)
    for key in ("methods", "controls", "seeds", "title"):
        data["compare"].pop(key)
    for key in ("method", "sparse"):  # the comparison sets them
        del data["fit"][key]
    return data


def difference(old: Any, new: Mapping[str, Any]) -> str:
    """The first setting that differs, in words."""
    if not isinstance(old, Mapping):
        return "it cannot be read"
    for name, value in new.items():
        before = old.get(name)
        if before != value:
            if isinstance(before, Mapping) and isinstance(value, Mapping):
                key = next(k for k in {**before, **value} if before.get(k) != value.get(k))
                return f"{name}.{key} was {before.get(key)!r} and is {value.get(key)!r} now"
            return f"{name} was {before!r} and is {value!r} now"
    return "it has settings that no longer exist"


def draw(folder: Path, summary: Plain) -> None:
    """The figures of a summary, as SVG; needs the extra ``libasis[figures]``."""
    from ..report import to_svg
    from ..report.evaluation import draw_needed, draw_recovered

    for kind in ("edges", "nodes"):
        if summary[kind]:
            write_text(folder / f"{kind}.svg", to_svg(draw_needed(summary, kind), text="paths"))
    if any(row["recovered"] for row in summary["nodes"]):
        write_text(folder / "recovered.svg", to_svg(draw_recovered(summary), text="paths"))


def write_json(path: Path, data: Any) -> Path:
    """As JSON, atomically; numbers that are not finite as texts."""
    return write_text(path, json.dumps(finite(data), ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows of plain values; lists and tables in a cell are JSON."""
    text = io.StringIO()
    if rows:
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in row.items()})
    return write_text(path, text.getvalue())
