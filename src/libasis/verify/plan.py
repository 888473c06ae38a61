"""`plan`: what will be tested, and how, is written down before the data that decide are looked at."""

from __future__ import annotations

import hashlib
import json
import math
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from ..ambient import neutral
from ..arguments import typed
from ..basis import check_fits
from ..cut import Traced
from ..errors import OptionError, StoreError
from ..graphs import basis_of
from ..measure import Records, is_first, shares
from ..provenance import code_of, versions
from ..store import Stored, listed
from ..store.values import to_plain
from ..types import Plain
from .controls import enough
from .explored import Seen, joined, remembered
from .groups import Units
from .hypothesis import Hypothesis, checked
from .trial import Trial
from .verdict import POWER, Noise, level_of, power_of

CONTROLS = 999
_LEDGERS: dict[str, list[Plain]] = {}


@dataclass(frozen=True, eq=False, repr=False)
class Plan(Stored, kind="plan", one_file=True):
    """What is claimed and how it will be tested, with digests of all that it depends on.

    It is saved as one JSON file that people can read; a file that was changed is refused.

    Attributes:
        hypotheses: in their order.
        alpha: the probability of any wrong "supported".
        seed: of all that is drawn.
        controls: number of random directions beside each hypothesis.
        clustered: whether units were given, and have to be given to `verify` too.
        expected: for each hypothesis and kind what the data given show of its noise, never of its effect: the number of
            units and samples, the standard deviation by unit, the design effect, the share of units that change at all,
            the units needed, the power with as many units as these.
        data: facts of the data that were given, and a digest of each sample.
        explored: samples that were explored before.
        ledger: one entry for each run of `verify`.
        info: model, basis, versions, digests of functions.
    """

    hypotheses: tuple[Hypothesis, ...]
    alpha: float
    seed: int
    controls: int
    clustered: bool
    expected: list[Plain]
    data: Plain
    planned: Seen
    explored: tuple[Seen, ...]
    ledger: list[Plain] = field(default_factory=list)
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One plain row for each hypothesis and kind: how many units it needs, see `expected`."""
        return [dict(row) for row in self.expected]

    def flaw(self) -> str | None:
        """What makes it no plan; None if it is one."""
        names = [one.label for one in self.hypotheses]
        if not names or len(set(names)) < len(names):
            return "its hypotheses have no name of their own each"
        if not 0 < self.alpha < 1 or self.controls < 1:
            return f"alpha is {self.alpha} and controls {self.controls}"
        return None

    def digest(self) -> str:
        """SHA-256 of all that was planned; runs of it do not change it."""
        content = {f.name: to_plain(getattr(self, f.name), "", {}) for f in fields(self) if f.name != "ledger"}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def functions(self) -> dict[str, Callable[..., Any]]:
        """Metrics that are functions, by the name that the plan has for them; a loaded plan has none."""
        return self.__dict__.get("_functions", {})

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """See `Stored.save`; runs of `verify` are noted in that file from now on."""
        found = super().save(path, force=force)
        self.loaded_from(found)
        return found

    def loaded_from(self, path: Path) -> None:
        """See `Stored`."""
        object.__setattr__(self, "_path", path.absolute())

    def runs(self) -> list[Plain]:
        """All runs of `verify` that are known of, in this process, in this object and in its file."""
        known = [*_LEDGERS.get(self.digest(), []), *self.ledger]
        path = self.__dict__.get("_path")
        if path is not None and path.exists():
            with suppress(StoreError):
                there = Plan.load(path)
                known += there.ledger if there.digest() == self.digest() else []
        unique = {json.dumps(run, sort_keys=True): run for run in known}
        return sorted(unique.values(), key=lambda run: run["run"])

    def note(self, run: Plain) -> str | None:
        """Note a run in this process, in this object and in its file; why the file has it not, or None."""
        runs = [*self.runs(), run]
        self.ledger[:] = runs
        _LEDGERS[self.digest()] = list(runs)
        path = self.__dict__.get("_path")
        try:
            if path is not None and path.exists() and is_first():
                super().save(path, force=True)
        except StoreError as error:
            return f"this run could not be noted in the plan's file: {error}"
        return None

    def __repr__(self) -> str:
        return listed(
            f"Plan({len(self.hypotheses)} hypotheses, alpha={self.alpha:g})", [self._said(h) for h in self.hypotheses]
        )

    def _said(self, one: Hypothesis) -> str:
        own = [row for row in self.expected if row["hypothesis"] == one.label]
        needed = max((row["n_needed"] for row in own if row["n_needed"] is not None), default=None)
        delta = "no delta" if one.delta is None else f"delta {one.delta:g}"
        units = "" if needed is None else f", {needed:,} units needed, {own[0]['units']:,} there"
        return f"  {one.label}: {one.direction}, {delta}{units}"


@typed
@neutral
def plan(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis: Any,
    batches: Iterable[Any],
    hypotheses: Hypothesis | Sequence[Hypothesis],
    alpha: float = 0.05,
    seed: int = 0,
    units: Any = None,
    *,
    groups: Mapping[str, Any] | None = None,
    explored: Any = None,
    controls: int = CONTROLS,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> Plan:
    """Write down what will be tested, and how many units that needs.

    Of the data given only the spread of changes is looked at, never their mean, so that they may be the data that will
    confirm, or others like them.

    Args:
        traced: from `trace` or `Chain`.
        basis: whose features the hypotheses name, or a graph.
        batches: data like those to be confirmed on, or these; with targets where a metric needs them.
        hypotheses: one or several; they are corrected for their number together.
        alpha: the probability of any wrong "supported" among them.
        seed: of donors, random directions, resamples and signs.
        units: the unit of each sample (a run, a patient, a document), where samples are not independent: a list in the
            order of the data, a function ``(inputs, targets) -> labels [batch]``, or a column such as ``"input[3]"``.
        groups: by name a list of True and False, one for each sample, or a function ``(inputs, targets) -> [batch]``.
        explored: an `Exploration`, or several: samples that were looked at. Those that this process explored with the
            same basis are known.
        controls: random directions beside each hypothesis; more where the correction needs more.
        progress: as in `intervene`.
        memory: as in `intervene`.

    Raises:
        OptionError: a hypothesis does not fit the basis, or an option is not allowed.
        BatchError: the batches are empty or one-shot, or have no targets where a metric needs them.
    """
    if not 0 < alpha < 1:
        raise OptionError(f"alpha is {alpha!r}; give a number between 0 and 1, such as 0.05.")
    if controls < 1:
        raise OptionError(f"controls is {controls!r}; give a whole number above 0, such as {CONTROLS}.")
    kept, memory = shares(memory, traced)
    own = basis_of(basis)
    claims = checked(hypotheses, own)
    model = check_fits(traced, own)
    claims, functions = _named(claims)
    records = Records.of(traced, batches, kept, progress=progress)
    trial = Trial(records, own, claims, functions, units=units_of(batches, units), groups=groups, memory=memory)
    expected = _expected(trial, claims, alpha, seed)
    facts = records.facts()
    seen = joined([*remembered(own.digest()), *_explored(explored)])
    info = {
        "basis": own.digest(),
        "method": own.method,
        "traced": model,
        "versions": versions(),
        "functions": {name: code_digest(function) for name, function in functions.items()},
        "power": POWER,
        "made": {"time": round(time.time(), 3), "as": uuid.uuid4().hex},  # so that no two plans are one
    }
    many = enough(len(claims), alpha, controls)
    found = Plan(claims, float(alpha), seed, many, trial.clustered, expected, facts, Seen.of(records), seen, [], info)
    object.__setattr__(found, "_functions", functions)
    return found


def units_of(batches: Any, units: Units) -> Units:
    """The units given, or those that a part of the data brings."""
    return getattr(batches, "units", None) if units is None else units


def _explored(given: Any) -> list[Seen]:
    some = [] if given is None else list(given) if isinstance(given, (list, tuple)) else [given]
    found = [getattr(one, "seen", one) for one in some]
    if not all(isinstance(one, Seen) for one in found):
        raise OptionError(f"explored is of type {type(given).__name__}; give what libasis.explore returned.")
    return found


def _named(claims: Sequence[Hypothesis]) -> tuple[tuple[Hypothesis, ...], dict[str, Callable[..., Any]]]:
    """The hypotheses with functions called by a name, which can be written down, and the functions."""
    functions: dict[str, Callable[..., Any]] = {}
    found = []
    for one in claims:
        if callable(one.metric):
            base = f"function {getattr(one.metric, '__name__', type(one.metric).__name__)}"
            name = next(n for n in (base, *(f"{base} {i}" for i in range(2, len(claims) + 2)))
                        if functions.get(n, one.metric) is one.metric)  # fmt: skip
            functions[name] = one.metric
            one = replace(one, metric=name)  # noqa: PLW2901
        found.append(one)
    return tuple(found), functions


def code_digest(function: Callable[..., Any]) -> str | None:
    """A digest of what a function does, as far as its code says it; None of what has no code in Python."""
    said = list(code_of(function)) or list(code_of(vars(type(function)).get("__call__"), type(function)))
    return hashlib.sha256("\n".join(said).encode("utf-8", "surrogatepass")).hexdigest() if said else None


def _expected(trial: Trial, claims: Sequence[Hypothesis], alpha: float, seed: int) -> list[Plain]:
    """For each hypothesis and kind what its changes vary by."""
    changes = trial.changes([(one, one.intervention(kind, seed)) for one in claims for kind in one.kinds])
    rows, place = [], 0
    for one in claims:
        level, each = level_of(alpha, len(claims), one.direction), power_of(len(one.kinds))
        for kind in one.kinds:
            run = one.intervention(kind, seed)
            noise = Noise.of(*trial.inside(one, changes[place]), trial.givers(one, run))
            place += 1
            known = one.delta is not None and noise.units > 1
            needed = noise.needed(one.delta, level, each) if one.delta is not None and known else None
            power = noise.power(one.delta, level) if one.delta is not None and known else math.nan
            rows.append(
                {
                    "hypothesis": one.label,
                    "kind": kind,
                    "units": noise.units,
                    "samples": noise.samples,
                    "deviation": noise.deviation,
                    "design_effect": noise.design,
                    "changed": noise.moved,
                    "delta": one.delta,
                    "n_needed": needed,
                    "power": None if math.isnan(power) else power,
                }
            )
    return rows
