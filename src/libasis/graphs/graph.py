"""The interaction graph as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..basis import Basis
from ..cut import digest_of_tensors
from ..errors import LabelError, OptionError, optional
from ..files import write_text
from ..pages import frame, write_page
from ..store import Shared, all_finite, frame_of, listed
from ..types import Matrix, Plain
from .labels import Label, read_labels, write_labels

if TYPE_CHECKING:
    import networkx
    import pandas


@dataclass(frozen=True, eq=False)
class InteractionGraph(Shared, kind="graph"):
    r"""Which features of one site act on which features of the next, and how strongly.

    Attributes:
        basis: the features at each site.
        edges: per section l the strengths :math:`E[j, i] \ge 0`, shape ``[k_out, k_in]``, float64: from feature i of
            site l to feature j of site l+1, in the squared units of feature j. The constant is excluded. Measured with
            ``top_k`` they are sparse (COO), with the strongest edges into each feature alone.
        signed: per section the mean of the same quantity before squaring, same shape, sparse in the same places: its
            sign tells the direction on average.
        info: how it was made (method, rule, quadrature, data, seed, versions, the model's fingerprint).
        labels: what people call features, by the id ``"site:index"``; see `with_labels`.
        modules: the group that people put a feature into, by the same ids.
        stderr: of sections whose edges were estimated, by the name of the input site: the standard error of each edge,
            shaped as ``edges``. Empty where all edges are exact.
    """

    basis: Basis
    edges: tuple[Matrix, ...]
    signed: tuple[Matrix, ...]
    info: Plain = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    modules: dict[str, str] = field(default_factory=dict)
    stderr: dict[str, Matrix] = field(default_factory=dict)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the model's order."""
        return tuple(site.name for site in self.basis)

    def __repr__(self) -> str:
        rows = [
            f"  {a} -> {b}: {e.shape[1]} x {e.shape[0]} features"
            for a, b, e in zip(self.sites[:-1], self.sites[1:], self.edges, strict=True)
        ]
        kept = f", top_k={self.info['top_k']['k']}" if self.info.get("top_k") else ""
        return listed(f"InteractionGraph(method={self.basis.method!r}, {len(self.edges)} sections{kept})", rows)

    def flaw(self) -> str | None:
        """What makes it no graph; None if it is one."""
        shapes = [[b.k, a.k] for a, b in pairwise(self.basis)]
        for name in ("edges", "signed"):
            found = [list(matrix.shape) for matrix in getattr(self, name)]
            if found != shapes:
                return f"its {name} have the shapes {found}, but its features need {shapes}"
            if not all(all_finite(_values(matrix)) for matrix in getattr(self, name)):
                return f"its {name} are not finite"
        for name, matrix in self.stderr.items():
            if name not in self.sites[:-1]:
                return f"it has errors of {name!r}, where no section begins"
            shape = shapes[self.sites.index(name)]
            if list(matrix.shape) != shape:
                return f"its errors at {name!r} have the shape {list(matrix.shape)}, but its features need {shape}"
            if not all_finite(_values(matrix)) or (_values(matrix) < 0).any():
                return f"its errors at {name!r} are no errors"
        if any((_values(matrix) < 0).any() for matrix in self.edges):
            return "some of its edges are below 0"
        try:
            read_labels({"labels": self.labels, "modules": self.modules}, self.basis)
        except LabelError as error:
            return str(error).rstrip(".")
        return self.basis.flaw()

    def entries(self, l: int, *, min_strength: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
        """The edges of section l stronger than ``min_strength``, ordered by output, then input feature.

        Returns:
            Places (j, i) ``[2, m]``, strengths ``[m]`` and signed means ``[m]``; nothing dense is made of sparse edges.
        """
        edges, signed = self.edges[l].to_sparse().coalesce(), self.signed[l]
        places = edges.indices()
        means = signed.coalesce().values() if signed.is_sparse else signed[places[0], places[1]]
        strong = edges.values() > min_strength
        return places[:, strong], edges.values()[strong], means[strong]

    def errors(self, l: int, places: Tensor) -> Tensor | None:
        """Standard errors of edges at places (j, i) ``[2, m]``, as `entries` gives them; None where edges are exact."""
        matrix = self.stderr.get(self.sites[l])
        if matrix is None:
            return None
        if not matrix.is_sparse:
            return matrix[places[0], places[1]]
        matrix, width = matrix.coalesce(), matrix.shape[1]
        known, asked = (p[0] * width + p[1] for p in (matrix.indices(), places))
        return matrix.values()[torch.searchsorted(known, asked)]

    def sure(self, l: int, count: int) -> float:
        r"""Of the ``count`` strongest edges of section l the share expected to be among them without errors too.

        :math:`1 - \frac1m \sum_{r \le m} \Phi((\theta - E_r) / s_r)`, with standard errors s and :math:`\theta` between
        the last edge that counts and the next. 1 where the edges are exact, or all of them count.
        """
        places, strengths, _ = self.entries(l)
        errors = self.errors(l, places)
        if errors is None or not 0 < count < len(strengths):
            return 1.0
        order = strengths.argsort(descending=True, stable=True)
        strengths, errors = strengths[order], errors[order].clamp_min(torch.finfo(torch.float64).tiny)
        middle = (strengths[count - 1] + strengths[count]) / 2
        out = torch.special.ndtr((middle - strengths[:count]) / errors[:count])
        return 1.0 - float(out.mean())

    def strength(self, l: int) -> float:
        """The summed strength of section l; with ``top_k`` that of the edges not kept is included."""
        kept = self.info.get("top_k")
        return kept["strength"][l] if kept else float(self.edges[l].sum())

    def digest(self) -> str:
        """SHA-256 over the features and their edges; labels and modules do not count."""
        own = (m.coalesce() if m.is_sparse else m for m in (*self.edges, *self.signed))
        parts = (part for m in own for part in ((m.indices(), m.values()) if m.is_sparse else (m,)))
        return digest_of_tensors([(self.basis.digest(), torch.empty(0)), *(("edges", part) for part in parts)])

    def rows(self, *, min_strength: float = 0.0) -> Iterator[dict[str, Any]]:
        """One plain row per edge stronger than ``min_strength``, section by section.

        With a standard error (0 for exact edges) where the graph has any.
        """
        for l in range(len(self.edges)):
            entries = self.entries(l, min_strength=min_strength)
            errors = self.errors(l, entries[0])
            places, strengths, means = (x.tolist() for x in entries)
            spread = [0.0] * len(means) if errors is None else errors.tolist()
            for j, i, strength, signed, error in zip(*places, strengths, means, spread, strict=True):
                yield {
                    "section": l,
                    "source": f"{self.sites[l]}:{i}",
                    "target": f"{self.sites[l + 1]}:{j}",
                    "strength": strength,
                    "signed": signed,
                    **({"stderr": error} if self.stderr else {}),
                }

    def nodes(self) -> Iterator[dict[str, Any]]:
        """One plain row per feature: id, site, index, importance, variance; tie, label, note and module, or ``""``."""
        none = Label("")
        for column, site in enumerate(self.basis):
            for i in range(site.k):
                key = f"{site.name}:{i}"
                yield {
                    "id": key,
                    "site": site.name,
                    "column": column,
                    "index": i,
                    "importance": float(site.importances[i]),
                    "variance": float(site.variances[i]),
                    "tied": site.tied(i),
                    **asdict(self.labels.get(key, none)),
                    "module": self.modules.get(key, ""),
                }

    def with_labels(self, source: str | Path | Mapping[str, Any]) -> InteractionGraph:
        """The same graph with names for features; this one stays as it is.

        Args:
            source: a file, as the page or `save_labels` writes it: ``{"format": "libasis-labels", "version": 1,
                "labels": {"fc1:in:0": {"label": "...", "note": "..."}}, "modules": {"fc1:in:0": "..."}}``; the same as
                a mapping; or a mapping from ids to texts or `Label`. The labels given replace all labels that there
                were, and so do modules; what is not given stays. ``{**graph.labels, "fc1:in:0": "edge"}`` adds one.

        Raises:
            LabelError: the file cannot be read, an id is unknown, a text has the wrong type or is absurdly long.
        """
        labels, modules = read_labels(source, self.basis)
        return replace(
            self, labels=self.labels if labels is None else labels, modules=self.modules if modules is None else modules
        )

    def save_labels(self, path: str | Path) -> Path:
        """Write labels and modules to a JSON file that `with_labels` reads; atomically."""
        return write_labels(path, self.labels, self.modules)

    def to_networkx(self, *, min_strength: float = 0.0) -> networkx.DiGraph:
        """The graph for networkx; needs the extra ``libasis[graph]``."""
        out = optional("networkx", "graph", "A network").DiGraph(method=self.basis.method, sites=list(self.sites))
        for node in self.nodes():
            out.add_node(node.pop("id"), **node)
        for row in self.rows(min_strength=min_strength):
            out.add_edge(row["source"], row["target"], strength=row["strength"], signed=row["signed"])
        return out

    def to_dataframe(self, *, min_strength: float = 0.0) -> pandas.DataFrame:
        """One row per edge, with the labels of both ends, for pandas; needs the extra ``libasis[graph]``."""
        columns = ["section", "source", "target", "strength", "signed", *(["stderr"] if self.stderr else [])]
        table = frame_of(list(self.rows(min_strength=min_strength)), columns)
        named = {key: label.label for key, label in self.labels.items()}
        for end in ("source", "target"):
            table[f"{end}_label"] = [named.get(key, "") for key in table[end]]
        return table

    def to_json(self, path: str | Path, *, min_strength: float = 0.0) -> Path:
        """Write nodes, edges and provenance as JSON; atomically."""
        data = {
            "format": "libasis-graph-json",
            "method": self.basis.method,
            "sites": list(self.sites),
            "nodes": list(self.nodes()),
            "edges": list(self.rows(min_strength=min_strength)),
            "info": self.info,
        }
        return write_text(path, json.dumps(data, ensure_ascii=False, allow_nan=False), self.json_mark())

    @classmethod
    def json_mark(cls) -> str:
        """How the files of `to_json` begin."""
        return '{"format": "libasis-graph-json"'

    def to_csv(self, path: str | Path, *, min_strength: float = 0.0) -> Path:
        """Write tables: a file that ends in .csv gets the edges, a folder ``edges.csv`` and ``features.csv``."""
        from .export import write_tables

        return write_tables(self, path, min_strength)

    def to_graphml(self, path: str | Path, *, min_strength: float = 0.0) -> Path:
        """Write GraphML, for Gephi, Cytoscape and others; needs the extra ``libasis[graph]``."""
        from .export import write_graphml

        return write_graphml(self, path, min_strength)

    def to_attribution_json(self, path: str | Path, *, model: str = "libasis", min_strength: float = 0.0) -> Path:
        """Write the JSON of attribution graphs, which circuit-tracer and Neuronpedia show.

        Such graphs are made for one prompt and this one is an average, so all features stand at one token. A layer is a
        site, the last one holds the outputs. A link's weight is the root of the edge, with the sign of the mean effect.
        Labels and modules become names and supernodes. ``p`` of an output is its share of the outputs' importance.

        Args:
            path: the file; its name becomes the graph's.
            model: the model's name (Neuronpedia looks it up).
            min_strength: leave out weaker edges.
        """
        from .export import write_attribution

        return write_attribution(self, path, model, min_strength)

    def to_html(
        self,
        path: str | Path,
        lang: str = "en",
        *,
        cards: Any = None,
        edge_ablation: Any = None,
        node_ablation: Any = None,
        communities: Any = None,
        title: str | None = None,
        question: str | None = None,
    ) -> Path:
        """Write a self-contained page to explore the graph in; it opens by double click, without a network.

        Args:
            path: the file to write.
            lang: the language the page opens in, ``"en"`` or ``"ja"``.
            cards: feature cards of this graph.
            edge_ablation: an `EdgeAblation` of this graph; the page marks the edges that the model needs.
            node_ablation: a `NodeAblation` of this graph.
            communities: groups of features to suggest.
            title: the heading; None takes ours.
            question: the question that the page answers; None takes one that these results can answer.
        """
        return write_page(
            self,
            path,
            lang,
            cards=cards,
            edge_ablation=edge_ablation,
            node_ablation=node_ablation,
            communities=communities,
            title=title,
            question=question,
        )

    def _repr_html_(self) -> str:
        """The page inside a notebook: a frame that can reach neither the notebook nor a network."""
        return frame(self)


def _values(matrix: Matrix) -> Tensor:
    """The entries that a dense or sparse matrix holds."""
    return matrix.coalesce().values() if matrix.is_sparse else matrix


def basis_of(given: Any) -> Basis:
    """A basis, or that of a graph.

    Raises:
        OptionError: it is none.
    """
    found = given.basis if isinstance(given, InteractionGraph) else given
    if not isinstance(found, Basis):
        raise OptionError(f"basis is of type {type(given).__name__}; give a basis or a graph.")
    return found


def graph_of_edges(given: InteractionGraph | Basis, edges: bool) -> InteractionGraph | None:
    """The graph where edges are asked for, None where features are.

    Raises:
        OptionError: edges are asked of a basis.
    """
    if not edges:
        return None
    if not isinstance(given, InteractionGraph):
        raise OptionError("edges=True needs an InteractionGraph, but got a basis; give libasis.interactions(...).")
    return given
