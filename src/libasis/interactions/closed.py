"""Effects of features on features in closed form, for sections whose anatomy is known: no derivative is ever taken."""

from __future__ import annotations

import torch
from torch import Tensor

from ..anatomy import Anatomy, Attention
from ..basis import SiteBasis
from ..cut import Record
from ..importance import Units
from ..types import Matrix


class ClosedEffects:
    r"""What each input feature contributes to each output feature: :math:`\sum_s (C'^T J_{ts} c_i)_j \hat f_{si}`.

    :math:`c_i` is row i of :math:`C^+`. With a norm in front, :math:`a_{si} = \hat f_{si}/\sigma_s` and
    :math:`\chi_{si} = \hat x_s \cdot c_i / d`; without one, :math:`a = \hat f` and :math:`\chi = 0`.

    Args:
        record: a batch.
        l: number of the section.
        source: basis of its input.
        target: basis of its output.
        anatomy: of the section.
        columns: the output features wanted.
    """

    def __init__(
        self, record: Record, l: int, source: SiteBasis, target: SiteBasis, anatomy: Anatomy, columns: slice
    ) -> None:
        self.record, self.l, self.anatomy = record, l, anatomy
        x = record.activations[l]
        self.C, self.C_pinv = target.C.to(x)[:, columns], source.C_pinv.to(x)
        self.units = Units(anatomy, self.C)
        self.through = self.units.A @ self.C_pinv.T  # [rows, k_in]
        skip = None if anatomy.skip is None else anatomy.skip.to(x)
        self.skip = None if skip is None else self.C.T @ skip @ self.C_pinv.T  # [k_out, k_in]
        self.heads = None if anatomy.attention is None else _Heads(anatomy, anatomy.attention, self.C, self.C_pinv)

    def __call__(self, points: Tensor, amounts: Tensor, samples: slice) -> Tensor:
        """Effects ``[batch, t, k_out, k_in]`` of samples: derivatives at ``points`` times ``amounts`` of features."""
        x, amounts = points[samples], amounts[samples]
        norm = self.anatomy.norm
        if norm is None:
            u, chi, scaled = x, None, amounts
        else:
            u, inverse = norm(x)
            chi, scaled = u @ self.C_pinv.T / u.shape[-1], amounts * inverse
        t = slice(None) if self.anatomy.read is None else list(self.anatomy.read)
        total = self._pointwise(u[:, t], None if chi is None else chi[:, t], scaled[:, t])
        if self.skip is not None:
            total = total + self.skip * amounts[:, t, None, :]
        if self.heads is not None:
            values = _of_samples(self.record, self.l, samples)
            total = total + self.heads.effects(u, chi, scaled, values, t)
        return total

    def _pointwise(self, u: Tensor, chi: Tensor | None, scaled: Tensor) -> Tensor:
        shape = (*u.shape[:2], self.C.shape[1], self.C_pinv.shape[0])
        if not self.anatomy.pointwise:
            return u.new_zeros(shape)
        flat = u.flatten(0, 1)
        slopes = self.units.slopes(flat)
        G = self.units.spread(self.units.G)
        effect = (slopes[:, None, :] * G).view(-1, G.shape[1]) @ self.through
        effect = effect.view(shape)
        if chi is not None:
            y = self.units.gather(slopes * (flat @ self.units.A.T)) @ self.units.G.T
            effect = effect - y.view(*shape[:3], 1) * chi[:, :, None, :]
        return effect * scaled[:, :, None, :]


def _of_samples(record: Record, l: int, samples: slice) -> tuple[Tensor, ...]:
    context = record.contexts[l]
    return tuple(
        v if dim is None or v.shape[dim] == 1 else v.narrow(dim, samples.start, samples.stop - samples.start)
        for v, dim in zip(context.values, context.batch_dims, strict=True)
    )


class _Heads:
    """The part of attention."""

    def __init__(self, anatomy: Anatomy, attention: Attention, C: Matrix, C_pinv: Matrix) -> None:
        self.n = n = attention
        fold = anatomy.norm.fold if anatomy.norm is not None else (lambda W: W)
        weights = [W.flatten(0, 1).to(C) for W in (n.W_Q, n.W_K, n.W_V)]
        self.raw = list(zip(weights, (b.flatten().to(C) for b in (n.b_Q, n.b_K, n.b_V)), strict=True))
        self.folded = [fold(W) for W in weights]
        self.H = len(n.W_Q)
        # directions that a feature gives to each head, [head, k_in, width]
        self.q_of, self.k_of, self.v_of = (self._split((W @ C_pinv.T).T[None])[0] for W in self.folded)
        self.G = torch.einsum("ohv,ok->hvk", n.W_O.to(C), C)  # [head, v, k_out]

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.H, -1)).transpose(1, 2)

    def _turn(self, x: Tensor, rotate: object, values: tuple[Tensor, ...]) -> Tensor:
        return x if rotate is None else rotate(x, values)  # pyright: ignore

    def effects(
        self, u: Tensor, chi: Tensor | None, scaled: Tensor, values: tuple[Tensor, ...], t: slice | list[int]
    ) -> Tensor:
        n = self.n
        q, k = (u @ W.T + b for W, b in self.raw[:2])
        q, k = self._turn(q, n.rotate_query, values), self._turn(k, n.rotate_key, values)
        A = n.pattern(q, k, values)[:, :, t]  # [b, h, t, s]
        q, k = self._split(q[:, t] * n.scale), self._split(k)
        v = self._split(u @ self.folded[2].T)  # without its constant, which no difference v - o sees
        V = v @ self.G  # [b, h, s, j]
        O = A @ V  # [b, h, t, j]
        at = scaled[:, t]
        reads = A[:, :, :, None, :] * (V.transpose(-1, -2)[:, :, None] - O[..., None])  # [b, h, t, j, s]
        total = torch.einsum("hiv,hvj,bhti->btji", self.v_of, self.G, A @ scaled[:, None])
        total = total + torch.einsum("bhtjs,bhtsi->btji", reads, self._keys(q, values, u, chi, scaled))
        looks = self._queries(reads @ (k[:, :, None] * n.scale), values, u, chi, t)
        total = total + looks.sum(1) * at[:, :, None, :]
        if chi is not None:
            total = total - torch.einsum("bhts,bhsj,bsi->btji", A, V, scaled * chi)
        return total

    def _keys(self, q: Tensor, values: tuple[Tensor, ...], u: Tensor, chi: Tensor | None, scaled: Tensor) -> Tensor:
        """How much each feature at s raises the scores of t: ``[b, h, t, s, i]``."""
        if self.n.rotate_key is None:
            raised = (q @ self.k_of.transpose(-1, -2))[:, :, :, None, :]
        else:
            raised = torch.einsum("bhte,bhsie->bhtsi", q, self._turned(self.k_of, self.n.rotate_key, values, u))
        if chi is not None:
            own = self._split(self._turn(u @ self.folded[1].T, self.n.rotate_key, values))
            raised = raised - (q @ own.transpose(-1, -2))[..., None] * chi[:, None, None]
        return raised * scaled[:, None, None]

    def _queries(
        self, moved: Tensor, values: tuple[Tensor, ...], u: Tensor, chi: Tensor | None, t: slice | list[int]
    ) -> Tensor:
        """What each feature at t does through its query, from ``moved [b, h, t, j, e]``: ``[b, h, t, j, i]``."""
        if self.n.rotate_query is None:
            looks = moved @ self.q_of.transpose(-1, -2)[:, None]
        else:
            turned = self._turned(self.q_of, self.n.rotate_query, values, u)[:, :, t]
            looks = torch.einsum("bhtje,bhtie->bhtji", moved, turned)
        if chi is not None:
            own = self._split(self._turn(u @ self.folded[0].T, self.n.rotate_query, values))[:, :, t]
            looks = looks - (moved @ own[..., None]) * chi[:, None, t, None, :]
        return looks

    def _turned(self, directions: Tensor, rotate: object, values: tuple[Tensor, ...], u: Tensor) -> Tensor:
        """Directions ``[h, i, e]`` rotated to every position: ``[b, h, s, i, e]``."""
        batch, positions = u.shape[:2]
        turned = [
            self._split(self._turn(d.flatten().expand(batch, positions, -1), rotate, values))
            for d in directions.unbind(1)
        ]
        return torch.stack(turned, 3)


def blocks(record: Record, l: int, anatomy: Anatomy, k_in: int, k_out: int, memory: int) -> tuple[int, int]:
    """How many output features and how many samples at once keep the work within ``memory`` bytes."""
    size, positions, _ = record.activations[l].shape
    read = positions if anatomy.read is None else len(anatomy.read)
    rows = sum(branch.A.shape[0] * branch.A.shape[1] for branch in anatomy.pointwise)
    heads = 0 if anatomy.attention is None else len(anatomy.attention.W_Q)
    per_pair = heads * read * positions
    item = record.activations[l].element_size()
    per_column = item * (read * (4 * k_in + 2 * rows) + 3 * per_pair + 2 * heads * read * k_in)
    fixed = item * 4 * per_pair * k_in
    columns = max(1, min(k_out, (memory - fixed) // per_column))
    samples = max(1, min(size, memory // (fixed + columns * per_column)))
    return columns, size if record.contexts[l].fixed_batch else samples
