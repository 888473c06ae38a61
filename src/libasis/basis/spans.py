"""Spans of directions that a user brings, and the checks of such matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..errors import OptionError
from ..types import Matrix
from .basis import Basis


def spans(within: Any, sizes: Mapping[str, int]) -> dict[str, Matrix]:
    """Orthonormal bases ``[d, r]`` of the spans of directions, by site.

    Args:
        within: a mapping from sites to decoders ``[d, k]``, or a `Basis`, whose features are the directions.
        sizes: number of coordinates of each site, in the model's order.

    Raises:
        OptionError: a site is unknown, or a matrix has the wrong shape.
    """
    if isinstance(within, Basis):
        within = {site.name: site.C_pinv.T for site in within.sites[:-1]}
    if not isinstance(within, Mapping):
        raise OptionError(
            f"within is of type {type(within).__name__}; give a mapping from sites to decoders, or a Basis."
        )
    inner = list(sizes)[:-1]
    if unknown := [name for name in within if name not in inner]:
        raise OptionError(f"within names the sites {unknown}, but only {inner} can be confined.")
    found = {}
    for name, decoder in within.items():
        U, s, _ = torch.linalg.svd(check_matrix("decoder", name, decoder, (sizes[name], None)), full_matrices=False)
        found[name] = U[:, s > s[0] * 1e-10]
    return found


def check_matrix(kind: str, name: str, matrix: Any, shape: tuple[int, int | None]) -> Matrix:
    """A user's matrix in float64 on the CPU.

    Raises:
        OptionError: it has another shape or is not finite, or a column or row of it is zero.
    """
    wanted = f"[{shape[0]}, {'k' if shape[1] is None else shape[1]}]"
    try:
        given = torch.as_tensor(matrix)
        if given.is_complex():
            raise TypeError
        found = given.detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError):
        raise OptionError(
            f"The {kind} of site {name!r} is of type {type(matrix).__name__}; give a matrix {wanted} of real numbers."
        ) from None
    if found.ndim != 2 or found.shape[0] != shape[0] or shape[1] not in (None, found.shape[1]) or not found.numel():
        raise OptionError(
            f"The {kind} of site {name!r} has the shape {list(found.shape)}, but must be {wanted}: a direction in each "
            f"{'column' if kind == 'decoder' else 'row'}."
        )
    if not bool(found.isfinite().all()):
        raise OptionError(f"The {kind} of site {name!r} is not finite; give numbers.")
    empty = (found == 0).all(0 if kind == "decoder" else 1).nonzero().flatten().tolist()
    if empty:
        raise OptionError(f"The {kind} of site {name!r} has zero directions at {empty[:5]}; leave them out.")
    return found
