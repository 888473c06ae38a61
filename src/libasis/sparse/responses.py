"""How the next site responds to each feature of a site, on a sample of the data: what the rotations are fitted to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..anatomy import read
from ..basis import SiteBasis
from ..cut import Context, Record, pull_back, push_forward
from ..errors import BatchError
from ..measure import Records
from ..types import Matrix
from .rotate import whitened

FITTED, HELD_OUT = 300, 600
"""Samples that the rotations are fitted to, and others that decide between the rotations found."""

OUTPUTS = 512
"""Of a last site with more features, so many are looked at, drawn at random."""

NUMBERS = 2**22
"""Derivatives of a section that are held at most; where they are more, fewer samples are used."""


@dataclass(frozen=True, eq=False)
class Response:
    r"""Derivatives of a section in whitened features, at one output position of each of some samples.

    The effect of input feature i on output feature j is :math:`e_{nji} = \sum_s J_{njsi}\,y_{nsi}`, its strength
    :math:`E_{ji} = \mathrm{mean}_n e_{nji}^2` up to the number of positions.

    Attributes:
        J: ``[sample, j, s, i]``, float64; of an affine section ``[1, j, 1, i]``, the same for all samples.
        y: input features ``[sample, s, i]`` of unit variance; None for an affine section, whose strengths are
            :math:`J_{ji}^2` whatever the samples, since variances are one.
    """

    J: Tensor
    y: Tensor | None

    @property
    def rows(self) -> int:
        """Number of samples; 0 where none are needed."""
        return 0 if self.y is None else len(self.J)


@dataclass(frozen=True, eq=False)
class _Ends:
    """A section's whitened maps: back from input features ``[m, d]``, to them ``[d, m]``, to outputs ``[d_out, k]``."""

    mean: Tensor
    to: Matrix
    back: Matrix
    out: Matrix


def sample(
    records: Records, sites: Sequence[SiteBasis], sizes: Sequence[int], *, seed: int, memory: int, held_out: bool = True
) -> tuple[list[Response], list[Response]]:
    """The responses of every section to its leading features, of samples to fit to and of others held out.

    Which samples they are, and at which output position each is looked at, depends on the seed and the samples' order,
    never on how they are split into batches.

    Args:
        records: of the data; they have been gone through before.
        sites: LIB features.
        sizes: how many features of each site but the last are leading.
        seed: of the choices.
        memory: bound in bytes for the derivatives of one batch taken at once.
        held_out: whether those held out are wanted; there are none otherwise.

    Raises:
        BatchError: there are too few samples.
    """
    ends = [_ends(sites, sizes, l, seed) for l in range(len(sizes))]
    found: list[list[list[_Part]]] = [[[] for _ in ends] for _ in range(1 + held_out)]
    for record, chances in drawn(records, seed):
        for l, end in enumerate(ends):
            if (through := _affine(record, l, end)) is not None:
                for parts in found:
                    parts[l] = [(through, None)]
                continue
            room = _room(record, l, end)
            chosen = (
                to_fit(chances[:, 0], FITTED * room, records.samples),
                to_judge(chances[:, 0], HELD_OUT * room, records.samples),
            )
            for parts, which in zip(found, chosen, strict=False):
                if len(which):
                    parts[l].append(_respond(record, l, end, which, chances[which, 1], memory))
    if not all(parts for side in found for parts in side):
        raise too_few(records.samples)
    first, *second = ([_joined(parts) for parts in side] for side in found)
    return first, second[0] if second else []


def too_few(samples: int) -> BatchError:
    """The error of data that cannot be divided."""
    return BatchError(
        f"sparse=True got {samples} samples, too few to fit rotations to some and to judge them by others; give a few "
        "hundred."
    )


def drawn(records: Records, seed: int) -> Iterator[tuple[Record, Tensor]]:
    """The records with two random numbers in [0, 1) for each sample ``[batch, 2]``, the same in every pass."""
    draw = torch.from_numpy(np.random.default_rng((seed, 1)).random((records.samples, 2)))
    for record in records.stream(label="samples for sparse LIB"):
        yield record, draw[record.numbers]


def to_fit(chance: Tensor, wanted: float, samples: int) -> Tensor:
    """The samples to fit to: about ``wanted``, at most a third of all."""
    return (chance < min(wanted / samples, 1 / 3)).nonzero()[:, 0]


def to_judge(chance: Tensor, wanted: float, samples: int) -> Tensor:
    """The samples to judge by, none of which is fitted to: about ``wanted``, at most two thirds of all."""
    return (chance >= 1 - min(wanted / samples, 2 / 3)).nonzero()[:, 0]


_Part = tuple[Tensor, Tensor | None]


def _ends(sites: Sequence[SiteBasis], sizes: Sequence[int], l: int, seed: int) -> _Ends:
    source, target = sites[l], sites[l + 1]
    to, back = whitened(source)
    if l + 1 < len(sizes):
        out = whitened(target)[0][:, : sizes[l + 1]]
    else:
        chosen = np.random.default_rng((seed, 2)).permutation(target.k)[:OUTPUTS]
        out = target.C[:, torch.from_numpy(np.sort(chosen))]
    return _Ends(source.mean, to[:, : sizes[l]], back[: sizes[l]], out)


def _room(record: Record, l: int, end: _Ends) -> float:
    """The part of the wanted samples whose derivatives fit into `NUMBERS`."""
    m = len(end.back)
    each = end.out.shape[1] * min(record.activations[l].shape[1], m) * m
    return min(1.0, max(NUMBERS / each, 32) / FITTED)


def _affine(record: Record, l: int, end: _Ends) -> Tensor | None:
    """The derivatives of an affine section that treats all positions alike; None for any other."""
    anatomy = read(record.contexts[l])
    if isinstance(anatomy, str) or not anatomy.affine or anatomy.skip is None:
        return None
    skip = anatomy.skip.to("cpu", torch.float64)
    return (end.out.T @ skip @ end.back.T)[None, :, None]


def _respond(record: Record, l: int, end: _Ends, which: Tensor, chance: Tensor, memory: int) -> _Part:
    x = record.activations[l]
    to, back, out = (part.to(x) for part in (end.to, end.back, end.out))
    which = which.to(x.device)
    position = _positions(record.counted[l + 1], which, record.activations[l + 1].shape[1], chance.to(x.device))
    context = record.contexts[l]
    inside = which
    if context.fixed_batch is None:  # else it runs on whole batches only
        context, x, inside = context.select(which), x[which], torch.arange(len(which), device=x.device)
    y = (x[inside] - end.mean.to(x)) @ to
    if (counted := record.counted[l]) is not None:
        y = y * counted[which][..., None].to(y)
    derive = _Derivatives(context, x, (inside, position), out, back)
    chunk = max(1, memory // max(1, 3 * record.workspace(l, l + 1) * x.element_size()))
    J = derive.forward(chunk) if y.shape[1] * len(back) < out.shape[1] else derive.reverse(chunk)
    return _compressed(J.to(torch.float64).cpu(), y.to(torch.float64).cpu())


def _positions(counted: Tensor | None, which: Tensor, positions: int, chance: Tensor) -> Tensor:
    """One counted output position of each sample."""
    if counted is None:
        return (chance * positions).long().clamp(max=positions - 1)
    counts = counted[which].sum(1)
    wanted = (chance * counts).long() + 1  # the wanted-th of the counted ones
    return (counted[which].cumsum(1) >= wanted[:, None]).long().argmax(1)


class _Derivatives:
    """``J [sample, j, s, i]`` of some samples at one output position each."""

    def __init__(self, context: Context, x: Tensor, at: tuple[Tensor, Tensor], out: Tensor, back: Tensor) -> None:
        self.context, self.x, self.at, self.out, self.back = context, x, at, out, back

    @torch.no_grad()  # of the model's own parameters; torch.func differentiates all the same
    def forward(self, chunk: int) -> Tensor:
        """One pass for each input position and feature."""
        positions, m = self.x.shape[1], len(self.back)
        J = self.x.new_zeros(len(self.at[0]), self.out.shape[1], positions, m)
        places = torch.cartesian_prod(torch.arange(positions), torch.arange(m))
        push = push_forward(self.context, self.x, [self.context])
        for some in places.split(chunk):
            tangents = self.x.new_zeros(len(some), *self.x.shape)
            tangents[torch.arange(len(some)), :, some[:, 0]] = self.back[some[:, 1]][:, None]
            pushed = push(tangents)
            J[:, :, some[:, 0], some[:, 1]] = (pushed[:, self.at[0], self.at[1]] @ self.out).permute(1, 2, 0)
        return J

    @torch.no_grad()
    def reverse(self, chunk: int) -> Tensor:
        """One pass for each output feature."""
        y, pull = pull_back(lambda z: self.context(z) @ self.out, self.x, [self.context])
        parts = []
        for some in torch.arange(self.out.shape[1]).split(chunk):
            cotangents = y.new_zeros(len(some), *y.shape)
            cotangents[:, self.at[0], self.at[1]] = torch.eye(y.shape[-1]).to(y)[some][:, None]
            parts.append(pull(cotangents)[:, self.at[0]] @ self.back.T)
        return torch.cat(parts).movedim(0, 1)


def _compressed(J: Tensor, y: Tensor) -> _Part:
    """The same sums over s with at most as many terms as features: y = Q T, and Q goes to J."""
    if y.shape[1] <= y.shape[2]:
        return J, y
    Q, T = torch.linalg.qr(y)
    return torch.einsum("njsa,nsr->njra", J, Q), T


def _joined(parts: Sequence[_Part]) -> Response:
    if parts[0][1] is None:
        return Response(parts[0][0], None)
    positions = max(y.shape[1] for _, y in parts if y is not None)  # batches may differ in length
    J = torch.cat([_padded(J, 2, positions) for J, _ in parts])
    return Response(J, torch.cat([_padded(y, 1, positions) for _, y in parts if y is not None]))


def _padded(x: Tensor, dim: int, size: int) -> Tensor:
    if x.shape[dim] == size:
        return x
    shape = list(x.shape)
    shape[dim] = size - shape[dim]
    return torch.cat([x, x.new_zeros(shape)], dim)
