"""The basis as plain data: what `fit` returns, what everything later reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import SiteError
from ..types import Matrix, Plain, Vector


@dataclass(frozen=True, eq=False)
class SiteBasis:
    r"""The features of one site: :math:`\hat f = (f - \mu) C` and back :math:`f \approx \mu + \hat f C^+`.

    Attributes:
        name: the site's name.
        mean: :math:`\mu`, shape ``[d]``.
        C: the map to features, shape ``[d, k]``.
        C_pinv: the map back, shape ``[k, d]``, with ``C_pinv @ C`` the identity of size k.
        importances: :math:`\Lambda`, shape ``[k]``. For ``lib``, ``global`` and ``pca`` descending. A site that keeps
            its own coordinates (``neuron``, and the last site unless rotated) keeps their order, so that feature i is
            neuron i, and its importances are the variances, unsorted.
        variances: the variance of each feature on the data of the fit, shape ``[k]``.
        rank_report: which directions were dropped and why: thresholds and the eigenvalues on both sides of each cut.

    All tensors are float64 on the CPU.
    """

    name: str
    mean: Vector
    C: Matrix
    C_pinv: Matrix
    importances: Vector
    variances: Vector
    rank_report: Plain = field(default_factory=dict)

    @property
    def d(self) -> int:
        """Number of coordinates of the activation."""
        return self.C.shape[0]

    @property
    def k(self) -> int:
        """Number of features kept."""
        return self.C.shape[1]

    def encode(self, x: Tensor) -> Tensor:
        """Features of activations: ``(x - mean) @ C``; ``x`` is ``[..., d]``, the result ``[..., k]``."""
        return (x - self.mean.to(x)) @ self.C.to(x)

    def decode(self, z: Tensor) -> Tensor:
        """Activations of features: ``mean + z @ C_pinv``; ``z`` is ``[..., k]``, the result ``[..., d]``."""
        return self.mean.to(z) + z @ self.C_pinv.to(z)


@dataclass(frozen=True, eq=False)
class Basis:
    """The bases of all sites of a traced model, in the model's order.

    Attributes:
        sites: one `SiteBasis` per site.
        method: ``"lib"``, ``"pca"``, ``"neuron"`` or ``"global"``.
        info: how the result was made: rule and error bar of each section, rank rule, data, seed, dtype, versions.
    """

    sites: tuple[SiteBasis, ...]
    method: str
    info: Plain = field(default_factory=dict)

    def __iter__(self) -> Iterator[SiteBasis]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def __getitem__(self, key: int | str) -> SiteBasis:
        if isinstance(key, int):
            return self.sites[key]
        for site in self.sites:
            if site.name == key:
                return site
        raise SiteError(f"No site is called {key!r}; the sites of this basis are {[s.name for s in self.sites]}.")

    def __repr__(self) -> str:
        rows = "\n".join(f"  {s.name}: {s.k} of {s.d} directions kept" for s in self.sites)
        return f"Basis(method={self.method!r}, {len(self.sites)} sites)\n{rows}"

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write to a directory (safetensors and a JSON manifest); see `libasis.load`.

        Raises:
            StoreError: the directory exists and ``force`` is false.
        """
        from ..interactions.store import save

        return save(self, path, force=force)

    def describe(self) -> list[dict[str, Any]]:
        """One plain row per site: name, directions, kept, total importance."""
        return [{"site": s.name, "d": s.d, "k": s.k, "importance": float(s.importances.sum())} for s in self.sites]
