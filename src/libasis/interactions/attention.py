"""Attention's part of the effects of features on features, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Anatomy, Attention, Rotation, Values, spread
from ..types import Matrix


@dataclass(frozen=True, eq=False)
class Look:
    r"""What the heads do at one point, before any feature is asked for; ° is without the constant.

    Attributes:
        u: what the heads read, ``[b, s, d]``.
        values: the context values of these samples.
        t: positions at which the output is read.
        A: attention weights, ``[b, h, t, s]``.
        q: rotated queries times the scale, ``[b, h, t, e]``.
        k: rotated keys times the scale, ``[b, h, s, e]``.
        v: v°, what the heads write if they look at s, ``[b, h, s, v]``.
        o: Av, what they write, ``[b, h, t, v]``.
        of_keys: with a norm the part of the scores that keys have without their constant, :math:`q_t \cdot k^\circ_s`,
            ``[b, h, t, s]``.
        of_queries: with a norm the same of queries, :math:`q^\circ_t \cdot k_s`.
        moved: for long sequences m, what a change of the query at t changes in o,
            :math:`\sum_s A_{ts} (v_s - o_t) k_s^T`, ``[b, h, t, v, e]``.
    """

    u: Tensor
    values: Values
    t: slice | list[int]
    A: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    o: Tensor
    of_keys: Tensor | None
    of_queries: Tensor | None
    moved: Tensor | None


class Heads:
    r"""What features change in what the heads write.

    Feature i gives :math:`\nu_i, \kappa_i, \theta_i` to a head's values, keys and queries (the norm's projection folded
    in), and changes the scores by
    :math:`z_{tsi} = q_t \cdot R_s \kappa_i\,a_{si} + k_s \cdot R_t \theta_i\,a_{ti}`, with a norm less
    :math:`q_t \cdot k^\circ_s\,\chi_{si} a_{si} + q^\circ_t \cdot k_s\,\chi_{ti} a_{ti}`. So the head writes

    .. math:: \sum_s A_{ts} (v_s - o_t) z_{tsi} + \nu_i \sum_s A_{ts} a_{si} - \sum_s A_{ts} v_s \chi_{si} a_{si}

    more. Where keys are not rotated and sequences longer than a head is wide, what depends on t alone is taken out of
    the sums over s, which become products of matrices; the query's part is then m times :math:`R_t \theta_i a_{ti}`.

    Where the readout is narrower than a head's values, the heads write output features at once.

    Args:
        anatomy: of the section.
        attention: its attention.
        C: readout ``[d_out, k_out]``.
        C_pinv: directions of the input features, ``[k_in, d]``.

    Attributes:
        G: from what all heads write to the output features, ``[h v, k_out]``.
        narrow: whether heads write output features.
    """

    def __init__(self, anatomy: Anatomy, attention: Attention, C: Matrix, C_pinv: Matrix) -> None:
        self.attention = n = attention
        self.H = len(n.W_Q)
        W_V = n.W_V.to(C)
        read = torch.einsum("ohv,ok->hvk", n.W_O.to(C), C)
        self.narrow = C.shape[1] < W_V.shape[1]
        if self.narrow:
            W_V = read.transpose(1, 2) @ W_V
            read = torch.eye(C.shape[1], dtype=C.dtype, device=C.device).expand(self.H, -1, -1)
        self.G = read.flatten(0, 1)
        plain = [W.flatten(0, 1).to(C) for W in (n.W_Q, n.W_K, W_V)]
        self.b_Q, self.b_K = n.b_Q.flatten().to(C), n.b_K.flatten().to(C)
        fold = anatomy.norm.fold if anatomy.norm is not None else (lambda W: W)
        self.folded = [fold(W) for W in plain]
        self.W_Q, self.W_KV = plain[0], torch.cat([plain[1], self.folded[2]])
        # what a feature gives to each head, [h, e or v, k_in]
        self.q_of, self.k_of, self.v_of = ((W @ C_pinv.T).unflatten(0, (self.H, -1)) for W in self.folded)

    def look(self, u: Tensor, values: Values, t: slice | list[int], *, normed: bool) -> Look:
        """The heads at ``u [b, s, d]``, their outputs read at ``t``."""
        n = self.attention
        k, v = (u @ self.W_KV.T).split([len(W) for W in self.folded[1:]], -1)
        q = spread(u[:, t] @ self.W_Q.T + self.b_Q, t, u.shape[1])  # queries of other positions ask for nothing
        q, k = _rotated(q, n.rotate_query, values), _rotated(k + self.b_K, n.rotate_key, values)
        A = n.pattern(q, k, values)[:, :, t]
        q, k, v = self._split(q[:, t] * n.scale), self._split(k * n.scale), self._split(v)
        o = A @ v
        of_keys = of_queries = moved = None
        if normed:
            q_own = self._split(_rotated(u @ self.folded[0].T, n.rotate_query, values)[:, t])
            k_own = self._split(_rotated(u @ self.folded[1].T, n.rotate_key, values))
            of_keys, of_queries = q @ k_own.transpose(2, 3), q_own @ k.transpose(2, 3)
        if is_long(n, u.shape[1]):
            moved = _mix(A, v, k) - o[..., None] * (A @ k)[..., None, :]
        return Look(u, values, t, A, q, k, v, o, of_keys, of_queries, moved)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.H, -1)).transpose(1, 2).contiguous()

    def change(self, look: Look, a: Tensor, chi: Tensor | None, which: slice) -> Tensor:
        """What the input features ``which`` change in what the heads write: ``[b, t, h v, i]``.

        Of short sequences with few output features, what they change in these, all heads summed: ``[b, t, j, i]``.

        Args:
            look: from `look`.
            a: amounts over sigma, ``[b, s, k_in]``.
            chi: ``[b, s, k_in]``; None without a norm.
            which: the input features.
        """
        a = a[..., which]
        drift = None if chi is None else a * chi[..., which]
        if self.sums(look):
            return self._written(look, a, drift, which)
        if look.moved is None or self.attention.rotate_key is not None:
            total = torch.stack([self._scored(look, h, a, drift, which) for h in range(self.H)], 2)
        else:
            total = self._summed(look, a, drift, which).transpose(1, 2)
        total.addcmul_((look.A @ a[:, None]).transpose(1, 2)[..., None, :], self.v_of[..., which])
        if look.moved is not None:
            total.addcmul_(self._asked(look, look.moved, which).transpose(1, 2), a[:, look.t, None, None])
            if drift is not None and look.of_queries is not None:
                asked = look.A * look.of_queries
                turned = asked @ look.v - look.o * asked.sum(-1, keepdim=True)
                total.addcmul_(turned.transpose(1, 2)[..., None], drift[:, look.t, None, None], value=-1)
        return total.flatten(2, 3)

    def sums(self, look: Look) -> bool:
        """Whether `change` returns what output features change, rather than what heads write."""
        return self.narrow and look.moved is None

    def written(self, look: Look, change: Tensor, columns: slice) -> Tensor:
        """Some output features' part ``[m, j, i]`` of a change, as `change` returned it: ``[m, ., i]``.

        It may share the memory of the change, where no two output features share any.
        """
        if self.sums(look):
            return change[:, columns]
        return self.G[:, columns].T.expand(len(change), -1, -1) @ change

    def _written(self, look: Look, a: Tensor, drift: Tensor | None, which: slice) -> Tensor:
        """Everything, heads and positions of their keys in one product of matrices: ``[b, t, j, i]``."""
        at = a[:, look.t, None, None]
        z = self._by_keys(look, which) * a[:, None, None]  # [b, t, h, s, i]
        z.addcmul_(self._by_queries(look, which), at)
        A, o = look.A.transpose(1, 2), look.o.permute(0, 2, 3, 1)  # [b, t, h, s], [b, t, j, h]
        if drift is not None and look.of_keys is not None and look.of_queries is not None:
            z.addcmul_(look.of_keys.transpose(1, 2)[..., None] + 1.0, drift[:, None, None], value=-1)
            z.addcmul_(look.of_queries.transpose(1, 2)[..., None], drift[:, look.t, None, None], value=-1)
        moved = A[:, :, None] * (look.v.permute(0, 3, 1, 2)[:, None] - o[..., None])  # [b, t, j, h, s]
        total = moved.flatten(3) @ z.flatten(2, 3)
        if drift is not None:
            total -= o @ (A @ drift[:, None])
        seen = torch.einsum("bhts,bsi->hbti", look.A, a)
        for amounts, value in zip(seen, self.v_of[..., which], strict=True):
            total.addcmul_(amounts[:, :, None], value)
        return total

    def _by_keys(self, look: Look, which: slice) -> Tensor:
        """How features at s raise scores of t, all heads: ``[b, t, h, s, i]``, s = 1 where all are alike."""
        if self.attention.rotate_key is None:
            return torch.einsum("bhte,hei->bthi", look.q, self.k_of[..., which])[:, :, :, None]
        each = zip(look.q.unbind(1), self.k_of[..., which], strict=True)
        return torch.stack([_by_keys(q, k_of, self.attention.rotate_key, look) for q, k_of in each], 2)

    def _by_queries(self, look: Look, which: slice) -> Tensor:
        """How features at t raise scores of s, all heads: ``[b, t, h, s, i]``, t = 1 where all are alike."""
        if self.attention.rotate_query is None:
            return torch.einsum("bhse,hei->bhsi", look.k, self.q_of[..., which])[:, None]
        each = zip(look.k.unbind(1), self.q_of[..., which], strict=True)
        return torch.stack([_by_queries(k, q_of, self.attention.rotate_query, look) for k, q_of in each], 2)

    def _summed(self, look: Look, a: Tensor, drift: Tensor | None, which: slice) -> Tensor:
        """Through plain keys, and the drift of values, by products of matrices: ``[b, h, t, v, i]``."""
        rho, P = look.q @ self.k_of[..., which], look.A @ a[:, None]  # [b, h, t, i]
        total = _mix(look.A, look.v, a[:, None]).mul_(rho[..., None, :])
        of_o = -rho * P
        if drift is not None and look.of_keys is not None:
            seen = look.A * look.of_keys
            total.sub_(_mix(look.A + seen, look.v, drift[:, None]))
            of_o += seen @ drift[:, None]
        return total.addcmul_(look.o[..., None], of_o[..., None, :])

    def _scored(self, look: Look, h: int, a: Tensor, drift: Tensor | None, which: slice) -> Tensor:
        """Through the scores of one head, and the drift of values: ``[b, t, v, i]``."""
        q, k, A = look.q[:, h], look.k[:, h], look.A[:, h]
        n, at = self.attention, a[:, look.t, None]
        z = _by_keys(q, self.k_of[h][:, which], n.rotate_key, look) * a[:, None]  # [b, t, s, i]
        if look.moved is None:
            z.addcmul_(_by_queries(k, self.q_of[h][:, which], n.rotate_query, look), at)
        if drift is not None and look.of_keys is not None and look.of_queries is not None:
            z.addcmul_(look.of_keys[:, h, ..., None] + 1.0, drift[:, None], value=-1)
            if look.moved is None:
                z.addcmul_(look.of_queries[:, h, ..., None], drift[:, look.t, None], value=-1)
        moved = A[..., None, :] * (look.v[:, h, None] - look.o[:, h, :, None]).transpose(2, 3)  # [b, t, v, s]
        total = moved @ z
        if drift is not None:
            total.addcmul_(look.o[:, h, ..., None], (A @ drift)[:, :, None], value=-1)
        return total

    def _asked(self, look: Look, moved: Tensor, which: slice) -> Tensor:
        r"""By the query at t :math:`m_t R_t \theta_i`: ``[b, h, t, v, i]``."""
        rotation, directions = self.attention.rotate_query, self.q_of[..., which]
        if rotation is None:
            return (moved.flatten(2, 3) @ directions).unflatten(2, moved.shape[2:4])
        heads = zip(moved.unbind(1), directions, strict=True)
        return torch.stack([m @ _everywhere(d, rotation, look)[:, look.t].transpose(2, 3) for m, d in heads], 1)


def numbers_of(attention: Attention, s: int, t: int, k_out: int) -> tuple[int, int]:
    """About how many numbers one sample takes: to look at it, and to change it for each input feature.

    Args:
        attention: of the section.
        s: positions.
        t: positions at which the output is read.
        k_out: output features.
    """
    H, e, _ = attention.W_Q.shape
    narrow, v = k_out < attention.W_V.shape[1], min(attention.W_V.shape[1], k_out)
    look = 4 * H * s * s + 2 * H * t * s + 6 * H * s * e
    change = H * (v * (5 * t + s) + 3 * t)
    if is_long(attention, s):
        look += H * v * e * (2 * t + s)
    if not is_long(attention, s) or attention.rotate_key is not None:
        look += 2 * t * s * v * (H if narrow else 1)
        change = 4 * t * (H * s + v) if narrow else change + 3 * s * t
        change += 3 * s * e if attention.rotate_key is not None else 0
    return look, change


def is_long(attention: Attention, positions: int) -> bool:
    """Whether sequences are longer than a head is wide: then queries are worth a matrix of their own."""
    return positions > attention.W_Q.shape[1]


def _mix(A: Tensor, x: Tensor, y: Tensor) -> Tensor:
    r""":math:`\sum_s A_{ts} x_s y_s^T`, ``[b, h, t, x, y]``, as one product of matrices."""
    pairs = (x[..., None] * y[..., None, :]).flatten(3)
    return (A @ pairs).unflatten(3, (x.shape[-1], y.shape[-1]))


def _rotated(x: Tensor, rotation: Rotation | None, values: Values) -> Tensor:
    return x if rotation is None else rotation(x, values)


def _by_keys(q: Tensor, directions: Matrix, rotation: Rotation | None, look: Look) -> Tensor:
    """How features at s, in ``directions [e, i]``, raise scores of t: ``[b, t, s, i]``, s = 1 where all are alike."""
    if rotation is None:
        return (q @ directions)[:, :, None]
    turned = _everywhere(directions, rotation, look)
    return (q @ turned.flatten(1, 2).transpose(1, 2)).unflatten(2, turned.shape[1:3])


def _by_queries(k: Tensor, directions: Matrix, rotation: Rotation | None, look: Look) -> Tensor:
    """How features at t raise scores of s: ``[b, t, s, i]``, t = 1 where all are alike."""
    if rotation is None:
        return (k @ directions)[:, None]
    turned = _everywhere(directions, rotation, look)[:, look.t]
    return (turned.flatten(1, 2) @ k.transpose(1, 2)).unflatten(1, turned.shape[1:3]).transpose(2, 3)


def _everywhere(directions: Matrix, rotation: Rotation, look: Look) -> Tensor:
    """Directions ``[e, i]`` rotated to every position: ``[b, s, i, e]``, b = 1 where all samples agree."""
    cos, sin = (x[:, :, None] for x in rotation.turns(look.u.shape[1], look.values, look.u))
    directions = directions.T
    return directions * cos + directions[:, rotation.partner] * sin
