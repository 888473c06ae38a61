"""`sensitivity`: what features and an output owe to the input, by derivative and by finite change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..ambient import neutral
from ..arguments import typed
from ..basis import SiteBasis
from ..cut import Record, Traced, pull_back
from ..errors import OptionError, short
from ..intervene import most_important
from ..intervene.scores import AT_ONCE
from ..measure import Records, measure, shares
from ..numerics import clamp, slices
from ..types import Activations, Matrix, Plain, Vector
from ..verify import outputs_of
from .group import SHOWN, Inquiry, Samples, Show, Shown
from .inputs import Inputs, Part
from .results import InputSensitivity
from .target import Output, Target

DRAWS = 1000
"""Of the noise at most."""
FEATURES = 8
"""So many features, the most important ones, where none are named."""


@typed
@neutral
def sensitivity(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis_or_graph: Any,
    batches: Iterable[Any],
    site: str,
    output: Output = None,
    *,
    samples: Samples = None,
    features: Sequence[int] | None = None,
    noise: float = 0.1,
    draws: int = 8,
    patch: int | None = None,
    fill: float | None = None,
    observed: Iterable[Any] | None = None,
    position: int | None = None,
    show: Show | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> InputSensitivity:
    r"""What features of a site, and an output, owe to the input: by derivative and by finite change, both shown.

    Finite changes are made at the input and the model is run: a column of a table, a patch of a picture or a token of
    a text is replaced (by the mean of the data; a token by tokens drawn from the data, the mean over ``draws``), and
    normal noise of a stated size is added to all numbers. For each of these changes :math:`\delta` the derivative says
    :math:`J \delta`; for whole numbers, which have no derivative, J is that of the first site and :math:`\delta` what
    the change makes there. How much the two disagree is a number, :math:`\|F - J\delta\| / (\|F\| + \|J\delta\|)` over
    parts and samples, and said in words. A feature is the mean over the positions that count.

    Args:
        traced: from `trace` or `Chain`.
        basis_or_graph: whose features.
        batches: a re-iterable of inputs or of pairs (inputs, targets).
        site: where the features are.
        output: see `contributions`; None is the largest output of each sample, and stays that one.
        samples: numbers of samples in the data, one or several; None for all.
        features: numbers of features; None for the 8 most important ones.
        noise: its size, in standard deviations of each number of the input (of whole numbers: at the first site).
        draws: of the noise, and of tokens.
        patch: side of a patch in pixels; None for an eighth of the longer side.
        fill: what replaces a part, a number or a token; None for the mean, or for drawn tokens.
        observed: batches that give mean, deviation and tokens; None for ``batches``.
        position: of the output, as in `contributions`.
        show: how samples are shown, see `Show`.
        seed: of noise and draws.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for activations kept between passes;
            ``"auto"`` as in `fit`.

    Raises:
        OptionError: an option is not allowed.
        BatchError: the batches are empty, one-shot or have no targets where they are needed.
        SiteError: an operation has no derivative.
    """
    group = Inquiry.of(traced, basis_or_graph, batches, samples, memory=memory, progress=progress)
    memory = shares(memory, traced)[1]
    place = group.site(site)
    chosen = _features(group.basis[place], features)
    noise, fill = float(noise), None if fill is None else float(fill)
    if not (noise > 0 and math.isfinite(noise)) or not 1 <= draws <= DRAWS:
        raise OptionError(
            f"noise is {noise!r} and draws {draws}; give a finite size above 0 and a number from 1 to {DRAWS:,}."
        )
    target = Target.of(output, group.basis, position, -1)
    data = group.records if observed is None else Records.of(traced, observed, 1, progress=progress)
    inputs = measure(data, Inputs(show or Show(), patch), "inputs")
    job = _Measuring(traced, group.basis, inputs, target, place, chosen, noise, draws, fill, seed, memory)
    shown, found = Shown(show or Show()), []
    words = target.words
    with torch.no_grad():
        for record, rows in group.batches("sensitivity"):
            inputs.check(inputs.of(record.batch), fill)
            shown.add(record, rows, job.answers(record, rows, shown))
            found += job.batch(record, rows)
            if target.metric is None and target.site is None:
                words = target.told(outputs_of(record.output).shape[-1], shown.output)
    return job.result(found, group, shown, words)


def _features(site: SiteBasis, given: Sequence[int] | None) -> list[int]:
    if given is None:
        return most_important(site, FEATURES)
    if min(given, default=-1) < 0 or max(given) >= site.k or len(set(given)) < len(given):
        raise OptionError(
            f"features is {short(list(given))}; give numbers of features of {site.name!r}, from 0 to {site.k - 1}, "
            "none twice."
        )
    return list(given)


@dataclass(frozen=True, eq=False)
class _OfSample:
    """What was found of one sample."""

    number: int
    parts: list[Part]
    finite: Matrix
    derivative: Matrix
    slopes: Matrix | None
    noise: Tensor  # [2, draws, m]: finite, and by derivative


@dataclass(frozen=True, eq=False)
class _Measuring:
    """What to measure, and how."""

    traced: Traced
    basis: Any
    inputs: Inputs
    target: Target
    place: int
    chosen: list[int]
    noise: float
    draws: int
    fill: float | None
    seed: int
    memory: int

    @property
    def drawn(self) -> int:
        """How often a part is replaced."""
        return 1 if self.inputs.floating or self.fill is not None else self.draws

    def answers(self, record: Record, rows: Tensor, shown: Shown) -> list[Plain]:
        """Which output is meant of each sample."""
        which = self.target.fixed(record)[1]
        if which is None:
            return []
        count = outputs_of(record.output).shape[-1]
        return [{"output": shown.output(int(which[row]), count)} for row in rows.tolist()[:SHOWN]]

    def batch(self, record: Record, rows: Tensor) -> Iterator[_OfSample]:
        """The samples of a batch, some at a time."""
        fixed = any(context.fixed_batch is not None for context in (*record.contexts, record.tail))
        if fixed:
            yield from self._together(record, rows)
            return
        held = 8 * 4 * (len(self.chosen) + 1) * record.workspace(0, len(record.contexts)) // max(record.size, 1)
        for part in slices(len(rows), clamp(self.memory / max(held, 1), AT_ONCE)):
            own = record.select(rows[part])
            yield from self._together(own, torch.arange(own.size))

    def _together(self, record: Record, rows: Tensor) -> Iterator[_OfSample]:
        which = self.target.fixed(record)[1]
        x = self.inputs.of(record.batch)
        parts, numbers = self.inputs.parts(x), record.numbers.tolist()
        base = self._numbers(record, record.activations, record.output, which)
        J, start = self._derivatives(record, which)  # [m, batch, ...], [batch, ...]
        finite = torch.zeros(len(parts), *base.shape, dtype=torch.float64)
        said = torch.zeros_like(finite)
        for p, part in enumerate(parts):
            for draw in range(self.drawn):
                changed = self.inputs.replaced(x, part, self.fill, numbers, (self.seed, draw))
                numbers_, begin = self._run(record, changed, which)
                finite[p] += (numbers_ - base).cpu() / self.drawn
                said[p] += torch.einsum("mb...,b...->bm", *_flat(J, begin - start)).cpu() / self.drawn
        noise = torch.stack([self._noisy(record, x, J, start, base, which, draw) for draw in range(self.draws)])
        slopes = self._slopes(J, parts, x)
        counted = self._counted(record, x)
        if counted is not None:
            for found in (finite, said):
                found[~torch.stack([counted[:, part.places].any(1) for part in parts])] = torch.nan
        for row in rows.tolist():
            slope = None if slopes is None else slopes[:, row]
            yield _OfSample(numbers[row], parts, finite[:, row], said[:, row], slope, noise[:, :, row].movedim(1, 0))

    def _counted(self, record: Record, x: Tensor) -> Tensor | None:
        """Which tokens count, where positions of the first site are those of the input."""
        counted = record.counted[0]
        return counted.cpu() if counted is not None and tuple(counted.shape) == tuple(x.shape) else None

    def _numbers(
        self, record: Record, activations: Sequence[Activations], output: Tensor, which: Tensor | None
    ) -> Matrix:
        """The quantities ``[batch, m]``, float64."""
        site = self.basis[self.place]
        z = (activations[self.place] - site.mean.to(output)) @ site.C.to(output)[:, self.chosen]
        counted = record.counted[self.place]
        weights = torch.ones(z.shape[:2], device=z.device) if counted is None else counted.to(z)
        features = (z * (weights / weights.sum(1, keepdim=True).clamp(min=1)).to(z)[..., None]).sum(1)
        if self.target.site is not None:
            last = self.target(record, self.target.site, activations[self.target.site])
        else:
            last = self.target.of_output(record, output, which)
        return torch.cat([features.double(), last[:, None]], 1)

    def _derivatives(self, record: Record, which: Tensor | None) -> tuple[Tensor, Tensor]:
        """The derivative of each quantity ``[m, batch, ...]``, and that by which it is taken ``[batch, ...]``."""
        if self.inputs.floating:
            values, run = self.traced.lead_in(record.batch)
            at = self._place_of_input(record)
            start = values[at]

            def section(x: Tensor) -> Matrix:
                activations = run([*values[:at], x, *values[at + 1 :]])
                return self._numbers(record, activations, record.tail(activations[-1]), which)
        else:
            start = record.activations[0]

            def section(x: Tensor) -> Matrix:
                activations = [x]
                for context in record.contexts:
                    activations.append(context(activations[-1]))
                return self._numbers(record, activations, record.tail(activations[-1]), which)

        y, pull = pull_back(section, start)
        cotangents = torch.eye(y.shape[1], dtype=y.dtype, device=y.device)[:, None].expand(-1, len(y), -1)
        return pull(cotangents).double(), start.double()

    def _place_of_input(self, record: Record) -> int:
        """Where among the tensors of the inputs the one in question is."""
        x = self.inputs.of(record.batch)
        leaves = pytree.tree_leaves((record.batch.args, record.batch.kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return next(i for i, t in enumerate(tensors) if t.data_ptr() == x.data_ptr() and t.shape == x.shape)

    def _run(self, record: Record, x: Tensor, which: Tensor | None) -> tuple[Matrix, Tensor]:
        """The quantities with another input, and what the derivative is taken by."""
        changed = self.traced.record(self.inputs.with_input(record.batch, x))
        begin = x.to(changed.activations[0]) if self.inputs.floating else changed.activations[0]
        return self._numbers(changed, changed.activations, changed.output, which), begin.double()

    def _noisy(  # noqa: PLR0913 - all of one batch
        self, record: Record, x: Tensor, J: Tensor, start: Tensor, base: Matrix, which: Tensor | None, draw: int
    ) -> Tensor:
        """Changes with noise, finite and by derivative ``[2, batch, m]``."""
        numbers, key = record.numbers.tolist(), (self.seed, draw)
        if self.inputs.floating:
            found, begin = self._run(record, self.inputs.noisy(x, self.noise, numbers, key), which)
        else:
            begin = self.inputs.noisy(record.activations[0], self.noise, numbers, key)
            activations = [begin]
            for context in record.contexts:
                activations.append(context(activations[-1]))
            found = self._numbers(record, activations, record.tail(activations[-1]), which)
        said = torch.einsum("mb...,b...->bm", *_flat(J, begin.double() - start))
        return torch.stack([found - base, said]).cpu()

    def _slopes(self, J: Tensor, parts: Sequence[Part], x: Tensor) -> Tensor | None:
        """The derivatives themselves ``[parts, batch, m]``, where each part is one number."""
        if not self.inputs.floating or any(len(part.places) > 1 for part in parts):
            return None
        found = J.flatten(2)[..., [int(part.places[0]) for part in parts]].movedim(2, 0).movedim(1, 2).cpu()
        scale = self.inputs.show.scale(x[0].numel())
        return found if scale is None else found / scale[1][:, None, None]

    def result(self, found: Sequence[_OfSample], group: Inquiry, shown: Shown, words: str) -> InputSensitivity:
        """All of them, in the order of the samples' numbers."""
        found = sorted(found, key=lambda one: one.number)
        longest = max(found, key=lambda one: len(one.parts)).parts
        site = self.basis[self.place].name
        quantities = [f"{site}:{i}" for i in self.chosen] + [words]
        pairs = [
            torch.stack([torch.cat([one.finite for one in found]), torch.cat([one.derivative for one in found])]),
            torch.cat([one.noise for one in found], 1),
        ]
        noise = torch.stack([one.noise.square().mean(1).sqrt() for one in found], 1)
        boxes = [part.box for part in longest if part.box is not None]
        slopes = [one.slopes for one in found if one.slopes is not None]
        info = {
            **group.facts(),
            "seed": self.seed,
            "draws": self.draws,
            "replaced_by": "the mean" if self.inputs.floating else "values drawn from the data",
            "derivative_by": "the input" if self.inputs.floating else f"the activation at {group.basis[0].name!r}",
        }
        if self.fill is not None:
            info["replaced_by"] = f"{self.fill:g}"
        return InputSensitivity(
            quantities,
            [part.name for part in longest],
            torch.tensor([one.number for one in found]),
            [one.finite for one in found],
            [one.derivative for one in found],
            torch.stack(slopes) if len(slopes) == len(found) else None,
            self.noise,
            noise[0],
            noise[1],
            torch.stack([_disagreement(*pair) for pair in pairs]),
            boxes or None,
            {key: group.labels[key] for key in quantities if key in group.labels},
            shown.plain(),
            info,
        )


def _flat(J: Tensor, change: Tensor) -> tuple[Tensor, Tensor]:
    return J.flatten(2), change.flatten(1)


def _disagreement(finite: Tensor, derivative: Tensor) -> Vector:
    """Of changes ``[..., m]``, for each quantity."""
    finite, derivative = (x.flatten(0, -2).nan_to_num() for x in (finite, derivative))
    both = finite.norm(dim=0) + derivative.norm(dim=0)
    least = 1e-9 * both.max()
    return torch.where(both > least, (finite - derivative).norm(dim=0) / both.clamp(min=1e-300), torch.zeros_like(both))
