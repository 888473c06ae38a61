"""From the covariance and the pulled-back importance of one site to its basis: the linear algebra of the method."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..errors import ActivationError
from ..importance import Moment
from ..numerics import RankDecision, StreamingMoments, Truncation, eigh_descending, fix_signs
from ..numerics.eigen import gram_noise, symmetric
from ..types import Matrix, Plain, Vector
from .basis import SiteBasis


@dataclass(frozen=True, eq=False)
class Whitening:
    r"""The covariance :math:`G = U\,\mathrm{diag}(g)\,U^T` of a site without its noise directions.

    Attributes:
        mean: ``[d]``.
        U: ``[d, r]``.
        g: ``[r]``, descending.
        decision: where the spectrum was cut.
    """

    mean: Vector
    U: Matrix
    g: Vector
    decision: RankDecision


def whiten(
    name: str, moments: StreamingMoments, truncation: Truncation, dtype: torch.dtype, within: Matrix | None = None
) -> Whitening:
    """Decompose the covariance, or that of the part in a span.

    Args:
        name: of the site, for messages.
        moments: of the activations.
        truncation: where the spectrum is cut.
        dtype: what the activations were computed in.
        within: orthonormal basis ``[d, r]`` of the span, or None for everything.

    Raises:
        ActivationError: the activation does not vary on the data.
    """
    covariance = moments.covariance
    if within is not None:
        within = within.to(covariance)
        covariance = symmetric(within.T @ covariance @ within)
    values, vectors = eigh_descending(covariance)
    vectors = vectors if within is None else within @ vectors
    noise = gram_noise(float(values[0]), len(values), moments.mean_square, dtype)
    decision = truncation.decide(values, noise=noise)
    if decision.kept == 0:
        raise ActivationError(
            f"The activation at site {name!r} does not vary on the {moments.n} vectors of the data (largest variance "
            f"{float(values[0]):.3g}, threshold {decision.threshold:.3g}); give more varied data or another site."
        )
    return Whitening(moments.mean, vectors[:, : decision.kept], values[: decision.kept], decision)


def interaction_basis(
    name: str, white: Whitening, pulled: Moment, truncation: Truncation, dtype: torch.dtype
) -> SiteBasis:
    r"""The basis of a site from its whitening and :math:`M'`.

    :math:`M = g^{1/2} U^T M' U g^{1/2} = V\,\mathrm{diag}(\Lambda)\,V^T`,
    :math:`C = U g^{-1/2} V \Lambda^{1/2}`, :math:`C^+ = \Lambda^{-1/2} V^T g^{1/2} U^T` (Bushnaq et al. 2024).

    Raises:
        ActivationError: nothing later depends on the site.
    """
    root = white.g.sqrt()
    values, V = _importances(white.U * root, pulled)
    noise = gram_noise(float(values[0]), len(values), float(values.sum()), dtype)
    decision = truncation.decide(values, noise=noise)
    if decision.kept == 0:
        raise ActivationError(
            f"Nothing that follows depends on site {name!r} on this data (largest importance {float(values[0]):.3g}, "
            f"threshold {decision.threshold:.3g}); choose another site or other data."
        )
    importances, V = values[: decision.kept], V[:, : decision.kept]
    scale = importances.sqrt()
    C = (white.U / root) @ V * scale
    C_pinv = (V / scale).T @ (root[:, None] * white.U.T)
    report = {"variance": white.decision.to_dict(), "importance": decision.to_dict()}
    return oriented(name, white.mean, C, C_pinv, importances, importances, report)


def _importances(weigh: Matrix, pulled: Moment) -> tuple[Vector, Matrix]:
    r"""Eigenvalues ``[r]``, descending, of :math:`W^T M' W` and eigenvectors; of a narrow M' as many as it has."""
    if pulled.root is None or pulled.root.shape[1] >= weigh.shape[1]:
        return eigh_descending(weigh.T @ pulled.value @ weigh)
    V, roots, _ = torch.linalg.svd(weigh.T @ pulled.root, full_matrices=False)
    return torch.nn.functional.pad(roots.square(), (0, weigh.shape[1] - len(roots))), V


def principal_basis(name: str, white: Whitening) -> SiteBasis:
    """PCA: C = U, importance = variance."""
    report = {"variance": white.decision.to_dict()}
    return oriented(name, white.mean, white.U, white.U.T, white.g, white.g, report)


def own_coordinates(name: str, moments: StreamingMoments) -> SiteBasis:
    """The identity: features are the coordinates themselves, in their order; importance = variance."""
    d = len(moments.mean)
    eye = torch.eye(d, dtype=torch.float64)
    variances = moments.covariance.diagonal().clone().cpu()
    return SiteBasis(name, moments.mean.cpu(), eye, eye.clone(), variances, variances.clone(), {})


def oriented(
    name: str, mean: Vector, C: Matrix, C_pinv: Matrix, importances: Vector, variances: Vector, report: Plain
) -> SiteBasis:
    """A site basis with the sign rule applied, on the CPU."""
    signs = fix_signs(C_pinv)
    mean, C, C_pinv, importances, variances = (
        part.contiguous().cpu() for part in (mean, C * signs, C_pinv * signs[:, None], importances, variances)
    )
    return SiteBasis(name, mean, C, C_pinv, importances, variances, report)
