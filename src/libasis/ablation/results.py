"""What the ablations return: plain data."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping
from dataclasses import dataclass, field
from typing import ClassVar, get_type_hints

from torch import Tensor

from ..errors import OptionError
from ..intervene import Scores
from ..numerics import Estimate, paired
from ..store import Stored
from ..types import Plain, Vector


class Curve(Mapping[int, float]):
    """Score by the number of features or edges kept (the constant not counted), ascending.

    A mapping: ``curve[12]``, ``dict(curve)``; also ``curve.counts`` and ``curve.scores`` for plotting.
    """

    def __init__(self, points: Mapping[int, float] | None = None) -> None:
        self._points = dict(sorted((points or {}).items()))

    @property
    def counts(self) -> list[int]:
        """The counts measured, ascending."""
        return list(self._points)

    @property
    def scores(self) -> list[float]:
        """The score at each count."""
        return list(self._points.values())

    def __getitem__(self, count: int) -> float:
        return self._points[count]

    def __iter__(self) -> Iterator[int]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def items(self) -> ItemsView[int, float]:
        """Pairs of count and score, ascending."""
        return self._points.items()

    def __repr__(self) -> str:
        return f"Curve({self._points})"


@dataclass(frozen=True, eq=False, repr=False)
class SampleScores:
    """What each sample contributes to the scores of an ablation, for resampling; a sample may have several scores.

    Attributes:
        counts: number of scores of each sample, ``[samples]``.
        base: sum of the unablated model's scores of each sample, ``[samples]``.
        sums: per site or section, by the number kept, the sum of the scores of each sample, ``[samples]``.
    """

    counts: Vector
    base: Vector
    sums: dict[str, dict[int, Vector]]

    @classmethod
    def of(cls, base: Scores, sums: dict[str, dict[int, Vector]]) -> SampleScores:
        """Those of an ablation, beside base scores that were kept by sample."""
        counts, scores = base.by_sample()
        return cls(counts, scores[0], sums)

    def effects(self, place: str) -> dict[int, Estimate]:
        """By the number kept at a site or in a section: the score minus the whole model's, paired by sample.

        The mean over samples of the mean over each one's scores (a sequence's tokens), with its 95% interval.

        Raises:
            OptionError: nothing was ablated there.
        """
        if place not in self.sums:
            raise OptionError(f"Nothing was ablated at {place!r}; these are the places: {list(self.sums)}.")
        return {count: paired((sums - self.base) / self.counts) for count, sums in sorted(self.sums[place].items())}

    def __repr__(self) -> str:
        return f"SampleScores({len(self.counts)} samples, {len(self.sums)} places)"


class _Ablation(Stored):
    """What both ablations have in common."""

    place: ClassVar[str]
    curves: dict[str, Curve]
    base_score: float
    metric: str
    samples: int

    def rows(self) -> list[Plain]:
        """One plain row per site or section: its name and its counts."""
        counts = [name for name, hint in get_type_hints(type(self)).items() if hint in _COUNTS]
        return [{self.place: name, **{key: getattr(self, key)[name] for key in counts}} for name in self.curves]

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({len(self.curves)} {self.place}s; {self.metric} {self.base_score:.6g} of the whole "
            f"model on {self.samples} samples)"
        )


_COUNTS = (dict[str, int], dict[str, int | None])


@dataclass(frozen=True, eq=False, repr=False)
class NodeAblation(_Ablation, kind="node-ablation"):
    """Scores with only the k most important features of one site kept.

    Attributes:
        features_required: per site the features kept at the end of a bisection over the counts measured, whose score
            drops by no more than ``max_drop``; None where not even all of them pass.
        features_required_stable: the smallest count from which every larger count measured also passes; use it for
            claims. None where not even all of them pass.
        curves: per site the score by number of features kept.
        without_constant: the score when the constant is removed too. The constant carries all that does not depend on
            the features, biases included, so nothing is left and the model's output is zero everywhere.
        base_score: the unablated model's score on the same samples.
        metric: the metric's name.
        higher_is_better: whether a larger score is a better one.
        max_drop: the worsening of the score that was allowed.
        samples: number of scores averaged (tokens, for token targets).
        info: schedule, replacement, data, seed, method, versions.
        per_sample: each sample's scores, where asked for.
    """

    place: ClassVar[str] = "site"

    features_required: dict[str, int | None]
    features_required_stable: dict[str, int | None]
    curves: dict[str, Curve]
    without_constant: float
    base_score: float
    metric: str
    higher_is_better: bool
    max_drop: float
    samples: int
    info: Plain = field(default_factory=dict)
    per_sample: SampleScores | None = None

    def rows(self) -> list[Plain]:
        """One plain row per site: its name, and the features needed and measured."""
        return [{**row, "features": self.curves[row["site"]].counts[-1]} for row in super().rows()]


@dataclass(frozen=True, eq=False, repr=False)
class EdgeAblation(_Ablation, kind="edge-ablation"):
    """Scores with only the m strongest edges of one section kept.

    All dictionaries are keyed by the name of the section's input site. The constant's edges are never counted.

    Attributes:
        edges_required: edges kept at the end of the bisection whose score drops by no more than ``max_drop``; None
            where no count passed.
        edges_required_stable: the smallest count from which every larger count measured also passes; use it for
            claims. None where not even all edges pass.
        edges_total: edges to choose from: all that exist, or of a graph measured with ``top_k`` those it keeps.
        curves: the score by number of edges kept, at every count measured.
        masks: the edges kept at ``edges_required``, bool ``[k_out, k_in]``; sparse where the graph's edges are.
        base_score: the unablated model's score on the same samples.
        metric: the metric's name.
        higher_is_better: whether a larger score is a better one.
        max_drop: the worsening of the score that was allowed.
        samples: number of scores averaged (tokens, for token targets).
        info: search, data, seed, method, versions; candidates, where the graph was measured with ``top_k``;
            ranking, where its edges are estimates.
        per_sample: each sample's scores, where asked for.
    """

    place: ClassVar[str] = "section"

    edges_required: dict[str, int | None]
    edges_required_stable: dict[str, int | None]
    edges_total: dict[str, int]
    curves: dict[str, Curve]
    masks: dict[str, Tensor | None]
    base_score: float
    metric: str
    higher_is_better: bool
    max_drop: float
    samples: int
    info: Plain = field(default_factory=dict)
    per_sample: SampleScores | None = None
