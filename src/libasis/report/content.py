"""The parts of the page that need no script: tables, curves, features, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import charts
from .edges import calibration_figure
from .markup import Group, both, escape, facts, paragraph, table, word
from .numbers import percent
from .results import Results
from .series import method_of, series_of
from .tables import MAX_SITES, TOP, edge_groups, feature_groups, node_groups, settings
from .words import Words

EDGES = {"col_section": False, "col_method": False, "col_edges": True, "col_required": True, "col_stable": True}
NODES = {"col_site": False, "col_method": False, "col_features": True, "col_kept": True, "col_none_kept": True}
FEATURES = {"col_site": False} | dict.fromkeys(
    ("col_feature", "col_importance", "col_share", "col_in", "col_out"), True
)
"""The columns of the tables: key of the heading, whether they hold numbers."""

CURVE_LEGEND = ("base", "allowed", "required", "stable")
MEASURED = ("metric", "base_score", "higher_is_better", "max_drop", "samples")

Pieces = Iterator[str]


def graph_intro(results: Results, words: Words) -> Pieces:
    """What the page is about, how to read the graph, and what a graph measured with ``top_k`` leaves out."""
    about = [f"about_{method}" for method in dict.fromkeys(map(method_of, results.graphs))]
    lead = words("lead", sites=len(results.graph.sites))
    yield paragraph(words.joined([lead, *(words(key) for key in about if key in words.all)]), "lead")
    yield paragraph(words("graph_intro"))
    for s in series_of(results.graphs):
        if kept := s.result.info.get("top_k"):
            share = percent(min(kept["kept_share"], default=1.0))
            yield paragraph(words("graph_kept", method=s.label(words), k=kept["k"], share=share), "note")
        if estimate := s.result.info.get("estimate"):
            found = estimate["sections"].values()
            facts = {
                "count": len(found),
                "all": len(s.result.edges),
                "error": percent(max(o["reached"] for o in found)),
            }
            sure = min(one["right"] for o in found for one in o["ranking"] if one["edges"] == o["edges"])
            yield paragraph(words("graph_estimated", method=s.label(words), **facts, right=percent(sure)), "note")


def ablation_tables(results: Results, words: Words) -> Pieces:
    """What can be removed, as tables."""
    edges, nodes = results.edge_ablations, results.node_ablations
    if not nodes and not edges:
        yield paragraph(words("tables_none"))
    if edges:
        yield from _table("edges_table", EDGES, edge_groups(results, words), words)
        yield from (paragraph(line, "note") for line in [*settings(edges, words), words("edges_note")])
    if nodes:
        yield from _table("nodes_table", NODES, node_groups(results, words), words)
        note = words("nodes_note", drop=f"{nodes[0].max_drop:g}")
        yield from (paragraph(line, "note") for line in [*settings(nodes, words), note])


def _table(key: str, columns: Mapping[str, bool], groups: Sequence[Group], words: Words) -> Pieces:
    yield f"<h3>{escape(words(key))}</h3>"
    yield table(key, columns, groups, words)


def curves(results: Results) -> Pieces:
    """Spectra and score curves; the drawings serve both languages."""
    yield _figure("spectra", charts.spectra(results.graphs))
    for group in _by_metric(results.edge_ablations):
        yield _figure("edge_curves", charts.edge_curves(group, results.graph.sites), legend=CURVE_LEGEND)
    for group in _by_metric(results.node_ablations):
        yield _figure("node_curves", charts.node_curves(group), keyed=group, legend=("base",))
    if results.edge_effects is not None:
        yield f"<h3>{word('calibration', 'edges')}</h3>{calibration_figure(results.edge_effects)}"


def _by_metric(results: Sequence[Any]) -> list[list[Any]]:
    """Results that can share a picture, in the given order; one without curves has none."""
    groups: dict[str, list[Any]] = {}
    for result in results:
        if result.curves:
            groups.setdefault(result.metric, []).append(result)
    return list(groups.values())


def _figure(key: str, drawn: tuple[list[str], int], *, keyed: Sequence[Any] = (), legend: Sequence[str] = ()) -> str:
    panels, total = drawn

    def head(words: Words) -> str:
        return f"<h3>{escape(words(f'{key}_title'))}</h3>"

    def foot(words: Words) -> str:
        cut = words("panels_shown", shown=len(panels), total=total) if total > len(panels) else ""
        return escape(words.joined([words(f"{key}_note"), cut]))

    def named(words: Words) -> str:
        return (charts.key(keyed, words) if keyed else "") + _reference_key(legend, words)

    return (
        f'<figure class="charts">{both(head, "page")}{both(named, "page") if keyed or legend else ""}'
        f'<div class="panels">{"".join(panels)}</div><figcaption>{both(foot, "page")}</figcaption></figure>'
    )


def _reference_key(legend: Sequence[str], words: Words) -> str:
    line, dot = '<line x1="1" x2="27" y1="6" y2="6" stroke="#1d1b26"', '<circle cx="14" cy="6" r="3.4" stroke="#5f5b6b"'
    looks = {
        "base": f"{line}/>",
        "allowed": f'{line} stroke-dasharray="1.5 2"/>',
        "required": f'{dot} fill="#5f5b6b"/>',
        "stable": f'{dot} fill="#fff" stroke-width="1.3"/>',
    }
    entries = (
        f'<li><svg class="swatch wide" viewBox="0 0 28 12" aria-hidden="true">{looks[part]}</svg>'
        f"{escape(words(f'legend_{part}'))}</li>"
        for part in legend
    )
    return f'<ul class="key">{"".join(entries)}</ul>' if legend else ""


def features(results: Results, words: Words) -> Pieces:
    """The most important features of the first graph."""
    graph = results.graph
    yield paragraph(words("features_note", method=series_of([graph])[0].label(words), limit=TOP))
    yield table("features", FEATURES, feature_groups(graph, words), words)
    if len(graph.sites) > MAX_SITES:
        yield paragraph(words("features_sites", shown=MAX_SITES, total=len(graph.sites)), "note")


def provenance(results: Results, words: Words) -> Pieces:
    """How every number was computed, as recorded with the results."""

    def details(key: str, info: Mapping[str, Any], **blanks: str) -> str:
        return f"<details><summary>{escape(words(key, **blanks))}</summary>{facts(info, words)}</details>"

    yield paragraph(words("provenance_note"))
    for s in series_of(results.graphs):
        basis = s.result.basis
        ranks = {site.name: {"kept": f"{site.k:,} / {site.d:,}", **site.rank_report} for site in basis}
        for key, info in (("prov_basis", basis.info), ("prov_ranks", ranks), ("prov_edges", s.result.info)):
            yield details(key, info, method=s.label(words))
    ablations = {"prov_edge_ablation": results.edge_ablations, "prov_node_ablation": results.node_ablations}
    for key, found in ablations.items():
        for s in series_of(found):
            measured = {name: getattr(s.result, name) for name in MEASURED if hasattr(s.result, name)}
            yield details(key, {**measured, **s.result.info}, method=s.label(words))
    for key, result in (
        ("prov_cards", results.cards),
        ("prov_communities", results.communities),
        ("prov_edge_effects", results.edge_effects),
    ):
        if result is not None:
            yield details(key, result.info)
