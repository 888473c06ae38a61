"""The closed form for attention with rotary embedding, of which the blocks that cost most are estimated by probes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...cut import Record
from ...measure import Accumulator
from ...types import Matrix
from ..estimate import GROUPS, ErrorBar, Halves, ProbeOptions
from ..moment import Cost, Moment, Span
from ..probes import signs
from .cost import products
from .form import AttendedSamples, AttentionForm, AttentionSums, AttentionTotals

EXACT = f"{AttentionForm.name} (probes would cost more)"


@dataclass(frozen=True)
class ProbedAttention(ProbeOptions):
    r"""The closed form for attention, of which the key-key and query-query terms are estimated without bias.

    With rotary embedding these two blocks of :math:`\Gamma` (see `RotaryPairSums`) have no factorisation and cost most
    of the time; beside an MLP so does the block of its units and the queries. A probe :math:`\epsilon_t` of random
    signs, another one for every sample and output position, gives :math:`g_t^h = W_O^{hT} C'\epsilon_t`,

    .. math:: y^K_s = R_s^T \sum_t A_{ts}\,(g_t\cdot(v_s - o_t))\,\tilde q_t, \qquad
        y^Q_t = R_t^T \sum_u A_{tu}\,(g_t\cdot(v_u - o_t))\,\tilde k_u, \qquad y^P_t = s_t\circ B^T C'\epsilon_t

    for all heads at once, and :math:`E[\sum_s\sigma_s^{-2} y^K_s y^{KT}_s]` is KK, :math:`E[\sum_t\sigma_t^{-2} y^Q_t
    y^{QT}_t]` is QQ, :math:`E[\sum_t\sigma_t^{-2} y^P_t y^{QT}_t]` the block beside. All other terms are exact, and
    with them most of every importance: few probes do.

    Errors, rounds and the stop are those of `Sketch`; a draw is two probes, one for each half. Where as many probes as
    the error asks for would cost more than the exact terms (see `products`), these are taken.

    Attributes:
        slower: how much longer a multiplication of the exact terms takes than one of a probe (1.1 to 1.6 measured,
            causal).
    """

    slower: float = 1.5

    name = "closed form, attention, key and query terms by probes"

    def matches(self, span: Span) -> str | None:
        """None for sections with an attention with rotary embedding."""
        reason = AttentionForm().matches(span)
        rotary = products(span.anatomy, span.positions, 0)[0] > 0
        return "has no rotary embedding" if reason is None and not rotary else reason

    def cost(self, span: Span, columns: int) -> Cost:
        """At most that of the exact terms, never more than forward passes where these are dear."""
        return Cost()

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`. The facts are the probes taken, the errors reached and the seed.

        Where the exact terms were taken, they are the probes tried before, how many the error asks for, judged by
        these, and how many cost as much as the exact terms.
        """
        return ProbedTotals(self, span, readout, memory, weigh)


class ProbedTotals(AttentionTotals):
    """The closed form without its dear terms, and sums of probes for these; or in the end the dear terms themselves.

    Attributes:
        halves: sums of probes.
        worth: draws that cost as much as the exact terms.
        done: draws that every sample has had.
        goal: how many it has after this round.
        need: draws that the error asks for.
        samples: samples in the data.
        bar: the error after the last round.
    """

    sums = (*AttentionTotals.sums, "halves", "samples")
    plan = ("done", "goal", "need")

    def __init__(self, rule: ProbedAttention, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> None:
        super().__init__(AttentionForm(), rule.name, span, readout, memory)
        self.rule, self.weigh = rule, weigh
        exact, probe = products(span.anatomy, span.positions, readout.shape[1])
        self.worth = int(rule.slower * exact / (2 * probe)) if probe else 0  # nothing is turned
        self.probed = self.worth > 0
        self.halves = Halves(span.traced.sites[span.source].features, memory)
        self.done, self.goal, self.need = 0, 1, 1
        self.samples = 0
        self.bar: ErrorBar | None = None

    @property
    def least(self) -> int:
        """Draws before the error is believed: one in every group."""
        return math.ceil(GROUPS / max(self.samples, 1))

    @property
    def completing(self) -> bool:
        """Whether the error asks for more draws than are worth it."""
        return self.done > 0 and self.need > self.worth

    def add(self, record: Record) -> None:
        """Take every sample from ``done`` to ``goal`` draws; in the first round add the exact terms too."""
        sums = self.of(record)
        for some in self.pieces(sums, record):
            if self.completing:
                sums.complete(some)
                continue
            if not self.done:
                sums.add(some)
            if sums.probed:
                self._probe(sums, some)
        if not self.done:
            self.n += record.count(self.span.source)
            self.samples += record.size

    def _probe(self, sums: AttentionSums, some: AttendedSamples) -> None:
        k, t = len(sums.heads.G), some.at_t.shape[1]
        seats = self.halves.seats(some.numbers.to(some.u.device))
        for number in range(2 * self.done, 2 * self.goal):
            key = (self.rule.seed % 2**63, self.span.source, 2, number)
            probe = signs(some.numbers, t * k, key, like=some.u)
            left, right = _pulled(sums, some, probe.unflatten(1, (t, k)))
            self.halves.add(left, right, seats, half=number % 2, draw=number // 2)

    def another_round(self) -> bool:
        """Whether the error asks for more draws, or for the exact terms."""
        if not self.worth or self.completing:
            return False
        self.done = self.goal
        self.bar = self.error_bar()
        self.need = max(self.bar.draws_for(self.rule.relative_error, self.done), self.least)
        self.goal = min(self.need, max(self.least, 4 * self.done))
        return self.need > self.done

    def finish(self) -> Moment:
        """The moment, with its error if it has one."""
        probes = {"probes": 2 * self.done}
        if self.worth and not self.completing:
            bar, found = self.bar or self.error_bar(), super().finish()
            value = found.value + self.halves.total().to(found.value) / self._scale
            facts = {**probes, **self.rule.facts(bar)}
            return replace(found, value=value, stderr=bar.total_stderr, facts=facts)
        needed = {"probes_needed": 2 * self.need} if self.worth else {}
        return replace(super().finish(), rule=EXACT, facts={**probes, **needed, "probes_worth": 2 * self.worth})

    def error_bar(self) -> ErrorBar:
        """See `ProbedAttention`."""
        return self.halves.error_bar(self.weigh, self._scale, rest=self.value())

    @property
    def _scale(self) -> int:
        return 2 * self.done * max(self.n, 1)


def _pulled(sums: AttentionSums, some: AttendedSamples, probe: Tensor) -> tuple[Tensor, Tensor]:
    """From a probe ``[b, t, k]`` two times vectors ``[b, s + t, d]``; their products are the dear terms of M'."""
    heads, x = sums.heads, some.look
    _, W_K, W_Q = heads.W.split(heads.sizes)
    g = heads.split(probe @ heads.G)
    moved = x.A * (g @ x.v.mT - (g * x.o).sum(-1, keepdim=True))  # [H, b, t, s]
    K = heads.join(x.key_back(moved.mT @ x.q)) * some.inverse[..., None] @ W_K
    Q = heads.join(x.query_back(moved @ x.k)) * some.at_t[..., None] @ W_Q
    right = torch.cat([K, Q], 1)
    if sums.beside is None or some.slopes is None:
        return right, right
    P = sums.beside.pulled(probe, some.slopes) * some.at_t[..., None] @ sums.beside.units.A
    return torch.cat([K, Q + 2 * P], 1), right
