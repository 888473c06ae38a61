"""The search for rotations: no section may need more interactions than with LIB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import log

import torch
from tqdm.auto import tqdm

from ..measure.progress import silent
from ..types import Matrix, Plain, Vector
from .judge import Judge
from .objective import WEAK, Objective
from .rotate import Rotations

ALLOWED = 1.02
"""Where a judge gives several counts of a section, none may exceed LIB's by more, and none on geometric average."""

MARGIN = 0.98
"""More weight goes to a section that needs more than this part of LIB's count: other samples may judge it otherwise."""

HEAVIER, TRIALS = 1.6, 6
"""The factor of that weight, and how many weights are tried; if none is admissible, a site is kept as LIB.

Where every section has that margin, the one that gains least gets less weight, for the others to gain more.
"""


@dataclass(frozen=True, eq=False)
class Judged:
    """Rotations with what they were judged by.

    Attributes:
        rotations: one per site, None where LIB stays (always at the last).
        weights: of the sections in the objective.
        counts: per section the interactions needed.
        lib: the same with LIB.
    """

    rotations: Rotations
    weights: list[float]
    counts: list[Vector]
    lib: list[Vector]

    @property
    def score(self) -> float:
        """The sum over sections of the logarithm of what is needed, over LIB's."""
        return sum(float((new / lib).log().mean()) for new, lib in zip(self.counts, self.lib, strict=True))

    def excess(self) -> list[float]:
        """How far each section exceeds what is allowed, as a logarithm; none above 0 for an admissible one."""
        ratios = [(new / lib).log() for new, lib in zip(self.counts, self.lib, strict=True)]
        return [max(float(r.mean()), float(r.max()) - log(ALLOWED)) for r in ratios]

    def facts(self, sections: Sequence[str]) -> Plain:
        """As plain data."""
        return {
            "objective": f"sum of log(1 + strength / ({WEAK:g} of the section's strength with LIB))",
            "weights": dict(zip(sections, self.weights, strict=True)),
            "rotated": {s: 0 if R is None else len(R) for s, R in zip(sections, self.rotations, strict=False)},
            "interactions": {s: c.tolist() for s, c in zip(sections, self.counts, strict=True)},
            "interactions_lib": {s: c.tolist() for s, c in zip(sections, self.lib, strict=True)},
        }


def search(objective: Objective, judge: Judge, *, progress: bool | None) -> Judged:
    """Rotations of all sites together that no section needs more interactions with than with LIB.

    A section that needs too many is given more weight in the objective. Of the weights tried, those win with which the
    sections need least altogether, as a product. Where that does not lead to an end, the input
    site of the worst section is kept as LIB, then its output site; if all sites are kept the result is LIB itself. So
    is every site whose rotation the objective can do without.
    """
    with tqdm(desc="sparse LIB, trials", disable=silent(progress), leave=False) as bar:
        return _Search(objective, judge, bar).run()


class _Search:
    def __init__(self, objective: Objective, judge: Judge, bar: tqdm) -> None:
        self.objective, self.judge, self.bar = objective, judge, bar
        self.none: Rotations = [None] * (len(objective.sizes) + 1)
        self.lib = judge.counts(self.none)

    def run(self) -> Judged:
        free = [size > 1 for size in self.objective.sizes]
        while any(free):
            found = self._with(free)
            excess = found.excess()
            if max(excess) <= 0:
                return found
            worst = max(range(len(excess)), key=excess.__getitem__)
            ends = [site for site in (worst, worst + 1) if site < len(free) and free[site]]
            free[ends[0] if ends else free.index(True)] = False
        return Judged(self.none, [1.0] * len(free), self.lib, self.lib)

    def _with(self, free: Sequence[bool]) -> Judged:
        """The best admissible rotations as weights rise, else those that exceed least."""
        weights, tried = [1.0] * len(free), []
        for _ in range(TRIALS):
            rotations = self._best(weights, free)
            tried.append(Judged(rotations, weights, self.judge.counts(rotations), self.lib))
            self.bar.update()
            following = _next(tried[-1])
            if following is None:
                break
            weights = following
        admissible = [found for found in tried if max(found.excess()) <= 0]
        if admissible:
            return min(admissible, key=lambda found: found.score)
        return min(tried, key=lambda found: max(found.excess()))

    def _best(self, weights: Sequence[float], free: Sequence[bool]) -> Rotations:
        """From three starts, whichever ends lowest; a site it can do without is kept as LIB."""
        starts = [
            [*(start(size) if f else None for size, f in zip(self.objective.sizes, free, strict=True)), None]
            for start in (_lib, partial(_mixed, first=0), partial(_mixed, first=1))
        ]
        found, value = min((self.objective.minimise(s, weights) for s in starts), key=lambda end: end[1])
        for site in range(len(free)):
            without: Rotations = [None if i == site else R for i, R in enumerate(found)]
            if found[site] is not None and (lower := float(self.objective.value(without, weights))) <= value:
                found, value = without, lower
        return found


def _next(found: Judged) -> list[float] | None:
    """The weights to try next: more for sections above the margin, else a little less for the one that gains least.

    None where that would turn back: a section is never given less after more, nor more after less.
    """
    excess = found.excess()
    heavy = {l for l, e in enumerate(excess) if e > log(MARGIN)}
    if any(found.weights[l] < 1 for l in heavy):
        return None
    if heavy:
        return [w * (HEAVIER if l in heavy else 1) for l, w in enumerate(found.weights)]
    least = max(range(len(excess)), key=excess.__getitem__)
    if found.weights[least] > 1:
        return None
    return [w / (HEAVIER**0.5 if l == least else 1) for l, w in enumerate(found.weights)]


def _lib(size: int) -> Matrix:
    """The features of LIB."""
    return torch.eye(size, dtype=torch.float64)


def _mixed(size: int, first: int) -> Matrix:
    """Sum and difference of neighbours in importance, pairs from number ``first`` on.

    Unlike a random start, it gives the same features whatever the signs of LIB's, which depend on the model's
    coordinates.
    """
    R = torch.eye(size, dtype=torch.float64)
    pair = torch.tensor([[1.0, 1.0], [1.0, -1.0]], dtype=torch.float64) / 2**0.5
    for i in range(first, size - 1, 2):
        R[i : i + 2, i : i + 2] = pair
    return R
