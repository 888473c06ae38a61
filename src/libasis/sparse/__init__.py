"""Sparse LIB: rotations of the kept coordinates that leave fewer interactions, at all sites together."""

from __future__ import annotations

from dataclasses import replace

from ..basis import Basis
from ..measure import Records
from .judge import ByAblation, ByStrength, ablatable
from .objective import Objective
from .responses import sample
from .rotate import leading, rotated, turned
from .search import search

__all__ = ["rotated", "sparsify"]


def sparsify(records: Records, basis: Basis, *, seed: int, memory: int) -> Basis:
    r"""Rotate the features of LIB so that fewer interactions are needed.

    The whitened features :math:`y = \Lambda^{-1/2}\hat f` are unique only up to an orthogonal matrix R per site. With
    :math:`D = \mathrm{diag}(R^T\Lambda R)` the new features are :math:`C_s = C\Lambda^{-1/2} R D^{1/2}`,
    :math:`C_s^+ = D^{-1/2}R^T\Lambda^{1/2}C^+`. They span the same space, are uncorrelated, have variances D that add
    up to :math:`\sum\Lambda`, and R depends on the features alone, so that the result is as independent of the model's
    parametrisation as LIB. The last site stays.

    Args:
        records: of the data of the fit, gone through before.
        basis: LIB; it is not changed.
        seed: of the choice of samples.
        memory: bound in bytes for what one batch's products may hold.

    Raises:
        BatchError: there are too few samples to fit rotations to some and to judge them by others.
    """
    sizes = [leading(site) for site in basis.sites[:-1]]
    ablated = ablatable(records, basis)
    fitted, held_out = sample(records, basis.sites, sizes, seed=seed, memory=memory, held_out=not ablated)
    importances = [site.importances[:m] for site, m in zip(basis.sites, sizes, strict=False)]
    judge = ByAblation(records, basis, seed=seed, memory=memory) if ablated else ByStrength(held_out, importances)
    found = search(Objective(fitted, importances), judge, progress=records.progress)
    facts = {
        "samples_fitted": dict(zip(names(basis), [r.rows for r in fitted], strict=True)),
        **found.facts(names(basis)),
        "judged_by": judge.facts(),
    }
    return replace(turned(basis, found.rotations), info={**basis.info, "sparse": facts})


def names(basis: Basis) -> list[str]:
    """Of the sites that may be rotated, which are also those of the sections."""
    return [site.name for site in basis.sites[:-1]]
