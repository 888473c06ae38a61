"""The fit: statistics in one pass, then the backward recursion from the last site to the first."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from typing import Any

from ..errors import OptionError
from ..importance import Choice, Moment, Moments, Span, choose, parse
from ..measure import DEFAULT_MEMORY, Records, measure
from ..numerics import StreamingMoments, Truncation
from ..provenance import versions
from ..types import Matrix, Plain
from .basis import Basis, SiteBasis
from .spans import spans
from .statistics import SiteStatistics
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
    job = Recursion(records, rule, parse(moments, seed), memory)
    sizes = {site.name: len(s.mean) for site, s in zip(records.traced.sites, job.stats, strict=True)}
    confined = {} if within is None else spans(within, sizes)
    sites = job.run(method, rotate_final=rotate_final, confined=confined)
    info = {
        "method": method,
        "rotate_final": rotate_final,
        "truncation": truncation,
        "within": {name: span.shape[1] for name, span in confined.items()} or None,
        "seed": seed,
        **job.facts(),
    }
    return Basis(tuple(sites), method, info)


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
        self.stats = measure(records, SiteStatistics(self.traced), "statistics")
        self.first = records.first()
        self.dtype = self.first.activations[0].dtype

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
        moment = measure(self.records, started, f"importance at {span.name}")
        self._remember(span, moment, passed)
        return moment

    def _remember(self, span: Span, moment: Moment, passed: dict[str, str]) -> None:
        inherited = self.error if span.target == span.source + 1 else 0.0  # by the next site's basis
        self.error = math.hypot(moment.facts.get("relative_error", 0.0), inherited)
        fact = {"site": span.name, "rule": moment.rule, "stderr": moment.stderr, "vectors": moment.n, "not": passed}
        self.rules.insert(0, {**fact, "accumulated_error": self.error or None, **moment.facts})
        why = "".join(f"; not {name}: the section {reason}" for name, reason in passed.items())
        _log.info("importance at %s by rule %s%s", span.name, moment.rule, why)
