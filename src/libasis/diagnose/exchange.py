"""Inputs set to matched normal values: those of normal rows that are alike in everything else."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..numerics import slices
from .alarm import Alarm
from .groups import Groups, spread

DONORS = 3
"""Normal rows whose values stand in, one after the other."""
FAR = 9.0
"""A squared difference, in variances, beyond which two rows are no less alike: a fault has no say in what matches."""
POOL, ROWS, WIDE = 1024, 2048, 512
"""Normal rows that can be donors, rows of each group that are run, and columns by which rows are compared, at most."""
FEW, IMAGES, PIXELS = 96, 256, 2**18
"""Images of each group that are run: as many as hold so many values, but no fewer and no more than these."""


def evenly(count: int, most: int) -> Tensor:
    """At most so many numbers below a count, at equal steps, so that the order in time stays."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float64).round().long()


class Exchange:
    """Rows of both groups, and what they are with some inputs set to normal.

    Attributes:
        rows: of the anomalous group, ``[n, values]``.
        normal: of the normal group, ``[m, values]``, which are also the donors.
        mean: of all normal rows.
        deviation: of all normal rows; of all rows where those do not vary.
    """

    def __init__(self, groups: Groups, alarm: Alarm, seed: int) -> None:
        self.groups, self.alarm, self.seed = groups, alarm, seed
        images = max(FEW, min(IMAGES, PIXELS // groups.normal.shape[1]))
        most = (images, images) if groups.image else (ROWS, POOL)
        self.at = evenly(len(groups.anomalous), most[0]), evenly(len(groups.normal), most[1])
        self.rows, self.normal = groups.anomalous[self.at[0]], groups.normal[self.at[1]]
        self.targets = tuple(
            None if t is None else t[at] for t, at in zip(_turned(groups.targets), self.at, strict=True)
        )
        self.mean = groups.normal.mean(0)
        deviation = spread(groups.normal)
        both = torch.cat([groups.normal, groups.anomalous]).std(0)
        self.deviation = torch.where(deviation > 0, deviation, both)
        self.deviation = torch.where(self.deviation > 0, self.deviation, torch.ones_like(deviation))
        self._compared = evenly(self.rows.shape[1], WIDE)
        self._apart = [self._distances(self.rows), self._distances(self.normal)]
        self._apart[1].fill_diagonal_(torch.inf)  # no row is its own donor
        self._inverse = {int(c): True for c in self._compared}

    def _standard(self, rows: Tensor) -> Tensor:
        return ((rows - self.mean) / self.deviation).float()

    def _distances(self, rows: Tensor, columns: Sequence[int] | None = None) -> Tensor:
        a, b = self._standard(rows), self._standard(self.normal)
        found = torch.zeros(len(rows), len(self.normal))
        for c in self._compared.tolist() if columns is None else columns:
            found += (a[:, c, None] - b[None, :, c]).square_().clamp_(max=FAR)
        return found

    def columns(self, inputs: Sequence[int]) -> Tensor:
        """The values that make some inputs."""
        return torch.cat([self.groups.parts[i] for i in inputs])

    def matched(self, inputs: Sequence[int], group: int) -> list[Tensor]:
        """Rows of a group (0 the anomalous, 1 the normal one) with the inputs as in their nearest normal rows."""
        rows, own = (self.rows, self.normal)[group], self.columns(inputs)
        within = [c for c in own.tolist() if c in self._inverse]
        apart = self._apart[group] - self._distances(rows, within)
        nearest = apart.topk(min(DONORS, len(self.normal) - group), 1, largest=False).indices
        out = []
        for k in range(nearest.shape[1]):
            edited = rows.clone()
            edited[:, own] = self.normal[nearest[:, k]][:, own]
            out.append(edited)
        return out

    def nearest(self, group: int, count: int) -> Tensor:
        """The other normal rows that are most alike to each row of a group in all inputs, ``[rows, count]``."""
        return self._apart[group].topk(min(count, len(self.normal) - group), 1, largest=False).indices

    def typical(self, inputs: Sequence[int], group: int) -> Tensor:
        """Rows of a group with the inputs at the normal group's mean."""
        edited, own = (self.rows, self.normal)[group].clone(), self.columns(inputs)
        edited[:, own] = self.mean[own]
        return edited

    def given(self, inputs: Sequence[int], group: int) -> Tensor:
        """Normal rows with the inputs as in a row of a group, drawn at random."""
        rows, own = (self.rows, self.normal)[group], self.columns(inputs)
        edited = self.normal.clone()
        edited[:, own] = rows[self.drawn(group)][:, own]
        return edited

    def drawn(self, group: int) -> Tensor:
        """For each normal row the number of a row of a group."""
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randint(len((self.rows, self.normal)[group]), (len(self.normal),), generator=generator)

    def scores(self, rows: Tensor, group: int, at: Tensor | None = None) -> Tensor:
        """The scores of edited rows of a group: of all, or of those at some numbers, several times over."""
        targets = self.targets[group]
        if targets is not None and at is not None:
            targets = targets[at].repeat(len(rows) // len(at), *[1] * (targets.ndim - 1))
        return self.alarm.scores(rows, targets)

    def random(self, at: Tensor, sizes: Tensor, count: int) -> Tensor:
        """Scores ``[count, rows]`` of anomalous rows moved in random directions, as far (in deviations) as said."""
        rows = self.rows[at]
        generator = torch.Generator().manual_seed(self.seed + 1)
        found = []
        for part in slices(count, max(1, 2**22 // rows.numel())):
            v = torch.randn(part.stop - part.start, rows.shape[1], generator=generator, dtype=torch.float64)
            v = v / v.norm(dim=1, keepdim=True)
            moved = rows + sizes[None, :, None] * (v * self.deviation)[:, None]
            found.append(self.scores(moved.flatten(0, 1), 0, at).reshape(len(v), len(rows)))
        return torch.cat(found)


def _turned(targets: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor | None, Tensor | None]:
    return targets[1], targets[0]
