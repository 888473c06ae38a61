"""What a change is worth, with its range: the user's costs and rates, drawn together many times."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..arguments import typed
from ..errors import OptionError, short
from ..pages import write_page
from ..provenance import versions
from ..store import Stored, listed
from ..types import Plain
from .formula import Formula
from .sentences import chance

STANDARD = "years * (events * avoided * saving - alarms * alarm_cost - running) - once"
DEFAULTS = {"years": 1.0, "alarms": 0.0, "alarm_cost": 0.0, "running": 0.0, "once": 0.0}
COUNTS = ("years", "events", "alarms")
Shape = Literal["pert", "triangular", "lognormal", "normal"]
Given = float | Sequence[float] | Mapping[str, float | str]
LOG2 = 14


@dataclass(frozen=True)
class ValueInput:
    """One number that is not known exactly, and how much it matters.

    Attributes:
        name: in the formula.
        low: the least it could be; of "lognormal" and "normal" the 2.5% quantile.
        likely: the most likely, or the median of these two.
        high: the most it could be; of these two the 97.5% quantile.
        shape: "pert", "triangular", "lognormal", "normal", or "known" where it is one number.
        matters: rank correlation with the net value.
        at_low: net value with this at its 10% quantile and the others at their medians.
        at_high: the same at its 90% quantile.
    """

    name: str
    low: float
    likely: float
    high: float
    shape: str
    matters: float = 0.0
    at_low: float = 0.0
    at_high: float = 0.0


@dataclass(frozen=True, eq=False, repr=False)
class ValueEstimate(Stored, kind="value_estimate"):
    """The net value of a change.

    Attributes:
        formula: how it is made of the inputs.
        unit: of the value, such as "EUR".
        inputs: each with its range, the one that matters most first.
        mean: expected net value.
        median: as likely exceeded as not.
        range80: from the 10% to the 90% quantile.
        range95: from the 2.5% to the 97.5% quantile.
        loss: probability of a net value below 0.
        information: what knowing all inputs exactly before deciding would be worth on average.
        info: draws, seed, versions.
    """

    formula: str
    unit: str
    inputs: tuple[ValueInput, ...]
    mean: float
    median: float
    range80: tuple[float, float]
    range95: tuple[float, float]
    loss: float
    information: float
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One row for each input, the one that matters most first."""
        return [vars(one).copy() for one in self.inputs]

    def summary(self) -> list[str]:
        """What it comes to, in sentences."""
        unit = f" {self.unit}" if self.unit else ""
        most = next((one for one in self.inputs if one.shape != "known"), None)
        return [
            f"Net value: {amount(self.median)}{unit} (80% range {amount(self.range80[0])} to {amount(self.range80[1])}"
            f", 95% range {amount(self.range95[0])} to {amount(self.range95[1])}; mean {amount(self.mean)}).",
            f"Probability of a loss: {chance(self.loss)}.",
            *(
                [
                    f"What matters most is {most.name}: at its low end {amount(most.at_low)}{unit}, at its high end "
                    f"{amount(most.at_high)}{unit}, the others at their medians."
                ]
                if most
                else []
            ),
            f"Knowing all inputs before deciding would be worth {amount(self.information)}{unit}.",
            "This is what the ranges that were given come to, if they do not depend on each other; it does not say "
            "that they are right.",
        ]

    def to_html(self, path: str | Path, lang: str = "en") -> Path:
        """Write a self-contained page that shows it; opens in English or Japanese."""
        return write_page(self, path, lang)

    def __repr__(self) -> str:
        rows = [f"  {one.name}: {amount(one.low)} .. {amount(one.likely)} .. {amount(one.high)}" for one in self.inputs]
        return listed("\n".join(self.summary()), rows)


def amount(value: float) -> str:
    """A number to three digits, with separators, as people write money."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    rounded = round(value, 2 - math.floor(math.log10(abs(value))))
    return f"{rounded:,.0f}" if abs(rounded) >= 100 else f"{rounded:g}"


@typed
def value(
    inputs: Mapping[str, Any],
    formula: str = STANDARD,
    *,
    unit: str = "",
    shape: Shape = "pert",
    seed: int = 0,
) -> ValueEstimate:
    """The net value of a change with its range, the probability of a loss, and which input matters most.

    Inputs are drawn independently of each other, 2**14 times, by scrambled Sobol' points. By default the value is that
    of a change that avoids events (scrap, downtime, returns): years * (events * avoided * saving - alarms * alarm_cost
    - running) - once: events and alarms (false ones that it adds) in a year, the share avoided, what an avoided event
    saves, costs in a year and once. Years are 1 and costs 0 if they are not given.

    Args:
        inputs: by name a number that is known, (low, high) or (low, likely, high), or a mapping with low, high and
            perhaps likely and shape. Low and high are the least and the most that it could be; of "lognormal" and
            "normal" they hold it with 95%, as an interval of a test does.
        formula: of names and numbers with + - * / and brackets.
        unit: of the value, such as "EUR".
        shape: of ranges without their own: "pert" (near the likely value), "triangular", "lognormal" or "normal".
        seed: of the draws.

    Raises:
        OptionError: a name has no value or is not in the formula, a range is not in its order, a share of events is
            above 1 or their number below 0, or the formula is none.
    """
    made = Formula(formula)
    given = {**DEFAULTS, **inputs} if formula == STANDARD else dict(inputs)
    read = {name: _read(name, one, shape) for name, one in given.items()}
    if formula == STANDARD:
        _check_standard(read)
    if odd := [name for name in inputs if name not in made.names]:
        raise OptionError(f"inputs has {short(odd[0])}, which the formula {short(formula)} does not use; take it out.")
    open_ones = [one for one in read.values() if one.shape != "known"]
    draws: dict[str, Any] = {one.name: np.float64(one.likely) for one in read.values() if one.shape == "known"}
    middle = draws | {one.name: _quantile(one, np.array(0.5)) for one in open_ones}
    points = _points(len(open_ones), seed)
    drawn = {one.name: _quantile(one, column) for one, column in zip(open_ones, points.T, strict=True)}
    net = np.broadcast_to(made({**draws, **drawn}), (len(points),))
    ranked = [_ranked(one, drawn.get(one.name), net, middle, made) for one in read.values()]
    ranked.sort(key=lambda one: -abs(one.matters))
    q = [float(x) for x in np.quantile(net, [0.025, 0.1, 0.5, 0.9, 0.975])]
    mean = float(net.mean())
    return ValueEstimate(
        formula, unit, tuple(ranked), mean, q[2], (q[1], q[3]), (q[0], q[4]), float((net < 0).mean()),
        float(np.maximum(net, 0).mean() - max(mean, 0)), {"draws": len(net), "seed": seed, "versions": versions()},
    )  # fmt: skip


def _read(name: str, given: Any, shape: str) -> ValueInput:
    """A number or a range."""
    if isinstance(given, Mapping):
        if odd := set(given) - {"low", "likely", "high", "shape"}:
            raise OptionError(f"The range of {short(name)} has {short(min(odd))}; write low, likely, high and shape.")
        shape = str(given.get("shape", shape))
        given = [given[key] for key in ("low", "likely", "high") if key in given]
    given = given.tolist() if isinstance(given, (np.ndarray, np.generic)) else given
    numbers = [given] if _is_number(given) else given
    if not isinstance(numbers, (list, tuple)) or not 1 <= len(numbers) <= 3 or not all(map(_is_number, numbers)):
        raise OptionError(f"{short(name)} is {short(given)}; give a number, (low, high) or (low, likely, high).")
    if shape not in ("pert", "triangular", "lognormal", "normal"):
        raise OptionError(f"The shape of {short(name)} is {short(shape)}; give pert, triangular, lognormal or normal.")
    low, high = float(numbers[0]), float(numbers[-1])
    if shape == "lognormal" and low <= 0:
        raise OptionError(f"{short(name)} starts at {low:g}, but a lognormal range is above 0; give another shape.")
    middle = math.sqrt(low * high) if shape == "lognormal" else (low + high) / 2
    likely = float(numbers[1]) if len(numbers) == 3 else middle
    if not low <= likely <= high:
        raise OptionError(
            f"{short(name)} is {', '.join(f'{n:.12g}' for n in numbers)}, which is not in the order low, likely, high."
        )
    return ValueInput(name, low, likely, high, "known" if low == high else shape)


def _check_standard(read: Mapping[str, ValueInput]) -> None:
    """Refuse numbers that the names of the standard formula cannot have."""
    for name in COUNTS:
        if name in read and read[name].low < 0:
            raise OptionError(f"{name!r} is {read[name].low:.12g}; give 0 or more.")
    if "avoided" in read and (high := read["avoided"].high) > 1:
        raise OptionError(
            f"'avoided' is {high:.12g} ({100 * high:.12g}%); it is the share of the events that is avoided: give "
            "at most 1 (100%), where 50% is 0.5."
        )


def _is_number(one: Any) -> bool:
    return isinstance(one, (int, float)) and not isinstance(one, bool) and math.isfinite(one)


def _points(columns: int, seed: int) -> np.ndarray:
    """Scrambled Sobol' points inside of (0, 1), ``[2**14, columns]``."""
    from scipy.stats.qmc import Sobol

    if not columns:
        return np.zeros((1, 0))
    seeded: Any = {"seed": seed}  # its name in every version of scipy
    return np.clip(Sobol(columns, **seeded).random_base2(LOG2), 1e-9, 1 - 1e-9)


def _quantile(one: ValueInput, u: np.ndarray) -> np.ndarray:
    from scipy.special import betaincinv, ndtri

    width = one.high - one.low
    if one.shape in ("normal", "lognormal"):
        z, wide = ndtri(u), 2 * float(ndtri(0.975))
        if one.shape == "normal":
            return one.likely + z * width / wide
        return np.exp(math.log(one.likely) + z * math.log(one.high / one.low) / wide)
    mode = (one.likely - one.low) / width
    if one.shape == "pert":
        return one.low + width * betaincinv(1 + 4 * mode, 5 - 4 * mode, u)
    rising = np.sqrt(u * mode)
    return one.low + width * np.where(u < mode, rising, 1 - np.sqrt((1 - u) * (1 - mode)))


def _ranked(
    one: ValueInput, drawn: np.ndarray | None, net: np.ndarray, middle: Mapping[str, Any], formula: Formula
) -> ValueInput:
    """With how much it matters."""
    at = float(formula(middle))
    if drawn is None:
        return ValueInput(one.name, one.low, one.likely, one.high, one.shape, 0.0, at, at)
    ranks = [np.argsort(np.argsort(column)) for column in (drawn, net)]
    correlation: Any = np.corrcoef(np.stack(ranks))
    matters = float(correlation[0, 1]) if np.ptp(net) > 0 else 0.0
    low, high = (float(formula({**middle, one.name: _quantile(one, np.array(q))})) for q in (0.1, 0.9))
    return ValueInput(one.name, one.low, one.likely, one.high, one.shape, matters, low, high)
