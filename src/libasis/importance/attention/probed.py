"""The closed form for attention with rotary embedding, of which the blocks that cost most are estimated by probes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...anatomy import Anatomy
from ...cut import Record
from ...measure import Records
from ...types import Matrix
from ..estimate import GROUPS, ErrorBar, Estimate, Halves
from ..moment import Moment, Span
from ..probes import signs
from .form import AttentionForm, AttentionSums, AttendedSamples, Shapes

EXACT = f"{AttentionForm.name} (probes would cost more)"

SLOWER = 1.5
"""How much longer a multiplication of the exact terms takes than one of a probe (1.1 to 1.6 measured, causal)."""


@dataclass(frozen=True, eq=False)
class ProbedAttention(Estimate):
    r"""The closed form for attention, of which the key-key and query-query terms are estimated without bias.

    With rotary embedding these two blocks of :math:`\Gamma` (see `RotaryPairSums`) have no factorisation and cost most of
    the time; beside an MLP so does the block of its units and the queries. A probe :math:`\epsilon_t` of random signs,
    another one for every sample and output position, gives :math:`g_t^h = W_O^{hT} C'\epsilon_t`,

    .. math:: y^K_s = R_s^T \sum_t A_{ts}\,(g_t\cdot(v_s - o_t))\,\tilde q_t, \qquad
        y^Q_t = R_t^T \sum_u A_{tu}\,(g_t\cdot(v_u - o_t))\,\tilde k_u, \qquad y^P_t = s_t\circ B^T C'\epsilon_t

    for all heads at once, and :math:`E[\sum_s\sigma_s^{-2} y^K_s y^{KT}_s]` is KK, :math:`E[\sum_t\sigma_t^{-2} y^Q_t
    y^{QT}_t]` is QQ, :math:`E[\sum_t\sigma_t^{-2} y^P_t y^{QT}_t]` the block beside. All other terms are exact, and
    with them most of every importance: few probes do.

    Errors, rounds and the stop are those of `Sketch`; a draw is two probes, one for each half. Where as many probes as
    the error asks for would cost more than the exact terms (see `costs`), these are taken.
    """

    name = "closed form, attention, key and query terms by probes"

    def matches(self, span: Span) -> str | None:
        """None for sections with an attention with rotary embedding."""
        reason = AttentionForm().matches(span)
        return "has no rotary embedding" if reason is None and not self.exact_cost(span) else reason

    def exact_cost(self, span: Span) -> float:
        """Multiplications per position of the exact terms that probes can replace; 0 where there are none."""
        return 0.0 if isinstance(span.anatomy, str) else costs(span.anatomy, span.positions, 0)[0]

    @torch.no_grad()
    def second_moment(
        self, span: Span, records: Records, readout: Matrix, *, memory: int, progress: bool | None
    ) -> Moment:
        """See `Rule`. The facts are the probes taken, the errors reached and the seed.

        Where the exact terms were taken, they are the probes tried before, how many the error asks for, judged by
        these, and how many cost as much as the exact terms.
        """
        assert not isinstance(span.anatomy, str)  # noqa: S101 - `matches` was asked
        exact, probe = costs(span.anatomy, span.positions, readout.shape[1])
        worth = int(SLOWER * exact / (2 * probe))  # draws
        if not worth:
            found = AttentionForm().second_moment(span, records, readout, memory=memory, progress=progress)
            return replace(found, rule=EXACT, facts={"probes": 0, "probes_worth": 0})
        work = _Probing(span, readout, (self.seed % 2**63, span.source), memory)
        label, need, bar = f"importance at {span.name}", 1, None
        while work.done < need <= worth:
            goal = min(need, max(work.least, 4 * work.done))
            work.extend(records.stream(label=label), goal)
            bar = work.error_bar(self.weigh)
            need = max(bar.draws_for(self.relative_error, work.done), work.least)
        if bar is not None and need == work.done:
            facts = {"probes": 2 * work.done, **self.facts(bar)}
            return Moment(work.moment(), bar.total_stderr, self.name, work.n, facts)
        value = work.complete(records.stream(label=label))
        facts = {"probes": 2 * work.done, "probes_needed": 2 * need, "probes_worth": 2 * worth}
        return Moment(value, None, EXACT, work.n, facts)


class _Probing:
    """The closed form without its dear terms, and sums of probes for these.

    Attributes:
        done: draws that every sample has had.
        n: counted (sample, position) pairs at the input.
        samples: samples in the data, 0 before the first round.
    """

    def __init__(self, span: Span, readout: Matrix, key: tuple[int, int], memory: int) -> None:
        self.span, self.key = span, key
        self.shapes = Shapes(span, readout, memory, probed=True)
        self.halves = Halves(span.traced.sites[span.source].features, memory)
        self.done = self.n = self.samples = 0

    @property
    def least(self) -> int:
        """Draws before the error is believed: one in every group."""
        return math.ceil(GROUPS / self.samples) if self.samples else 1

    def extend(self, stream: Iterable[Record], goal: int) -> None:
        """Take every sample from ``done`` to ``goal`` draws; the first time the exact terms too."""
        n = samples = 0
        for record in stream:
            for part, seen in self.shapes.of(record):
                if not self.done:
                    part.add(seen)
                if part.probed:
                    self._probe(part, seen, samples + seen.first, range(2 * self.done, 2 * goal))
            n += record.count(self.span.source)
            samples += record.size
        self.done, self.n, self.samples = goal, n, samples

    def _probe(self, part: AttentionSums, seen: AttendedSamples, first: int, numbers: range) -> None:
        k, t = len(part.heads.G), seen.at_t.shape[1]
        for number in numbers:
            probe = signs(len(seen.u), t * k, first, (*self.key, 2, number), like=seen.u)
            left, right = _pulled(part, seen, probe.unflatten(1, (t, k)))
            self.halves.add(left, right, half=number % 2, first=first + number // 2)

    def complete(self, stream: Iterable[Record]) -> Matrix:
        """M' with the exact terms in the place of the probes."""
        for record in stream:
            for part, seen in self.shapes.of(record):
                part.complete(seen)
        return self.rest()

    def rest(self) -> Matrix:
        """What is exact of M' ``[d, d]``."""
        return self.shapes.moment() / max(self.n, 1)

    def moment(self) -> Matrix:
        """The estimate of M' ``[d, d]``."""
        return self.rest() + self.halves.total().to(self.rest()) / self._scale

    def error_bar(self, weigh: Matrix | None) -> ErrorBar:
        """See `ProbedAttention`."""
        return self.halves.error_bar(weigh, self._scale, rest=self.rest())

    @property
    def _scale(self) -> int:
        return 2 * self.done * max(self.n, 1)


def _pulled(part: AttentionSums, seen: AttendedSamples, probe: Tensor) -> tuple[Tensor, Tensor]:
    """From a probe ``[b, t, k]`` two times vectors ``[b, s + t, d]``; their products are the dear terms of M'."""
    heads, x = part.heads, seen.look
    _, W_K, W_Q = heads.W.split(heads.sizes)
    g = heads.split(probe @ heads.G)
    moved = x.A * (g @ x.v.mT - (g * x.o).sum(-1, keepdim=True))  # [H, b, t, s]
    K = heads.join(x.key_back(moved.mT @ x.q)) * seen.inverse[..., None] @ W_K
    Q = heads.join(x.query_back(moved @ x.k)) * seen.at_t[..., None] @ W_Q
    right = torch.cat([K, Q], 1)
    if part.beside is None or seen.slopes is None:
        return right, right
    P = part.beside.pulled(probe, seen.slopes) * seen.at_t[..., None] @ part.beside.units.A
    return torch.cat([K, Q + 2 * P], 1), right


def costs(anatomy: Anatomy, positions: int, columns: int) -> tuple[float, float]:
    """Multiplications per position of the exact terms that probes can replace (0 if none), and of one probe.

    Exact are :math:`H^2 (T e^2 + v^2 e + v e)/2 + H T v e`, and :math:`H r e (v + 1)` beside r units; a probe takes
    :math:`H T (v + 2e) + k H v + 2 H e d + 2 d^2`, and :math:`r (k + d)`.
    """
    n, T, d = anatomy.attention, positions, anatomy.d
    if n is None or n.rotate_query is None:
        return 0.0, 0.0
    (H, e, _), v = n.W_Q.shape, n.W_V.shape[1]
    rows = sum(branch.A.shape[0] * branch.A.shape[1] for branch in anatomy.pointwise)
    exact = H**2 / 2 * (T * e**2 + v**2 * e + v * e) + H * T * v * e + H * rows * e * (v + 1)
    probe = H * T * (v + 2 * e) + columns * H * v + 2 * H * e * d + 2 * d**2 + rows * (columns + d)
    return exact, probe
