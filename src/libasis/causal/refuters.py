"""Tries to refute an effect: of what is none it must find none, and what doesn't matter must not change it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ..errors import LibasisError
from ..numerics import half_width
from .columns import ObservedStudy
from .estimates import Estimated, estimate, fitted_treatment
from .result import Check

KEPT = 0.8
"""Share of the units in a subset."""


def refute(
    study: ObservedStudy, found: Estimated, negative: Mapping[str, np.ndarray], *, method: str, repeats: int, seed: int
) -> list[Check]:
    """All checks of an effect, the ones on the machinery first."""
    draw = np.random.default_rng(seed)
    placebo, beyond = _placebo(study, found, method, repeats, draw)
    return [
        placebo,
        _random_cause(study, found, method, max(5, repeats // 5), draw),
        beyond,
        _subsets(study, found, method, max(20, repeats // 2), draw),
        *(_negative(study, name, y, method) for name, y in negative.items()),
    ]


def _again(study: ObservedStudy, method: str) -> Estimated | None:
    """The estimate of changed data; None where these cannot be adjusted."""
    try:
        return estimate(study, method, fitted_treatment(study) if study.x.shape[1] else None)
    except (LibasisError, np.linalg.LinAlgError):
        return None


def _placebo(
    study: ObservedStudy, found: Estimated, method: str, repeats: int, draw: np.random.Generator
) -> tuple[Check, Check]:
    """A treatment dealt at random has no effect: does its interval say so, and is the true one larger?"""
    tries = [_again(replace(study, t=_dealt(study, draw)), method) for _ in range(repeats)]
    done = [one for one in tries if one is not None]
    if len(done) < 0.9 * repeats:
        text = f"a treatment dealt at random could be adjusted in {len(done)} of {repeats} tries only"
        return Check("placebo treatment", "machinery", False, text), Check("placebo size", "effect", False, text)
    values = np.array([one.value for one in done])
    errors = np.array([one.error(study.groups) for one in done])
    holds = float((np.abs(values) <= _critical(study) * errors).mean())
    least = 0.95 - 3 * np.sqrt(0.95 * 0.05 / len(done))
    drift = abs(values.mean()) / (values.std(ddof=1) / np.sqrt(len(done)) + np.finfo(float).tiny)
    larger = float((1 + (np.abs(values) >= abs(found.value)).sum()) / (1 + len(done)))
    fair = Check(
        "placebo treatment",
        "machinery",
        bool(holds >= least and drift < 4),
        f"a treatment dealt at random {len(done)} times has the effect {values.mean():.3g} on average, and its 95% "
        f"interval holds 0 in {holds:.0%} of the tries",
    )
    size = Check(
        "placebo size",
        "effect",
        larger <= 0.05,
        f"{round(larger * (1 + len(done))) - 1} of {len(done)} effects of a treatment dealt at random are as large "
        f"(p = {larger:.2g})",
    )
    return fair, size


def _critical(study: ObservedStudy) -> float:
    return half_width(len(np.unique(study.groups)) - 1)


def _dealt(study: ObservedStudy, draw: np.random.Generator) -> np.ndarray:
    """The treatment of other rows; of units each gets that of another one, so that it stays as alike within units."""
    if study.units is None:
        return draw.permutation(study.t)
    order = np.argsort(study.units, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(study.units[order])) + 1)
    dealt = np.empty_like(study.t)
    for own, other in zip(parts, draw.permutation(len(parts)), strict=True):
        dealt[own] = np.resize(draw.permutation(study.t[parts[other]]), len(own))
    return dealt


def _random_cause(
    study: ObservedStudy, found: Estimated, method: str, repeats: int, draw: np.random.Generator
) -> Check:
    """Adjusting for noise as well must leave the effect where it is."""
    moved = []
    for _ in range(repeats):
        noise = draw.standard_normal(len(study.t))
        again = _again(replace(study, x=np.column_stack([study.x, (noise - noise.mean()) / noise.std()])), method)
        moved.append(np.inf if again is None else abs(again.value - found.value))
    most, error = float(np.max(moved)), found.error(study.groups)
    return Check(
        "random common cause",
        "machinery",
        most <= 0.5 * error,
        f"adjusting for a column of noise as well moves the effect by {most:.2g} at most (its standard error is "
        f"{error:.2g})",
    )


def _subsets(study: ObservedStudy, found: Estimated, method: str, repeats: int, draw: np.random.Generator) -> Check:
    """Four fifths of the units must show it too."""
    labels, codes = np.unique(study.groups, return_inverse=True)
    values = []
    for _ in range(repeats):
        kept = draw.permutation(len(labels)) < KEPT * len(labels)
        rows = kept[codes]
        units = None if study.units is None else study.units[rows]
        part = replace(study, t=study.t[rows], y=study.y[rows], x=study.x[rows], units=units)
        again = _again(part, method)
        values += [] if again is None else [again.value]
    same = float((np.sign(values) == np.sign(found.value)).mean()) if values else 0.0
    shown = f"{min(values):.3g} to {max(values):.3g}" if values else "not to be measured"
    return Check(
        "subsets",
        "effect",
        same >= 0.95 and len(values) >= 0.9 * repeats,
        f"in {len(values)} subsets of {KEPT:.0%} of the {'rows' if study.units is None else 'units'} it is {shown}, of "
        f"the same sign in {same:.0%}",
    )


def _negative(study: ObservedStudy, name: str, y: np.ndarray, method: str) -> Check:
    """An outcome that the treatment cannot change must show no effect."""
    again = _again(replace(study, y=y), method)
    low, high, _ = again.interval(study.groups, 0.95) if again else (np.nan, np.nan, 1.0)
    fine = bool(low <= 0 <= high)
    text = (
        f"on the negative control {name}, which it cannot change, the effect is {again.value if again else np.nan:.3g}"
    )
    end = "" if fine else ": something else links the two"
    return Check(f"negative control {name}", "effect", fine, f"{text} [{low:.3g}, {high:.3g}]{end}")
