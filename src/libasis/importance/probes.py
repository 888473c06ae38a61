"""Random probes of a section's outputs: an orthogonal family for every sample, the same for a seed anywhere."""

from __future__ import annotations

import math

import torch
from torch import Tensor

DRAW = 4
"""Probes in a draw: the cosines and the sines of two frequencies."""

GOLDEN = 0x9E3779B97F4A7C15 - 2**64
FACTORS = ((30, 0xBF58476D1CE4E5B9 - 2**64), (27, 0x94D049BB133111EB - 2**64), (31, 1))


class ProbeFamily:
    r"""Probes :math:`\epsilon` of the N outputs of every sample of a batch: a subsampled randomised Fourier transform.

    A sample has random signs :math:`D_a`, one per output, and the 2C frequencies :math:`\theta_f = \pi(2f+1)/4C` in a
    random order, with :math:`4C \ge N`. Frequency f gives two probes, :math:`D_a\cos(\theta_f a)` and
    :math:`D_a\sin(\theta_f a)`. With both, :math:`E[\sum\epsilon\epsilon^T] = I`, on the diagonal without any error,
    as random signs have it; and unlike those, all 2C frequencies together give :math:`2C\,I` exactly, so that
    estimates by a part of them have the smaller variance of sampling without replacement.

    Signs and orders are SplitMix64 numbers (Steele, Lea and Flood 2014) keyed by seed, section and sample: they depend
    neither on the batches nor on the device nor on any generator's state.

    Args:
        y: the outputs ``[batch, position, column]``.
        numbers: of the samples in the data, int64 ``[batch]``.
        draws: C, the draws that make the family complete.
        stop: how many draws will be asked for, at most C.
        key: seed and section.
    """

    def __init__(self, y: Tensor, numbers: Tensor, draws: int, stop: int, key: tuple[int, int]) -> None:
        self.shape, self.dtype, self.draws = y.shape, y.dtype, draws
        samples = numbers.to(y.device)
        self.signs = torch.where(random_integers(samples, y[0].numel(), (*key, 0)) < 0, -1.0, 1.0).to(y)
        order = random_integers(samples, 2 * draws, (*key, 1)).topk(2 * stop).indices
        self.odd = 2 * order + 1  # [batch, 2 stop]: 2f + 1

    def __call__(self, number: Tensor) -> Tensor:
        """The probes with these numbers, ``[probe, batch, position, column]``; a draw has four in a row."""
        output = torch.arange(self.signs.shape[1], device=self.odd.device)
        turn = 8 * self.draws  # the whole circle in integers: exact however many outputs
        angle = self.odd[:, number // 2].T[..., None] * output
        angle -= (number % 2 * (turn // 4))[:, None, None]  # a sine is a cosine, a quarter later
        cosine = angle.remainder_(turn).to(torch.float64).mul_(2 * math.pi / turn).cos_()
        return (cosine.to(self.dtype) * self.signs).view(-1, *self.shape)


def signs(numbers: Tensor, count: int, key: tuple[int, ...], *, like: Tensor) -> Tensor:
    """Independent random signs ``[sample, count]`` for samples with these numbers, keyed as those of `ProbeFamily`."""
    words = random_integers(numbers.to(like.device), math.ceil(count / 64), key)
    bits = (words[..., None] >> torch.arange(64, device=like.device)) & 1
    return (1 - 2 * bits.flatten(1)[:, :count]).to(like)


def uniform(numbers: Tensor, count: int, key: tuple[int, ...]) -> Tensor:
    """Uniform from 0 to below 1, float64 ``[sample, count]``, for samples with these numbers."""
    return ((random_integers(numbers, count, key) >> 11) & (2**53 - 1)).to(torch.float64) * 2.0**-53


def random_integers(samples: Tensor, count: int, key: tuple[int, ...]) -> Tensor:
    """Random int64, ``[samples, count]``."""
    state = samples.new_zeros(())
    for number in key:
        state = _mix(state + number + GOLDEN)
    streams = _mix(state + GOLDEN * (samples + 1))
    return _mix(streams[:, None] + GOLDEN * torch.arange(1, count + 1, device=samples.device))


def _mix(x: Tensor) -> Tensor:
    """The output function of SplitMix64 on int64, which wraps around as unsigned numbers do."""
    for shift, factor in FACTORS:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * factor
    return x
