"""`without_outliers`: positions whose activation is many times larger than usual do not count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..cut import NormLimits, Record, Traced, norms
from ..errors import OptionError, SiteError
from .records import Records


@typed
@neutral
def without_outliers(
    traced: Traced,
    batches: Iterable[Any],
    *,
    times: float = 3.0,
    sites: Sequence[str] | None = None,
    progress: bool | None = None,
) -> Traced:
    r"""The same cut, in which positions with an outsize activation do not count.

    Some tokens of language models (the first, often a frequent one) have activations many times as large as all others:
    they make up the variance, and the first features are theirs. A position is left out, at all sites that have as many
    positions, where the norm of its activation at one of them is more than ``times`` the median norm of all that
    count. As with a mask, nothing is measured there and no intervention changes it: in `fit`, `interactions`, the
    ablations, cards and on other data alike. The limits and how many were left out are in ``traced.limits`` and, with
    every result, in ``info["traced"]["outliers"]``.

    The data are gone through once, and 8 bytes kept for each position and site. The limits do not depend on how the
    data are split into batches.

    Args:
        traced: from `trace` or `Chain`.
        batches: as in `fit`: those of the fit, since held-out data are to be measured by the same limits.
        times: above 1. In a language model the norms of ordinary tokens are within a factor of 2 of their median, those
            of outliers 4 to 200 times as large.
        sites: whose norms decide; by default all with several positions but the last.
        progress: show a progress bar; None shows one on a terminal only.

    Raises:
        OptionError: ``times`` is not above 1.
        SiteError: a site is unknown, or none of them has several positions that count.
    """
    names = [site.name for site in traced.sites]
    if not times > 1:
        raise OptionError(f"times is {times:g}; give a number above 1, by which norms may exceed their median.")
    if unknown := [name for name in sites or () if name not in names]:
        raise SiteError(f"No site is called {unknown[0]!r}; the sites of this cut are {names}.")
    chosen = {name: l for l, name in enumerate(names) if name in (names[:-1] if sites is None else sites)}
    plain = traced if traced.limits is None else traced._derived(limits=None)
    found: list[tuple[dict[str, Tensor], dict[int, Tensor]]] = []
    with Records.of(plain, batches, progress=progress) as records:
        records.read_once()
        for record in records.stream(label="norms"):
            lengths = norms({name: record.activations[l] for name, l in chosen.items()})
            found.append((lengths, {lengths[name].shape[1]: _counts(record, chosen[name]) for name in lengths}))
    values = {name: [v[c[v.shape[1]]] for own, c in found if (v := own.get(name)) is not None] for name in chosen}
    medians = {name: float(torch.cat(own).median()) for name, own in values.items() if sum(map(len, own))}
    if not medians:
        raise SiteError(f"None of the sites {list(chosen)} has several positions that count; outliers are positions.")
    limits = NormLimits(float(times), {name: times * median for name, median in medians.items()})
    left = sum(int((c & ~limits.near(own)[t]).sum()) for own, counts in found for t, c in counts.items())
    total = sum(int(c.sum()) for _, counts in found for c in counts.values())
    return traced._derived(limits=replace(limits, left_out=left, positions=total))


def _counts(record: Record, site: int) -> Tensor:
    counted, x = record.counted[site], record.activations[site]
    return torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if counted is None else counted
