"""Attention's part of the effects of features on features, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Anatomy, Attended, Attention, AttentionMaps, Turn, Values, at_rows
from ..types import Matrix


@dataclass
class AttendedPoint(Attended):
    r"""What the heads do at one point, before any feature is asked for; ° is without the constant.

    Attributes:
        o: Av, what they write, ``[H, b, t, v]``.
        of_keys: with a norm the part of the scores that keys have without their constant, :math:`q_t \cdot k^\circ_s`,
            ``[H, b, t, s]``.
        of_queries: with a norm the same of queries, :math:`q^\circ_t \cdot k_s`.
        moved: for long sequences m, what a change of the query at t changes in o,
            :math:`\sum_s A_{ts} (v_s - o_t) k_s^T`, ``[H, b, t, v, e]``.
    """

    o: Tensor
    of_keys: Tensor | None
    of_queries: Tensor | None
    moved: Tensor | None


class HeadChanges:
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
        anatomy: of the section, which has an attention.
        attention: this.
        C: readout ``[d_out, k_out]``.
        C_pinv: directions of the input features, ``[k_in, d]``.

    Attributes:
        G: from what all heads write to the output features, ``[h v, k_out]``.
        narrow: whether heads write output features.
    """

    def __init__(self, anatomy: Anatomy, attention: Attention, C: Matrix, C_pinv: Matrix) -> None:
        W_V = attention.W_V.to(C)
        read = torch.einsum("ohv,ok->hvk", attention.W_O.to(C), C)
        self.narrow = C.shape[1] < W_V.shape[1]
        if self.narrow:
            W_V = read.transpose(1, 2) @ W_V
            read = torch.eye(C.shape[1], dtype=C.dtype, device=C.device).expand(len(W_V), -1, -1)
        self.G = read.flatten(0, 1)
        self.maps = AttentionMaps(anatomy, C, W_V)
        # what a feature gives to each head, [h, v or e, k_in]
        of_feature = ((W @ C_pinv.T).unflatten(0, (len(W_V), -1)) for W in self.maps.W.split(self.maps.sizes))
        self.v_of, self.k_of, self.q_of = of_feature

    def look(
        self, u: Tensor, values: Values, *, normed: bool, drawn: tuple[Tensor, Tensor] | None = None
    ) -> AttendedPoint:
        """The heads at ``u [b, s, d]`` with the context values of these samples; read as `Attended.drawn` says."""
        x = self.maps.attend(u, values)
        x = x if drawn is None else x.drawn(*drawn)
        A = x.A.contiguous()
        o = A @ x.v
        of_keys = of_queries = moved = None
        if normed:
            q_own, k_own = self.maps.constant_free(x)
            of_keys, of_queries = x.q @ k_own.mT, q_own @ x.k.mT
        if is_long(self.maps.n, u.shape[1]):
            moved = _mix(A, x.v, x.k) - o[..., None] * (A @ x.k)[..., None, :]
        return AttendedPoint(A, x.q, x.k, x.v, x.rows, x.turn_q, x.turn_k, x.plain, o, of_keys, of_queries, moved)

    def change(self, look: AttendedPoint, a: Tensor, chi: Tensor | None, which: slice) -> Tensor:
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
        if look.moved is None or look.turn_k is not None:
            total = torch.stack([self._scored(look, h, a, drift, which) for h in range(len(look.A))], 2)
        else:
            total = heads_third(self._summed(look, a, drift, which))
        total.addcmul_(heads_third(look.A @ a)[..., None, :], self.v_of[..., which])
        if look.moved is not None:
            total.addcmul_(heads_third(self._asked(look, look.moved, which)), at_rows(a, look.rows)[:, :, None, None])
            if drift is not None and look.of_queries is not None:
                asked = look.A * look.of_queries
                turned = asked @ look.v - look.o * asked.sum(-1, keepdim=True)
                total.addcmul_(heads_third(turned)[..., None], at_rows(drift, look.rows)[:, :, None, None], value=-1)
        return total.flatten(2, 3)

    def sums(self, look: AttendedPoint) -> bool:
        """Whether `change` returns what output features change, rather than what heads write."""
        return self.narrow and look.moved is None

    def written(self, look: AttendedPoint, change: Tensor, columns: slice) -> Tensor:
        """Some output features' part ``[m, j, i]`` of a change, as `change` returned it: ``[m, ., i]``.

        It may share the memory of the change, where no two output features share any.
        """
        if self.sums(look):
            return change[:, columns]
        return self.G[:, columns].T.expand(len(change), -1, -1) @ change

    def _written(self, look: AttendedPoint, a: Tensor, drift: Tensor | None, which: slice) -> Tensor:
        """Everything, heads and positions of their keys in one product of matrices: ``[b, t, j, i]``."""
        at = at_rows(a, look.rows)[:, :, None, None]
        z = self._by_keys(look, which) * a[:, None, None]  # [b, t, h, s, i]
        z.addcmul_(self._by_queries(look, which), at)
        A, o = heads_third(look.A), look.o.permute(1, 2, 3, 0)  # [b, t, h, s], [b, t, j, h]
        if drift is not None and look.of_keys is not None and look.of_queries is not None:
            z.addcmul_(heads_third(look.of_keys)[..., None] + 1.0, drift[:, None, None], value=-1)
            z.addcmul_(heads_third(look.of_queries)[..., None], at_rows(drift, look.rows)[:, :, None, None], value=-1)
        moved = A[:, :, None] * (look.v.permute(1, 3, 0, 2)[:, None] - o[..., None])  # [b, t, j, h, s]
        total = moved.flatten(3) @ z.flatten(2, 3)
        if drift is not None:
            total -= o @ (A @ drift[:, None])
        seen = torch.einsum("hbts,bsi->hbti", look.A, a)
        for amounts, value in zip(seen, self.v_of[..., which], strict=True):
            total.addcmul_(amounts[:, :, None], value)
        return total

    def _by_keys(self, look: AttendedPoint, which: slice) -> Tensor:
        """How features at s raise scores of t, all heads: ``[b, t, h, s, i]``, s = 1 where all are alike."""
        if look.turn_k is None:
            return torch.einsum("hbte,hei->bthi", look.q, self.k_of[..., which])[:, :, :, None]
        return torch.stack([_by_keys(q, k, look.turn_k) for q, k in zip(look.q, self.k_of[..., which], strict=True)], 2)

    def _by_queries(self, look: AttendedPoint, which: slice) -> Tensor:
        """How features at t raise scores of s, all heads: ``[b, t, h, s, i]``, t = 1 where all are alike."""
        if look.turn_q is None:
            return torch.einsum("hbse,hei->bhsi", look.k, self.q_of[..., which])[:, None]
        each = zip(look.k, self.q_of[..., which], strict=True)
        return torch.stack([_by_queries(k, q, look.turn_q) for k, q in each], 2)

    def _summed(self, look: AttendedPoint, a: Tensor, drift: Tensor | None, which: slice) -> Tensor:
        """Through plain keys, and the drift of values, by products of matrices: ``[h, b, t, v, i]``."""
        rho, P = _head_by_head(look.q, self.k_of[..., which]), look.A @ a  # [h, b, t, i]
        total = _mix(look.A, look.v, a).mul_(rho[..., None, :])
        of_o = -rho * P
        if drift is not None and look.of_keys is not None:
            seen = look.A * look.of_keys
            total.sub_(_mix(look.A + seen, look.v, drift))
            of_o += seen @ drift
        return total.addcmul_(look.o[..., None], of_o[..., None, :])

    def _scored(self, look: AttendedPoint, h: int, a: Tensor, drift: Tensor | None, which: slice) -> Tensor:
        """Through the scores of one head, and the drift of values: ``[b, t, v, i]``."""
        A, at = look.A[h], at_rows(a, look.rows)[:, :, None]
        z = _by_keys(look.q[h], self.k_of[h][:, which], look.turn_k) * a[:, None]  # [b, t, s, i]
        if look.moved is None:
            z.addcmul_(_by_queries(look.k[h], self.q_of[h][:, which], look.turn_q), at)
        if drift is not None and look.of_keys is not None and look.of_queries is not None:
            z.addcmul_(look.of_keys[h, ..., None] + 1.0, drift[:, None], value=-1)
            if look.moved is None:
                z.addcmul_(look.of_queries[h, ..., None], at_rows(drift, look.rows)[:, :, None], value=-1)
        moved = A[..., None, :] * (look.v[h, :, None] - look.o[h, :, :, None]).transpose(2, 3)  # [b, t, v, s]
        total = moved @ z
        if drift is not None:
            total.addcmul_(look.o[h, ..., None], (A @ drift)[:, :, None], value=-1)
        return total

    def _asked(self, look: AttendedPoint, moved: Tensor, which: slice) -> Tensor:
        r"""By the query at t :math:`m_t R_t \theta_i`: ``[h, b, t, v, i]``."""
        turn, directions = look.turn_q, self.q_of[..., which]
        if turn is None:
            return _head_by_head(moved, directions)
        return torch.stack([m @ turn.everywhere(d.T).mT for m, d in zip(moved, directions, strict=True)])


def heads_third(x: Tensor) -> Tensor:
    """``[h, b, t, ...]`` to ``[b, t, h, ...]``: what is written is asked for by sample and position."""
    return x.movedim(0, 2)


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
    r""":math:`\sum_s A_{ts} x_s y_s^T`, ``[h, b, t, x, y]``, as one product of matrices."""
    pairs = (x[..., None] * y[..., None, :]).flatten(3)
    return (A @ pairs).unflatten(3, (x.shape[-1], y.shape[-1]))


def _head_by_head(x: Tensor, directions: Tensor) -> Tensor:
    """``[h, ..., e]`` times ``[h, e, i]``."""
    return (x.flatten(1, -2) @ directions).unflatten(1, x.shape[1:-1])


def _by_keys(q: Tensor, directions: Matrix, turn: Turn | None) -> Tensor:
    """How features at s, in ``directions [e, i]``, raise scores of t: ``[b, t, s, i]``, s = 1 where all are alike."""
    if turn is None:
        return (q @ directions)[:, :, None]
    turned = turn.everywhere(directions.T)
    return (q @ turned.flatten(1, 2).transpose(1, 2)).unflatten(2, turned.shape[1:3])


def _by_queries(k: Tensor, directions: Matrix, turn: Turn | None) -> Tensor:
    """How features at t raise scores of s: ``[b, t, s, i]``, t = 1 where all are alike."""
    if turn is None:
        return (k @ directions)[:, None]
    turned = turn.everywhere(directions.T)
    return (turned.flatten(1, 2) @ k.transpose(1, 2)).unflatten(1, turned.shape[1:3]).transpose(2, 3)
