"""A basis of directions that the user brings: latents of a dictionary, probes, concept vectors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from ..importance import Moments, parse
from ..measure import DEFAULT_MEMORY, Records
from ..numerics import StreamingMoments
from ..types import Matrix, Plain
from .basis import Basis, SiteBasis
from .fit import Recursion
from .spans import check_matrix
from .whiten import own_coordinates

Directions = Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Dictionary:
    """The directions of one site: ``decoder`` ``[d, k]``, ``encoder`` ``[k, d]``, and where the encoder is from."""

    decoder: Matrix
    encoder: Matrix
    origin: str

    @classmethod
    def of(cls, name: str, d: int, decoder: Any, encoder: Any | None) -> Dictionary:
        """Check the matrices; without an encoder the pseudo-inverse of the decoder.

        Raises:
            OptionError: a matrix has the wrong shape or is not finite, or a direction is zero.
        """
        D = check_matrix("decoder", name, decoder, (d, None))
        if encoder is not None:
            return cls(D, check_matrix("encoder", name, encoder, (D.shape[1], d)), "given")
        origin = "pseudo-inverse of the decoder" if D.shape[1] <= d else "minimum-norm dual of the decoder"
        return cls(D, torch.linalg.pinv(D), origin)

    def site(self, name: str, moments: StreamingMoments, pulled: Matrix | None) -> SiteBasis:
        r"""The site's basis.

        A feature's importance is its variance times :math:`d_i^T M' d_i`, what its direction d does to the next site;
        at the last site, where there is no next, its variance.
        """
        G = moments.covariance.cpu()
        variances = ((self.encoder @ G) * self.encoder).sum(1)
        effects = None if pulled is None else ((self.decoder.T @ pulled.cpu()) * self.decoder.T).sum(1).clamp_min(0)
        importances = variances.clone() if effects is None else variances * effects
        mean, C = moments.mean.cpu(), self.encoder.T.contiguous()
        return SiteBasis(
            name, mean, C, self.decoder.T.contiguous(), importances, variances, {"directions": self._report(G)}
        )

    def _report(self, G: Matrix) -> Plain:
        d, k = self.decoder.shape
        outside = torch.eye(d, dtype=torch.float64) - self.decoder @ self.encoder
        again = self.encoder @ self.decoder - torch.eye(k, dtype=torch.float64)
        total = float(G.trace())
        return {
            "d": d,
            "k": k,
            "rank": int(torch.linalg.matrix_rank(self.decoder)),
            "encoder": self.origin,
            "reconstruction_error": float((outside @ G @ outside.T).trace()) / total if total > 0 else 0.0,
            "encode_of_decode_error": float(again.abs().max()),
        }


def from_directions(
    records: Records,
    decoder: Directions,
    encoder: Directions | None,
    *,
    moments: Moments = "auto",
    seed: int = 0,
    memory: int = DEFAULT_MEMORY,
) -> Basis:
    """See `Basis.from_directions`."""
    encoder = encoder or {}
    names = [site.name for site in records.traced.sites]
    if unknown := [name for name in [*decoder, *encoder] if name not in names]:
        raise OptionError(f"The directions name the sites {unknown}, but the model was cut at {names}.")
    if alone := [name for name in encoder if name not in decoder]:
        raise OptionError(f"The sites {alone} have an encoder but no decoder; give the decoder of each.")
    job = Recursion(records, parse(moments, seed), memory)
    given = {
        name: Dictionary.of(name, len(stats.mean), decoder[name], encoder.get(name))
        for name, stats in job.stats.items()
        if name in decoder
    }
    found: list[SiteBasis] = []
    for l, (name, stats) in reversed(list(enumerate(job.stats.items()))):
        site = given.get(name)
        if site is None:
            found.insert(0, own_coordinates(name, stats) if found else job.last(None))
            continue
        pulled = None
        if found:
            scales = ((site.encoder @ stats.covariance.cpu()) * site.encoder).sum(1).clamp_min(0).sqrt()
            pulled = job.pulled(l, l + 1, (site.decoder * scales).to(stats.mean), found[0]).value
            job.look(name, pulled)
        found.insert(0, site.site(name, stats, pulled))
    info = {
        "method": "directions",
        "directions": {name: list(one.decoder.shape) for name, one in given.items()},
        "seed": seed,
        **job.facts(),
    }
    return Basis(tuple(found), "directions", info)
