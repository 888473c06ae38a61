"""What a page shows, as one value: graphs and all that was measured of them, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from importlib.util import find_spec
from typing import Any

from ..ablation import EdgeAblation, NodeAblation
from ..arguments import check_fields
from ..basis import other_model
from ..cards import FeatureCards
from ..errors import OptionError
from ..evaluate import EdgeEffects
from ..graphs import Communities, InteractionGraph, communities
from ..types import Plain
from ..verify import Verification
from .series import method_of

MOST_EDGES = 300_000
"""Of graphs with more edges the search for groups takes minutes, and is left to the user."""

Text = str | Mapping[str, str] | None
"""One text for every language, or one for each by ``"en"`` and ``"ja"``; None takes ours."""


@dataclass(frozen=True, eq=False)
class Results:
    """Graphs and what was measured of them.

    Attributes:
        graphs: one for each basis. The first one leads: its sites order the tables, its features are listed.
        edge_ablations: of these graphs, each of the one whose basis method its ``info["basis"]`` names.
        node_ablations: the same.
        cards: feature cards of the first graph, or the same as plain data.
        communities: groups of features suggested for the first graph.
        edge_effects: edges of the first graph held against interventions.
        verification: verdicts on claims about features of the first graph.
        title: the heading.
        question: the question that the page answers; None takes one that these results can answer.

    Raises:
        OptionError: there is no graph, or a result belongs to none of the graphs.
    """

    graphs: Sequence[InteractionGraph]
    edge_ablations: Sequence[EdgeAblation] = ()
    node_ablations: Sequence[NodeAblation] = ()
    cards: FeatureCards | None = None
    communities: Communities | None = None
    edge_effects: EdgeEffects | None = None
    verification: Verification | None = None
    title: Text = None
    question: Text = None

    def __post_init__(self) -> None:
        if isinstance(self.cards, Mapping):
            object.__setattr__(self, "cards", _cards(self.cards))
        check_fields(self)
        for name in ("graphs", "edge_ablations", "node_ablations"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not self.graphs:
            raise OptionError("The results have no graph; give at least one InteractionGraph.")
        self._check_belonging()
        for edges in self.edge_ablations:
            graph = self.graph_of(edges)
            sizes = {site: matrix.numel() for site, matrix in zip(graph.sites[:-1], graph.edges, strict=True)}
            _check(edges, sizes, edges.edges_total, "edges")
        for nodes in self.node_ablations:
            sizes = {site.name: site.k for site in self.graph_of(nodes).basis}
            _check(nodes, sizes, {site: max(curve, default=0) for site, curve in nodes.curves.items()}, "features")
        _check_ids(self.graph, self.cards.cards if self.cards else {}, "card")
        _check_ids(self.graph, self.communities.modules if self.communities else {}, "group")

    @property
    def graph(self) -> InteractionGraph:
        """The one that leads."""
        return self.graphs[0]

    @cached_property
    def _digests(self) -> list[Plain]:
        """Of each graph what results stand on."""
        return [{"basis": graph.basis.digest(), "graph": graph.digest()} for graph in self.graphs]

    def _check_belonging(self) -> None:
        """Refuse what was measured on other models, bases, graphs or (where counts stand side by side) data.

        Raises:
            OptionError: says which.
        """
        for graph in self.graphs[1:]:
            if difference := other_model(graph.info, self.graph.info):
                raise OptionError(
                    f"The graph of the basis {method_of(graph)!r} is of another model than the first one: "
                    f"{difference}; give graphs of one model (libasis.diff compares two)."
                )
        for kind in (self.edge_ablations, self.node_ablations):
            _check_same_data(kind)
            for ablation in kind:
                what = f"The ablation of the basis {method_of(ablation)!r} stands"
                self._check_stands_on(what, ablation, self.graph_of(ablation))
        for name, result in (
            ("cards", self.cards),
            ("communities", self.communities),
            ("edge effects", self.edge_effects),
            ("verdicts", self.verification),
        ):
            if result is not None:
                self._check_stands_on(f"The {name} stand", result, self.graph)

    def _check_stands_on(self, what: str, result: Any, graph: InteractionGraph) -> None:
        """Refuse what was measured on another basis, graph or model, by name; what does not say so is taken."""
        for name, digest in (result.info.get("stands_on") or {}).items():
            own = self._digests[self.graphs.index(graph)].get(name, digest)
            if digest != own:
                raise OptionError(
                    f"{what} on another {name} (digest {str(digest)[:8]}) than the one given ({own[:8]}); give the "
                    "graph that was measured."
                )
        if difference := other_model(result.info, graph.info):
            raise OptionError(f"{what} on another model than the graph: {difference}; give results of one model.")

    def graph_of(self, ablation: EdgeAblation | NodeAblation) -> InteractionGraph:
        """The graph that an ablation was measured on, or of its method, or the first one, as far as it says so.

        Raises:
            OptionError: there is none.
        """
        said = (ablation.info.get("stands_on") or {}).get("basis")
        for graph, own in zip(self.graphs, self._digests if said else (), strict=False):
            if said == own["basis"]:
                return graph
        method, methods = method_of(ablation), [method_of(graph) for graph in self.graphs]
        if method and method not in methods:
            raise OptionError(
                f"An ablation is of the basis {method!r}, the graphs are of {methods}; give the graph it ablates too."
            )
        return self.graphs[methods.index(method) if method else 0]


def _check_same_data(ablations: Sequence[EdgeAblation | NodeAblation]) -> None:
    """Refuse counts side by side that were measured on different samples."""
    found = {method_of(one): (one.info.get("data") or {}).get("digest") for one in ablations}
    known = {method: digest for method, digest in found.items() if digest}
    if len(set(known.values())) > 1:
        said = ", ".join(f"{method!r} (digest {digest[:8]})" for method, digest in known.items())
        raise OptionError(f"The ablations were measured on different data: {said}; measure them on the same samples.")


def _cards(plain: Mapping[str, Any]) -> FeatureCards:
    names = [field.name for field in fields(FeatureCards)]
    if missing := [name for name in names if name not in plain]:
        raise OptionError(f"cards has no {missing[0]!r}; give what libasis.collect returned, or its to_plain().")
    return FeatureCards(**{name: plain[name] for name in names})


def _check(result: EdgeAblation | NodeAblation, sizes: Mapping[str, int], found: Mapping[str, int], what: str) -> None:
    """Refuse an ablation with sites that the graph does not have, or with more features or edges there."""
    for site, count in found.items():
        if count > sizes.get(site, -1):
            there = f"{sizes[site]:,}" if site in sizes else f"only the sites {list(sizes)}"
            raise OptionError(
                f"An ablation of the basis {method_of(result)!r} has {count:,} {what} at {site!r} and its graph has "
                f"{there}; give the graph that it ablates."
            )


def _check_ids(graph: InteractionGraph, ids: Iterable[str], what: str) -> None:
    known = {f"{site.name}:{i}" for site in graph.basis for i in range(site.k)}
    if unknown := next((key for key in ids if key not in known), None):
        raise OptionError(
            f"There is a {what} for {unknown!r}, which is no feature of the first graph; give its own {what}s."
        )


def in_language(text: Text, lang: str) -> str | None:
    """A text in a language: the one for all, or its own, or another's where its own is missing."""
    if text is None or isinstance(text, str):
        return text
    return text.get(lang) or next(iter(text.values()), None)


def suggested_groups(graph: InteractionGraph) -> Communities | None:
    """`communities` of the graph, or None where ``libasis[graph]`` is missing or the graph has too many edges."""
    edges = sum(len(graph.entries(l)[1]) for l in range(len(graph.edges)))
    if find_spec("graspologic_native") is None or edges > MOST_EDGES:
        return None
    return communities(graph)
