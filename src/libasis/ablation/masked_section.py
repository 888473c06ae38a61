"""One section with only some of its edges, batch after batch: what edge ablation runs again and again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Protocol

import torch
from torch import Tensor

from ..anatomy import Anatomy, read
from ..basis import SiteBasis
from ..cut import Record
from ..types import Activations, Matrix
from .masked_anatomy import AnatomyRows, MaskedAnatomy
from .ranking import Ranking, rows_alike


class SectionRows(Protocol):
    """A section on one batch, to be run on rows: sets of input features that an output feature may see."""

    @property
    def held(self) -> list[Tensor]:
        """The tensors that it keeps."""
        ...

    def run(self, masks: Matrix, which: Tensor, out: Tensor) -> None:
        """Write output features ``which`` to ``out[..., which]``, each from its row of ``masks``, bool ``[n, k_in]``.

        At positions that don't count all of the input stays as it is.
        """
        ...


class WholeRows:
    """Any section: the activation is put together from the kept features and the section is run on it."""

    def __init__(self, record: Record, l: int, source: SiteBasis, target: SiteBasis, memory: int) -> None:
        self.record, self.l, self.source, self.target = record, l, source, target
        x = record.activations[l]
        self.features = source.encode(x)
        self.at_once = max(1, memory // max(8 * record.workspace(l, l + 1) * x.element_size(), 1))

    @property
    def held(self) -> list[Tensor]:
        """See `SectionRows`."""
        return [self.features]

    def run(self, masks: Matrix, which: Tensor, out: Tensor) -> None:
        """See `SectionRows`."""
        alike = rows_alike(masks, which)
        while some := list(islice(alike, self.at_once)):
            kept = torch.stack([row for row, _ in some]).to(self.features)
            x = self.source.decode(self.features * kept[:, None, None, :])  # [rows, batch, t, d]
            if (counted := self.record.counted[self.l]) is not None:
                x = torch.where(counted[..., None], x, self.record.activations[self.l])
            y = self.record.contexts[self.l].tile(len(some))(x.flatten(0, 1)) - self.target.mean.to(x)
            for part, (_, columns) in zip(y.unflatten(0, (len(some), -1)), some, strict=True):
                out[..., columns] = part @ self.target.C.to(x)[:, columns]


class MaskedBatch:
    """A section on one batch: the output features as they were last, of which the next count changes some."""

    def __init__(self, rows: SectionRows, outputs: Tensor) -> None:
        self.rows, self.outputs = rows, outputs
        self.count: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all that it keeps."""
        return sum(x.numel() * x.element_size() for x in [self.outputs, *self.rows.held])


class MaskedSection:
    """One section with only its strongest edges.

    What is prepared of a batch is kept for the next pass where it fits; of the other batches it is made again.

    Args:
        l: number of the section.
        source: basis of its input.
        target: basis of its output.
        ranking: its edges.
        memory: bound in bytes for what is kept, and for what one batch's products may hold.

    Attributes:
        held: bytes of what is kept.
    """

    def __init__(self, l: int, source: SiteBasis, target: SiteBasis, ranking: Ranking, memory: int) -> None:
        self.l, self.source, self.target, self.ranking, self.memory = l, source, target, ranking, memory
        self.held = 0
        self._block = max(1, memory // (16 * source.k))  # rows of masks and weights made at once
        self._forms: dict[Anatomy, MaskedAnatomy] = {}
        self._kept: dict[Record, MaskedBatch] = {}

    def run(self, record: Record, counts: Iterable[int], *, lasting: bool = False) -> Iterator[Activations]:
        """The next activation with each of these numbers of edges kept.

        Neighbouring counts share the output features that they do not change. Positions that don't count stay as they
        are, at the input and at the output.

        Args:
            record: a batch.
            counts: numbers of edges.
            lasting: whether the same record comes again in the next pass.
        """
        batch = self._kept.get(record) or self._prepared(record, lasting=lasting)
        counted, whole = record.counted[self.l + 1], record.activations[self.l + 1]
        for count in counts:
            for which in self.ranking.changed(batch.count, count).split(self._block):
                batch.rows.run(self.ranking.rows(which, count), which, batch.outputs)
            batch.count = count
            y = self.target.decode(batch.outputs)
            yield y if counted is None else torch.where(counted[..., None], y, whole)

    def run_masks(self, record: Record, masks: Iterable[Matrix]) -> Iterator[Activations]:
        """The next activation with just the edges of each mask ``[k_out, k_in]``; rows that stay are not run again."""
        batch, last = self._prepared(record, lasting=False), None
        counted, whole = record.counted[self.l + 1], record.activations[self.l + 1]
        for mask in masks:
            which = torch.arange(len(mask)) if last is None else (mask != last).any(1).nonzero()[:, 0]
            if len(which):
                batch.rows.run(mask[which], which, batch.outputs)
            last = mask
            y = self.target.decode(batch.outputs)
            yield y if counted is None else torch.where(counted[..., None], y, whole)

    def afresh(self) -> None:
        """Begin the next pass with all output features: which were changed last would decide how they are rounded."""
        for batch in self._kept.values():
            batch.count = None

    def close(self) -> None:
        """Give up all that is kept."""
        self._kept, self._forms, self.held = {}, {}, 0

    def _prepared(self, record: Record, *, lasting: bool) -> MaskedBatch:
        y = record.activations[self.l + 1]
        batch = MaskedBatch(self._rows(record), y.new_zeros(*y.shape[:-1], self.target.k))
        if lasting and self.held + batch.nbytes <= self.memory:
            self._kept[record] = batch
            self.held += batch.nbytes
        return batch

    def _rows(self, record: Record) -> SectionRows:
        """The cheapest way to run rows on one batch."""
        anatomy = read(record.contexts[self.l])
        if isinstance(anatomy, str):
            return WholeRows(record, self.l, self.source, self.target, self.memory)
        if anatomy not in self._forms:
            x = record.activations[self.l]
            self._forms[anatomy] = MaskedAnatomy(self.l, self.source, self.target, anatomy, x)
        return AnatomyRows(self._forms[anatomy], record)
