"""Attention's part of the effects of features on features, in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..anatomy import Anatomy, Attention, Rotation, Values
from ..types import Matrix


@dataclass(frozen=True, eq=False)
class Look:
    r"""What the heads do at one point, before any feature is asked for; v is without its constant.

    Attributes:
        u: what the heads read, ``[b, s, d]``.
        values: the context values of these samples.
        t: positions at which the output is read.
        A: attention weights, ``[b, h, t, s]``.
        q: rotated queries times the scale, ``[b, h, t, e]``.
        v: what the heads write if they look at s, ``[b, h, s, v]``.
        o: :math:`Av`, what they write, ``[b, h, t, v]``.
        moved: m, what a change of the query at t changes in o, :math:`c\sum_s A_{ts} (v_s - o_t) \tilde k_s^T`,
            ``[b, h, t, v, e]``.
        g: with a norm :math:`A_{ts}\,q_t \cdot \tilde k^\circ_s` (° without its constant), ``[b, h, t, s]``.
        turned: with a norm :math:`m_t q^\circ_t`, ``[b, h, t, v]``.
    """

    u: Tensor
    values: Values
    t: slice | list[int]
    A: Tensor
    q: Tensor
    v: Tensor
    o: Tensor
    moved: Tensor
    g: Tensor | None
    turned: Tensor | None


class Heads:
    r"""What features change in what the heads write.

    Feature i gives :math:`\nu_i, \kappa_i, \theta_i` to a head's values, keys and queries (the norm's projection folded
    in). With :math:`P_{ti} = \sum_s A_{ts} a_{si}` and :math:`\rho_{ti} = q_t \cdot \kappa_i` the head writes

    .. math:: \rho_{ti} \Big(\sum_s A_{ts} v_s a_{si} - o_t P_{ti}\Big) + \nu_i P_{ti} + m_t R_t \theta_i a_{ti}

    more, m being `Look.moved`, and with a norm in front less by
    :math:`\sum_s (A + g)_{ts} v_s a_{si}\chi_{si} - o_t \sum_s g_{ts} a_{si}\chi_{si} + m_t q^\circ_t a_{ti}\chi_{ti}`.
    Rotated keys turn :math:`\rho_{ti}` into :math:`q_t \cdot R_s \kappa_i`, which stays inside of the sums over s.

    Where the readout is narrower than a head's values, the heads write output features at once.

    Args:
        anatomy: of the section.
        attention: its attention.
        C: readout ``[d_out, k_out]``.
        C_pinv: directions of the input features, ``[k_in, d]``.

    Attributes:
        G: from what all heads write to the output features, ``[h v, k_out]``.
    """

    def __init__(self, anatomy: Anatomy, attention: Attention, C: Matrix, C_pinv: Matrix) -> None:
        self.attention = n = attention
        self.H = len(n.W_Q)
        W_V = n.W_V.to(C)
        read = torch.einsum("ohv,ok->hvk", n.W_O.to(C), C)
        if C.shape[1] < W_V.shape[1]:
            W_V = read.transpose(1, 2) @ W_V
            read = torch.eye(C.shape[1], dtype=C.dtype, device=C.device).expand(self.H, -1, -1)
        self.G = read.flatten(0, 1)
        self.W_Q, self.W_K, self.W_V = (W.flatten(0, 1).to(C) for W in (n.W_Q, n.W_K, W_V))
        self.b_Q, self.b_K = n.b_Q.flatten().to(C), n.b_K.flatten().to(C)
        fold = anatomy.norm.fold if anatomy.norm is not None else (lambda W: W)
        self.folded = [fold(W) for W in (self.W_Q, self.W_K, self.W_V)]
        # what a feature gives to each head, [h, e or v, k_in]
        self.q_of, self.k_of, self.v_of = ((W @ C_pinv.T).unflatten(0, (self.H, -1)) for W in self.folded)

    def look(self, u: Tensor, values: Values, t: slice | list[int], *, normed: bool) -> Look:
        """The heads at ``u [b, s, d]``, their outputs read at ``t``."""
        n = self.attention
        q = _rotated(u @ self.W_Q.T + self.b_Q, n.rotate_query, values)
        k = _rotated(u @ self.W_K.T + self.b_K, n.rotate_key, values)
        A = n.pattern(q, k, values)[:, :, t]
        q, k, v = self._split(q[:, t]) * n.scale, self._split(k) * n.scale, self._split(u @ self.folded[2].T)
        o = A @ v
        moved = _mix(A, v, k) - o[..., None] * (A @ k)[..., None, :]
        if not normed:
            return Look(u, values, t, A, q, v, o, moved, None, None)
        q_own = self._split(_rotated(u @ self.folded[0].T, n.rotate_query, values)[:, t])
        k_own = self._split(_rotated(u @ self.folded[1].T, n.rotate_key, values))
        g = A * (q @ k_own.transpose(-1, -2))
        return Look(u, values, t, A, q, v, o, moved, g, (moved @ q_own[..., None])[..., 0])

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.H, -1)).transpose(1, 2).contiguous()

    def change(self, look: Look, a: Tensor, chi: Tensor | None, which: slice) -> Tensor:
        """What the input features ``which`` change in what the heads write: ``[b, t, h v, i]``.

        Args:
            look: from `look`.
            a: amounts over sigma, ``[b, s, k_in]``.
            chi: ``[b, s, k_in]``; None without a norm.
            which: the input features.
        """
        a = a[..., which]
        at = a[:, None, look.t]  # [b, 1, t, i]
        P = look.A @ a[:, None]  # [b, h, t, i]
        if self.attention.rotate_key is None:
            rho = look.q @ self.k_of[..., which]
            total = _mix(look.A, look.v, a[:, None]).mul_(rho[..., None, :])
            total.addcmul_(look.o[..., None], (rho * P)[..., None, :], value=-1)
        else:
            total = self._through_keys(look, self.attention.rotate_key, a, which)
        total.addcmul_(P[..., None, :], self.v_of[:, None, :, which])
        total.addcmul_(self._through_queries(look, which), at[..., None, :])
        if chi is not None and look.g is not None and look.turned is not None:
            chi = chi[..., which]
            drift = (a * chi)[:, None]
            total.sub_(_mix(look.A + look.g, look.v, drift))
            total.addcmul_(look.o[..., None], (look.g @ drift)[..., None, :])
            total.addcmul_(look.turned[..., None], drift[:, :, look.t, None], value=-1)
        return total.transpose(1, 2).flatten(2, 3)

    def _through_keys(self, look: Look, rotation: Rotation, a: Tensor, which: slice) -> Tensor:
        r"""By rotated keys :math:`\sum_s A_{ts} (v_s - o_t) (q_t \cdot R_s \kappa_i) a_{si}`: ``[b, h, t, v, i]``."""
        heads = []
        for h, direction in enumerate(_everywhere(self.k_of[..., which], rotation, look).unbind(1)):  # [b, s, i, e]
            raised = look.q[:, h] @ (direction * a[..., None]).flatten(1, 2).transpose(1, 2)  # [b, t, s i]
            moved = look.A[:, h, :, :, None] * (look.v[:, h, None] - look.o[:, h, :, None])  # [b, t, s, v]
            heads.append(moved.transpose(2, 3) @ raised.unflatten(2, (a.shape[1], -1)))
        return torch.stack(heads, 1)

    def _through_queries(self, look: Look, which: slice) -> Tensor:
        r"""By the query at t :math:`m_t R_t \theta_i`: ``[b, h, t, v, i]``."""
        rotation, directions = self.attention.rotate_query, self.q_of[..., which]
        if rotation is None:
            return (look.moved.flatten(2, 3) @ directions).unflatten(2, look.moved.shape[2:4])
        return look.moved @ _everywhere(directions, rotation, look)[:, :, look.t].transpose(-1, -2)


def _mix(A: Tensor, x: Tensor, y: Tensor) -> Tensor:
    r""":math:`\sum_s A_{ts} x_s y_s^T`, ``[b, h, t, x, y]``, as one product of matrices."""
    pairs = (x[..., None] * y[..., None, :]).flatten(3)
    return (A @ pairs).unflatten(3, (x.shape[-1], y.shape[-1]))


def _rotated(x: Tensor, rotation: Rotation | None, values: Values) -> Tensor:
    return x if rotation is None else rotation(x, values)


def _everywhere(directions: Tensor, rotation: Rotation, look: Look) -> Tensor:
    """Directions ``[h, e, i]`` rotated to every position: ``[b, h, s, i, e]``, b = 1 where all samples agree."""
    cos, sin = (x[:, None, :, None] for x in rotation.turns(look.u.shape[1], look.values, look.u))
    directions = directions.transpose(1, 2)[:, None]
    return directions * cos + directions[..., rotation.partner] * sin
