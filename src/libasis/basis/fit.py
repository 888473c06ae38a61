"""The fit: statistics in one pass, then the backward recursion from the last site to the first."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch

from ..anatomy import why_not_affine
from ..cut import Record
from ..errors import BatchError, OptionError
from ..importance import Choice, Fisher, FisherSums, Moment, Moments, Span, choose, parse
from ..importance.totals import ShapeTotals
from ..measure import DEFAULT_MEMORY, Records, expect, measure
from ..numerics import StreamingMoments, Truncation, coarse
from ..provenance import versions
from ..types import Matrix, Plain
from .basis import Basis, SiteBasis
from .outliers import outlier, say
from .pulled_rounding import LabelRounding, PulledTwice, SpanRounding
from .rounding import LEAST, Beside, Rounded, Rounding, beside, share
from .spanned import SpannedMoments
from .spans import spans
from .statistics import SiteStatistics
from .uneven import Weighed, Weighing, weighing
from .whiten import NoiseFloor, interaction_basis, own_coordinates, principal_basis, whiten

METHODS = ("lib", "pca", "neuron", "global")
READOUTS = ("next", "output", "fisher")

_log = logging.getLogger("libasis")


def fit_basis(
    records: Records,
    method: str = "lib",
    *,
    rotate_final: bool = False,
    truncation: str = "auto",
    moments: Moments = "auto",
    within: Any = None,
    readout: str | Fisher = "next",
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
) -> Basis:
    """The basis at every site, without any rotation; see `libasis.fit`.

    Raises:
        OptionError: an option is unknown.
        BatchError: the batches are empty or of the wrong structure.
        ActivationError: an activation is not finite or does not vary.
        SiteError: a site is too wide for this machine's memory.
    """
    rule = Truncation.parse(truncation)
    if method not in METHODS:
        raise OptionError(f"method is {method!r}; use one of {list(METHODS)}.")
    if within is not None and method == "neuron":
        raise OptionError('within is given, but method "neuron" takes the coordinates as they are; use another method.')
    told = _readout(readout, method, seed)
    if isinstance(told, Fisher) and moments != "auto":
        raise OptionError(
            f"readout is {readout!r}, which has a rule of its own for importances, but moments is {moments!r}; leave "
            "one of them out."
        )
    one_pass = method not in ("lib", "global")
    expect(1 if one_pass else 2 if isinstance(told, Fisher) else len(records.traced.sites))
    job = Recursion(records, parse(moments, seed), memory)
    confined = {} if within is None else spans(within, {name: len(s.mean) for name, s in job.stats.items()})
    sites = _bases(job, method, rule, confined, rotate_final=rotate_final, readout=told)
    info = {
        "method": method,
        "readout": None if method in ("pca", "neuron") else told if isinstance(told, str) else told.name,
        "rotate_final": rotate_final,
        "truncation": truncation,
        "within": {name: span.shape[1] for name, span in confined.items()} or None,
        "seed": seed,
        **job.facts(),
    }
    if job.outliers:
        _log.warning(say(job.outliers))
    return Basis(tuple(sites), method, info)


def _readout(readout: str | Fisher, method: str, seed: int) -> str | Fisher:
    """What importance is for, of a method: ``"global"`` is LIB for the last site.

    Raises:
        OptionError: there is no such readout, or the method has none.
    """
    if isinstance(readout, str) and readout not in READOUTS:
        raise OptionError(f"readout is {readout!r}; use one of {list(READOUTS)}, or libasis.rules.Fisher(...).")
    if method == "global":
        readout = "output" if readout == "next" else readout
    if readout != "next" and method not in ("lib", "global"):
        raise OptionError(f'readout is given, but method {method!r} looks at nothing downstream; use method="lib".')
    if method == "global" and readout != "output":
        raise OptionError(f'method="global" is readout="output", but readout is {readout!r}; leave one of them out.')
    return Fisher(seed=seed) if readout == "fisher" else readout


def _bases(
    job: Recursion,
    method: str,
    truncation: Truncation,
    confined: Mapping[str, Matrix],
    *,
    rotate_final: bool,
    readout: str | Fisher,
) -> list[SiteBasis]:
    """Of all sites: those of ``lib`` and ``global`` from the last one back."""
    if method in ("neuron", "pca"):
        for name in job.names[:-1]:
            job.look(name, None)
    if method == "neuron":
        return [own_coordinates(name, stats) for name, stats in job.stats.items()]
    floors = job.floors(rotate_final=rotate_final) if truncation.kind == "auto" else {}
    white = {
        name: whiten(name, stats, truncation, job.dtype, confined.get(name), floor=floors.get(name))
        for name, stats in list(job.stats.items())[:-1]
    }
    found = [job.last(truncation if rotate_final else None, floors.get(job.names[-1]))]
    if method == "pca":
        return [*(principal_basis(name, part, job.dtype) for name, part in white.items()), *found]
    moments = roundings = None
    if isinstance(readout, Fisher):
        roundings = job.label_rounding(readout)
        moments = job.of_labels(readout, [part.decode.T for part in white.values()], roundings)
        roundings = roundings or [None] * len(white)
    for l, (name, part) in reversed(list(enumerate(white.items()))):
        target, goal = (l + 1, found[0]) if readout != "output" else (len(white), found[-1])
        if readout == "output" and l + 1 < len(white) and truncation.kind == "auto" and not confined and job.factored:
            target, goal = len(white) - 1, found[-2]  # whose C C' is that of all logits, and which is nearer
        moment = moments[l] if moments else job.pulled(l, target, part.decode.T, goal)
        rounding = roundings[l] if roundings else job.pulled_rounding(l, target, goal)
        job.look(name, moment.value)
        found.insert(0, interaction_basis(name, part, moment, truncation, job.dtype, job.error, rounding))
    return found


class Recursion:
    """Statistics of all sites in one pass, then importances pulled back from site to site, and what was done.

    Attributes:
        names: of the sites.
        stats: mean and covariance by site.
        dtype: what the activations are computed in.

    Raises:
        SiteError: a site is too wide for this machine's memory.
    """

    def __init__(self, records: Records, choice: Choice, memory: int) -> None:
        self.records, self.traced, self.choice, self.memory = records, records.traced, choice, memory
        self.rules: list[Plain] = []
        self.outliers: list[Plain] = []
        self.rounding: Plain = {}
        self.beside: Beside | None = None
        self.part = 0.0  # of the samples, on which rounding is measured
        self.full = False  # whether the last M' was computed in float32 at least
        self.error = 0.0
        self.statistics = SiteStatistics(self.traced)
        found = measure(records, self.statistics, "statistics")
        if isinstance(found[-1], SpannedMoments) and not found[-1].directions.numel():
            self.statistics.seen(self.first)
        self.names = [site.name for site in self.traced.sites]
        self.stats: dict[str, Any] = dict(zip(self.names, found, strict=True))  # the last may be `SpannedMoments`
        if none := [name for name, stats in self.stats.items() if not stats.n]:
            raise BatchError(f"No position counts at site {none[0]!r}; give a mask that leaves some.")

    @cached_property
    def dtype(self) -> torch.dtype:
        """What the activations are computed in."""
        return self.statistics.dtype or self.first.activations[0].dtype  # another process may have read them all

    @cached_property
    def first(self) -> Record:
        """The first batch: what sections are made of is read off it."""
        return self.records.first()

    @cached_property
    def factored(self) -> bool:
        """Whether a wide last site is one affine map of the site before, position by position."""
        a, b = (x.shape[1] for x in self.first.activations[-2:])
        return (
            isinstance(self.stats[self.names[-1]], SpannedMoments)
            and a == b
            and not why_not_affine(self.first.contexts[-1])
        )

    def last(self, truncation: Truncation | None, floor: NoiseFloor | None = None) -> SiteBasis:
        """The basis of the last site: its own coordinates, or with a truncation PCA.

        Of one that is too wide for both, principal directions.
        """
        name, stats = self.names[-1], self.stats[self.names[-1]]
        if isinstance(stats, SpannedMoments):
            return stats.basis(truncation, self.dtype)
        if truncation is None:
            return own_coordinates(name, stats)
        return principal_basis(name, whiten(name, stats, truncation, self.dtype, floor=floor), self.dtype)

    def floors(self, *, rotate_final: bool) -> dict[str, NoiseFloor]:
        """What decides the rank in half precision, where few vectors may outweigh the others: the rounding itself."""
        if not coarse(self.dtype) and not self.traced.coarse:
            return {}
        sites = {l: len(s.mean) for l, s in enumerate(self.stats.values()) if isinstance(s, StreamingMoments)}
        if not rotate_final:
            sites.pop(len(self.names) - 1, None)
        norms = [] if self.statistics.norms is None else self.statistics.norms
        found = {l: weighing(row, self.stats[self.names[l]].n) for l, row in enumerate(norms)}
        rows = {l: row for l, row in found.items() if row}
        moments = {str(l): self.stats[self.names[l]] for l in sites}
        if rows:
            moments |= measure(self.records, Weighed(rows, {l: sites[l] for l in rows}), "usual vectors")
        rounding = self._rounding(rows, sites)
        return {self.names[l]: NoiseFloor(moments[str(l)], rounding.get(str(l))) for l in sites}

    def _rounding(self, weighings: dict[int, Weighing], sites: dict[int, int]) -> dict[str, Rounded]:
        """What half precision adds at each site, where float32 can be run beside it."""
        self.beside, reason = beside(self.records)
        wanted, samples = [(d, self.stats[self.names[l]].n) for l, d in sites.items()], self.records.samples
        for part in [] if reason else sorted({share(wanted, samples), 1.0}):
            found = measure(self.records, seen := Rounding(self.beside, part, weighings, sites), "rounding")
            if found and all(found[str(l)].n >= min(LEAST, n) / 2 for l, (_, n) in zip(sites, wanted, strict=True)):
                self.rounding, self.part = {"measured on samples": seen.samples}, part
                return found
        self.rounding = {"not measured": reason or "float32 fails on a batch"}
        return {}

    def pulled_rounding(self, source: int, target: int, readout: SiteBasis) -> PulledTwice | None:
        """M' of a span beside that in float32, where it was measured of the activations."""
        if not self.part:
            return None
        span = Span.of(self.first, self.traced, source, target, self.records.positions[target])
        seen = SpanRounding(self.beside, self.part, span, readout.C, full=self.full)
        found = measure(self.records, seen, "rounding of derivatives")
        return None if found is None else found[0]

    def label_rounding(self, readout: Fisher) -> list[PulledTwice] | None:
        """The same of all sites but the last for the model's own labels."""
        if not self.part:
            return None
        widths = [site.features for site in self.traced.sites[:-1]]
        seen = LabelRounding(self.beside, self.part, readout, widths, self.memory)
        return measure(self.records, seen, "rounding of derivatives")

    def look(self, name: str, pulled: Matrix | None) -> None:
        """Whether few positions carry what varies at a site; ``pulled`` is M' there."""
        norms, stats = self.statistics.norms, self.stats[name]
        assert norms is not None  # noqa: S101 - data without a batch are refused
        sums = norms[self.names.index(name)]
        if isinstance(stats, StreamingMoments) and (row := outlier(name, sums, self.statistics.samples, stats, pulled)):
            self.outliers.insert(0, row)

    def facts(self) -> Plain:
        """How the moments were computed, from which data."""
        return {
            "rules": self.rules,
            **({"outliers": self.outliers} if self.outliers else {}),
            "activations": self.records.how,
            "vectors": {name: stats.n for name, stats in self.stats.items()},
            "data": self.records.facts(),
            **({"rounding": self.rounding} if self.rounding else {}),
            "compute_dtype": str(self.dtype).removeprefix("torch."),
            "accumulation_dtype": "float64",
            "traced": self.traced.facts(),
            "versions": versions(),
        }

    def pulled(self, source: int, target: int, weigh: Matrix, readout: SiteBasis) -> Moment:
        """M' of a span of sections by the rule that fits; ``weigh`` are the directions whose error counts."""
        span = Span.of(self.first, self.traced, source, target, self.records.positions[target])
        rule, passed = choose(self.choice, span, readout.k)
        started = rule.start(span, readout.C, self.memory, weigh)
        self.full = isinstance(started, ShapeTotals)
        moment = measure(self.records, started, f"importance at {span.name}")
        self._remember(span, moment, passed)
        return moment

    def of_labels(
        self, readout: Fisher, weigh: list[Matrix], roundings: list[PulledTwice] | None = None
    ) -> list[Moment]:
        """M' of all sites but the last for the model's own labels, in one pass."""
        real = None if roundings is None else lambda l, pulled: roundings[l].real(pulled)
        eps = max(torch.finfo(dtype).eps for dtype in (self.dtype, torch.bfloat16)[: 1 + self.traced.coarse])
        found = measure(self.records, FisherSums(readout, weigh, self.memory, eps, real), "importance")
        for name, moment in zip(self.names, found, strict=False):
            fact = {"site": name, "rule": moment.rule, "stderr": moment.stderr, "vectors": moment.n, "not": {}}
            self.rules.append({**fact, "accumulated_error": moment.facts["relative_error"] or None, **moment.facts})
        return found

    def _remember(self, span: Span, moment: Moment, passed: dict[str, str]) -> None:
        inherited = self.error if span.target == span.source + 1 else 0.0  # by the next site's basis
        self.error = math.hypot(moment.facts.get("relative_error", 0.0), inherited)
        fact = {"site": span.name, "rule": moment.rule, "stderr": moment.stderr, "vectors": moment.n, "not": passed}
        self.rules.insert(0, {**fact, "accumulated_error": self.error or None, **moment.facts})
        why = "".join(f"; not {name}: the section {reason}" for name, reason in passed.items())
        _log.info("importance at %s by rule %s%s", span.name, moment.rule, why)
