"""From the covariance and the pulled-back importance of one site to its basis: the linear algebra of the method."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from ..errors import ActivationError
from ..importance import Moment
from ..numerics import RankDecision, StreamingMoments, Truncation, coarse, eigh_descending, fix_signs
from ..numerics.eigen import accumulation_noise, coordinate_noise, largest_eigenvalue, measured_noise, symmetric
from ..types import Matrix, Plain, Vector
from .basis import SiteBasis
from .pulled_rounding import PulledTwice, noise_of_sums
from .rounding import Rounded
from .ties import same_size, ties, turned

MEASURED = "rounding that was measured beside float32"


@dataclass(frozen=True, eq=False)
class Whitening:
    r"""The covariance :math:`G` of a site without its noise directions.

    Attributes:
        mean: ``[d]``.
        encode: W ``[d, r]``: the coordinates :math:`z = W^T (f-\mu)` are uncorrelated, with unit variance.
        decode: :math:`W^+` ``[r, d]``.
        decision: where the spectrum was cut.
    """

    mean: Vector
    encode: Matrix
    decode: Matrix
    decision: RankDecision


@dataclass(frozen=True, eq=False)
class NoiseFloor:
    """What decides which directions are more than rounding.

    Attributes:
        moments: of the activations, in which vectors may be weighed otherwise than where it is said how much they vary.
        rounding: of what rounding adds to them, weighed in the same way; None where only its bound is known.
    """

    moments: StreamingMoments
    rounding: Rounded | None = None


def whiten(
    name: str,
    moments: StreamingMoments,
    truncation: Truncation,
    dtype: torch.dtype,
    within: Matrix | None = None,
    *,
    floor: NoiseFloor | None = None,
) -> Whitening:
    r"""Decompose the covariance, or that of the part in a span.

    With a threshold in numbers the eigenvalues of :math:`G` itself are cut. With ``"auto"`` those of
    :math:`N^{-1/2} R N^{-1/2}`, R the correlation matrix and N the noise of each coordinate in its own spread, are kept
    above 1: directions that vary more than rounding can make them. No unit of any coordinate matters to it. Where the
    rounding was measured, each eigenvector is judged by what it owes to it.

    Args:
        name: of the site, for messages.
        moments: of the activations.
        truncation: where the spectrum is cut.
        dtype: what the activations were computed in.
        within: orthonormal basis ``[d, r]`` of the span, or None for everything.
        floor: what decides which directions are kept; None for ``moments``, which say how much they vary.

    Raises:
        ActivationError: the activation does not vary on the data.
    """
    floor, whole = floor or NoiseFloor(moments), moments.covariance
    covariance = whole if floor.moments is moments else floor.moments.covariance
    rounding, measured = coordinate_noise(floor.moments, dtype), None
    if floor.rounding is not None:
        measured = measured_noise(floor.rounding.own, floor.rounding.given, rounding)
        rounding = measured.diagonal()
    if within is not None:
        within = within.to(covariance)
        covariance, whole = (symmetric(within.T @ part @ within) for part in (covariance, whole))
        measured = None if measured is None else symmetric(within.T @ measured @ within)
        rounding = within.square().T @ rounding if measured is None else measured.diagonal()
    scale = _noise_scale(covariance, rounding) if truncation.kind == "auto" else torch.ones_like(rounding)
    values, vectors = eigh_descending(covariance * scale[:, None] * scale)
    signal, order = _signal(values, vectors, scale, measured).sort(descending=True, stable=True)
    decision = truncation.decide(signal, noise=1.0, **({} if measured is None else {"floor": MEASURED}))
    if decision.kept == 0:
        raise ActivationError(
            f"The activation at site {name!r} does not vary on the {moments.n} vectors of the data (largest variance "
            f"{float(covariance.diagonal().max()):.3g}, {decision.rule}); give more varied data or another site"
            + (', or compute in more digits: libasis.trace(..., dtype="float32").' if coarse(dtype) else ".")
        )
    first = slice(decision.kept) if measured is None else order[: decision.kept]
    values, kept = values[first], vectors[:, first]
    if floor.moments is not moments:
        values, turn = eigh_descending(kept.T @ (whole * scale[:, None] * scale) @ kept)
        kept = kept @ turn
    root = values.sqrt()
    back = torch.where(scale > 0, 1 / scale, 0.0)  # what is noise and nothing else has no part in any direction
    encode, decode = scale[:, None] * kept / root, (root * kept).T * back
    if within is not None:
        encode, decode = within @ encode, decode @ within.T
    return Whitening(moments.mean, encode, decode, decision)


def _signal(values: Vector, vectors: Matrix, scale: Vector, measured: Matrix | None) -> Vector:
    """Eigenvalues in units of the noise in their direction, which is 1 where only that of each coordinate is known."""
    if measured is None:
        return values
    noise = measured * scale[:, None] * scale
    sums = (1 - noise.diagonal()).clamp_min(0)  # what float64 sums add to each coordinate
    return values / (vectors * (noise @ vectors + sums[:, None] * vectors)).sum(0)


def _noise_scale(covariance: Matrix, rounding: Vector) -> Vector:
    """What each coordinate is multiplied by so that noise has variance 1; 0 where it is noise and nothing else."""
    variances = covariance.diagonal()
    lives = variances > rounding
    inverse = torch.where(lives, variances, torch.ones_like(variances)).rsqrt() * lives
    correlations = covariance * inverse[:, None] * inverse
    top = largest_eigenvalue(correlations)
    noise = rounding * inverse.square() + accumulation_noise(top, len(variances))
    return torch.where(lives, inverse * noise.rsqrt(), 0.0)


def interaction_basis(  # noqa: PLR0913 - what is known of one site
    name: str,
    white: Whitening,
    pulled: Moment,
    truncation: Truncation,
    dtype: torch.dtype,
    error: float = 0.0,
    rounding: PulledTwice | None = None,
) -> SiteBasis:
    r"""The basis of a site from its whitening and :math:`M'`.

    :math:`M = g^{1/2} U^T M' U g^{1/2} = V\,\mathrm{diag}(\Lambda)\,V^T`,
    :math:`C = U g^{-1/2} V \Lambda^{1/2}`, :math:`C^+ = \Lambda^{-1/2} V^T g^{1/2} U^T` (Bushnaq et al. 2024).
    Of equal importances the directions are chosen towards the coordinates; ``error`` is the relative error of all, and
    ``rounding`` what :math:`M'` is in half precision and in float32 on a part of the samples, if that was measured.

    Raises:
        ActivationError: the derivative of what follows is zero, or not finite.
    """
    values, V = _importances(white.decode.T, pulled)
    if not bool(values.isfinite().all()):
        raise ActivationError(
            f"The derivative of what follows by site {name!r} is not finite on this data, computed in "
            f'{str(dtype).removeprefix("torch.")}; compute in more digits: libasis.trace(..., dtype="float32").'
        )
    noise = torch.ones_like(values)
    if truncation.kind == "auto":
        noise = _importance_noise(V.T @ white.decode, values, pulled, dtype, rounding)
    signal, order = torch.where(noise > 0, values / noise, 0.0).sort(descending=True, stable=True)
    decision = truncation.decide(signal, noise=1.0, **({} if rounding is None else {"floor": MEASURED}))
    if decision.kept == 0:
        raise ActivationError(
            f"The derivative of what follows by site {name!r} is zero on this data (largest importance "
            f"{float(values[0]):.3g}, {decision.rule}), so nothing depends on it, or only through "
            "steps that are constant between their jumps (a rounding, a sign, a comparison; a straight-through "
            "estimator is one); choose another site or other data."
        )
    kept = order[: decision.kept].sort().values
    importances = values[kept]
    V = turned(V[:, kept], importances, white.decode, dtype)
    scale = importances.sqrt()
    C, C_pinv = white.encode @ V * scale, (V / scale).T @ white.decode
    report = {"variance": white.decision.to_dict(), "importance": decision.to_dict()}
    errors = [max(own, error) for own in pulled.facts.get("importance_stderr", [error] * len(importances))]
    found = oriented(name, white.mean, C, C_pinv, importances, importances, report, same=same_size(dtype))
    return replace(found, ties=ties(importances, dtype, errors))


def _importance_noise(
    directions: Matrix, values: Vector, pulled: Moment, dtype: torch.dtype, measured: PulledTwice | None
) -> Vector:
    r"""What rounding can make of each importance ``[r]``, :math:`64\,\epsilon^2 \sum_i v_{ri}^2 M'_{ii}` and more.

    A derivative is rounded by its own size, coordinate by coordinate, so that noise too grows with the spread of a
    direction; float64 sums and the eigen-solver add theirs. It is four times that of a variance: where the derivative
    is the same for every sample, so is its rounding, which then lies in few directions. Where it was measured, see
    `PulledTwice`.
    """
    square = pulled.value.diagonal() if pulled.root is None else pulled.root.square().sum(1)
    own = noise_of_sums(values[0], len(values))
    if measured is None:
        rounding = 64 * torch.finfo(dtype).eps ** 2 * directions.square() @ square.to(directions)
    else:
        both = measured.shrunk(pulled.facts.get("shrink", 0.0), float(square.mean()))
        rounding = both.noise(directions, values[: len(directions)])
    return torch.nn.functional.pad(rounding, (0, len(values) - len(rounding))) + own


def _importances(weigh: Matrix, pulled: Moment) -> tuple[Vector, Matrix]:
    r"""Eigenvalues ``[r]``, descending, of :math:`W^T M' W` and eigenvectors; of a narrow M' as many as it has."""
    if pulled.root is None or pulled.root.shape[1] >= weigh.shape[1]:
        return eigh_descending(weigh.T @ pulled.value @ weigh)
    V, roots, _ = torch.linalg.svd(weigh.T @ pulled.root, full_matrices=False)
    return torch.nn.functional.pad(roots.square(), (0, weigh.shape[1] - len(roots))), V


def principal_basis(name: str, white: Whitening, dtype: torch.dtype) -> SiteBasis:
    """PCA of what was kept: C = U, importance = variance; of equal variances towards the coordinates."""
    report = {"variance": white.decision.to_dict()}
    V, roots, Vh = torch.linalg.svd(white.decode, full_matrices=False)
    g = roots.square()
    Q = V.T @ turned(V, g, white.decode, dtype)
    U = Vh.T @ Q
    return replace(oriented(name, white.mean, U, U.T, g, g, report, same=same_size(dtype)), ties=ties(g, dtype))


def own_coordinates(name: str, moments: StreamingMoments) -> SiteBasis:
    """The identity: features are the coordinates themselves, in their order; importance = variance."""
    d = len(moments.mean)
    eye = torch.eye(d, dtype=torch.float64)
    variances = moments.covariance.diagonal().clone().cpu()
    return SiteBasis(name, moments.mean.cpu(), eye, eye.clone(), variances, variances.clone(), {})


def oriented(
    name: str,
    mean: Vector,
    C: Matrix,
    C_pinv: Matrix,
    importances: Vector,
    variances: Vector,
    report: Plain,
    *,
    same: float = 1e-6,
) -> SiteBasis:
    """A site basis with the sign rule applied (see `fix_signs`), to each coordinate in its own spread, on the CPU."""
    spread = (variances @ C_pinv.square()).sqrt()
    signs = fix_signs(C_pinv / torch.where(spread > 0, spread, torch.ones_like(spread)), same)
    mean, C, C_pinv, importances, variances = (
        part.contiguous().cpu() for part in (mean, C * signs, C_pinv * signs[:, None], importances, variances)
    )
    return SiteBasis(name, mean, C, C_pinv, importances, variances, report)
