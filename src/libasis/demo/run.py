"""The demo: the whole method on an embedded model, LIB beside PCA, to a page and a saved graph."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..ablation import EdgeAblation, ablate_edges, ablate_nodes
from ..build import fit
from ..cards import collect
from ..cut import trace
from ..errors import OptionError, StoreError
from ..files import alone, check_file
from ..graphs import InteractionGraph
from ..interactions import interactions
from ..measure import keep
from ..report import MARK, Results, suggested_groups, write_page
from ..store import check_target

METHODS = ("lib", "pca")
MAX_DROP = 0.001
HELD_OUT = 2048
"""At most so many held-out samples (they are shuffled): a demo should not take minutes."""


@dataclass(frozen=True)
class Subject:
    """What is explained: a module of this package with ``load`` and batches, its sites and the page's titles."""

    module: str
    sites: tuple[str, ...]
    titles: dict[str, str]


SUBJECTS = {
    "modadd": Subject(
        "modadd",
        ("blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output"),
        {"en": "A transformer that adds modulo 113", "ja": "113を法とする足し算をするトランスフォーマー"},
    ),
    "digits": Subject(
        "digits",
        ("fc1:in", "fc2:in", "fc3:in", "output"),
        {"en": "A network that reads handwritten digits", "ja": "手書き数字を読むネットワーク"},
    ),
}


def run(
    out: str | Path,
    *,
    name: str = "modadd",
    force: bool = False,
    progress: bool | None = None,
    lang: str = "en",
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Fit LIB and PCA, measure their interactions, ablate both on held-out data, write the page, graphs and cards.

    Args:
        out: folder for ``report.html``, ``graph/`` (LIB), ``graph-pca/`` and ``cards/`` (of LIB).
        name: ``"modadd"`` or ``"digits"``.
        force: replace the results of an earlier run.
        progress: show progress bars; None shows them on a terminal only.
        lang: language of the page.
        say: told in a sentence what comes next.

    Returns:
        ``rows`` (one per section: edges that each basis needs), ``facts`` (sentences), ``page`` and ``graph`` (paths).

    Raises:
        OptionError: there is no such demo.
        StoreError: the folder holds results already and ``force`` is false, or what libasis did not write, or another
            process works in it.
    """
    if name not in SUBJECTS:
        raise OptionError(f"The demo {name!r} does not exist; choose one of {list(SUBJECTS)}.")
    out = Path(out)
    page, folders = out / "report.html", {"lib": out / "graph", "pca": out / "graph-pca", "cards": out / "cards"}
    with alone(out):
        for path in (page, *folders.values()):
            if path.exists() and not force:
                raise StoreError(f"{path} exists already; give --force to replace it, or another folder with --out.")
            check_file(path, MARK) if path is page else check_target(path, force=True)
        options = {"progress": progress, "lang": lang, "say": say or (lambda sentence: None)}
        return {"command": "demo", "name": name, **_run(SUBJECTS[name], page, folders, **options)}


def _run(
    subject: Subject,
    page: Path,
    folders: dict[str, Path],
    *,
    progress: bool | None,
    lang: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    start = time.perf_counter()
    source = importlib.import_module(f"libasis.demo.{subject.module}")
    train, test = source.batches_train(), _some(source.batches_test())
    traced = trace(source.load(), train[0][0], subject.sites, dtype="float32")
    train, test = keep(traced, train), keep(traced, test)
    graphs, edges, nodes = [], [], []
    for method in METHODS:
        say(f"{method.upper()}: basis and interactions on the training data, ablation on the test data.")
        graph = interactions(traced, fit(traced, train, method, progress=progress), train, progress=progress)
        graph.save(folders[method], force=True)
        graphs.append(graph)
        edges.append(ablate_edges(traced, graph, test, max_drop=MAX_DROP, progress=progress))
        nodes.append(ablate_nodes(traced, graph, test, max_drop=MAX_DROP, progress=progress))
    say("Cards of the most important features on the test data.")
    cards = collect(traced, graphs[0], test, progress=progress, **source.content())
    cards.save(folders["cards"], force=True)
    groups = suggested_groups(graphs[0])
    write_page(page, Results(graphs, edges, nodes, cards, groups, title=subject.titles), lang)
    seconds = time.perf_counter() - start
    return {
        "rows": _rows(graphs, *edges),
        "facts": [*_facts(*edges), f"Done in {seconds:.0f} s."],
        "page": page,
        "graph": folders["lib"],
        "seconds": seconds,
    }


def _some(batches: list[Any]) -> list[Any]:
    """The first batches, as many as hold `HELD_OUT` samples."""
    kept, samples = [], 0
    for batch in batches:
        if samples >= HELD_OUT:
            break
        kept.append(batch)
        samples += len(batch[1])
    return kept


def _rows(graphs: list[InteractionGraph], lib: EdgeAblation, pca: EdgeAblation) -> list[dict[str, Any]]:
    sites = graphs[0].sites
    return [
        {
            "section": f"{name} -> {sites[l + 1]}",
            "LIB, required": lib.edges_required[name],
            "LIB, stable": lib.edges_required_stable[name],
            "LIB, all": lib.edges_total[name],
            "PCA, required": pca.edges_required[name],
            "PCA, stable": pca.edges_required_stable[name],
            "PCA, all": pca.edges_total[name],
        }
        for l, name in enumerate(sites[:-1])
    ]


def _facts(lib: EdgeAblation, pca: EdgeAblation) -> list[str]:
    fewer = sum(_fewer(lib.edges_required_stable[name], pca.edges_required_stable[name]) for name in lib.edges_required)
    return [
        f"The model's {lib.metric} is {lib.base_score:.4f} on {lib.samples:,} held-out samples; edges are removed from "
        f"one section at a time while it drops by at most {lib.max_drop:g}.",
        'The score is not monotone in the number of edges: "required" is where the published bisection ends, "stable" '
        "the number from which every larger one measured passes too.",
        f"By the stable count LIB needs fewer edges than PCA in {fewer} of {len(lib.edges_required)} sections.",
    ]


def _fewer(lib: int | None, pca: int | None) -> bool:
    return lib is not None and (pca is None or lib < pca)
