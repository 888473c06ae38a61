"""What the terms of attention with rotary embedding take that have no factorisation, and what a probe of them takes."""

from __future__ import annotations

from ...anatomy import Anatomy


def products(anatomy: Anatomy | str, positions: int, columns: int) -> tuple[float, float]:
    """Multiplications per position of the exact terms that probes can replace (0 if none), and of one probe.

    Exact are :math:`H^2 (T e^2 + v^2 e + v e)/2 + H T v e`, and :math:`H r e (v + 1)` beside r units; a probe takes
    :math:`H T (v + 2e) + k H v + 2 H e d + 2 d^2`, and :math:`r (k + d)`.
    """
    if isinstance(anatomy, str) or anatomy.attention is None or anatomy.attention.rotate_query is None:
        return 0.0, 0.0
    n, T, d = anatomy.attention, positions, anatomy.d
    (H, e, _), v = n.W_Q.shape, n.W_V.shape[1]
    rows = sum(branch.A.shape[0] * branch.A.shape[1] for branch in anatomy.pointwise)
    exact = H**2 / 2 * (T * e**2 + v**2 * e + v * e) + H * T * v * e + H * rows * e * (v + 1)
    probe = H * T * (v + 2 * e) + columns * H * v + 2 * H * e * d + 2 * d**2 + rows * (columns + d)
    return exact, probe
