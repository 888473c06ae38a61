"""What half precision adds to the activations: measured beside float32, on the same inputs."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from ..cut import Record, Traced
from ..data.batches import by_sample
from ..errors import first_line
from ..files import memory
from ..importance import uniform
from ..measure import Accumulator, Records
from ..measure.processes import team
from ..numerics import StreamingMoments, coarse
from ..types import Matrix
from .uneven import Weighing, weights

Result = TypeVar("Result")

LEAST, TIMES, SAMPLES = 1024, 4, 128
"""The rounding is measured on so many vectors of a site, so many times its width, and so many samples."""

MOVED = 0.125
"""Inputs in half precision are moved by up to half of this, in eps of their dtype and relative to their size."""
GIVEN = 1.0
"""The variance, in squares of eps, of the rounding that inputs are taken to bring with them: that of a dozen roundings,
since nobody knows how many there were."""

_MIX = 2654435761, 2**32
"""Sample i is looked at where i times the one, modulo the other, is small (Knuth's multiplicative hash)."""


class Beside:
    """The same cut in float32."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced.to(dtype="float32")

    def record(self, record: Record, *, moved: bool = False) -> Record:
        """That of a batch in float32, or for its inputs in half precision moved at random; the same positions count.

        Raises:
            ValueError: the activations are of other shapes than in half precision, or not finite where they count.
        """
        batch = record.batch
        leaves, spec = pytree.tree_flatten((batch.args, batch.kwargs))
        if moved:
            leaves = [_moved(x, record, place) if _rounded(x) else x for place, x in enumerate(leaves)]
        args, kwargs = pytree.tree_unflatten(leaves, spec)
        found = self.traced.run_batch(replace(batch, args=args, kwargs=kwargs))
        found = replace(found, counted=record.counted, numbers=record.numbers)
        if [x.shape for x in found.activations] != [x.shape for x in record.activations]:
            raise ValueError("in float32 the sites have other shapes")
        if not all(torch.isfinite(found.vectors(l).sum()) for l in range(len(found.activations))):
            raise ValueError("in float32 something is not finite")
        return found


def _has_rounded_inputs(record: Record) -> bool:
    return any(map(_rounded, pytree.tree_leaves((record.batch.args, record.batch.kwargs))))


def _rounded(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point() and coarse(x.dtype)


def _moved(x: Tensor, record: Record, place: int) -> Tensor:
    """Each number by a draw of its own, the same however the data are split; whole numbers may be codes, and stay."""
    numbers, size = (record.numbers, x[0].numel()) if by_sample(x, record.size) else (torch.tensor([0]), x.numel())
    draws = uniform(numbers, size, (place,)).view(x.shape) - 0.5
    known, x = torch.finfo(x.dtype), x.float()
    codes = (x == x.round()) & (x.abs() <= 2 / known.eps) | x.isinf()
    return torch.where(codes, x, x + MOVED * known.eps * draws.to(x) * x.abs().clamp_min(known.tiny))


@dataclass(frozen=True, eq=False)
class Rounded:
    """What rounding adds to a site.

    Attributes:
        n: on how many vectors that was seen, or the sum of their weights.
        own: covariance ``[d, d]`` of what was rounded on the way.
        given: of what the rounding of the inputs comes to.
    """

    n: float
    own: Matrix
    given: Matrix


class _Downcasts(TorchDispatchMode):
    """Notes whether anything in float32 is made one in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.found = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        full = any(isinstance(x, Tensor) and x.dtype == torch.float32 for x in pytree.tree_leaves(args))
        self.found |= full and any(map(_rounded, pytree.tree_leaves(result)))
        return result


def beside(records: Records) -> tuple[Beside | None, str]:
    """What runs in float32 beside the model, and why it cannot where it cannot: the same in all processes."""
    run, reason = _beside(records)
    if (all_of_them := team()) is not None:
        reason = all_of_them.share(reason=reason)[1]["reason"]
    return run, reason


def _beside(records: Records) -> tuple[Beside | None, str]:
    traced, first = records.traced, records.first()
    device = first.activations[0].device
    has = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else memory()
    if (takes := 6 * traced.weights) > has // 2:  # a copy, and something to work in
        return None, f"a float32 copy of the weights needs {takes / 2**30:.1f} of {has / 2**30:.1f} GiB of memory"
    one = first.select(torch.tensor([0]))
    try:
        with torch.no_grad(), _Downcasts() as halves:
            (run := Beside(traced)).record(one)
    except Exception as error:  # it is the user's own code, and the fit does without
        cause = error.__cause__ or error
        return None, f"in float32 it fails ({type(cause).__name__}: {first_line(cause)})"
    if halves.found:
        return None, "something is computed in half precision, whatever it is given"
    return run, ""


def share(wanted: Sequence[tuple[int, float]], samples: int) -> float:
    """Which part of the samples is looked at, so that there are enough of them, and of the vectors of every site.

    Args:
        wanted: of each site its width and how many vectors there are.
        samples: how many there are.
    """
    return min(1.0, max([SAMPLES / samples, *(max(LEAST, TIMES * d) / n for d, n in wanted)]))


class InBoth(Accumulator[Result]):
    """What is compared on a part of the samples, in half precision and in float32.

    Args:
        run: float32 beside the model; None where this process cannot.
        share: which part of the samples is looked at, chosen by their numbers in the data.
    """

    sums = ("samples", "failures")

    def __init__(self, run: Beside | None, share: float) -> None:
        self.run, self.share = run, share
        self.samples = self.failures = 0

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        times, size = _MIX
        chosen = (record.numbers * times % size <= self.share * size).nonzero().flatten()
        if not len(chosen) or self.failures:
            return
        part = record.select(chosen)
        try:
            if self.run is None:
                raise ValueError("float32 cannot be run here")
            self.compare(part, self.run)
        except Exception:  # as memory that runs out, or the user's own code; the fit does without
            self.failures += 1
        else:
            self.samples += part.size

    @abc.abstractmethod
    def compare(self, part: Record, run: Beside) -> None:
        """Add the samples of a part."""


class Rounding(InBoth[dict[str, Rounded]]):
    r"""Moments of what rounding adds to each site, :math:`f^{half} - f^{float32}`, and what inputs bring with them.

    The second is what :math:`f^{float32}` does when the inputs are moved a little.

    Args:
        run: see `InBoth`.
        share: see `InBoth`.
        weighings: how the vectors of a site are weighed, by its number.
        widths: of the sites to look at, by their number.
    """

    sums = ("own", "given", *InBoth.sums)

    def __init__(
        self, run: Beside | None, share: float, weighings: dict[int, Weighing], widths: dict[int, int]
    ) -> None:
        super().__init__(run, share)
        self.weighings = weighings
        self.own = {str(l): StreamingMoments(d) for l, d in widths.items()}
        self.given = {str(l): StreamingMoments(d) for l, d in widths.items()}

    def compare(self, part: Record, run: Beside) -> None:
        """See `InBoth`."""
        precise = run.record(part)
        moved = run.record(part, moved=True) if _has_rounded_inputs(part) else precise
        for name in self.own:
            x, y, z = (found.vectors(int(name)) for found in (part, precise, moved))
            row = self.weighings.get(int(name))
            weight = weights(x, row) if row else None
            self.own[name].update(x.double() - y, weight)
            if moved is not precise:
                self.given[name].update(z.double() - y, weight)

    def finish(self) -> dict[str, Rounded]:
        """By the number of the site; none where float32 failed on a batch."""
        if self.failures:
            return {}
        scale = 12 * GIVEN / MOVED**2
        both = ((name, own, self.given[name].covariance) for name, own in self.own.items())
        return {name: Rounded(own.n, own.covariance, scale * given.to(own.mean.device)) for name, own, given in both}
