"""The parts of the page that need no script: tables, curves, features, provenance."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from . import charts
from .finding import kept_edges
from .markup import Group, both, escape, facts, paragraph, table
from .series import method_of, series_of
from .tables import MAX_SITES, TOP, allowance, edge_groups, feature_groups, node_groups, settings
from .words import texts

if TYPE_CHECKING:
    from ..ablation.results import EdgeAblation, NodeAblation
    from ..graphs.graph import InteractionGraph

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
CURVE_LEGEND = ("base", "allowed", "required", "stable")
MEASURED = ("metric", "base_score", "higher_is_better", "max_drop", "samples")

Pieces = Iterator[str]


@dataclass(frozen=True)
class Results:
    """What the page shows: graphs, the first of which leads, and what was measured of them."""

    graphs: Sequence[InteractionGraph]
    nodes: Sequence[NodeAblation] = ()
    edges: Sequence[EdgeAblation] = ()
    cards: dict[str, Any] | None = None
    communities: Any = None
    question: dict[str, str | None] = field(default_factory=dict)


def lead(results: Results, lang: str) -> str:
    """What the page is about, for a reader who never heard of it."""
    words = texts(lang)
    methods = dict.fromkeys(method_of(graph) for graph in results.graphs)
    about = [words[f"about_{method}"] for method in methods if f"about_{method}" in words]
    sentences = [words["lead"].format(sites=f"{len(results.graphs[0].sites):,}"), *about]
    return paragraph(("" if lang == "ja" else " ").join(sentences), "lead")


def graph_intro(results: Results, lang: str) -> Pieces:
    """What the page is about, how to read the graph, and what a graph measured with ``top_k`` leaves out."""
    yield lead(results, lang)
    yield paragraph(texts(lang)["graph_intro"])
    yield from (paragraph(line, "note") for line in kept_edges(results.graphs, lang))


def ablation_tables(results: Results, lang: str) -> Pieces:
    """What can be removed, as tables."""
    words = texts(lang)
    if not results.nodes and not results.edges:
        yield paragraph(words["tables_none"])
    if results.edges:
        yield from _table("edges_table", EDGE_COLUMNS, edge_groups(results.edges, results.graphs[0].sites, lang), lang)
        yield from (paragraph(line, "note") for line in settings(results.edges, lang))
        yield paragraph(words["edges_note"], "note")
    if results.nodes:
        yield from _table("nodes_table", NODE_COLUMNS, node_groups(results.nodes, results.graphs, lang), lang)
        yield from (paragraph(line, "note") for line in settings(results.nodes, lang))
        yield paragraph(words["nodes_note"].format(drop=f"{allowance(results.nodes):g}"), "note")


def _table(key: str, columns: Sequence[tuple[str, bool]], groups: Sequence[Group], lang: str) -> Pieces:
    words = texts(lang)
    heads = [(words[column], number) for column, number in columns]
    if key != "features":
        yield f"<h3>{escape(words[key])}</h3>"
    yield table(words[key], heads, groups, words["scrolls"].format(title=words[key]))


def curves(results: Results) -> Pieces:
    """Spectra and score curves; the drawings serve both languages."""
    yield _figure("spectra", charts.spectra(results.graphs))
    for group in _by_metric(results.edges):
        yield _figure("edge_curves", charts.edge_curves(group, results.graphs[0].sites), legend=CURVE_LEGEND)
    for group in _by_metric(results.nodes):
        yield _figure("node_curves", charts.node_curves(group), keyed=group, legend=("base",))


def _by_metric(results: Sequence[Any]) -> list[list[Any]]:
    """Results that can share a picture, in the given order; one without curves has none."""
    groups: dict[str, list[Any]] = {}
    for result in results:
        if result.curves:
            groups.setdefault(result.metric, []).append(result)
    return list(groups.values())


def _figure(key: str, drawn: tuple[list[str], int], *, keyed: Sequence[Any] = (), legend: Sequence[str] = ()) -> str:
    panels, total = drawn

    def head(lang: str) -> str:
        return f"<h3>{escape(texts(lang)[f'{key}_title'])}</h3>"

    def foot(lang: str) -> str:
        words = texts(lang)
        cut = words["fig_panels"].format(shown=f"{len(panels):,}", total=f"{total:,}")
        lines = [words[f"{key}_note"], *([cut] if total > len(panels) else [])]
        return escape(("" if lang == "ja" else " ").join(lines))

    def named(lang: str) -> str:
        return f"{charts.key(keyed, lang) if keyed else ''}{_reference_key(legend, lang)}"

    return (
        f'<figure class="charts">{both(head)}{both(named) if keyed or legend else ""}'
        f'<div class="panels">{"".join(panels)}</div><figcaption>{both(foot)}</figcaption></figure>'
    )


def _reference_key(legend: Sequence[str], lang: str) -> str:
    line, dot = '<line x1="1" x2="27" y1="6" y2="6" stroke="#1d1b26"', '<circle cx="14" cy="6" r="3.4" stroke="#5f5b6b"'
    looks = {
        "base": f"{line}/>",
        "allowed": f'{line} stroke-dasharray="1.5 2"/>',
        "required": f'{dot} fill="#5f5b6b"/>',
        "stable": f'{dot} fill="#fff" stroke-width="1.3"/>',
    }
    entries = (
        f'<li><svg class="swatch wide" viewBox="0 0 28 12" aria-hidden="true">{looks[part]}</svg>'
        f"{escape(texts(lang)[f'legend_{part}'])}</li>"
        for part in legend
    )
    return f'<ul class="key">{"".join(entries)}</ul>' if legend else ""


def features(results: Results, lang: str) -> Pieces:
    """The most important features of the first graph."""
    words, graph = texts(lang), results.graphs[0]
    yield paragraph(words["features_note"].format(method=series_of([graph], lang)[0].label, limit=TOP))
    yield from _table("features", FEATURE_COLUMNS, feature_groups(graph, lang), lang)
    if len(graph.sites) > MAX_SITES:
        yield paragraph(words["features_sites"].format(shown=f"{MAX_SITES:,}", total=f"{len(graph.sites):,}"), "note")


def provenance(results: Results, lang: str) -> Pieces:
    """How every number was computed, as recorded with the results."""
    words = texts(lang)
    yield paragraph(words["provenance_note"])
    for s in series_of(results.graphs, lang):
        ranks = {site.name: {"kept": f"{site.k:,} / {site.d:,}", **site.rank_report} for site in s.result.basis}
        for key, info in (("prov_basis", s.result.basis.info), ("prov_ranks", ranks), ("prov_edges", s.result.info)):
            yield _details(words[key].format(method=s.label), info, lang)
    for key, ablations in (("prov_edge_ablation", results.edges), ("prov_node_ablation", results.nodes)):
        for s in series_of(ablations, lang):
            measured = {name: getattr(s.result, name) for name in MEASURED if hasattr(s.result, name)}
            yield _details(words[key].format(method=s.label), {**measured, **s.result.info}, lang)
    if results.cards:
        yield _details(words["prov_cards"], results.cards.get("info") or {}, lang)
    if results.communities is not None:
        yield _details(words["prov_communities"], results.communities.info, lang)


def _details(summary: str, info: dict[str, Any], lang: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{facts(info, lang)}</details>"


def section(key: str, content: str, *, kind: str = "") -> str:
    """A section of the page under its heading in both languages; the key is also its anchor."""
    heading = both(lambda lang: escape(texts(lang)[key]), "span")
    extra = f' class="{kind}"' if kind else ""
    head = f'<h2 id="{key}-title">{heading}</h2>'
    return f'<section id="{key}"{extra} aria-labelledby="{key}-title">{head}{content}</section>'


def said(pieces: Callable[[str], Pieces | str]) -> str:
    """`both` for content that comes in pieces."""
    return both(lambda lang: "".join(pieces(lang)))
