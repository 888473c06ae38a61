"""The page: one HTML file that opens by double click, without a network and without a script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..files import write_text
from .canvas import drawing
from .figures import draw_edge_curves, draw_node_curves, draw_spectra
from .finding import finding, kept_edges
from .layout import MAX_EDGES, MAX_FEATURES
from .markup import Group, escape, facts, inline_svg, paragraph, scroll, table
from .picture import draw_graph
from .series import method_of, series_of
from .tables import (
    MAX_SITES,
    TOP,
    allowance,
    edge_groups,
    feature_groups,
    node_groups,
    settings,
)
from .words import texts

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ..ablation.results import EdgeAblation, NodeAblation
    from ..interactions.graph import InteractionGraph

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
EDGE_BUDGET, NODE_BUDGET = 4000, 2400
"""Edges and features drawn on the whole page, so that a large graph still gives a page of a few MB."""

EDGE_COLUMNS = [
    ("col_section", False),
    ("col_method", False),
    ("col_edges", True),
    ("col_required", True),
    ("col_stable", True),
]
NODE_COLUMNS = [
    ("col_site", False),
    ("col_method", False),
    ("col_features", True),
    ("col_kept", True),
    ("col_none_kept", True),
]
FEATURE_COLUMNS = [
    ("col_site", False),
    ("col_feature", True),
    ("col_importance", True),
    ("col_share", True),
    ("col_in", True),
    ("col_out", True),
]
MEASURED = ("metric", "base_score", "higher_is_better", "max_drop", "samples")

Pieces = Iterator[str]


def write_page(
    path: str | Path,
    graphs: Sequence[InteractionGraph],
    *,
    lang: str = "en",
    node_ablations: Sequence[NodeAblation] = (),
    edge_ablations: Sequence[EdgeAblation] = (),
    title: str | None = None,
) -> Path:
    """Write one self-contained page that shows the graphs with their ablations.

    The first graph leads: its sites order the tables, its features are listed. An ablation belongs to the graph whose
    basis method its ``info["basis"]`` names; where a graph has an edge ablation, exactly the needed edges are drawn.
    The same results give the same bytes.

    Args:
        path: the file to write; folders are made as needed.
        graphs: one graph per method, LIB first.
        lang: ``"en"`` or ``"ja"``.
        node_ablations: at most one per method.
        edge_ablations: at most one per method.
        title: the heading; None takes ours.

    Raises:
        OptionError: no graph, an unknown language, ablations that do not fit the graphs.
        FiguresError: matplotlib is missing; ``pip install 'libasis[figures]'``.
    """
    words = texts(lang)
    if not graphs:
        raise OptionError("The page got no graph; give at least one InteractionGraph.")
    with drawing(lang):
        pass
    parts = list(_parts(graphs, node_ablations, edge_ablations, lang))
    return write_text(path, _page(words["title"] if title is None else title, parts, _lead(graphs, lang), lang))


def _parts(
    graphs: Sequence[InteractionGraph], nodes: Sequence[NodeAblation], edges: Sequence[EdgeAblation], lang: str
) -> Iterator[tuple[str, str]]:
    """The sections of the page: the key of the heading, which is also the anchor, and the content."""
    sentences = [*finding(graphs, edges, lang), *kept_edges(graphs, lang)]
    yield "finding", "".join(paragraph(s, "claim" if k == 0 else "") for k, s in enumerate(sentences))
    yield "tables", "".join(_ablation_tables(graphs, nodes, edges, lang))
    yield "pictures", "".join(_pictures(graphs, nodes, edges, lang))
    yield "features", "".join(_features(graphs[0], lang))
    yield "limits", _limits(lang)
    yield "provenance", "".join(_provenance(graphs, nodes, edges, lang))


def _page(title: str, parts: list[tuple[str, str]], lead: str, lang: str) -> str:
    words = texts(lang)
    style = files("libasis.report").joinpath("page.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{key}">{escape(words[key])}</a></li>' for key, _ in parts)
    body = "".join(
        f'<section id="{key}" aria-labelledby="{key}-title">'
        f'<h2 id="{key}-title">{escape(words[key])}</h2>{content}</section>'
        for key, content in parts
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header><p class="kicker">{escape(words["kicker"])}</p><h1>{escape(title)}</h1>{lead}'
        f'<nav aria-label="{escape(words["contents"])}"><ul>{links}</ul></nav></header>\n'
        f"<main>{body}</main>\n</body>\n</html>\n"
    )


def _lead(graphs: Sequence[InteractionGraph], lang: str) -> str:
    words = texts(lang)
    methods = dict.fromkeys(method_of(graph) for graph in graphs)
    about = [words[f"about_{method}"] for method in methods if f"about_{method}" in words]
    sentences = [words["lead"].format(sites=f"{len(graphs[0].sites):,}"), *about]
    return paragraph(("" if lang == "ja" else " ").join(sentences), "lead")


def _ablation_tables(
    graphs: Sequence[InteractionGraph], nodes: Sequence[NodeAblation], edges: Sequence[EdgeAblation], lang: str
) -> Pieces:
    words = texts(lang)
    if not nodes and not edges:
        yield paragraph(words["tables_none"])
    if edges:
        yield from _table("edges_table", EDGE_COLUMNS, edge_groups(edges, graphs[0].sites, lang), lang)
        yield from (paragraph(line, "note") for line in settings(edges, lang))
        yield paragraph(words["edges_note"], "note")
    if nodes:
        yield from _table("nodes_table", NODE_COLUMNS, node_groups(nodes, graphs, lang), lang)
        yield from (paragraph(line, "note") for line in settings(nodes, lang))
        yield paragraph(words["nodes_note"].format(drop=f"{allowance(nodes):g}"), "note")


def _table(key: str, columns: Sequence[tuple[str, bool]], groups: Sequence[Group], lang: str) -> Pieces:
    words = texts(lang)
    heads = [(words[column], number) for column, number in columns]
    if key != "features":
        yield f"<h3>{escape(words[key])}</h3>"
    yield table(words[key], heads, groups, words["scrolls"].format(title=words[key]))


def _pictures(
    graphs: Sequence[InteractionGraph], nodes: Sequence[NodeAblation], edges: Sequence[EdgeAblation], lang: str
) -> Pieces:
    words = texts(lang)
    sections = max(1, sum(len(graph.edges) for graph in graphs))
    budget = max(10, EDGE_BUDGET // sections)
    limit = min(MAX_FEATURES, max(5, NODE_BUDGET // sum(len(graph.sites) for graph in graphs)))
    masks = {method_of(result): _needed(result) for result in reversed(edges)}
    for k, s in enumerate(series_of(graphs, lang)):
        needed = masks.get(s.method)
        figure = draw_graph(
            s.result,
            masks=needed,
            max_features=limit,
            max_edges=min(budget, MAX_EDGES) if not needed else budget,
            lang=lang,
        )
        note = words["graph_needed" if needed else "graph_strongest"].format(features=limit)
        space = "" if lang == "ja" else " "
        yield _figure(
            figure, f"g{k}", words["graph_title"].format(method=s.label), note + space + words["graph_hint"], lang
        )
    yield _figure(draw_spectra(graphs, lang=lang), "s", words["spectra_title"], words["spectra_note"], lang)
    for k, group in enumerate(_by_metric(edges)):
        figure = draw_edge_curves(group, sites=graphs[0].sites, lang=lang)
        yield _figure(figure, f"e{k}", words["edge_curves_title"], words["edge_curves_note"], lang)
    for k, group in enumerate(_by_metric(nodes)):
        figure = draw_node_curves(group, lang=lang)
        yield _figure(figure, f"n{k}", words["node_curves_title"], words["node_curves_note"], lang)


def _needed(result: EdgeAblation) -> dict[str, Any]:
    """The masks of the sections where some count passed; the others have none that says what is needed."""
    return {name: mask for name, mask in result.masks.items() if result.edges_required.get(name) is not None}


def _by_metric(results: Sequence[Any]) -> list[list[Any]]:
    """Results that can share a picture, in the given order; one without curves has none."""
    groups: dict[str, list[Any]] = {}
    for result in results:
        if result.curves:
            groups.setdefault(result.metric, []).append(result)
    return list(groups.values())


def _figure(figure: Figure, prefix: str, title: str, note: str, lang: str) -> str:
    words = texts(lang)
    svg = inline_svg(figure, prefix, words["picture_of"].format(title=title), lang)
    box = scroll(svg, words["scrolls"].format(title=title))
    return f"<figure><h3>{escape(title)}</h3>{box}<figcaption>{escape(note)}</figcaption></figure>"


def _features(graph: InteractionGraph, lang: str) -> Pieces:
    words = texts(lang)
    yield paragraph(words["features_note"].format(method=series_of([graph], lang)[0].label, limit=TOP))
    yield from _table("features", FEATURE_COLUMNS, feature_groups(graph, lang), lang)
    if len(graph.sites) > MAX_SITES:
        yield paragraph(words["features_sites"].format(shown=f"{MAX_SITES:,}", total=f"{len(graph.sites):,}"), "note")


def _limits(lang: str) -> str:
    words = texts(lang)
    keys = [key for key in words if key.startswith("limit_")]
    return f'<ul class="limits">{"".join(f"<li>{escape(words[key])}</li>" for key in keys)}</ul>'


def _provenance(
    graphs: Sequence[InteractionGraph], nodes: Sequence[NodeAblation], edges: Sequence[EdgeAblation], lang: str
) -> Pieces:
    words = texts(lang)
    yield paragraph(words["provenance_note"])
    for s in series_of(graphs, lang):
        ranks = {site.name: {"kept": f"{site.k:,} / {site.d:,}", **site.rank_report} for site in s.result.basis}
        for key, info in (("prov_basis", s.result.basis.info), ("prov_ranks", ranks), ("prov_edges", s.result.info)):
            yield _details(words[key].format(method=s.label), info, lang)
    for key, results in (("prov_edge_ablation", edges), ("prov_node_ablation", nodes)):
        for s in series_of(results, lang):
            measured = {name: getattr(s.result, name) for name in MEASURED if hasattr(s.result, name)}
            yield _details(words[key].format(method=s.label), {**measured, **s.result.info}, lang)


def _details(summary: str, info: dict[str, Any], lang: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{facts(info, lang)}</details>"
