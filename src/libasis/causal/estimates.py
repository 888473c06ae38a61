r"""The effect by each way of adjusting, as an estimate with the influence of every row.

The influence of row i is how far the estimate moves with it; the variance of an estimate is that of the sum of
influences over units that are independent. statsmodels fits the models and gives the estimates. Its standard errors
know no units, so the influences are formed here: of a mean :math:`\psi` that depends on fitted parameters with scores
:math:`s_k`, information :math:`I_k` and slope :math:`H_k`, they are :math:`\psi_i - \bar\psi + \sum_k s_{ki} I_k^{-1}
H_k`. Without units that is the variance that statsmodels gives.
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import OptionError, optional
from ..numerics import half_width, two_sided_t
from .columns import ObservedStudy

METHODS = ("unadjusted", "regression", "inverse weighting", "doubly robust")
CLEAR = 0.01
"""Propensities nearer to 0 or 1 are taken as this: one row would weigh a hundred."""


@dataclass(frozen=True, eq=False)
class Estimated:
    """An estimate, the influence of each row on it, and for a treatment of two values the mean of either group."""

    value: float
    influence: np.ndarray
    means: tuple[tuple[float, np.ndarray], tuple[float, np.ndarray]] | None = None

    def error(self, groups: np.ndarray) -> float:
        """Its standard error over the units ``groups`` ``[n]``."""
        return standard_error(self.influence, groups)

    def interval(self, groups: np.ndarray, confidence: float) -> tuple[float, float, float]:
        """Its ends and the p-value of no effect, by Student's t over units."""
        error, freedom = self.error(groups), len(np.unique(groups)) - 1
        width = half_width(freedom, confidence) * error
        p = two_sided_t(self.value / error, freedom) if error > 0 else float(self.value == 0)
        p = max(p, sys.float_info.min)
        return self.value - width, self.value + width, p


def standard_error(influence: np.ndarray, groups: np.ndarray) -> float:
    """Of a mean over rows, from what each row adds to it, over units."""
    sums = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(sums, influence)
    return math.sqrt(len(sums) / (len(sums) - 1) * (sums**2).sum()) / len(influence)


def fitted_treatment(study: ObservedStudy) -> Any:
    """What tells the treatment from the columns adjusted for: statsmodels' logit, or a regression.

    Raises:
        OptionError: they tell the two groups apart without an error.
    """
    sm = _statsmodels()
    ones = np.column_stack([np.ones(len(study.t)), study.x])
    if not study.levels:
        return sm.OLS(study.t, ones).fit()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit = sm.Logit(study.t, ones).fit(disp=0, maxiter=100)
            if np.abs(study.t - fit.predict()).max() < 1e-4:
                raise ValueError("separated")
            return fit
    except Exception as error:
        name, (a, b) = study.names[0], study.levels
        raise OptionError(
            f"The rows with {name} = {a:g} and those with {name} = {b:g} don't overlap in what is adjusted for: these "
            "columns tell the two apart (almost) without an error, so no row shows what would have been; adjust for "
            "fewer columns, or keep the rows where both happen."
        ) from error


def estimate(study: ObservedStudy, method: str, fit: Any = None) -> Estimated:
    """The effect by one of `METHODS`: of a treatment of two values between them, else by its unit.

    Args:
        study: the columns.
        method: one of `METHODS`.
        fit: from `fitted_treatment`, if it is known.
    """
    if method != "unadjusted" and study.x.shape[1] == 0:
        method = "unadjusted"
    if not study.levels:
        return _of_slope(study, method, fit)
    if method == "unadjusted":
        means = tuple(_of_mean(study.y, study.t == i) for i in (0, 1))
    else:
        means = _of_groups(study, method, fit or fitted_treatment(study))
    (zero, below), (one, above) = means
    return Estimated(one - zero, above - below, ((zero, below), (one, above)))


def _of_mean(y: np.ndarray, part: np.ndarray) -> tuple[float, np.ndarray]:
    mean = float(y[part].mean())
    return mean, part * (y - mean) / part.mean()


def _of_groups(study: ObservedStudy, method: str, fit: Any) -> Any:
    """The mean outcome if all rows were of either group, with influences."""
    from statsmodels.treatment.treatment_effects import TreatmentEffect

    sm = _statsmodels()
    ones = np.column_stack([np.ones(len(study.t)), study.x])
    effects = TreatmentEffect(sm.OLS(study.y, ones), study.t.astype(int), fit)
    effects.prob_select = np.clip(effects.prob_select, CLEAR, 1 - CLEAR)
    call = {"regression": effects.ra, "inverse weighting": effects.ipw, "doubly robust": effects.aipw}[method]
    _, zero, one = call(return_results=False)
    chance = effects.prob_select
    sides = ((1 - study.t, 1 - chance, -1.0, effects.results0, zero), (study.t, chance, 1.0, effects.results1, one))
    score = (study.t - fit.predict())[:, None] * ones
    spread = (chance * (1 - chance))[:, None] * ones
    told = score @ np.linalg.pinv(spread.T @ ones / len(ones))  # scores of the propensity over their information
    return tuple(_of_side(study.y, ones, told, side, method) for side in sides)


def _of_side(y: np.ndarray, ones: np.ndarray, told: np.ndarray, side: Any, method: str) -> tuple[float, np.ndarray]:
    """One group's mean and influences: ``part`` are its rows, ``chance`` the probability of being one."""
    part, chance, sign, model, mean = side
    weight = part / chance
    if method == "inverse weighting":
        away = weight / weight.mean() * (y - mean)
        return float(mean), away + told @ _slope(away, sign, chance, ones)
    rest = y - ones @ model.params
    scores = (part * rest)[:, None] * ones @ np.linalg.pinv((part[:, None] * ones).T @ ones / len(ones))
    level = ones @ model.params - mean
    if method == "regression":
        return float(mean), level + scores @ ones.mean(0)
    fixed = weight * rest
    slope = ((1 - weight)[:, None] * ones).mean(0)
    return float(mean), level + fixed + scores @ slope + told @ _slope(fixed, sign, chance, ones)


def _slope(away: np.ndarray, sign: float, chance: np.ndarray, ones: np.ndarray) -> np.ndarray:
    """How the mean of weighted differences changes with the parameters of the propensity."""
    return -sign * ((away * (1 - chance))[:, None] * ones).mean(0)


def _of_slope(study: ObservedStudy, method: str, fit: Any) -> Estimated:
    """The slope of the outcome on the treatment: plain, adjusted, weighted by stabilised densities, or both."""
    ones = np.ones((len(study.t), 1))
    exog = np.column_stack([study.t, ones, *([study.x] if method in ("regression", "doubly robust") else [])])
    weights = np.ones(len(study.t)) if method in ("unadjusted", "regression") else density_weights(study, fit)
    found = _statsmodels().WLS(study.y, exog, weights).fit()
    scores = (weights * found.resid)[:, None] * exog
    bread = np.linalg.pinv((weights[:, None] * exog).T @ exog / len(exog))
    scale = math.sqrt(len(exog) / (len(exog) - exog.shape[1]))
    return Estimated(float(found.params[0]), scale * (scores @ bread)[:, 0])


def density_weights(study: ObservedStudy, fit: Any = None) -> np.ndarray:
    """Of a treatment with many values: its normal density over that given the columns adjusted for, ``[n]``."""
    fit = fit or fitted_treatment(study)
    rest, whole = np.asarray(fit.resid), study.t - study.t.mean()
    log = (rest / rest.std()) ** 2 / 2 - (whole / whole.std()) ** 2 / 2 + math.log(rest.std() / whole.std())
    weights = np.exp(log - log.max())
    return np.minimum(weights / weights.mean(), 1 / CLEAR)


def chances(study: ObservedStudy, fit: Any) -> np.ndarray:
    """Of a treatment with two values the probability of the second, ``[n]``."""
    return np.clip(fit.predict(), CLEAR, 1 - CLEAR)


def estimates(study: ObservedStudy, fit: Any) -> Mapping[str, Estimated]:
    """By each of `METHODS`."""
    return {method: estimate(study, method, fit) for method in METHODS}


def _statsmodels() -> Any:
    optional("statsmodels", "causal", "An effect from observed data")
    import statsmodels.api as sm

    return sm
