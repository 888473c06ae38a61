"""What half precision adds to the activations: measured beside float32, on the same inputs."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..cut import Record, Traced
from ..data.batches import by_sample
from ..errors import first_line
from ..files import memory
from ..measure import Accumulator, Records
from ..numerics import StreamingMoments
from .uneven import Weighing, coarse, weights

LEAST, TIMES, SAMPLES = 1024, 4, 16
"""The rounding is measured on so many vectors of a site, so many times its width, and so many samples."""

_MIX = 2654435761, 2**32
"""Sample i is looked at where i times the one, modulo the other, is small (Knuth's multiplicative hash)."""

_log = logging.getLogger("libasis")


class Beside:
    """The same cut in float32, given the same inputs with the rounding that half precision may have given them."""

    def __init__(self, traced: Traced) -> None:
        self.traced = traced.to(dtype="float32")

    def __call__(self, record: Record) -> list[Tensor]:
        """The activations of all sites for a batch.

        Raises:
            TypeError: a section does not compute in float32.
        """

        def unrounded(x: Tensor) -> Tensor:
            if not (x.is_floating_point() and coarse(x.dtype)):
                return x
            numbers = record.numbers.tolist() if by_sample(x, record.size) else [0]
            shape = x.shape if len(numbers) == 1 else x.shape[1:]
            noise = torch.stack([_uniform(number, shape) for number in numbers]).view(x.shape).to(x.device)
            top = torch.finfo(x.dtype).max
            return (x.float() * (1 + torch.finfo(x.dtype).eps * noise)).clamp(-top, top)

        args, kwargs = pytree.tree_map_only(Tensor, unrounded, (record.batch.args, record.batch.kwargs))
        found = self.traced.run_batch(replace(record.batch, args=args, kwargs=kwargs)).activations
        if kinds := {x.dtype for x in found} - {torch.float32}:
            raise TypeError(f"a section given float32 returns {str(kinds.pop()).removeprefix('torch.')}")
        return list(found)


def _uniform(number: int, shape: Any) -> Tensor:
    """Uniform between -1/2 and 1/2, of a sample: the same however the data are split."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(number)) - 0.5


def beside(records: Records) -> Beside | str:
    """What runs in float32 beside the model, or why it cannot."""
    traced, first = records.traced, records.first()
    device = first.activations[0].device
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory() // 2
    if (takes := 6 * traced.weights) > free:  # a copy, and something to work in
        return f"a float32 copy of the weights needs {takes / 2**30:.1f} GiB of memory, {free / 2**30:.1f} are free"
    try:
        with torch.no_grad():
            (found := Beside(traced))(first.select(torch.tensor([0])))
    except Exception as error:  # it is the user's own code, and the fit does without
        return f"{type(error).__name__}: {first_line(error)}"
    return found


def share(widths: list[int], positions: list[int], samples: int) -> float:
    """Which part of the samples is looked at, so that there are enough vectors of every site."""
    wanted = max(max(LEAST, TIMES * d) / max(p, 1) for d, p in zip(widths, positions, strict=True))
    return min(1.0, max(wanted, SAMPLES) / samples)


class Rounding(Accumulator[dict[str, StreamingMoments]]):
    r"""Moments of :math:`f^{half} - f^{float32}` by site, on the same inputs.

    Args:
        run: float32 beside the model.
        weighings: how the vectors of a site are weighed, by its number.
        widths: of the sites to look at, by their number.
        share: which part of the samples is looked at, chosen by their numbers in the data.
    """

    sums = ("moments", "samples", "failures")

    def __init__(self, run: Beside, weighings: dict[int, Weighing], widths: dict[int, int], share: float) -> None:
        self.run, self.weighings, self.share = run, weighings, share
        self.moments = {str(l): StreamingMoments(d) for l, d in widths.items()}
        self.samples = self.failures = 0

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        times, size = _MIX
        chosen = (record.numbers * times % size <= self.share * size).nonzero().flatten()
        if not len(chosen) or self.failures:
            return
        part = record.select(chosen)
        try:
            precise = self.run(part)
        except Exception as error:  # as memory that runs out; the fit does without
            _log.info("no rounding measured beside float32: %s", first_line(error))
            self.failures += 1
            return
        self.samples += part.size
        for l, moments in ((int(l), moments) for l, moments in self.moments.items()):
            x, y = part.vectors(l), replace(part, activations=tuple(precise)).vectors(l)
            row = self.weighings.get(l)
            moments.update(x.double() - y.double(), weights(x, row) if row else None)

    def finish(self) -> dict[str, StreamingMoments]:
        """The moments by the number of the site; none where float32 failed on a batch, or no position counted."""
        return {} if self.failures else {l: moments for l, moments in self.moments.items() if moments.n}
