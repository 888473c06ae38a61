"""The fit: statistics in one pass, then the backward recursion from the last site to the first."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from typing import Any

import torch

from ..cut import Record, Traced
from ..errors import OptionError, SiteError
from ..importance import Choice, Moment, Moments, Sketch, Span, choose
from ..measure import DEFAULT_MEMORY, Accumulator, Records, measure
from ..numerics import StreamingMoments, Truncation
from ..provenance import versions
from ..types import Matrix, Plain
from .basis import Basis, SiteBasis
from .spans import spans
from .whiten import Whitening, interaction_basis, own_coordinates, principal_basis, whiten

METHODS = ("lib", "pca", "neuron", "global")

_log = logging.getLogger("libasis")


def fit_basis(
    records: Records,
    method: str = "lib",
    *,
    rotate_final: bool = False,
    truncation: str = "auto",
    moments: Moments = "auto",
    within: Any = None,
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
    job = Recursion(records, rule, Choice.parse(moments, seed), memory)
    sizes = {site.name: len(s.mean) for site, s in zip(records.traced.sites, job.stats, strict=True)}
    confined = {} if within is None else spans(within, sizes)
    sites = job.run(method, rotate_final=rotate_final, confined=confined)
    info = {
        "method": method,
        "rotate_final": rotate_final,
        "truncation": truncation,
        "within": {name: span.shape[1] for name, span in confined.items()} or None,
        **job.facts(),
    }
    return Basis(tuple(sites), method, info)


def _check_widths(traced: Traced) -> None:
    """Each site takes three matrices of its width: its covariance, C and its pseudo-inverse.

    Raises:
        SiteError: they need more memory than the machine has.
    """
    has = physical_memory()
    needs = [(24 * site.features**2, site) for site in traced.sites]
    if has is None or sum(need for need, _ in needs) <= has:
        return
    need, widest = max(needs, key=lambda pair: pair[0])
    raise SiteError(
        f"Site {widest.name!r} has {widest.features} features, whose covariance and basis take {need / 2**30:.0f} GiB, "
        f"but this machine has {has / 2**30:.0f} GiB of memory; take a narrower site, such as the input of the layer "
        "before logits."
    )


def physical_memory() -> int | None:
    """Bytes of memory of this machine, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


class SiteStatistics(Accumulator[list[StreamingMoments]]):
    """Mean and covariance of every site.

    Attributes:
        moments: one for each site.
        dtype: what the activations are computed in.
    """

    sums = ("moments",)

    def __init__(self, traced: Traced) -> None:
        self.traced = traced
        self.moments: list[StreamingMoments] = []
        self.dtype = torch.float32

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        if not self.moments:
            _check_widths(self.traced)
            self.moments = [StreamingMoments(x.shape[-1], x.device) for x in record.activations]
            self.dtype = record.activations[0].dtype
        for i, moments in enumerate(self.moments):
            moments.update(record.vectors(i))

    def finish(self) -> list[StreamingMoments]:
        """The moments."""
        return self.moments


class Recursion:
    """Statistics in one pass, then the sites from the last one back.

    Raises:
        SiteError: a site is too wide for this machine's memory.
    """

    def __init__(self, records: Records, truncation: Truncation, choice: Choice, memory: int) -> None:
        self.records = records
        self.traced = records.traced
        self.truncation = truncation
        self.choice = choice
        self.memory = memory
        self.rules: list[Plain] = []
        self.error = 0.0
        statistics = SiteStatistics(self.traced)
        self.stats, self.dtype = measure(records, statistics, "statistics"), statistics.dtype
        self.first = records.first()

    def run(self, method: str, *, rotate_final: bool, confined: Mapping[str, Matrix]) -> list[SiteBasis]:
        """The bases of all sites."""
        stats = self.stats
        names = [site.name for site in self.traced.sites]
        if method == "neuron":
            return [own_coordinates(name, s) for name, s in zip(names, stats, strict=True)]
        last = self._last(names[-1], stats[-1], rotate_final)
        white = [
            whiten(name, s, self.truncation, self.dtype, confined.get(name))
            for name, s in zip(names[:-1], stats[:-1], strict=True)
        ]
        if method == "pca":
            return [*(principal_basis(n, w) for n, w in zip(names, white, strict=False)), last]
        found = [last]
        for l in reversed(range(len(white))):
            target = len(names) - 1 if method == "global" else l + 1
            found.insert(0, self._site(l, target, white[l], last if method == "global" else found[0]))
        return found

    def _last(self, name: str, stats: StreamingMoments, rotate_final: bool) -> SiteBasis:
        if not rotate_final:
            return own_coordinates(name, stats)
        return principal_basis(name, whiten(name, stats, self.truncation, self.dtype))

    def _site(self, source: int, target: int, white: Whitening, readout: SiteBasis) -> SiteBasis:
        moment = self.pulled(source, target, white.decode.T, readout)
        name = self.traced.sites[source].name
        return interaction_basis(name, white, moment, self.truncation, self.dtype)

    def facts(self) -> Plain:
        """How the moments were computed, from which data."""
        return {
            "rules": self.rules,
            "activations": self.records.how,
            "vectors": {site.name: s.n for site, s in zip(self.traced.sites, self.stats, strict=True)},
            "data": self.records.facts(),
            "seed": self.choice.seed,
            "compute_dtype": str(self.dtype).removeprefix("torch."),
            "accumulation_dtype": "float64",
            "traced": self.traced.facts(),
            "versions": versions(),
        }

    def pulled(self, source: int, target: int, weigh: Matrix, readout: SiteBasis) -> Moment:
        """M' of a span of sections by the rule that fits; ``weigh`` are the directions whose error counts."""
        span = Span.of(self.first, self.traced, source, target)
        passes = readout.C.shape[1] * self.first.activations[target].shape[1]
        rule, passed = choose(span, self.choice.moments, Sketch(weigh, self.choice.seed), passes)
        moment = rule.second_moment(span, self.records, readout.C, memory=self.memory, progress=None)
        self._remember(span, moment, passed)
        return moment

    def _remember(self, span: Span, moment: Moment, passed: dict[str, str]) -> None:
        inherited = self.error if span.target == span.source + 1 else 0.0  # by the next site's basis
        self.error = math.hypot(moment.facts.get("relative_error", 0.0), inherited)
        fact = {"site": span.name, "rule": moment.rule, "stderr": moment.stderr, "vectors": moment.n, "not": passed}
        self.rules.insert(0, {**fact, "accumulated_error": self.error or None, **moment.facts})
        why = "".join(f"; not {name}: the section {reason}" for name, reason in passed.items())
        _log.info("importance at %s by rule %s%s", span.name, moment.rule, why)
