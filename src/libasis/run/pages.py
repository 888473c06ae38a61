"""What is made of saved results: the page, files for other programs, the difference of two graphs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..ablation import Ablations
from ..cards import FeatureCards
from ..errors import SourceError
from ..evaluate import GraphDiff
from ..evaluate import diff as diff_graphs
from ..files import check_file
from ..graphs import InteractionGraph
from ..graphs.export import check_export
from ..measure import is_first
from ..report import MARK, Results, suggested_groups, write_page
from ..store import check_target
from ..types import Plain
from .cards import cards_of
from .errors import RunError
from .opened import Opened
from .pipeline import Output, check, saved_ablations
from .settings import Config

WRITERS = {"csv": "to_csv", "graphml": "to_graphml", "json": "to_json", "attribution": "to_attribution_json"}
ENDINGS = {".csv": "csv", ".graphml": "graphml", ".json": "json"}
AGAIN = "put that back, or run libasis {verb} --force"
WITHOUT = f"{AGAIN}, or leave the cards out: --set report.cards=false"


def report(config: Config) -> tuple[Path, Plain]:
    """Write the page of the saved graph, with the ablation if there is one; an older page is replaced.

    Its cards are collected on the test data, unless those that are saved were made of the same.

    Returns:
        The page, and what the graph says of itself.

    Raises:
        RunError: there is no graph, or the ablation is of another graph, or, with cards, one of them was made of other
            settings, data or weights.
        LabelError: the labels do not fit the graph.
        StoreError: there is a file that is no page of libasis, or another process works in the folder.
    """
    output = Output(config)
    with output.alone():
        if is_first():
            check_file(output.report, MARK)
            if config.report.cards:
                check_target(output.cards, force=True)
        return _report(output, config)


def _report(output: Output, config: Config) -> tuple[Path, Plain]:
    measured = _labelled(output, config)
    saved = saved_ablations(output)
    cards = _cards(Opened(config), output, measured, saved) if config.report.cards else None
    results = Results(
        [measured],
        [saved.edges] if saved.edges else [],
        [saved.nodes] if saved.nodes else [],
        cards,
        suggested_groups(measured),
        title=config.report.title,
        question=config.report.question,
    )
    page = write_page(output.report, results, config.report.lang) if is_first() else output.report
    return page, measured.info


def _labelled(output: Output, config: Config) -> InteractionGraph:
    measured = output.saved_graph()
    return measured.with_labels(config.report.labels) if config.report.labels else measured


def _cards(opened: Opened, output: Output, measured: InteractionGraph, saved: Ablations) -> FeatureCards:
    check(opened, "graph", measured, output.graph, WITHOUT.format(verb="graph"))
    for stage, result in (("nodes", saved.nodes), ("edges", saved.edges)):
        if result is not None:
            check(opened, stage, result, output.ablation, WITHOUT.format(verb="ablate"))
    return cards_of(opened, output.cards, measured, output.digest_of_graph())


def export(config: Config, paths: Sequence[Path], kind: str | None = None) -> list[Path]:
    """Write the saved graph for other programs, in the format of each file's ending or that of ``kind``.

    Where model and data cannot be opened any more, only the settings are compared.

    Raises:
        RunError: there is no graph, or one of other settings, data or weights, or a format is unknown.
        StoreError: one of the files is there and none of libasis's of that format.
    """
    kinds = [kind or ENDINGS.get(path.suffix.lower(), "csv" if not path.suffix else "") for path in paths]
    for path, found in zip(paths, kinds, strict=True):
        if found not in WRITERS:
            raise RunError(
                f"{path} has no format that libasis writes: end it in one of {sorted(ENDINGS)}, name a folder for "
                f"tables, or give --format with one of {sorted(WRITERS)}."
            )
    for path, found in zip(paths, kinds, strict=True):
        check_export(path, found)
    output = Output(config)
    measured = _labelled(output, config)
    with contextlib.suppress(SourceError):
        check(Opened(config), "graph", measured, output.graph, AGAIN.format(verb="graph"))
    return [getattr(measured, WRITERS[found])(path) for path, found in zip(paths, kinds, strict=True)]


def diff(a: Path, b: Path, out: Path, lang: str, **options: Any) -> GraphDiff:
    """Write what differs between two saved graphs, each given as its folder or as the folder of its run.

    Raises:
        StoreError: there is no saved graph, or it is damaged; or a file that is none of libasis's would be replaced.
    """
    plain = out.suffix == ".json"
    check_file(out, GraphDiff.json_mark() if plain else MARK)
    one, two = (path / "graph" if (path / "graph" / "manifest.json").is_file() else path for path in (a, b))
    found = diff_graphs(InteractionGraph.load(one), InteractionGraph.load(two), **options)
    found.to_json(out) if plain else found.to_html(out, lang)
    return found
