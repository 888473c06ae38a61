"""`contributions`: what each feature of a site adds to the change of an output from a baseline."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import SiteBasis
from ..cut import Record, Traced
from ..data import check_reiterable
from ..errors import BatchError, OptionError, short
from ..intervene.donors import Donors
from ..measure import Records, measure, shares
from ..numerics import clamp, slices
from ..types import Activations, Matrix, Plain
from ..verify import outputs_of
from .group import SHOWN, Inquiry, Samples, Show, Shown
from .paths import MISS, Added, add_up
from .points import Points
from .results import Contributions
from .target import Output, Target

_log = logging.getLogger("libasis")

REFERENCES = 32
"""Of more reference samples so many, drawn by the seed, are baselines."""


@typed
@neutral
def contributions(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis_or_graph: Any,
    batches: Iterable[Any],
    site: str,
    output: Output = None,
    *,
    samples: Samples = None,
    baseline: Any = "mean",
    position: int | None = None,
    n_steps: int = 16,
    show: Show | None = None,
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
) -> Contributions:
    r"""What each feature of a site adds to the change of an output from a baseline: integrated gradients.

    With the activation f and the baseline b, feature i of :math:`\hat f = (f - \mu) C` contributes
    :math:`\sum_s (\hat f_{si} - \hat b_{si}) \int_0^1 \partial y / \partial \hat f_{si}\, d\alpha` on the straight path
    from b to f, at the positions s that count; other positions stay as they are. What the basis leaves out of
    :math:`f - b` contributes in the same way, as one number. Together they are :math:`y(f) - y(b)`. Quadrature misses
    some of it; where that is more than 1% of the change, the call says so in the log and takes more nodes, as many as
    need be for a function with kinks, and refuses where none suffice (a jump).

    Each sample counts for itself, so the result does not depend on how the data are split into batches.

    Args:
        traced: from `trace` or `Chain`.
        basis_or_graph: whose features.
        batches: a re-iterable of inputs or of pairs (inputs, targets); ``[x]`` for one input ``x``.
        site: where the features are.
        output: what is explained: the number of an output; None for the largest output of each sample; a metric's name
            or function ``(outputs, targets) -> scores [batch]``, which needs targets; or a later feature,
            ``(site, number)``.
        samples: numbers of samples in the data, one or several; None for all.
        baseline: ``"mean"`` (that of the fit, where every feature is 0), ``"zero"``, the number of a sample in the
            data, or batches of reference samples, over which contributions are averaged (at most 32 of them, drawn by
            the seed). At the j-th counted position stands what the baseline has at its own.
        position: of the output or feature that is explained; None takes the last one that counts of an output, and the
            mean over those that count of a feature.
        n_steps: nodes of the path to begin with.
        show: how samples are shown, see `Show`.
        seed: of the draw of reference samples.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what goes through the model together, and for activations kept between passes;
            ``"auto"`` as in `fit`.

    Raises:
        OptionError: an option is not allowed, or the contributions do not add up.
        BatchError: the batches are empty, one-shot or have no targets where they are needed.
    """
    group = Inquiry.of(traced, basis_or_graph, batches, samples, memory=memory, progress=progress)
    memory = shares(memory, traced)[1]
    place = group.site(site)
    target = Target.of(output, group.basis, position, place)
    origins = _Origins(group, place, baseline, seed)
    shown, found = Shown(show or Show()), _Found(group.basis[place])
    with torch.no_grad():
        for record, rows in group.batches("contributions"):
            points = Points.of(record, place, target, memory)
            for part in slices(len(rows), clamp(memory / (256 * record.activations[place][0].numel()), len(rows))):
                for origin in origins.of(record):
                    found.add(points, rows[part], origin, n_steps)
                found.close(record, rows[part], target)
            shown.add(record, rows, _answers(record, rows, points.which, shown))
    info = {**group.facts(), "seed": seed, "n_steps": n_steps, "baselines": origins.count}
    labels = {i: group.labels[key] for i in range(group.basis[place].k) if (key := f"{site}:{i}") in group.labels}
    words = target.words
    if target.metric is None and target.site is None:
        words = target.told(found.outputs, shown.output)
    return found.result(site, words, origins.words, labels, shown.plain(), info)


def _answers(record: Record, rows: Tensor, which: Tensor | None, shown: Shown) -> list[Plain]:
    """Which output is explained of each sample, by name."""
    if which is None:
        return []
    count = outputs_of(record.output).shape[-1]
    return [{"output": shown.output(int(which[row]), count)} for row in rows.tolist()[:SHOWN]]


class _Origins:
    """The baselines of a batch, one after the other."""

    def __init__(self, group: Inquiry, site: int, baseline: Any, seed: int) -> None:
        self.site, self.mean = site, group.basis[site].mean
        self.donors: Donors | None = None
        self.count, self.baseline = 1, baseline
        if isinstance(baseline, str):
            if baseline not in ("mean", "zero"):
                raise OptionError(
                    f'baseline is {short(baseline)}; use "mean", "zero", the number of a sample, or batches.'
                )
            self.words = f"the {baseline}" if baseline == "mean" else "zero"
        elif isinstance(baseline, Integral) and not isinstance(baseline, bool):
            baseline = min(int(baseline), 2**63 - 1)
            self.words = f"sample {baseline}"
            self.donors = measure(group.records, Donors([site], seed, only=[baseline], room=1), "baseline")
            if not len(self.donors):
                raise OptionError(f"baseline is sample {baseline}, but the data have {group.records.samples}, from 0.")
        elif isinstance(baseline, (bool, float)) or baseline is None:
            raise OptionError(f'baseline is {short(baseline)}; use "mean", "zero", the number of a sample, or batches.')
        else:
            check_reiterable(baseline)
            records = Records.of(group.records.traced, baseline, 1, progress=group.records.progress)
            self.donors = measure(records, Donors([site], seed, strangers=True), "references")
            self.count = min(len(self.donors), REFERENCES)
            if not self.count:
                raise BatchError("The references have no position that counts; give others.")
            self.words = f"{self.count} reference samples"

    def of(self, record: Record) -> Iterator[Activations]:
        """Baselines ``[batch, position, d]``; positions that don't count stay as they are."""
        x, counted = record.activations[self.site], record.counted[self.site]
        if self.donors is not None:
            for place in range(self.count):
                yield self.donors.stand_ins(record, self.site, place=place)
            return
        origin = (self.mean.to(x) if self.baseline == "mean" else torch.zeros_like(x[0, 0])).expand_as(x)
        yield origin if counted is None else torch.where(counted[..., None], origin, x)


class _Found:
    """Contributions of the samples so far; those from several baselines are averaged."""

    def __init__(self, site: SiteBasis) -> None:
        self.site, self.outputs = site, 0
        self.open: list[tuple[Added, Matrix]] = []
        self.done: list[tuple[Tensor, ...]] = []
        self.places: list[Tensor] = []

    def add(self, points: Points, rows: Tensor, origin: Activations, n_steps: int) -> None:
        """From one more baseline."""
        x = points.record.activations[points.site]
        rows = rows.to(x.device)
        start, end = origin[rows], x[rows]
        C, back = self.site.C.to(x.device), self.site.C_pinv.to(x.device)
        change = (end - start).double()
        z = change @ C
        rest = change - z @ back

        def parts(path: Tensor, gradient: Activations) -> Matrix:
            of_features = ((gradient @ back.T) * z[path]).sum(1)
            outside = (gradient * rest[path]).sum((1, 2))[:, None]
            return torch.cat([of_features, outside, (gradient * change[path]).sum(2)], 1)

        added = add_up(points, rows, start, end, parts, self.site.k + 1, n_steps)
        if bool((added.miss > MISS).any()):
            worst = int(added.miss.argmax())
            number = int(points.record.numbers[rows[worst].cpu()])
            raise OptionError(
                f"The contributions at {self.site.name!r} to {points.target.words} of sample {number} miss "
                f"{float(added.miss[worst]):.1%} of its change, with {int(added.nodes[worst])} nodes: the model jumps "
                "on the way from the baseline; take a site behind the jump or another baseline, or libasis.intervene, "
                "which needs no derivative."
            )
        counted = points.record.counted[points.site]
        weights = torch.ones(x.shape[:2], device=x.device) if counted is None else counted.double()
        weights = (weights / weights.sum(1, keepdim=True).clamp(min=1))[rows].double()
        self.open.append((added, torch.einsum("bs,bsk->bk", weights, z)))

    def close(self, record: Record, rows: Tensor, target: Target) -> None:
        """All baselines of a batch are in."""
        k = self.site.k
        parts = torch.stack([added.parts for added, _ in self.open]).mean(0)
        moved = torch.stack([z for _, z in self.open]).mean(0)
        deviation = self.site.variances.clamp(min=0).sqrt().to(moved)
        moved = torch.where(deviation > 0, moved / deviation, torch.zeros_like(moved))
        ends, starts = ([getattr(added, name) for added, _ in self.open] for name in ("end", "start"))
        miss = torch.stack([added.miss for added, _ in self.open]).amax(0)
        nodes = torch.stack([added.nodes for added, _ in self.open]).sum(0)
        row = (ends[0], torch.stack(starts).mean(0), parts[:, :k], parts[:, k], moved, miss, nodes)
        self.done.append((record.numbers[rows], *(value.cpu() for value in row)))
        self.places += list(parts[: max(0, SHOWN - len(self.places)), k + 1 :].cpu())
        self.open = []
        if target.site is None and target.metric is None:
            self.outputs = outputs_of(record.output).shape[-1]

    def result(
        self, site: str, output: str, baseline: str, labels: dict[int, str], shown: list[Plain], info: Plain
    ) -> Contributions:
        """In the order of the samples' numbers."""
        numbers, ends, starts, parts, outside, moved, miss, nodes = (
            torch.cat(column) for column in zip(*self.done, strict=True)
        )
        order = numbers.argsort(stable=True)
        of = (numbers, ends, starts, parts, outside, moved)
        numbers, ends, starts, parts, outside, moved = (value[order] for value in of)
        if bool((more := nodes > info["n_steps"] * info["baselines"]).any()):
            _log.warning(
                "contributions at %r: with %d nodes those of %d of %d samples missed more than %.0f%% of the change; "
                "up to %d nodes were taken",
                site, info["n_steps"], int(more.sum()), len(nodes), 100 * MISS, int(nodes.max()),
            )  # fmt: skip
        return Contributions(
            site, output, baseline, numbers, ends, starts, parts, outside, moved, self.places, miss[order],
            nodes[order], labels, shown, info,
        )  # fmt: skip
