"""The tests of a circuit: is it enough, is it all, is every part needed (after Shi et al. 2024, arXiv 2410.13032)."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits
from ..cut import Traced
from ..errors import OptionError
from ..graphs import InteractionGraph, basis_of, graph_of_edges
from ..intervene import MetricSpec, Scores, parse_metric
from ..measure import Records, measure, shares
from ..numerics import Estimate, holm, hsic, paired, ratio
from ..provenance import versions
from ..store import Stored, listed
from ..types import Plain
from .circuit_runs import EdgeCircuit, FeatureCircuit

QUANTILE, TINY = 0.9, sys.float_info.min
"""A member must matter more than this share of random parts put in beside the circuit."""


@dataclass(frozen=True)
class CircuitMember:
    """One feature (or edge) of the circuit, taken out of it.

    Attributes:
        place: its site or section.
        member: number of the feature, or "target<-source" of an edge.
        effect: score of the circuit without it, minus that of the circuit.
        change: mean size of that change.
        above: the share of random parts, put in and taken out, that change the score less.
        p: that it is no more than the `QUANTILE` of them, corrected for all members.
        needed: whether p is at most alpha; None where too few other parts are there for a p so small.
    """

    place: str
    member: str
    effect: Estimate
    change: float
    above: float
    p: float
    needed: bool | None


@dataclass(frozen=True, eq=False, repr=False)
class CircuitTests(Stored, kind="circuit-tests"):
    """What the three tests say of a set of features or edges.

    Attributes:
        equivalence: ``"equivalent"`` (the 90% interval of the share of units in which the circuit does better, ties as
            a half, lies within 1/2 -+ epsilon), ``"differs"`` (the 95% interval lies outside), or ``"undecided"``.
        equivalence_p: that the share lies within 1/2 -+ epsilon: the paper's test, exact.
        better: that share.
        difference: score of the circuit minus that of the model, mean over samples.
        kept: the share of the model's score beyond all replaced that the circuit keeps (sufficiency).
        independence: ``"dependent"`` (what is left without the circuit still goes with the model), ``"not shown"``, or
            ``"not tested"`` (a score that does not vary goes with nothing).
        independence_p: of HSIC under permutations of units.
        lost: the share that is lost without the circuit (necessity).
        members: minimality, one for each member.
        superfluous: those members that are not shown to be needed.
        scores: mean scores of the ``model``, the ``circuit``, what is left ``without`` it, and ``nothing``.
        metric: the metric's name.
        info: options, basis, data, versions.
    """

    equivalence: str
    equivalence_p: float
    better: Estimate
    difference: Estimate
    kept: Estimate
    independence: str
    independence_p: float
    lost: Estimate
    members: list[CircuitMember]
    superfluous: list[str]
    scores: dict[str, float]
    metric: str
    info: Plain = field(default_factory=dict)

    def rows(self) -> list[Plain]:
        """One plain row per member, after the rows of the other two tests."""
        ends = ("value", "low", "high")
        return [
            {
                "test": "equivalence",
                "of": "circuit - model",
                **{key: getattr(self.difference, key) for key in ends},
                "p": self.equivalence_p,
                "result": self.equivalence,
            },
            {
                "test": "independence",
                "of": "share lost without",
                **{key: getattr(self.lost, key) for key in ends},
                "p": self.independence_p,
                "result": self.independence,
            },
            *(
                {
                    "test": "minimality",
                    "of": f"{one.place}:{one.member}",
                    **{key: getattr(one.effect, key) for key in ends},
                    "p": one.p,
                    "result": {True: "needed", False: "not shown to be needed", None: "not tested"}[one.needed],
                }
                for one in self.members
            ),
        ]

    def __repr__(self) -> str:
        needed = sum(bool(one.needed) for one in self.members)
        lines = [
            f"  equivalence: {self.equivalence} (keeps {self.kept.value:.3f} [{self.kept.low:.3f}, "
            f"{self.kept.high:.3f}] of {self.metric})",
            f"  independence: what is left is {self.independence} (p = {self.independence_p:.2g}; lost "
            f"{self.lost.value:.3f} [{self.lost.low:.3f}, {self.lost.high:.3f}])",
            f"  minimality: {needed} of {len(self.members)} members shown to be needed",
        ]
        return listed("CircuitTests", lines)


@typed
@neutral
def circuit_tests(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph_or_basis: InteractionGraph | Basis,
    batches: Iterable[Any],
    circuit: Mapping[str, Any],
    metric: MetricSpec = "accuracy",
    *,
    edges: bool = False,
    replacement: str = "mean",
    units: Iterable[Hashable] | None = None,
    epsilon: float = 0.1,
    alpha: float = 0.05,
    controls: int = 99,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> CircuitTests:
    r"""Whether a circuit does what the model does, whether nothing else does, and whether each member is needed.

    The circuit's run replaces all other features at the sites it names, what is left without it replaces its own. For
    each unit the scores are those of its mean sample.

    - Equivalence: the share of units in which the circuit scores better than the model is 1/2 up to epsilon.
    - Independence: scores without the circuit are independent of the model's (HSIC, permutations of units).
    - Minimality: taking out a member changes scores more than taking out a random part that was put in beside the
      circuit: a direction among the site's other features, of unit variance in standardised features, or another
      edge. With m such parts, K of which change less, p is the chance that a binomial variable (m, 0.9) is at least K;
      Holm over the members.

    Args:
        traced: from `trace` or `Chain`.
        graph_or_basis: whose features; for edges a graph.
        batches: pairs (inputs, targets), best not those of the fit.
        circuit: by site the numbers of its features; of several sites together they are one circuit. With ``edges`` the
            name of one section's input site and pairs (target, source), or bool ``[k_out, k_in]``.
        metric: see `intervene`.
        edges: whether the circuit is one of edges.
        replacement: of features: ``"mean"``, ``"zero"`` or ``"resample"``.
        units: the unit of each sample; None takes samples as independent.
        epsilon: of the test of equivalence.
        alpha: of minimality and independence.
        controls: number of random parts at each site.
        seed: of all that is random.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together; ``"auto"`` as in `fit`.

    Raises:
        OptionError: the circuit names what is not there, or an option is not allowed.
        BatchError: the batches are empty or have no targets where the metric needs them.
    """
    graph, basis = graph_of_edges(graph_or_basis, edges), basis_of(graph_or_basis)
    if not 0 < epsilon < 0.5 or not 0 < alpha < 1 or controls < 1:
        raise OptionError(
            f"epsilon, alpha and controls are {epsilon}, {alpha} and {controls}; epsilon lies between 0 and 0.5, alpha "
            "between 0 and 1, and controls is 1 or more."
        )
    scored, model = parse_metric(metric), check_fits(traced, basis)
    runs = (
        FeatureCircuit(basis, circuit, (replacement, controls, seed))
        if graph is None
        else EdgeCircuit(graph, circuit, controls, seed)
    )
    kept, memory = shares(memory, traced)
    records = Records.of(traced, batches, kept, progress=progress)
    scores = Scores(scored, runs.outputs(records, memory), runs.count, per_sample=True)
    rows = measure(records, scores, f"{runs.count} runs of a circuit").of_samples()
    rows = rows if scored.higher_is_better else -rows
    labels = None if units is None else list(units)
    judged = _CircuitRows(rows, labels, runs.members, runs.parts, seed)
    info = {
        "of": "edges" if edges else "features",
        "circuit": {place: [str(m) for p, m, _ in runs.members if p == place] for place in circuit},
        "replacement": replacement,
        "epsilon": epsilon,
        "alpha": alpha,
        "controls": {place: len(parts) for place, parts in runs.parts.items()},
        "seed": seed,
        "higher_is_better": scored.higher_is_better,
        "data": records.facts(),
        "stands_on": {"basis": basis.digest()},
        "traced": model,
        "versions": versions(),
    }
    members = judged.minimality(alpha)
    whole = rows[0] - rows[3]
    word, p, better = judged.equivalence(epsilon)
    goes, goes_p = judged.independence(alpha)
    sign = 1 if scored.higher_is_better else -1
    return CircuitTests(
        equivalence=word,
        equivalence_p=p,
        better=better,
        difference=paired(sign * (rows[1] - rows[0]), labels, seed=seed),
        kept=ratio(rows[1] - rows[3], whole, labels, seed=seed),
        independence=goes,
        independence_p=goes_p,
        lost=ratio(rows[0] - rows[2], whole, labels, seed=seed),
        members=members,
        superfluous=[f"{one.place}:{one.member}" for one in members if one.needed is False],
        scores=dict(
            zip(("model", "circuit", "without", "nothing"), (sign * np.nanmean(rows[:4], 1)).tolist(), strict=True)
        ),
        metric=scored.name,
        info=info,
    )


class _CircuitRows:
    """The tests on scores ``[runs, n]``: model, circuit, without it, nothing, members taken out, parts put in."""

    def __init__(self, rows: np.ndarray, units: Sequence[Any] | None, members: Any, parts: Any, seed: int) -> None:
        self.rows, self.units, self.members, self.parts, self.seed = rows, units, members, parts, seed

    def by_unit(self, row: np.ndarray) -> np.ndarray:
        """The mean over each unit's samples."""
        known = ~np.isnan(self.rows[0])
        if self.units is None:
            return row[known]
        _, codes = np.unique(np.array([str(u) for u in self.units])[known], return_inverse=True)
        return np.bincount(codes, row[known]) / np.bincount(codes)

    def equivalence(self, epsilon: float) -> tuple[str, float, Estimate]:
        from scipy.stats import binom

        gap = self.by_unit(self.rows[1]) - self.by_unit(self.rows[0])
        scale = 1e-9 * np.abs(self.rows[:4][~np.isnan(self.rows[:4])]).max(initial=0)
        signs = np.sign(np.where(np.abs(gap) <= scale, 0, gap))
        wide, narrow = (paired(signs / 2, confidence=level, seed=self.seed) for level in (0.95, 0.90))
        far, n = int(max((signs > 0).sum(), (signs < 0).sum()) + (signs == 0).sum() // 2), len(signs)
        at = 0.5 + epsilon
        p = min(1.0, float(binom.sf(far - 1, n, at) + binom.cdf(n - far, n, at))) if n else 1.0
        word = "undecided"
        if narrow.low > -epsilon and narrow.high < epsilon:
            word = "equivalent"
        elif wide.low > epsilon or wide.high < -epsilon:
            word = "differs"
        better = dataclasses.replace(wide, value=0.5 + wide.value, low=0.5 + wide.low, high=0.5 + wide.high)
        return word, max(p, TINY), better

    def independence(self, alpha: float) -> tuple[str, float]:
        without, model = self.by_unit(self.rows[2]), self.by_unit(self.rows[0])
        if min(np.ptp(without), np.ptp(model)) <= 1e-9 * np.abs(model).max(initial=0):
            return "not tested", 1.0
        p = hsic(without, model, seed=self.seed)
        return ("dependent" if p <= alpha else "not shown"), p

    def minimality(self, alpha: float) -> list[CircuitMember]:
        from scipy.stats import binom

        circuit, above, changes = self.rows[1], [], []
        for place, _, run in self.members:
            changes.append(float(np.nanmean(np.abs(self.rows[run] - circuit))))
            others = [np.nanmean(np.abs(self.rows[r] - circuit)) for r in self.parts[place]]
            above.append((sum(other < changes[-1] * (1 - 1e-9) for other in others), len(others)))
        raw = [float(binom.sf(less - 1, m, QUANTILE)) if m else 1.0 for less, m in above]
        return [
            CircuitMember(
                place,
                str(member),
                effect=paired(self.rows[run] - circuit, self.units, seed=self.seed),
                change=change,
                above=less / m if m else math.nan,
                p=max(p, TINY),
                needed=p <= alpha if QUANTILE**m * len(raw) <= alpha else None,
            )
            for (place, member, run), change, (less, m), p in zip(self.members, changes, above, holm(raw), strict=True)
        ]
