"""`verify`: the hypotheses of a plan are tested once, on data that nobody has looked at."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits, other_model
from ..cut import Traced
from ..errors import OptionError
from ..graphs import basis_of
from ..measure import Records, shares
from ..provenance import versions
from ..types import Plain
from .beside import AllRuns, beside
from .compared import BesideRandom, compared
from .explored import MOST as MOST_SEEN
from .explored import confirmed, overlap, refuse_seen, remembered
from .hypothesis import checked
from .plan import Plan, code_digest, units_of
from .stability import stability
from .trial import Trial
from .verdict import Claimed, OneKind, Verdict, decide
from .verification import KindResult, Outcome, Verification


@typed
@neutral
def verify(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis: Any,
    confirm: Iterable[Any],
    plan: Plan,
    units: Any = None,
    *,
    groups: Mapping[str, Any] | None = None,
    metrics: Mapping[str, Callable[..., Any]] | None = None,
    refit: Iterable[Any] | None = None,
    refits: int = 5,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> Verification:
    """Test the hypotheses of a plan, once.

    For each hypothesis its features are replaced by each kind of intervention. Two nulls must fall for every kind: that
    the mean change of the score is 0, by the signs of units, and that random directions of the same variance do as
    much,
    by rank. Holm's rule corrects for the number of hypotheses. See `Verification` for the verdicts.

    Measured beside it, under every kind: each part alone (``alone_...``) and what all do beyond their sum
    (``contrast``), the share of the distance from the score as it is to that with everything replaced which is lost
    without them (``necessity``) and which they alone keep (``sufficiency``), the change outside of the group
    (``collateral``), changes at quantiles of the features (``dose``), and the share of samples against the mean.

    Args:
        traced: from `trace` or `Chain`; the model of the plan.
        basis: the basis of the plan, or its graph.
        confirm: the data; with targets where a metric needs them.
        plan: from `plan`, or loaded.
        units: as in `plan`, for these data.
        groups: as in `plan`, for these data.
        metrics: for a plan that was loaded: metrics that are functions, by name.
        refit: the batches that the basis was fitted on: it is fitted again on halves of them, drawn at random, and the
            features most like those of each hypothesis are replaced in their place (``Outcome.stability``).
        refits: how many times.
        progress: as in `intervene`.
        memory: as in `intervene`.

    Raises:
        OptionError: the plan was made for another model, basis or version, or by other functions; the data were
            explored, are a part of those of the plan, or are others than in the first run; units are missing.
        BatchError: the batches are empty or one-shot, or have no targets where a metric needs them.
    """
    kept, memory = shares(memory, traced)
    if refits < 1:
        raise OptionError(f"refits is {refits!r}; give a whole number above 0.")
    own = basis_of(basis)
    model = check_fits(traced, own)
    _refuse_other(plan, own, model)
    claims = checked(plan.hypotheses, own)
    functions = _functions(plan, metrics)
    with Records.of(traced, confirm, kept, progress=progress) as records:
        data, repeat, notes = _admit(plan, own, records)
        labels = units_of(confirm, units)
        if plan.clustered and labels is None:
            raise OptionError("The plan was made with units, and verify got none; give the unit of each sample.")
        trial = Trial(records, own, claims, functions, units=labels, groups=groups, memory=memory)
        if trial.clustered and not plan.clustered:
            notes.append("the plan was made without units, and these data have some: samples count by unit")
        if not trial.clustered:
            notes.append("samples are taken as independent: no units were given")
        outcomes = _outcomes(trial, plan)
        if refit is not None:
            again = stability(trial, traced, refit, refits, plan.seed)
            outcomes = tuple(replace(one, stability=again.get(one.hypothesis, [])) for one in outcomes)
    run: Plain = {"run": repeat, "data": data["digest"], "samples": data["samples"], "time": round(time.time(), 3)}
    if problem := plan.note(run):
        notes.append(problem)
    if others := confirmed(own.digest(), data["digest"], plan.digest()):
        notes.append(f"{others} other plans were verified on the same data before")
    info = {
        "plan": plan.digest(),
        "planned": {"data": plan.data, "alpha": plan.alpha, "seed": plan.seed},
        "basis": own.method,
        "stands_on": {"basis": own.digest()},
        "data": data,
        "traced": model,
        "versions": versions(),
    }
    return Verification(outcomes, plan.alpha, repeat, tuple(notes), info)


def _refuse_other(plan: Plan, basis: Basis, model: Plain) -> None:
    """Refuse a plan of another version, model or basis.

    Raises:
        OptionError: it is one.
    """
    then, now = plan.info.get("versions", {}).get("libasis", "unknown"), versions()["libasis"]
    if then.split(".")[:2] != now.split(".")[:2]:
        raise OptionError(f"The plan was made by libasis {then}, and this is {now}; verify it there, or plan again.")
    if difference := other_model(plan.info, {"traced": model, "versions": versions()}):
        raise OptionError(f"The plan was made for another model: {difference} of this one; plan again for this one.")
    if plan.info.get("basis") != basis.digest():
        raise OptionError(
            f"The plan was made for another basis: {str(plan.info.get('basis'))[:8]} ({plan.info.get('method')}) "
            f"instead of {basis.digest()[:8]} ({basis.method}); give that one, or plan again."
        )
    then, now = (str(facts.get("dtype")) for facts in (plan.info.get("traced", {}), model))
    if then != now:
        raise OptionError(f"The plan was made with the model in {then}, and it computes in {now}; see traced.to.")


def _functions(plan: Plan, metrics: Mapping[str, Callable[..., Any]] | None) -> dict[str, Callable[..., Any]]:
    """Metrics that are functions.

    Raises:
        OptionError: one is another than was planned.
    """
    given = {f"function {name.removeprefix('function ')}": function for name, function in (metrics or {}).items()}
    found = {**plan.functions, **given}
    for name, digest in plan.info.get("functions", {}).items():
        if name in found and code_digest(found[name]) != digest:
            raise OptionError(
                f"The metric {name.removeprefix('function ')!r} is another function than was planned; plan again."
            )
    return found


def _admit(plan: Plan, basis: Basis, records: Records) -> tuple[Plain, int, list[str]]:
    """Facts of the data, how many runs of the plan there were with this one, and notes.

    Raises:
        OptionError: these data cannot confirm.
    """
    data = records.facts()
    before = plan.runs()
    others = [run["data"] for run in before if run["data"] != data["digest"]]
    if others:
        raise OptionError(
            f"The plan was used on other data ({others[0][:8]}) than these ({data['digest'][:8]}); give those again, "
            "or plan again for these."
        )
    notes = refuse_seen([*plan.explored, *remembered(basis.digest())], records, "were explored before")
    if data["digest"] != plan.data["digest"]:
        share, chance = overlap(plan.planned, data["digest"], records.digests.numpy())
        if share > chance + MOST_SEEN + 3 * (chance * (1 - chance) / len(records.digests)) ** 0.5:
            raise OptionError(
                f"{share:.0%} of these {data['samples']} samples are among the {plan.data['samples']} that the plan "
                "was made with, which are others on the whole; give all of those, or none."
            )
        notes.append(f"the data are others ({data['digest'][:8]}) than those of the plan ({plan.data['digest'][:8]})")
    if (basis.info.get("data") or {}).get("digest") == data["digest"]:
        notes.append("the basis was fitted on the same data")
    repeat = 1 + max((run["run"] for run in before), default=0)
    if repeat > 1:
        notes.append(f"this is run {repeat} of the plan on the same data")
    return data, repeat, notes


def _outcomes(trial: Trial, plan: Plan) -> tuple[Outcome, ...]:
    """All that is measured, and decided."""
    asked = [AllRuns.of(one, plan.seed) for one in trial.claims]
    changes = iter(trial.changes([(one.claim, run) for one in asked for run in one.runs]))
    seen = [dict(zip(one.runs, [next(changes) for _ in one.runs], strict=True)) for one in asked]
    beside_controls = compared(trial, [one.whole for one in asked], seen, plan)
    rows: list[tuple[Claimed, tuple[KindResult, ...]]] = []
    for one, found, controls in zip(asked, seen, beside_controls, strict=True):
        rows.append(_tested(trial, one, found, controls, plan.seed))
    verdicts = decide([claimed for claimed, _ in rows], plan.alpha)
    parts = zip(asked, seen, rows, verdicts, strict=True)
    return tuple(_outcome(trial, one, found, row[1], verdict, plan.seed) for one, found, row, verdict in parts)


def _tested(
    trial: Trial, one: AllRuns, found: Mapping[Any, np.ndarray], controls: BesideRandom, seed: int
) -> tuple[Claimed, tuple[KindResult, ...]]:
    claim = one.claim
    results, kinds = [], []
    for kind, run in zip(claim.kinds, one.whole, strict=True):
        beside_it = controls.kinds.get(kind)
        evidence = OneKind.of(*trial.inside(claim, found[run]), claim.direction, delta=claim.delta, seed=seed,
                              p_specific=None if beside_it is None else beside_it.p,
                              givers=trial.givers(claim, run))  # fmt: skip
        kinds.append(evidence)
        e = evidence
        results.append(
            KindResult(kind, e.effect, e.inner, e.p, e.p_opposite, e.p_specific,
                       0 if beside_it is None else beside_it.count, None if beside_it is None else beside_it.range)
        )  # fmt: skip
    return Claimed(claim.direction, claim.delta, kinds, controls.untested), tuple(results)


def _outcome(
    trial: Trial,
    one: AllRuns,
    found: Mapping[Any, np.ndarray],
    kinds: tuple[KindResult, ...],
    verdict: Verdict,
    seed: int,
) -> Outcome:
    claim = one.claim
    mask = trial.mask(claim)
    base = trial.bases[trial.readout(claim)][mask]
    base = base[~np.isnan(base)]
    estimates, dose, signs = beside(trial, one, found, seed) if len(base) else ({}, [], {})
    return Outcome(
        claim, verdict.word, verdict.p, verdict.tested, verdict.reason, verdict.needed,
        float(base.mean()) if len(base) else float("nan"), kinds, estimates, dose, signs,
    )  # fmt: skip
