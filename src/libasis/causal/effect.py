"""`effect`: overlap first, then the estimates, then the tries to refute them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..ambient import neutral
from ..arguments import typed
from ..errors import OptionError
from ..provenance import versions
from .columns import ObservedStudy, outcomes, read_observed
from .estimates import Estimated, estimates, fitted_treatment
from .evalue import EValue, evalue, of_difference
from .overlap import BALANCED, Overlap, overlap_of
from .refuters import refute
from .result import Adjusted, CausalEffect, Check


@typed
@neutral
def effect(  # noqa: PLR0913 - keyword options of the public face
    data: Any = None,
    treatment: Any = None,
    outcome: Any = None,
    adjust: Any = (),
    *,
    units: Any = None,
    categories: Sequence[str] = (),
    squares: bool = True,
    negative_controls: str | Sequence[str] | Mapping[str, Any] = (),
    repeats: int = 100,
    confidence: float = 0.95,
    seed: int = 0,
) -> CausalEffect:
    """The effect of a treatment on an outcome, adjusted for what moves both, and whether it withstands being tested.

    First the overlap: where the adjusted columns tell the groups apart there is nothing to compare, and no effect is
    given. Then the effect on average over all rows, without adjustment, by regression in each group, by inverse
    weighting with the propensity, and by both (doubly robust, which is right if one of the two models is). For a
    treatment with more than two values it is the slope by its unit, with the same three ways (weights are ratios of
    normal densities). Then the tries to refute: a treatment dealt at random, noise as a common cause, subsets, outcomes
    that cannot change; and how strong a cause that was not measured would have to be (E-value).

    Args:
        data: a DataFrame or a dict of columns; None where the columns themselves are given.
        treatment: its name in data, or the column. Two values are two groups, the larger is the treated one.
        outcome: the same for what it may change: numbers, or 0 and 1.
        adjust: names of the columns that may move both, or a dict or an array ``[n, columns]``. Texts are classes.
        units: name of the column (or the column) with the unit of each row (a run, a patient); None takes rows as
            independent.
        categories: of adjust those whose numbers are names of classes.
        squares: adjust for the squares of numbers too, where there are rows enough.
        negative_controls: names of outcomes (or a dict of columns) that the treatment cannot change.
        repeats: tries with a treatment dealt at random.
        confidence: of the intervals.
        seed: of the tries.

    Raises:
        OptionError: a column is missing, constant, not finite or the same as another, there are too few rows, the
            groups hardly overlap, or statsmodels is not installed.
    """
    if not 0 < confidence < 1 or not 20 <= repeats <= 100_000:
        raise OptionError(
            f"confidence is {confidence:g} and repeats {repeats}; give a confidence between 0 and 1 and 20 to 100000 "
            "repeats."
        )
    study = read_observed(data, treatment, outcome, adjust, categories=categories, squares=squares, units=units)
    negative = outcomes(data, negative_controls, study)
    fit = fitted_treatment(study) if study.x.shape[1] else None
    overlap = overlap_of(study, fit)
    found = estimates(study, fit)
    method = "doubly robust" if study.x.shape[1] else "unadjusted"
    checks = refute(study, found[method], negative, method=method, repeats=repeats, seed=seed)
    if study.x.shape[1]:
        checks.insert(0, _balance(overlap))
    rows = tuple(
        Adjusted(name, one.value, *one.interval(study.groups, confidence))
        for name, one in found.items()
        if name == "unadjusted" or study.x.shape[1]
    )
    low, high, _ = found[method].interval(study.groups, confidence)
    machinery = all(check.passed for check in checks if check.of == "machinery")
    stays = all(check.passed for check in checks if check.of == "effect") and not low <= 0 <= high
    return CausalEffect(
        *study.names, _unit(study), study.adjusted, method, rows, overlap, tuple(checks),
        _unmeasured(study, found[method], confidence), machinery, machinery and stays, len(study.t),
        len(np.unique(study.groups)),
        {"notes": list(study.notes), "seed": seed, "repeats": repeats, "confidence": confidence,
         "units": "given" if units is not None else "rows taken as independent", "versions": versions()},
    )  # fmt: skip


def _unit(study: ObservedStudy) -> str:
    if not study.levels:
        return f"by 1 of {study.names[0]}"
    return f"from {study.levels[0]:g} to {study.levels[1]:g}"


def _balance(overlap: Overlap) -> Check:
    chance = 2 * math.sqrt(sum(1 / size for size in overlap.effective))  # what two random groups may differ by
    return Check(
        "balance",
        "machinery",
        overlap.after <= max(BALANCED, chance),
        f"after weighting the groups differ by {overlap.after:.2g} standard deviations at most ({overlap.before:.2g} "
        "before)",
    )


def _unmeasured(study: ObservedStudy, found: Estimated, confidence: float) -> EValue:
    """The E-value: from the risk ratio of two groups, else from the effect in standard deviations."""
    groups = study.groups
    if study.binary and found.means and all(0 < mean < 1 for mean, _ in found.means):
        (zero, below), (one, above) = found.means
        log = Estimated(float(np.log(one / zero)), above / one - below / zero)
        low, high, _ = log.interval(groups, confidence)
        return evalue(one / zero, float(np.exp(low)), float(np.exp(high)), how="risk ratio of the adjusted shares")
    step = 1.0 if study.levels else float(study.t.std())
    spread = float(study.y.std()) / step
    how = "exp(0.91 d), with the effect d " + ("" if study.levels else "of one standard deviation of the treatment ")
    return of_difference(found.value / spread, found.error(groups) / spread, how + "in standard deviations")
