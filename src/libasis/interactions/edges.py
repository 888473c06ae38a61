"""Edges: how strongly each feature of a site acts on each feature of the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..anatomy import Anatomy, read
from ..basis import DEFAULT_MEMORY, Basis, SiteBasis
from ..cut import Mask, Record, Traced, prepare
from ..cut.batches import check_reiterable, describe
from ..cut.records import check_memory
from ..errors import OptionError
from ..importance import one_hot, pull_back
from ..numerics import gauss_legendre
from ..provenance import versions
from ..types import Matrix
from .closed import ClosedEffects, blocks
from .graph import InteractionGraph


@dataclass(frozen=True)
class Path:
    """Where the derivative is taken: at the activation, or averaged over a straight path from a baseline to it."""

    alphas: tuple[float, ...]
    weights: tuple[float, ...]
    baseline: str

    @classmethod
    def parse(cls, method: str, nodes: int, baseline: str) -> Path:
        """Read the options of `interactions`.

        Raises:
            OptionError: an option is unknown.
        """
        if method not in ("gradient", "integrated"):
            raise OptionError(f'method is {method!r}; interactions are "gradient" or "integrated".')
        if baseline not in ("mean", "zero"):
            raise OptionError(f'baseline is {baseline!r}; use "mean" or "zero".')
        if method == "gradient":
            return cls((1.0,), (1.0,), "mean")
        alphas, weights = gauss_legendre(nodes)
        return cls(tuple(alphas.tolist()), tuple(weights.tolist()), baseline)

    def origin(self, basis: SiteBasis, x: Tensor) -> Tensor:
        """The baseline activation ``[d]``."""
        return basis.mean.to(x) if self.baseline == "mean" else torch.zeros_like(basis.mean.to(x))


def interactions(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis: Basis,
    batches: Iterable[Any],
    *,
    method: str = "gradient",
    nodes: int = 8,
    baseline: str = "mean",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    mask: Mask | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int = DEFAULT_MEMORY,
) -> InteractionGraph:
    r"""The interaction graph of a basis.

    Gradient form, shape ``[k_out, k_in]`` per section:
    :math:`E_{ji} = \frac1n \sum_{samples}\sum_t \big(\sum_s \partial\hat f_{l+1,t,j} / \partial\hat f_{l,s,i}
    \; \hat f_{l,s,i}\big)^2`. The integrated form averages the derivative over the straight path from a baseline b to
    the activation (Gauss-Legendre quadrature) and multiplies by :math:`\hat f(f) - \hat f(b)`; with a complete basis
    the attributions then sum to :math:`\hat f_{l+1}(f) - \hat f_{l+1}(b)`. Beside each squared edge the mean of the
    unsquared sum is kept, whose sign tells the direction.

    Args:
        traced: from `trace` or `Chain`.
        basis: from `fit`, with the same sites.
        batches: as in `fit`.
        method: ``"gradient"`` or ``"integrated"``.
        nodes: number of quadrature nodes of the integrated form.
        baseline: ``"mean"`` or ``"zero"``, for the integrated form.
        dtype: compute in this dtype instead of the model's own; accumulation is always float64.
        device: compute on this device.
        mask: which positions count, instead of the traced model's own mask.
        seed: recorded.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold.

    Raises:
        OptionError: an option is unknown or the basis belongs to other sites.
        BatchError: the batches are empty, one-shot or of the wrong structure.
    """
    path = Path.parse(method, nodes, baseline)
    check_reiterable(batches)
    check_memory(memory)
    traced = prepare(traced, dtype=dtype, device=device, mask=mask)
    check_same_sites(traced, basis)
    totals = [_Totals() for _ in traced.sections]
    for record in traced.stream(batches, progress=progress, label="interactions"):
        for l, total in enumerate(totals):
            total.add(record, l, basis, path, memory)
    info = {
        "method": basis.method,
        "interactions": method,
        "rules": [total.rule for total in totals],
        "quadrature": None
        if method == "gradient"
        else {"rule": "Gauss-Legendre", "nodes": nodes, "baseline": baseline},
        "data": describe(batches),
        "seed": seed,
        "traced": traced.facts(),
        "versions": versions(),
        "fit": basis.info,
    }
    edges = tuple((t.squares / max(t.n, 1)).cpu() for t in totals)
    signed = tuple((t.sums / max(t.n, 1)).cpu() for t in totals)
    return InteractionGraph(basis, edges, signed, info)


def check_same_sites(traced: Traced, basis: Basis) -> None:
    """A basis fits a traced model only if it has the same sites.

    Raises:
        OptionError: it has others.
    """
    own, theirs = [s.name for s in traced.sites], [s.name for s in basis]
    if own != theirs:
        raise OptionError(f"The basis has the sites {theirs}, but the model was cut at {own}; fit it on this cut.")


class _Totals:
    """Sums over all batches of one section."""

    def __init__(self) -> None:
        self.n = 0
        self.squares: Matrix = torch.zeros(0)
        self.sums: Matrix = torch.zeros(0)
        self.rule = ""

    @torch.no_grad()  # of the model's own parameters; torch.func differentiates all the same
    def add(self, record: Record, l: int, basis: Basis, path: Path, memory: int) -> None:
        """Add one batch: in closed form, or by forward or reverse mode, whichever needs fewer passes."""
        section = _Section(record, l, basis.sites[l], basis.sites[l + 1], path)
        if not self.n:
            shape = (section.target.k, section.source.k)
            self.squares = torch.zeros(shape, dtype=torch.float64, device=section.x.device)
            self.sums = torch.zeros_like(self.squares)
        anatomy = read(record.contexts[l])
        self.rule = "derivatives" if isinstance(anatomy, str) else "closed form"
        if isinstance(anatomy, str):
            self._derivatives(section, record, l, memory)
        elif anatomy.affine and anatomy.skip is not None:
            through = section.readout.T @ anatomy.skip.to(section.x) @ section.C_pinv.T
            amounts = section.amounts if section.counted is None else section.amounts[section.counted]
            amounts = amounts.reshape(-1, section.source.k).to(torch.float64)
            self.squares += through.to(torch.float64).square() * amounts.square().sum(0)
            self.sums += through.to(torch.float64) * amounts.sum(0)
        else:
            for columns, effect in section.closed(record, l, anatomy, memory):
                self.squares[columns] += effect.square().sum(0)
                self.sums[columns] += effect.sum(0)
        self.n += record.count(l)

    def _derivatives(self, section: _Section, record: Record, l: int, memory: int) -> None:
        chunk = max(1, memory // max(3 * record.workspace(l, l + 1) * section.x.element_size(), 1))
        positions = record.activations[l + 1].shape[1]
        if section.target.k * positions < section.source.k:
            for columns, effect in section.reverse(chunk):
                self.squares.index_add_(0, columns, effect.square().sum(1))
                self.sums.index_add_(0, columns, effect.sum(1))
        else:
            for which, effect in section.forward(chunk):
                self.squares[:, which] += effect.square().sum(1).T
                self.sums[:, which] += effect.sum(1).T


class _Section:
    r"""What each feature contributes to each output feature in one batch, before squaring:
    :math:`\sum_s \partial\hat f_{tj}/\partial\hat f_{si}\,\hat f_{si}` at counted positions t.
    """  # noqa: D205

    def __init__(self, record: Record, l: int, source: SiteBasis, target: SiteBasis, path: Path) -> None:
        self.source = source
        self.target = target
        self.path = path
        self.x = x = record.activations[l]
        self.origin = path.origin(source, x)
        self.amounts = (x - self.origin) @ source.C.to(x)  # [batch, s, i]
        if (counted := record.counted[l]) is not None:
            self.amounts = self.amounts * counted[..., None].to(x)
        self.counted = record.counted[l + 1]
        self.C_pinv, self.readout = source.C_pinv.to(x), target.C.to(x)
        self.context = record.contexts[l]

    def points(self) -> Iterator[tuple[Tensor, float]]:
        """The points of the path at which the derivative is taken, with their weights."""
        for alpha, weight in zip(self.path.alphas, self.path.weights, strict=True):
            yield self.origin + alpha * (self.x - self.origin), weight

    def closed(self, record: Record, l: int, anatomy: Anatomy, memory: int) -> Iterator[tuple[slice, Tensor]]:
        """Slices of j and effects ``[counted (batch, t), j, i]``, float64, without derivatives."""
        width, size = blocks(record, l, anatomy, self.source.k, self.target.k, memory)
        for start in range(0, self.target.k, width):
            columns = slice(start, min(start + width, self.target.k))
            effects = ClosedEffects(record, l, self.source, self.target, anatomy, columns)
            for first in range(0, len(self.x), size):
                samples = slice(first, min(first + size, len(self.x)))
                total: Any = 0.0
                for point, weight in self.points():
                    total = total + weight * effects(point, self.amounts, samples)
                counted = None if self.counted is None else self.counted[samples]
                yield columns, (total.flatten(0, 1) if counted is None else total[counted]).to(torch.float64)

    def forward(self, chunk: int) -> Iterator[tuple[slice, Tensor]]:
        """One pass per input feature: slices of i and effects ``[i, counted (batch, t), j]``, float64."""
        for start in range(0, self.source.k, chunk):
            which = slice(start, min(start + chunk, self.source.k))
            tangents = torch.einsum("bsi,id->ibsd", self.amounts[..., which], self.C_pinv[which])
            total: Any = 0.0
            for point, weight in self.points():

                def push(tangent: Tensor, point: Tensor = point) -> Tensor:
                    return torch.func.jvp(self.context, (point,), (tangent,))[1]

                total = total + weight * (torch.func.vmap(push)(tangents) @ self.readout)
            effect = total.flatten(1, 2) if self.counted is None else total[:, self.counted]
            yield which, effect.to(torch.float64)

    def reverse(self, chunk: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass per output feature and position: indices j and effects ``[(t, j), batch, i]``, float64."""
        pulls = [
            (torch.func.vjp(lambda z: self.context(z) @ self.readout, point)[:2], weight)
            for point, weight in self.points()
        ]
        for index, cotangents in one_hot(pulls[0][0][0], chunk):
            if self.counted is not None:
                cotangents = cotangents * self.counted[..., None].to(cotangents)
            pulled = sum(weight * pull_back(pull, cotangents) for (_, pull), weight in pulls)
            effect = torch.einsum("cbsd,id,bsi->cbi", pulled, self.C_pinv, self.amounts)
            yield index % self.target.k, effect.to(torch.float64)
