"""Whether features are found again where the basis is fitted on other samples, and whether they do the same."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ..basis import METHODS, Basis
from ..build import fit
from ..cut import Record, Traced
from ..errors import OptionError
from ..measure import Accumulator, measure
from ..numerics import paired
from ..types import Matrix, Plain
from .hypothesis import Hypothesis
from .measure import scored
from .parts import in_parts
from .trial import Trial


class Together(Accumulator[Matrix]):
    """Correlations ``[k, k']`` of the features of two bases at one site, over counted positions."""

    sums = ("n", "first", "second")

    def __init__(self, index: int, one: Basis, other: Basis) -> None:
        self.index, self.sites = index, (one.sites[index], other.sites[index])
        k = sum(site.k for site in self.sites)
        self.n = 0
        self.first, self.second = torch.zeros(k, dtype=torch.float64), torch.zeros(k, k, dtype=torch.float64)

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        x = record.vectors(self.index).to("cpu", torch.float64)
        z = torch.cat([site.encode(x) for site in self.sites], 1)
        self.n += len(z)
        self.first = self.first + z.sum(0)
        self.second = self.second + z.T @ z

    def finish(self) -> Matrix:
        """See `Accumulator`."""
        mean = self.first / max(self.n, 1)
        covariance = self.second / max(self.n, 1) - torch.outer(mean, mean)
        size = covariance.diagonal().clamp(min=0).sqrt()
        scaled = covariance / torch.where(size > 0, size, torch.inf)[:, None] / torch.where(size > 0, size, torch.inf)
        k = self.sites[0].k
        return scaled[:k, k:]


def stability(
    trial: Trial, traced: Traced, batches: Iterable[Any], count: int, seed: int
) -> dict[Hypothesis, list[Plain]]:
    """For each hypothesis about features what is found again of it, on halves of the samples drawn at random.

    Args:
        trial: data and hypotheses.
        traced: the model.
        batches: of the fit.
        count: how many times the basis is fitted again.
        seed: of the halves.

    Raises:
        OptionError: the basis was not made by `fit`.
    """
    sparse = trial.basis.method == "sparse"
    method = "lib" if sparse else trial.basis.method
    if method not in METHODS:
        raise OptionError(f"The basis was made by {method!r}, which cannot be fitted again; leave refit out.")
    claims = [one for one in trial.claims if one.numbers is not None]
    found: dict[Hypothesis, list[Plain]] = {one: [] for one in claims}
    for number in range(count):
        half = next(iter(in_parts(batches, None, (0.5, 0.5), seed + number)))
        other = fit(traced, half, method, sparse=sparse, progress=False)
        for one in claims:
            found[one].append({"refit": number, **_again(trial, one, other, seed)})
    return found


def _again(trial: Trial, one: Hypothesis, other: Basis, seed: int) -> Plain:
    """The features of another basis that are most like those of a hypothesis, and what they do."""
    assert one.numbers is not None  # noqa: S101 - the caller chose those
    alike = measure(trial.records, Together(trial.index[one.site], trial.basis, other), "features").abs()
    best: Sequence[int] = []
    for number in one.numbers:
        order = alike[number].argsort(descending=True).tolist()
        best = [*best, next((i for i in order if i not in best), -1)]
    if -1 in best:
        return {"features": None, "correlation": [0.0] * len(best), "effect": None, "low": None, "high": None}
    claim = Hypothesis(one.site, best, name=one.label, where=one.where)
    run = claim.intervention(one.kinds[0], seed)
    _, (changes,), _ = scored(trial.records, other, [(run, trial.readout(one))], trial.memory)
    effect = paired(*trial.inside(one, changes), seed=seed)
    correlation = [float(alike[i, j]) for i, j in zip(one.numbers, best, strict=True)]
    row: Plain = {"features": list(best), "correlation": correlation}
    return {**row, "effect": effect.value, "low": effect.low, "high": effect.high}
