"""Symmetric eigenproblems: order, signs and the decision which eigenvalues are noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from ..types import Matrix, Vector
from .moments import StreamingMoments

EPS64 = torch.finfo(torch.float64).eps


def eigh_descending(A: Matrix) -> tuple[Vector, Matrix]:
    """Eigenvalues, descending, and eigenvectors (columns) of the symmetric part of ``A`` ``[d, d]``, in float64."""
    A = A.to(torch.float64)
    values, vectors = torch.linalg.eigh((A + A.T) / 2)
    return values.flip(0), vectors.flip(1)


def fix_signs(decoder: Matrix, same: float = 1e-6) -> Vector:
    """Signs ``[k]`` that make the entry of largest magnitude of each row of ``decoder`` ``[k, d]`` positive.

    Entries within a relative ``same`` of the largest count as ties and the first of them decides, so that rounding
    does not flip a feature.
    """
    if decoder.numel() == 0:
        return decoder.new_ones(decoder.shape[0])
    magnitude = decoder.abs()
    candidates = magnitude >= magnitude.amax(1, keepdim=True) * (1 - same)
    first = candidates.to(torch.int8).argmax(1)
    signs = decoder.gather(1, first[:, None]).squeeze(1).sign()
    return torch.where(signs == 0, torch.ones_like(signs), signs)


@dataclass(frozen=True)
class RankDecision:
    """Where a descending spectrum was cut.

    Attributes:
        kept: how many eigenvalues are kept.
        total: how many there were.
        threshold: eigenvalues at or below it were dropped.
        rule: the rule in words.
        last_kept: the smallest eigenvalue kept (None if none).
        first_dropped: the largest eigenvalue dropped (None if none).
    """

    kept: int
    total: int
    threshold: float
    rule: str
    last_kept: float | None
    first_dropped: float | None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON data."""
        return asdict(self)


@dataclass(frozen=True)
class Truncation:
    """The rule by which eigenvalues are dropped: ``"auto"``, ``"auto:X"``, ``"relative:X"`` or ``"absolute:X"``.

    ``auto`` is a noise floor: what rounding alone can make of a zero eigenvalue. The caller states it; here it is
    only applied. ``auto:X`` drops eigenvalues at or below X times that floor, to see what depends on it.
    ``relative:X`` drops eigenvalues at or below X times the largest, ``absolute:X`` at or below X.
    """

    kind: str
    value: float

    @classmethod
    def parse(cls, text: str) -> Truncation:
        """Read a rule.

        Raises:
            OptionError: it is none of these forms.
        """
        kind, _, number = str(text).partition(":")
        if kind == "auto" and not number:
            return cls("auto", 1.0)
        try:
            value = float(number)
        except ValueError:
            value = -1.0
        if kind not in ("auto", "relative", "absolute") or not 0 <= value < float("inf"):
            raise OptionError(f'truncation is {text!r}; write "auto", "relative:1e-10" or "absolute:1e-6".')
        return cls(kind, value)

    def decide(self, values: Vector, *, noise: float, floor: str = "noise floor of the arithmetic") -> RankDecision:
        """Cut a descending spectrum ``[d]``; ``noise`` is what ``auto`` cuts at, and ``floor`` its name."""
        top = max(float(values[0]), 0.0) if len(values) else 0.0
        factor = "" if self.value == 1 else f"{self.value:g} times the "
        threshold, rule = {
            "auto": (self.value * noise, f"{factor}{floor}"),
            "relative": (self.value * top, f"{self.value:g} of the largest eigenvalue"),
            "absolute": (self.value, f"absolute threshold {self.value:g}"),
        }[self.kind]
        threshold = max(threshold, 0.0)
        kept = int((values > threshold).sum())
        return RankDecision(
            kept=kept,
            total=len(values),
            threshold=threshold,
            rule=rule,
            last_kept=float(values[kept - 1]) if kept else None,
            first_dropped=float(values[kept]) if kept < len(values) else None,
        )


def accumulation_noise(top: float, size: int) -> float:
    r"""What float64 sums and the eigen-solver can make of a zero eigenvalue, :math:`4 d\,\epsilon_{64}\,g_{max}`."""
    return 4 * size * EPS64 * max(top, 0.0)


def largest_eigenvalue(A: Matrix) -> float:
    """That of a positive semi-definite matrix, to a few percent from below."""
    return float((A @ leading(A, 19)).norm())


def leading(A: Matrix, steps: int = 50) -> Vector:
    """The direction in which a positive semi-definite matrix is largest: power iteration from its longest column."""
    v = A[:, int(A.square().sum(0).argmax())]
    for _ in range(steps):
        v = A @ (v / v.norm().clamp_min(torch.finfo(torch.float64).tiny))
    return v / v.norm().clamp_min(torch.finfo(torch.float64).tiny)


def coarse(dtype: torch.dtype) -> bool:
    """Half precision. In float32 an outlier has to be a million times as large as all others to hide anything."""
    return torch.finfo(dtype).bits < 32


def coordinate_noise(moments: StreamingMoments, dtype: torch.dtype) -> Vector:
    r"""Variance that rounding gives each coordinate, by its own size: :math:`16\,\epsilon^2 E f_i^2` ``[d]``."""
    square = moments.scatter.diagonal() / max(moments.n, 1) + moments.mean.square()
    return 16 * torch.finfo(dtype).eps ** 2 * square


def measured_noise(own: Matrix, given: Matrix, bound: Vector) -> Matrix:
    """Twice the covariance of what rounding was seen to add ``[d, d]``: what varies more is mostly signal.

    Args:
        own: what was rounded on the way.
        given: what the rounding of the inputs comes to; no more than the bound, for what changes its mind at a small
            change of its inputs is no rounding.
        bound: of each coordinate ``[d]``, see `coordinate_noise`.
    """
    most = (bound / (2 * given.diagonal()).clamp_min(torch.finfo(bound.dtype).tiny)).clamp_max(1).sqrt()
    return 2 * (own + given * most[:, None] * most)


def symmetric(A: Tensor) -> Tensor:
    """The symmetric part."""
    return (A + A.T) / 2
