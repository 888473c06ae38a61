"""What results of other rooms say to who decides: each finding as a line, with the caveat that goes with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..causal import CausalEffect
from ..diagnose import Diagnosis
from ..errors import OptionError
from ..types import Plain
from ..verify import Verification
from .outcome import ABOutcome
from .sentences import line, percent, quantity

MOST = 4
SURE = ("supported", "supported, below delta")


@dataclass(frozen=True)
class Finding:
    """One finding: its verdict, the line that says it, and what it may not be said without."""

    verdict: str
    line: Plain
    caveat: Plain


def findings_of(result: Any) -> list[Finding]:
    """The findings of a result, the first one first.

    Raises:
        OptionError: no plan is made of such a result.
    """
    if isinstance(result, Diagnosis):
        return _of_diagnosis(result)
    if isinstance(result, CausalEffect):
        return [_of_effect(result)]
    if isinstance(result, ABOutcome):
        return _of_outcome(result)
    if isinstance(result, Verification):
        return _of_verification(result)
    raise OptionError(
        f"A plan cannot be made of {getattr(result, 'stored_as', type(result).__name__)!r}; give a diagnosis, a "
        "verification, an effect from observed data, an A/B test or a value."
    )


def _of_diagnosis(found: Diagnosis) -> list[Finding]:
    rates = bool(found.info["rates"])
    single = [row for row in found.tested_inputs if row["verdict"] in SURE]
    joint = [row for row in found.tested_sets if row["verdict"] in SURE and len(row["members"]) > 1]
    if single:  # sets only where they take more away than the best input alone
        joint = [row for row in joint if abs(row["after"] - row["before"]) > 1.2 * abs(_moved(single[0]))]
    out = [_of_row(row, row["input"], rates, "find_input") for row in single[:MOST]]
    out += [_of_row(row, ", ".join(row["members"]), rates, "find_set") for row in joint[:1]]
    if not out:
        tested = sum(row["after"] is not None for row in found.tested_inputs)
        return [Finding("undecided", line("find_none", count=tested), line("caveat_none"))]
    return out


def _moved(row: Plain) -> float:
    return row["after"] - row["before"]


def _of_row(row: Plain, name: str, rates: bool, kind: str) -> Finding:
    show = percent if rates else quantity
    blanks = {key: show(round(row[key], 12)) for key in ("before", "after")}
    if not rates:
        return Finding(row["verdict"], line("find_score", name=name, **blanks), line("caveat_model"))
    change = round(row["collateral"], 12)
    calm = line("calm_some", change=f"{'+' if change > 0 else ''}{percent(change)}") if change else line("calm_none")
    if kind == "find_input":
        blanks |= {key: quantity(row[key]) for key in ("normal", "anomalous")}
    return Finding(row["verdict"], line(kind, name=name, calm=calm, **blanks), line("caveat_model"))


def _of_effect(found: CausalEffect) -> Finding:
    one = found.main
    ends = {key: quantity(getattr(one, key)) for key in ("effect", "low", "high")}
    kind = "find_causal" if found.survives else "find_causal_not"
    text = line(kind, treatment=found.treatment, outcome=found.outcome, **ends)
    return Finding("supported" if found.survives else "undecided", text, line("caveat_observed"))


def _of_outcome(found: ABOutcome) -> list[Finding]:
    out = []
    for one in found.metrics:
        if one.role != "success":
            continue
        low, high = (one.low, one.high) if found.analysis == "fixed" else (one.always_low, one.always_high)
        numbers = {key: quantity(getattr(one, key)) for key in ("control", "treatment", "effect")}
        text = line(
            "find_ab", metric=one.metric, verdict=found.verdict, low=quantity(low), high=quantity(high), **numbers
        )
        out.append(Finding(found.verdict, text, line("caveat_ab")))
    return out


def _of_verification(found: Verification) -> list[Finding]:
    """Of what `verify` gives: a row for each hypothesis."""
    out = []
    for row in found.rows():
        name, verdict, units = row["hypothesis"], row["verdict"], row["units"]
        numbers = {key: quantity(row[key]) for key in ("effect", "low", "high")}
        text = line("find_tested", name=name, verdict=verdict, n=f"{units:,}", **numbers)
        out.append(Finding(verdict, text, line("caveat_units", units=f"{units:,}")))
        if verdict == "undecided" and row["n_needed"]:
            out.append(Finding(verdict, line("find_needed", name=name, n=f"{row['n_needed']:,}"), line("caveat_none")))
    return out
