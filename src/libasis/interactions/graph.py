"""The interaction graph as plain data."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..basis import Basis
from ..errors import OptionError
from ..files import write_text
from ..types import Matrix, Plain

if TYPE_CHECKING:
    import networkx
    import pandas


@dataclass(frozen=True, eq=False)
class InteractionGraph:
    r"""Which features of one site act on which features of the next, and how strongly.

    Attributes:
        basis: the features at each site.
        edges: per section l the strengths :math:`E[j, i] \ge 0`, shape ``[k_out, k_in]``, float64: from feature i of
            site l to feature j of site l+1, in the squared units of feature j. The constant is excluded.
        signed: per section the mean of the same quantity before squaring, same shape: its sign tells the direction
            on average.
        info: how it was made (method, rule, quadrature, data, seed, versions, the model's fingerprint).
    """

    basis: Basis
    edges: tuple[Matrix, ...]
    signed: tuple[Matrix, ...]
    info: Plain = field(default_factory=dict)

    @property
    def sites(self) -> tuple[str, ...]:
        """Names of the sites, in the model's order."""
        return tuple(site.name for site in self.basis)

    def __repr__(self) -> str:
        rows = "\n".join(
            f"  {a} -> {b}: {e.shape[1]} x {e.shape[0]} features"
            for a, b, e in zip(self.sites[:-1], self.sites[1:], self.edges, strict=True)
        )
        return f"InteractionGraph(method={self.basis.method!r}, {len(self.edges)} sections)\n{rows}"

    def rows(self, *, min_strength: float = 0.0) -> Iterator[dict[str, Any]]:
        """One plain row per edge stronger than ``min_strength``, section by section."""
        for l, (strength, signed) in enumerate(zip(self.edges, self.signed, strict=True)):
            for j, i in (strength > min_strength).nonzero().tolist():
                yield {
                    "section": l,
                    "source": f"{self.sites[l]}:{i}",
                    "target": f"{self.sites[l + 1]}:{j}",
                    "strength": float(strength[j, i]),
                    "signed": float(signed[j, i]),
                }

    def nodes(self) -> Iterator[dict[str, Any]]:
        """One plain row per feature: id, site, index, importance, variance."""
        for column, site in enumerate(self.basis):
            for i in range(site.k):
                yield {
                    "id": f"{site.name}:{i}",
                    "site": site.name,
                    "column": column,
                    "index": i,
                    "importance": float(site.importances[i]),
                    "variance": float(site.variances[i]),
                }

    def to_networkx(self, *, min_strength: float = 0.0) -> networkx.DiGraph:
        """The graph for networkx; needs the extra ``libasis[graph]``."""
        import networkx as nx

        out = nx.DiGraph(method=self.basis.method, sites=list(self.sites))
        for node in self.nodes():
            out.add_node(node.pop("id"), **node)
        for row in self.rows(min_strength=min_strength):
            out.add_edge(row["source"], row["target"], strength=row["strength"], signed=row["signed"])
        return out

    def to_dataframe(self, *, min_strength: float = 0.0) -> pandas.DataFrame:
        """One row per edge, for pandas; needs the extra ``libasis[graph]``."""
        import pandas as pd

        columns = ["section", "source", "target", "strength", "signed"]
        return pd.DataFrame(list(self.rows(min_strength=min_strength)), columns=columns)

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
        return write_text(path, json.dumps(data, ensure_ascii=False, allow_nan=False))

    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page that shows the graph; needs the extra ``libasis[figures]``.

        Args:
            path: the file to write.
            lang: ``"en"`` or ``"ja"``.
        """
        if lang not in ("en", "ja"):
            raise OptionError(f'lang is {lang!r}; it must be "en" or "ja".')
        from ..report import write_page

        return write_page(path, [self], lang=lang)

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write to a directory (safetensors and a JSON manifest); see `libasis.load`.

        Raises:
            StoreError: the directory exists and ``force`` is false.
        """
        from .store import save

        return save(self, path, force=force)
