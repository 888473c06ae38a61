"""The closed form for attention sections: all heads, any mask, rotary embedding, a norm in front, an MLP beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ...anatomy import Anatomy
from ...cut import Record
from ...measure import Accumulator
from ...numerics import Blocks, Sums, even, slices
from ...types import Activations, Matrix
from ..moment import Cost, Moment, Span
from ..norm import NormSums
from ..pointwise import PointwiseSums
from ..totals import ShapeTotals, in_full
from ..units import PointwiseUnits
from .cost import products
from .head_pairs import HeadPairSums, gram
from .heads import HeadStates, ReadoutHeads
from .parallel_mlp import ParallelSums
from .rotary import ProbedPairSums, RotaryPairSums, summed_looks
from .short_sequences import MOST, ShortPairSums


@dataclass(frozen=True)
class AttentionForm:
    r"""Exact :math:`M'` of :math:`y_t = D x_t + \sum_h W_O^h o_t^h` (plus pointwise branches) without derivatives.

    The Jacobian :math:`J_{ts} = \delta_{ts} D + \sigma_s^{-1} \sum_h W_O^h [A_{ts} W_V + A_{ts}(v_s - o_t)(R_s^T
    \tilde q_t)^T W_K + \delta_{ts} S_t R_t W_Q](I - \hat x_s \hat x_s^T/d)` has three paths in each head: through
    values, keys and queries. The sums over t and s of their products factor into matrix products (`HeadPairSums`, and
    `RotaryPairSums` for rotary embedding), what a norm adds needs one vector for each position (`NormSums`). Time per
    position: about :math:`H^2 T (v + e)` multiplications, whatever the number of output features.

    Attributes:
        short: heads times positions up to which sequences are short, see `ShortPairSums`.
        blocks: how much is worked on at once, see `HeadPairSums`; None for what suits the device.
    """

    short: int = MOST
    blocks: Blocks | None = None

    name = "closed form, attention"

    def matches(self, span: Span) -> str | None:
        """None for sections with an attention."""
        if isinstance(span.anatomy, str):
            return span.anatomy
        attention = span.anatomy.attention
        if attention is None:
            return "has no attention"
        alike = (attention.rotate_query is None) == (attention.rotate_key is None)
        return None if alike else "rotates its queries or its keys alone"

    def cost(self, span: Span, columns: int) -> Cost:
        """With rotary embedding two terms grow with the square of a head's width."""
        return Cost(products(span.anatomy, span.positions, columns)[0], of="its key and query terms")

    def start(self, span: Span, readout: Matrix, memory: int, weigh: Matrix | None) -> Accumulator[Moment]:
        """See `Rule`."""
        return AttentionTotals(self, self.name, span, readout, memory)


class AttentionTotals(ShapeTotals["AttentionSums"]):
    """Sums of each shape of batch.

    Args:
        form: how the work is cut.
        name: of the rule.
        span: the section.
        readout: C' ``[d_out, k]``.
        memory: bound in bytes for what is worked on at once.
    """

    probed = False  # see `AttentionSums`

    def __init__(self, form: AttentionForm, name: str, span: Span, readout: Matrix, memory: int) -> None:
        super().__init__(name, span)
        self.form, self.readout, self.memory = form, readout, memory

    def sums_for(self, anatomy: Anatomy, like: Activations) -> AttentionSums:
        """See `ShapeTotals`."""
        blocks = self.form.blocks or Blocks.on(like.device, self.memory)
        return AttentionSums(anatomy, self.readout, like, blocks, short=self.form.short, probed=self.probed)

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        record = in_full(record, self.span.source)
        sums = self.of(record)
        for some in self.pieces(sums, record):
            sums.add(some)
        self.n += record.count(self.span.source)

    def pieces(self, sums: AttentionSums, record: Record) -> Iterator[AttendedSamples]:
        """As many samples of a batch at once as are worth it, or fit into memory; a fixed batch is not split."""
        source = self.span.source
        x = record.activations[source]
        item = x.element_size()
        pairs, positions = sums.numbers(x.shape[1])
        enough = ENOUGH if x.device.type == "cpu" else self.memory
        size = min(enough // (item * positions), self.memory // (item * (10 * pairs + positions)))
        size = record.size if record.contexts[source].fixed_batch else even(size, record.size)
        for samples in slices(record.size, size):
            yield sums.attended(record, source, samples)


ENOUGH = 2**25
"""Bytes for each position's own vectors beyond which products do not get faster on a CPU."""


@dataclass
class AttendedSamples:
    r"""Some samples of a batch.

    Attributes:
        numbers: of the samples in the data, int64 ``[b]``.
        u: what the heads read ``[b, s, d]``.
        inverse: :math:`\sigma^{-1}` ``[b, s]``, 0 where the input does not count.
        at_t: the same at the positions read ``[b, t]``, 0 where the output does not count.
        look: what the heads look at.
        slopes: of the pointwise branches at the positions read ``[b, t, rows]``, or None.
    """

    numbers: Tensor
    u: Tensor
    inverse: Tensor
    at_t: Tensor
    look: HeadStates
    slopes: Tensor | None


class AttentionSums(Sums):
    """Sums over samples of one shape, float64.

    Args:
        anatomy: of the section.
        readout: C' ``[d_out, k]``, float64.
        like: gives the dtype and device of the vectors.
        blocks: how much is worked on at once.
        short: see `AttentionForm`.
        probed: leave out, where queries and keys are rotated, what `complete` adds: the blocks that cost most.
    """

    sums = ("pair_sums", "beside", "normed", "pairs", "own", "own_K", "own_Q")

    def __init__(
        self, anatomy: Anatomy, readout: Matrix, like: Tensor, blocks: Blocks, *, short: int, probed: bool = False
    ) -> None:
        assert anatomy.attention is not None  # noqa: S101 - the rule matched
        self.anatomy, self.readout = anatomy, readout.to(like.device)
        self.heads = ReadoutHeads(anatomy, readout.to(like))
        rotary = anatomy.attention.rotate_query is not None
        self.probed = probed and rotary
        read = like.shape[1] if anatomy.read is None else len(anatomy.read)
        plain = ShortPairSums if ShortPairSums.suits(self.heads, like.shape[1], read, short) else HeadPairSums
        self.pair_sums = (ProbedPairSums if self.probed else RotaryPairSums if rotary else plain)(self.heads, blocks)
        units = PointwiseSums(anatomy, readout, like) if anatomy.pointwise else None
        self.beside = units and ParallelSums(units, self.heads, blocks, probed=self.probed)
        rows = len(self.heads.W) + (self.beside.units.rows if self.beside else 0)
        self.normed, self.pairs = NormSums(rows, anatomy, readout.shape[1], like), 0
        H, v, e = self.heads.H, self.heads.v, self.heads.e
        zeros = self.heads.W.new_zeros
        self.own = zeros(H, dtype=torch.float64)
        self.own_K, self.own_Q = (zeros(H, v, e, dtype=torch.float64) for _ in range(2))

    def numbers(self, positions: int) -> tuple[int, int]:
        """How many numbers one sample takes: for pairs of positions, and for each position's own."""
        read = positions if self.anatomy.read is None else len(self.anatomy.read)
        return self.heads.H * positions * read, positions * (3 * len(self.normed.Y) + 4 * self.anatomy.d)

    def attended(self, record: Record, l: int, samples: slice) -> AttendedSamples:
        """Look at samples of a batch."""
        x, values = record.activations[l][samples], record.contexts[l].of(samples)
        counted_in, counted_out = (c if c is None else c[samples] for c in record.counted[l : l + 2])
        norm = self.anatomy.norm
        u, inverse = (x, torch.ones_like(x[..., :1])) if norm is None else norm(x)
        inverse = inverse[..., 0] if counted_in is None else inverse[..., 0] * counted_in  # [b, s]
        look = self.heads.look(u, values, counted_out)
        at_t = inverse[:, look.rows] if counted_out is None else inverse[:, look.rows] * counted_out
        slopes = None if self.beside is None else self.beside.slopes(u[:, look.rows], counted_out)
        return AttendedSamples(record.numbers[samples], u, inverse, at_t, look, slopes)

    def add(self, some: AttendedSamples) -> None:
        """Add samples."""
        self.pairs = self.pairs + some.at_t.count_nonzero()
        self._through(some.look, some.at_t)
        if self.beside is not None and some.slopes is not None:
            self.beside.add(some.look, some.slopes, some.at_t)
        if self.anatomy.norm is None:
            self.pair_sums.add(some.look, some.inverse.square(), None)
        else:
            self._normed(some.look, some.u, some.inverse, some.slopes)

    def complete(self, some: AttendedSamples) -> None:
        """Add samples to what was left out."""
        if isinstance(self.pair_sums, ProbedPairSums):
            self.pair_sums.complete(some.look, some.inverse.square())
            if self.beside is not None and some.slopes is not None:
                self.beside.complete(some.look, some.slopes, some.at_t)

    def _through(self, x: HeadStates, at_t: Tensor) -> None:
        """What moves the output of the same position, for the cross terms with the skip."""
        weight = x.own * at_t
        self.own += weight.sum((1, 2), dtype=torch.float64)
        self.own_K += gram(weight[..., None] * (x.v[:, :, x.rows] - x.o), x.q_own)
        self.own_Q += summed_looks(x, at_t[..., None] * x.A, at_t[..., None] * x.o)

    def _normed(self, x: HeadStates, u: Tensor, inverse: Tensor, slopes: Tensor | None) -> None:
        r"""The terms in :math:`\gamma`, a vector for each position."""
        heads = self.heads
        q0, k0 = heads.constant_free(x)
        g = x.A * (x.q @ k0.mT)
        seen = x.A * (q0 @ x.k.mT)
        xi = seen @ x.v - seen.sum(-1, keepdim=True) * x.o
        own_g = x.diagonal(g)[..., None]
        zeta = (x.own[..., None] + own_g) * x.v[:, :, x.rows] - own_g * x.o + xi
        from_xi, from_zeta = heads.between(xi), heads.between(zeta)
        reads, beside = heads.join(zeta) @ heads.G.T, []  # [b, t, k]
        if self.beside is not None and slopes is not None:
            own_reads, gamma_of = self.beside.normed(u[:, x.rows], slopes)
            back = heads.split(own_reads @ heads.G)
            from_xi, from_zeta, reads = from_xi + back, from_zeta + back, reads + own_reads
            beside = [x.spread(gamma_of(reads))]
        tau, gamma_V = self.pair_sums.add(x, inverse.square(), g)
        gamma_V[:, :, x.rows] += x.own[..., None] * from_xi
        x.add_diagonal(tau, ((x.v[:, :, x.rows] - x.o) * from_xi).sum(-1))
        gamma_K = x.key_back((x.A * tau).mT @ x.q)
        gamma_Q = (x.A * (from_zeta @ x.v.mT)) @ x.k - x.kbar * (x.o * from_zeta).sum(-1, keepdim=True)
        gamma_Q = heads.join(x.query_back(gamma_Q))
        known = torch.cat([heads.join(gamma_V), heads.join(gamma_K)], -1)
        energy = (known * x.plain[0]).sum(-1, keepdim=True) + x.spread((gamma_Q * x.plain[1]).sum(-1, keepdim=True))
        gamma = torch.cat([known, x.spread(gamma_Q), *beside], -1)
        if self.beside is not None:
            energy = energy + x.spread((reads * own_reads).sum(-1, keepdim=True))
        flat = (y.flatten(0, 1) for y in (u, inverse[..., None], gamma, energy, x.spread(reads)))
        self.normed.add(*flat)

    def moment(self) -> Matrix:
        """:math:`n M'` ``[d, d]``."""
        anatomy, readout, heads = self.anatomy, self.readout, ReadoutHeads(self.anatomy, self.readout)
        W, Gamma = heads.W, self.pair_sums.blocks(heads.P)
        G = heads.G.unflatten(-1, (heads.H, heads.v)).transpose(0, 1)  # [H, k, v]
        parts = (self.own[:, None, None] * G, G @ self.own_K, G @ self.own_Q)
        through = torch.cat([part.transpose(0, 1).flatten(1) for part in parts], 1)
        if self.beside is not None:
            own, own_through = self.beside.alone.blocks()
            across = self.beside.across()
            W = torch.cat([W, PointwiseUnits(anatomy, readout).A])
            Gamma = torch.cat([torch.cat([Gamma, across.T], 1), torch.cat([across, own], 1)])
            through = torch.cat([through, own_through], 1)
        skip = None if anatomy.skip is None else readout.T @ anatomy.skip
        return self.normed.moment(W, Gamma, through, skip, self.pairs)
