"""`counterfactual`: the smallest change of few features that makes the model decide otherwise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import SiteBasis
from ..cut import Record, Traced
from ..errors import BatchError, OptionError, short
from ..measure import Accumulator, Records, measure, shares
from ..numerics.means import Mean, Range
from ..types import Plain, Vector
from ..verify import outputs_of
from .decision import Decision
from .group import Inquiry, Samples, Show, Shown
from .points import Points
from .results import Counterfactuals
from .search import Flipping, Reach
from .target import Output, Target


@typed
@neutral
def counterfactual(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis_or_graph: Any,
    batches: Iterable[Any],
    site: str,
    output: Output = None,
    *,
    samples: Samples = None,
    threshold: float = 0.0,
    to: int | None = None,
    features: Sequence[int] | None = None,
    most: int = 4,
    observed: Iterable[Any] | None = None,
    position: int | None = None,
    show: Show | None = None,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> Counterfactuals:
    """The smallest change of few features of a site that makes the model decide otherwise.

    Fewer features come first: one alone, then two together, up to ``most``; of equally many the smallest change counts,
    in standard deviations (the root of the sum of squares). A feature is moved by the same amount at all positions
    that count, and nowhere beyond the range that was observed, in which a value is held where it would leave it. One
    feature is tried in 24 steps over its range on both sides, of more than 64 features those that promise most by their
    derivatives. Several are found by derivatives, so what is found is a small change, not proved to be the smallest;
    each is checked by running the model, and moved as near to where it flips as six rounds of narrowing bring it.
    "None found within the range" is an answer: ``after`` is None.

    Args:
        traced: from `trace` or `Chain`.
        basis_or_graph: whose features.
        batches: a re-iterable of inputs or of pairs (inputs, targets).
        site: where features are changed.
        output: what decides. None: the largest output, or of a single output its side of the threshold. Else the side
            of the threshold of an output, a metric or function, or a later feature, as in `contributions`.
        samples: numbers of samples in the data, one or several; None for all.
        threshold: see ``output``.
        to: the class that is to win; None for any other.
        features: numbers of features that may change; None for all.
        most: of them so many together.
        observed: batches whose ranges and standard deviations count; None for ``batches``.
        position: of the output that decides, as in `contributions`.
        show: how samples are shown, see `Show`.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for activations kept between passes;
            ``"auto"`` as in `fit`.

    Raises:
        OptionError: an option is not allowed.
        BatchError: the batches are empty or one-shot, or nothing varies in what was observed.
    """
    group = Inquiry.of(traced, basis_or_graph, batches, samples, memory=memory, progress=progress)
    memory = shares(memory, traced)[1]
    place = group.site(site)
    target = Target.of(output, group.basis, position, place)
    if not math.isfinite(threshold):
        raise OptionError(f"threshold is {threshold!r}; give a finite number.")
    if most < 1:
        raise OptionError(f"most is {most}; give the number of features that may change together, 1 or more.")
    data = group.records if observed is None else Records.of(traced, observed, 1, progress=progress)
    reach = measure(data, _Observed(group.basis[place], place, features), "ranges")
    shown, found, words = Shown(show or Show()), [], target.words
    with torch.no_grad():
        for record, rows in group.batches("counterfactuals"):
            shown.add(record, rows)
            decision = Decision.of(record, place, target, threshold, to)
            points = Points(record, place, target, decision.before, memory)
            if not decision.classes:
                count = outputs_of(record.output).shape[-1] if target.metric is None and target.site is None else 0
                name = target.told(count, shown.output) if count else target.words
                words = f"{name} above {threshold:g}"
            for row in rows.tolist():
                found.append(_of_sample(Flipping(points, row, reach, decision), most, shown))
    labels = {i: group.labels[key] for i in range(group.basis[place].k) if (key := f"{site}:{i}") in group.labels}
    found.sort(key=lambda one: one["sample"])
    info = {**group.facts(), "observed": data.facts(), "threshold": threshold}
    return Counterfactuals(site, words, found, most, labels, shown.plain(), info)


def _of_sample(search: Flipping, most: int, shown: Shown) -> Plain:
    """What was found of one sample; what flips is run once more, as it will be told."""
    record, row, decision = search.points.record, search.row, search.decision
    before = int(decision.before[row])
    margin = (
        float(search.margins(torch.zeros(1, len(search.reach.low), dtype=torch.float64))) if not search.empty else 0
    )
    already = margin > 0  # the class wanted
    change = None if already else search.run(most)
    numbers = None if change is None else _numbers(search, change)
    name = _namer(decision, shown, outputs_of(record.output).shape[-1])
    out: Plain = {"sample": int(record.numbers[row]), "before": name(before), "after": None, "margin": -margin}
    out |= {"distance": None, "changes": []}
    if already:
        return {**out, "after": name(before), "distance": 0.0}
    if change is None or numbers is None:
        return out
    after = int(decision.decided(numbers)[0])
    own = search.z[search.counted.to(search.z.device)].mean(0).cpu()
    reach = search.reach
    changes = [
        {
            "feature": i,
            "from": float(own[i]),
            "to": float(own[i] + change[i]),
            "sd": float(change[i] / reach.deviation[i]),
            "low": float(reach.low[i]),
            "high": float(reach.high[i]),
        }
        for i in torch.sort((change / reach.deviation).abs().nan_to_num(), descending=True).indices.tolist()
        if change[i] != 0
    ]
    inputs = _inputs(search, change, shown)
    return {
        **out,
        "after": name(after),
        "distance": search.distance(change),
        "changes": changes,
        **({"inputs": inputs} if inputs else {}),
    }


def _numbers(search: Flipping, change: Vector) -> Tensor:
    decision, site = search.decision, search.points.site
    rows = torch.tensor([search.row])
    return search.points.outputs(rows, search.at(change[None]), lambda r, x, _: decision.numbers(r, site, x))


def _namer(decision: Decision, shown: Shown, count: int) -> Callable[[int], str]:
    """The name of a class or side."""
    if not decision.classes:
        return lambda side: ("at most " if not side else "above ") + f"{decision.threshold:g}"
    return lambda number: shown.output(number, count)


def _inputs(search: Flipping, change: Vector, shown: Shown) -> list[Plain] | None:
    """The columns of the sample before and after, where the site holds a table's inputs."""
    contents, record = shown.contents, search.points.record
    if contents is None or contents.columns is None:
        return None
    given = contents.of(record.batch)[search.row].detach().flatten().to(search.x)
    if given.shape != search.x.flatten().shape or not torch.equal(given, search.x.flatten()):
        return None
    pair = torch.stack([given, search.at(change[None])[0].flatten()]).double().cpu()
    if scale := shown.show.scale(pair.shape[1]):
        pair = pair * scale[1] + scale[0]
    moved = (pair[1] - pair[0]).abs()
    return [
        {"column": contents.columns[i], "from": float(pair[0, i]), "to": float(pair[1, i])}
        for i in torch.nonzero(moved > 1e-9 * pair.abs().amax(0))[:, 0].tolist()
    ]


class _Observed(Accumulator[Reach]):
    """Range and standard deviation of each feature over the positions that count."""

    sums = ("range", "mean")

    def __init__(self, site: SiteBasis, index: int, features: Sequence[int] | None) -> None:
        self.site, self.index = site, index
        self.range, self.mean = Range(), Mean()
        self.allowed = torch.ones(site.k, dtype=torch.bool)
        if features is not None:
            chosen = [int(i) for i in features]
            if not chosen or min(chosen) < 0 or max(chosen) >= site.k:
                raise OptionError(
                    f"features is {short(chosen)}; give numbers of features of {site.name!r}, from 0 to {site.k - 1}."
                )
            self.allowed[:] = False
            self.allowed[chosen] = True

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        z = self.site.encode(record.vectors(self.index).double().cpu())
        self.range.add(z)
        self.mean.add(z)

    def finish(self) -> Reach:
        """See `Accumulator`.

        Raises:
            BatchError: no feature varies.
        """
        if self.mean.n < 2 or not bool((self.range.high > self.range.low)[self.allowed].any()):
            raise BatchError(
                f"No feature of {self.site.name!r} varies over the {self.mean.n} positions observed; give more samples "
                "as observed."
            )
        return Reach(self.site, self.mean.deviation(), self.range.low, self.range.high, self.allowed)
