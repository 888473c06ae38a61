"""Edge ablation: run one section with only its strongest interactions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import check_fits
from ..cut import Record, Traced
from ..errors import ON_TRACE, OptionError, renamed, short
from ..graphs import InteractionGraph
from ..intervene import Allowance, Metric, MetricSpec, Scores, parse_metric
from ..measure import Records, measure, shares
from ..provenance import versions
from ..types import Plain, Vector
from .masked_section import MaskedSection
from .ranking import Ranking, sizes
from .results import Curve, EdgeAblation, SampleScores
from .schedules import bisect_ablated, bisect_kept, check_counts, geometric, stable_count


@renamed(**ON_TRACE, seed="nothing there is random")
@typed
@neutral
def ablate_edges(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    graph: InteractionGraph,
    batches: Iterable[Any],
    metric: MetricSpec = "accuracy",
    *,
    max_drop: float = 0.001,
    sections: Sequence[str] | None = None,
    search: str | Sequence[int] = "bisect",
    stable: bool = True,
    progress: bool | None = None,
    memory: int | str = "auto",
    per_sample: bool = False,
) -> EdgeAblation:
    """How many interactions of each section are needed to keep the score.

    With the m strongest edges kept, each output feature is computed by running the section on an input in which only
    the input features joined to it are present (the others at their mean; directions that the basis dropped too); the
    rest of the model runs on. Positions that don't count stay as they are, at both ends of the section. The constant's
    edges are always kept and never counted. The score is not monotone in m, so two numbers are given:
    ``edges_required`` (the published bisection) and ``edges_required_stable``. Of a graph measured with ``top_k`` only
    the edges it keeps are ranked: no other edge is ever a candidate, and ``info["candidates"]`` says which share of
    each section's strength the candidates have.

    Args:
        traced: from `trace` or `Chain`.
        graph: whose edges to ablate.
        batches: pairs (inputs, targets), best not those of the fit.
        metric: ``"accuracy"``, ``"cross_entropy"``, ``"mse"``, ``"kl"``, ``"output_mse"`` or a function
            ``(outputs, targets) -> scores [batch]``. Of the first five, positions that the mask leaves out never count.
        max_drop: the worsening of the score that is allowed.
        sections: names of input sites of the sections to ablate; all by default.
        search: ``"bisect"``: the number of ablated edges between 0 and (d_in + 1)(d_out + 1), as published;
            ``"bisect-kept"``: the number kept between 0 and all edges; or a list of counts: bisected among these, for
            sections where each count is dear and one edge more or less says nothing. Counts above what a section has
            are told in the log, and all its edges are kept instead.
        stable: also find the stable count, on a grid of at least 64 counts refined around the edge; of a list, among
            its counts.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for each of three: what one batch's products may hold, the activations kept between
            passes, and what is prepared of them (of batches that do not fit it is prepared again in each pass);
            ``"auto"`` as in `fit`.
        per_sample: also give each sample's scores, to resample them; they need 8 bytes per sample and count. More
            counts are then measured below the stable one, where those of a resample may end (but for a list).

    Raises:
        OptionError: an option is unknown, or the list has more edges than any of the sections can have.
        BatchError: the batches are empty or have no targets where the metric needs them.
    """
    asked = search if isinstance(search, str) else sorted(set(search))
    if asked not in ("bisect", "bisect-kept") and (isinstance(asked, str) or not asked or asked[0] < 0):
        raise OptionError(f'search is {short(search)}; use "bisect", "bisect-kept" or a list of counts from 0.')
    scored = parse_metric(metric)
    allowance = Allowance(max_drop, scored.higher_is_better)
    names = list(graph.sites[:-1])
    unknown = [s for s in sections or [] if s not in names]
    if unknown:
        raise OptionError(f"sections names {unknown}, but the sections start at {names}.")
    if not isinstance(asked, str):
        there = {name: size for name, size in sizes(graph).items() if sections is None or name in sections}
        check_counts("search", asked, there, "edges")
    model = check_fits(traced, graph.basis)
    kept, memory = shares(memory, traced)
    records = Records.of(traced, batches, kept, progress=progress)
    base = measure(records, Scores(scored, lambda record: [record.output], per_sample=per_sample), "base score")
    searches: dict[str, _SectionSearch] = {}
    required: dict[str, int | None] = {}
    stable_counts: dict[str, int | None] = {}
    for l, name in enumerate(names):
        if sections is None or name in sections:
            found = _SectionSearch(records, graph, l, scored, base.means[0], allowance, memory, per_sample=per_sample)
            searches[name] = found
            required[name] = found.required(asked)
            stable_counts[name] = found.stable(asked) if stable else None
            found.section.close()
    info = {
        "basis": graph.basis.method,
        "search": asked,
        "candidates": _candidates(graph),
        **({"ranking": _ranking(graph, required)} if graph.stderr else {}),
        "data": records.facts(),
        "stands_on": {"basis": graph.basis.digest(), "graph": graph.digest()},
        "traced": model,
        "versions": versions(),
    }
    return EdgeAblation(
        edges_required=required,
        edges_required_stable=stable_counts,
        edges_total={name: s.total for name, s in searches.items()},
        curves={name: Curve(s.scores) for name, s in searches.items()},
        masks={name: s.ranking.mask(required[name] or 0) for name, s in searches.items()},
        base_score=base.means[0],
        metric=scored.name,
        higher_is_better=scored.higher_is_better,
        max_drop=max_drop,
        samples=base.count,
        info=info,
        per_sample=SampleScores.of(base, {name: s.sums for name, s in searches.items()}) if per_sample else None,
    )


def _ranking(graph: InteractionGraph, required: dict[str, int | None]) -> Plain:
    """What the errors of estimated edges do to the ranking: how many of those required are expected to be right."""
    sure = {name: graph.sure(graph.sites.index(name), count or 0) for name, count in required.items()}
    note = "expected share of the edges required that would be among as many strongest without errors of the estimate"
    return {"right": sure, "note": note}


def _candidates(graph: InteractionGraph) -> Plain | None:
    """What a graph measured with ``top_k`` offers to keep; None for all edges."""
    kept = graph.info.get("top_k")
    if not kept:
        return None
    shares = dict(zip(graph.sites[:-1], kept["kept_share"], strict=True))
    note = "edges beyond top_k were never candidates; kept_share is what the candidates are of a section's strength"
    return {"top_k": kept["k"], "kept_share": shares, "note": note}


class _SectionSearch:
    """The search in one section; remembers every score it measured."""

    def __init__(
        self,
        records: Records,
        graph: InteractionGraph,
        l: int,
        metric: Metric,
        base: float,
        allowance: Allowance,
        memory: int,
        *,
        per_sample: bool,
    ) -> None:
        self.records = records
        self.l = l
        self.source, self.target = graph.basis.sites[l], graph.basis.sites[l + 1]
        self.metric = metric
        self.base = base
        self.allowance = allowance
        self.memory = memory
        self.ranking = Ranking(graph.edges[l])
        self.total = self.ranking.total
        self.scores: dict[int, float] = {}
        self.per_sample = per_sample
        self.sums: dict[int, Vector] = {}
        self.section = MaskedSection(l, self.source, self.target, self.ranking, memory)

    def passed(self, count: int) -> bool:
        return bool(self.allowance.passes(self.base, self.scores[count]))

    def passes(self, count: int) -> bool:
        count = min(count, self.total)
        self.measure([count])
        return self.passed(count)

    def required(self, search: str | Sequence[int]) -> int | None:
        if not isinstance(search, str):
            place = bisect_kept(lambda i: self.passes(search[i]), len(search) - 1)
            return None if place is None else min(search[place], self.total)
        if search == "bisect-kept":
            return bisect_kept(self.passes, self.total)
        found = min(bisect_ablated(self.passes, (self.source.d + 1) * (self.target.d + 1)), self.total)
        self.measure([found])
        return found if self.passed(found) else None

    def stable(self, search: str | Sequence[int]) -> int | None:
        if not isinstance(search, str):
            counts = {min(count, self.total) for count in search}
            self.measure([count for count in counts if count > self._failed()])
            return min((count for count in counts if count > self._failed()), default=None)
        found = stable_count(self.measure, self.passed, lambda: sorted(self.scores), self.total)
        if self.per_sample and found:
            self.measure(geometric(max(1, found // 2), found, points=24))
        return found

    def _failed(self) -> int:
        return max((count for count in self.scores if not self.passed(count)), default=-1)

    def measure(self, counts: Iterable[int]) -> None:
        """Score some counts in one pass over the data; neighbouring counts share the output features not changed."""
        new = sorted(set(counts) - set(self.scores))
        if not new:
            return
        if self.records.count:  # shared among processes, or gone on with: a pass does not depend on those before
            self.section.afresh()

        def outputs(record: Record) -> Iterator[Tensor]:
            for y in self.section.run(record, new, lasting=self.records.lasting):
                yield record.rest(self.l + 1, y)

        scores = Scores(self.metric, outputs, len(new), per_sample=self.per_sample)
        label = f"edges at {self.source.name}, {len(new)} counts"
        self.scores.update(zip(new, measure(self.records, scores, label).means, strict=True))
        if self.per_sample:
            self.sums.update(zip(new, scores.by_sample()[1], strict=True))
