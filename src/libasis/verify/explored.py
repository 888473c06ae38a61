"""Which samples have been explored: they cannot confirm what was found with them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..errors import OptionError
from ..measure import Records

MOST = 0.05
"""Of data to be confirmed on at most this share may have been seen before."""
_SEEN: dict[str, list[Seen]] = {}
_CONFIRMED: dict[tuple[str, str], set[str]] = {}


@dataclass(frozen=True)
class Seen:
    """Samples that were looked at.

    Attributes:
        digest: of all of them, whatever their order.
        samples: a digest of each, in hexadecimal, 16 characters each, ascending.
    """

    digest: str
    samples: str

    @classmethod
    def of(cls, records: Records) -> Seen:
        """Those of some data."""
        digests = records.digests
        return cls(str(records.facts()["digest"]), digests.sort().values.numpy().astype(">i8").tobytes().hex())

    @property
    def numbers(self) -> np.ndarray:
        """The digests, int64."""
        return np.frombuffer(bytes.fromhex(self.samples), dtype=">i8").astype(np.int64)


def remember(basis: str, seen: Seen) -> None:
    """Note for this process that samples were explored with a basis."""
    known = _SEEN.setdefault(basis, [])
    if seen not in known:
        known.append(seen)


def remembered(basis: str) -> list[Seen]:
    """What this process has explored with a basis."""
    return list(_SEEN.get(basis, []))


def confirmed(basis: str, data: str, plan: str) -> int:
    """Note that a plan was verified on data, and say with how many other plans this process did so before."""
    plans = _CONFIRMED.setdefault((basis, data), set())
    plans.add(plan)
    return len(plans) - 1


def joined(seen: Iterable[Seen]) -> tuple[Seen, ...]:
    """Each of them once."""
    return tuple(dict.fromkeys(seen))


def overlap(seen: Seen, digest: str, samples: np.ndarray) -> tuple[float, float]:
    r"""The share of data that are among samples seen, and the share that would be by chance.

    Where samples repeat by nature (a table of few values), new data hold some that were seen: two samples of those seen
    are equal with a frequency c, so that a new one is among n of them with the probability :math:`1 - (1 - c)^n`.
    Data that are as a whole the ones seen are so by no chance.
    """
    known = seen.numbers
    if digest == seen.digest:
        return 1.0, 0.0
    n = len(known)
    pairs = sum(k * (k - 1) for k in Counter(known.tolist()).values())
    equal = pairs / (n * (n - 1)) if n > 1 else 0.0
    return float(np.isin(samples, known).mean()), 1 - (1 - equal) ** n


def refuse_seen(seen: Iterable[Seen], records: Records, what: str) -> list[str]:
    """Notes on how data overlap with samples that were looked at.

    Raises:
        OptionError: more than a twentieth of the data are among them, beyond what chance explains.
    """
    notes = []
    samples, digest = records.digests.numpy(), str(records.facts()["digest"])
    for one in seen:
        share, chance = overlap(one, digest, samples)
        spread = 3 * (chance * (1 - chance) / len(samples)) ** 0.5
        if share > chance + MOST + spread:
            raise OptionError(
                f"{share:.0%} of these {len(samples)} samples {what} (data {one.digest[:8]}); confirm on data that "
                "nobody has looked at, such as the third part of libasis.parts."
            )
        if share:
            by = "as many as equal samples of these data explain" if chance > MOST else "below the bound of 5%"
            notes.append(f"{share:.1%} of these samples {what}, {by}")
    return notes
