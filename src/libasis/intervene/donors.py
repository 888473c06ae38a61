"""Samples whose values stand in for those of others."""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

from ..cut import Record
from ..errors import BatchError
from ..measure import Accumulator
from ..measure.draw import Draw, Item
from ..types import Activations, Matrix

ROOM = 2**28
"""Donors are held in so many bytes, at 8 for a number, all sites of the cut together."""

LEAST = 16
"""So many donors are held, whatever their size."""


class Donors(Accumulator["Donors"]):
    """A draw of samples, with their activations at some sites.

    Args:
        sites: numbers of the sites.
        seed: of the draw.
        only: numbers of samples, if no others may be donors.
        strangers: whether the donors are no samples of the data that take their values.
        room: in bytes, see `ROOM`.
    """

    sums = ("draw",)

    def __init__(
        self,
        sites: Collection[int],
        seed: int,
        *,
        only: Collection[int] | None = None,
        strangers: bool = False,
        room: int = ROOM,
    ) -> None:
        self.sites = sorted(sites)
        self.only = None if only is None else torch.tensor(sorted(only))
        self.strangers = strangers
        self.draw = Draw(room, (seed, 2), least=LEAST)

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        may = torch.ones(record.size, dtype=torch.bool)
        for counted in record.counted:
            may &= True if counted is None else counted.any(1).cpu()
        if self.only is not None:
            may &= torch.isin(record.numbers, self.only)
        rows = may.nonzero()[:, 0]
        size = 8 * sum(x.shape[1] * x.shape[2] for x in record.activations)
        self.draw.add(record.numbers[rows], lambda place: self._held(record, int(rows[place])), size)

    def _held(self, record: Record, row: int) -> Item:
        item: Item = {}
        for l in self.sites:
            x, counted = record.activations[l][row], record.counted[l]
            item[str(l)] = x.to("cpu", copy=True)
            if counted is not None:
                item[f"{l}.counted"] = counted[row].to("cpu", copy=True)
        return item

    def finish(self) -> Donors:
        """See `Accumulator`."""
        self._items = self.draw.items()
        numbers = torch.tensor([number for number, _ in self._items], dtype=torch.int64)
        order = torch.from_numpy(self.draw.chances(numbers)).argsort()
        following = torch.empty_like(order)
        following[order] = order.roll(-1)  # the donor of each donor: the next one in the order of chance
        self._numbers, self._following = numbers, following
        return self

    def __len__(self) -> int:
        return len(self._items)

    def of(self, numbers: Tensor) -> Tensor:
        """The place of the donor of each sample ``[n]``.

        Raises:
            BatchError: there is none.
        """
        least = 1 if self.strangers or self.only is not None else 2
        if len(self) < least:
            raise BatchError(
                f"{len(self)} samples with a counted position are there to take values from; resampling needs "
                f"{least} or more."
            )
        found = torch.from_numpy((self.draw.chances(numbers) * 2.0**52).astype("int64")) % len(self)
        if not self.strangers:
            at = torch.searchsorted(self._numbers, numbers).clamp(max=len(self) - 1)
            own = self._numbers[at] == numbers
            found[own] = self._following[at[own]]
        return found

    def givers(self, samples: int) -> Tensor | None:
        """The number of the donor of each of so many samples; None where donors are no samples of these data."""
        return None if self.strangers else self._numbers[self.of(torch.arange(samples))]

    def vectors(self, place: int, site: int, *, counted: bool = True) -> Matrix:
        """A donor's activations ``[m, d]``, of all positions or of those that count."""
        _, item = self._items[place]
        which = item.get(f"{site}.counted")
        return item[str(site)] if which is None or not counted else item[str(site)][which]

    def every(self, site: int) -> Matrix:
        """The counted activations of all donors, ``[n, d]``."""
        if not len(self):
            raise BatchError(
                "No position counts in these data, so there is no value to take; give a mask that leaves some."
            )
        return torch.cat([self.vectors(place, site) for place in range(len(self))])

    def stand_ins(self, record: Record, site: int, *, counted: bool = True, place: int | None = None) -> Activations:
        """Each sample's activation with that of its donor in its place, ``[batch, position, d]``.

        Args:
            record: the batch.
            site: number of the site.
            counted: whether positions that don't count are left out, on both sides.
            place: of one donor for all samples; None gives each its own.
        """
        x, mask = record.activations[site], record.counted[site] if counted else None
        places = self.of(record.numbers).tolist() if place is None else [place] * record.size
        found = [self.vectors(one, site, counted=counted) for one in places]
        if mask is None and all(len(v) == x.shape[1] for v in found):
            return torch.stack(found).to(x)
        out = x.clone()
        every = torch.arange(x.shape[1], device=x.device)
        for row, own in enumerate(found):
            places = every if mask is None else mask[row].nonzero()[:, 0]
            out[row, places] = own[torch.arange(len(places)) % len(own)].to(x)
        return out
