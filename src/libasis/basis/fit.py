"""The fit: statistics in one pass, then the backward recursion from the last site to the first."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ..cut import Mask, Records, Traced, prepare
from ..cut.batches import describe
from ..errors import OptionError, SiteError
from ..importance import Moment, Sketch, Span, choose
from ..numerics import StreamingMoments, Truncation
from ..provenance import versions
from ..types import Matrix, Plain
from .basis import Basis, SiteBasis
from .spans import spans
from .whiten import Whitening, interaction_basis, own_coordinates, principal_basis, whiten

METHODS = ("lib", "pca", "neuron", "global")
DEFAULT_MEMORY = 2**30

_log = logging.getLogger("libasis")


def fit(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    batches: Iterable[Any],
    method: str = "lib",
    *,
    sparse: bool = False,
    rotate_final: bool = False,
    truncation: str = "auto",
    moments: str = "auto",
    dtype: torch.dtype | str | None = None,
    device: torch.device | str | None = None,
    mask: Mask | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int = DEFAULT_MEMORY,
    spill: str | Path | None = None,
    relative_error: float = 0.01,
    within: Any = None,
) -> Basis:
    r"""Fit a basis at every site.

    LIB, from the last site back (Bushnaq et al. 2024, arXiv 2405.10928): with the covariance
    :math:`G = U g U^T` of site l and the next site's :math:`C'`,
    :math:`M' = \frac1n \sum_{samples}\sum_{t,s} J_{ts}^T C'C'^T J_{ts}`,
    :math:`g^{1/2} U^T M' U g^{1/2} = V \Lambda V^T`, :math:`C = U g^{-1/2} V \Lambda^{1/2}`. At the last site C is
    the identity, or PCA with ``rotate_final``.

    Args:
        traced: from `trace` or `Chain`.
        batches: a re-iterable of inputs or of pairs (inputs, targets); only ``sparse`` looks at targets, where they are
            classes.
        method: ``"lib"``; ``"pca"`` (C = U); ``"neuron"`` (identity); ``"global"`` (LIB with the Jacobian to the last
            site in place of the next).
        sparse: rotate the LIB features of every site but the last so that fewer interactions carry their strength
            (`libasis.sparse`): same span, still uncorrelated, the importances' sum kept. The result's method is
            ``"sparse"``, ``basis.info["sparse"]`` has what was chosen and how it did on samples held out.
        rotate_final: PCA at the last site (``lib``, ``pca`` and ``global``).
        truncation: ``"auto"`` drops what rounding alone could have made; ``"relative:1e-10"`` or ``"absolute:1e-6"``.
        moments: rule for M': ``"auto"`` takes a closed form where the section has one, otherwise the exact rule if it
            is cheap, otherwise the sketch; ``"closed_form"`` insists on one; ``"exact"`` takes one backward pass per
            output feature and position; ``"sketch"`` estimates from random probes. ``"probes"`` is ``"auto"``, but
            takes the two dear terms of attention with rotary embedding by random probes where these cost less than the
            exact terms; ``"auto"`` does so only where they are very dear (long sequences, many heads).
        dtype: compute in this dtype instead of the model's own; accumulation is always float64.
        device: compute on this device.
        mask: which positions count, instead of the traced model's own mask.
        seed: of the random probes.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold, and for the activations kept between passes
            (where they need more, they go to ``spill``, or the model runs again for each section).
        spill: a folder for activations that do not fit into memory; they are removed when the fit is over.
        relative_error: where random probes are enough: at this standard error, relative, of each of the leading
            importances that together make 99% of their sum, given the next site's basis. ``basis.info["rules"]`` has
            the error reached, and as ``accumulated_error`` that with the errors of all later sections in quadrature.
        within: a mapping from sites to directions ``[d, k]``, such as a dictionary's decoder, or a `Basis` of them: at
            these sites only the part of the activation in their span is explained, and what is outside it counts as
            dropped. It depends on the span alone. Not for ``"neuron"``, and not at the last site.

    Returns:
        The basis. The result does not depend on how the data are split into batches, up to rounding.

    Raises:
        OptionError: an option is unknown.
        BatchError: the batches are empty, one-shot or of the wrong structure.
        ActivationError: an activation is not finite or does not vary.
        SiteError: a site is too wide for this machine's memory.
    """
    if method not in METHODS:
        raise OptionError(f"method is {method!r}; use one of {list(METHODS)}.")
    if sparse and method != "lib":
        raise OptionError(f'sparse=True rotates the features of method="lib", but method is {method!r}; leave one out.')
    rule = Truncation.parse(truncation)
    sketch = Sketch(seed=seed, relative_error=relative_error)
    if within is not None and method == "neuron":
        raise OptionError('within is given, but method "neuron" takes the coordinates as they are; use another method.')
    traced = prepare(traced, dtype=dtype, device=device, mask=mask)
    with Records.of(traced, batches, memory, spill) as records:
        stats, computed_in = site_moments(records, progress=progress)
        sizes = {site.name: len(s.mean) for site, s in zip(traced.sites, stats, strict=True)}
        confined = {} if within is None else spans(within, sizes)
        job = Recursion(records, rule, moments, sketch, computed_in, progress, memory)
        sites = job.run(method, stats, rotate_final=rotate_final, confined=confined)
        info = {
            "method": method,
            "rotate_final": rotate_final,
            "truncation": truncation,
            "within": {name: span.shape[1] for name, span in confined.items()} or None,
            **job.facts(stats),
        }
        basis = Basis(tuple(sites), method, info)
        if not sparse:
            return basis
        from ..sparse import sparsify  # a later stage: it ablates

        return sparsify(records, basis, seed=seed, memory=memory, progress=progress)


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


def site_moments(records: Records, *, progress: bool | None = None) -> tuple[list[StreamingMoments], torch.dtype]:
    """Mean and covariance of every site in one pass, and the dtype the activations were computed in.

    Raises:
        SiteError: a site is too wide for this machine's memory.
    """
    _check_widths(records.traced)
    stats: list[StreamingMoments] = []
    computed_in = torch.float32
    for record in records.stream(progress=progress, label="statistics"):
        if not stats:
            stats = [StreamingMoments(x.shape[-1], x.device) for x in record.activations]
            computed_in = record.activations[0].dtype
        for i, moments in enumerate(stats):
            moments.update(record.vectors(i))
    return stats, computed_in


class Recursion:
    """One run of the recursion."""

    def __init__(
        self,
        records: Records,
        truncation: Truncation,
        moments: str,
        sketch: Sketch,
        dtype: torch.dtype,
        progress: bool | None,
        memory: int,
    ) -> None:
        self.records = records
        self.traced = records.traced
        self.truncation = truncation
        self.moments = moments
        self.sketch = sketch
        self.dtype = dtype
        self.progress = progress
        self.memory = memory
        self.rules: list[Plain] = []
        self.error = 0.0
        self.first = next(records.stream(progress=False))

    def run(
        self, method: str, stats: list[StreamingMoments], *, rotate_final: bool, confined: Mapping[str, Matrix]
    ) -> list[SiteBasis]:
        """The bases of all sites."""
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
        moment = self.pulled(source, target, white.U * white.g.sqrt(), readout)
        name = self.traced.sites[source].name
        return interaction_basis(name, white, moment, self.truncation, self.dtype)

    def facts(self, stats: list[StreamingMoments]) -> Plain:
        """How the moments were computed, from which data."""
        return {
            "rules": self.rules,
            "activations": self.records.how,
            "vectors": {site.name: s.n for site, s in zip(self.traced.sites, stats, strict=True)},
            "data": describe(self.records.batches),
            "seed": self.sketch.seed,
            "compute_dtype": str(self.dtype).removeprefix("torch."),
            "accumulation_dtype": "float64",
            "traced": self.traced.facts(),
            "versions": versions(),
        }

    def pulled(self, source: int, target: int, weigh: Matrix, readout: SiteBasis) -> Moment:
        """M' of a span of sections by the rule that fits; ``weigh`` are the directions whose error counts."""
        span = Span.of(self.first, self.traced, source, target)
        sketch = replace(self.sketch, weigh=weigh)
        passes = readout.C.shape[1] * self.first.activations[target].shape[1]
        rule, passed = choose(span, self.moments, sketch, passes)
        moment = rule.second_moment(span, self.records, readout.C, memory=self.memory, progress=self.progress)
        self._remember(span, moment, passed)
        return moment

    def _remember(self, span: Span, moment: Moment, passed: dict[str, str]) -> None:
        inherited = self.error if span.target == span.source + 1 else 0.0  # by the next site's basis
        self.error = math.hypot(moment.facts.get("relative_error", 0.0), inherited)
        fact = {"site": span.name, "rule": moment.rule, "stderr": moment.stderr, "vectors": moment.n, "not": passed}
        self.rules.insert(0, {**fact, "accumulated_error": self.error or None, **moment.facts})
        why = "".join(f"; not {name}: the section {reason}" for name, reason in passed.items())
        _log.info("importance at %s by rule %s%s", span.name, moment.rule, why)
