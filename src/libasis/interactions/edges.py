"""Edges: how strongly each feature of a site acts on each feature of the next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..basis import Basis, check_same_sites
from ..cut import Record, Traced
from ..errors import ON_TRACE, renamed
from ..graphs.graph import InteractionGraph
from ..measure import DEFAULT_MEMORY, Records
from ..measure.records import check_memory
from ..provenance import versions
from .effects import Path
from .strongest import Jobs, Strongest, check_top_k, facts, passes
from .totals import Totals


@renamed(**ON_TRACE, nodes="it is n_steps now", seed="nothing there is random")
def interactions(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis: Basis,
    batches: Iterable[Any],
    *,
    method: str = "gradient",
    n_steps: int = 8,
    baseline: str = "mean",
    top_k: int | None = None,
    progress: bool | None = None,
    memory: int = DEFAULT_MEMORY,
) -> InteractionGraph:
    r"""The interaction graph of a basis.

    Gradient form, shape ``[k_out, k_in]`` per section:
    :math:`E_{ji} = \frac1n \sum_{samples}\sum_t \big(\sum_s \partial\hat f_{l+1,t,j} / \partial\hat f_{l,s,i}
    \; \hat f_{l,s,i}\big)^2`. The integrated form averages the derivative over the straight path from a baseline b to
    the activation (Gauss-Legendre quadrature) and multiplies by :math:`\hat f(f) - \hat f(b)`; with a complete basis
    the attributions then sum to :math:`\hat f_{l+1}(f) - \hat f_{l+1}(b)`. Beside each squared edge the mean of the
    unsquared sum is kept, whose sign tells the direction.

    Args:
        traced: from `trace` or `Chain`.
        basis: from `fit`, with the same sites.
        batches: as in `fit`.
        method: ``"gradient"`` or ``"integrated"``.
        n_steps: number of quadrature nodes of the integrated form.
        baseline: ``"mean"`` or ``"zero"``, for the integrated form.
        top_k: keep only this many edges for each output feature, the strongest, in sparse matrices. Which they are is
            known only when all batches are seen, so output features are measured in blocks whose dense rows, 32 bytes
            an edge, fit into ``memory``, with one pass over the data for each block. Between passes the activations
            are kept if they fit into ``memory``, else the model is run again. None keeps all edges, in one pass.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold; with ``top_k`` also for the dense rows measured
            together, and for the activations kept between passes.

    Raises:
        OptionError: an option is unknown or the basis belongs to other sites.
        BatchError: the batches are empty, one-shot or of the wrong structure.
    """
    path = Path.parse(method, n_steps, baseline)
    check_top_k(top_k)
    check_memory(memory)
    check_same_sites(traced, basis)
    shapes = [(target.k, source.k) for source, target in zip(basis.sites[:-1], basis.sites[1:], strict=True)]
    plan = [_all(shapes)] if top_k is None else passes(shapes, memory)
    sections = [Strongest(shape, top_k) for shape in shapes]
    records = Records.of(
        traced, batches, memory if len(plan) > 1 else 1, progress=progress
    )  # what is read once is not kept
    for number, jobs in enumerate(plan, 1):
        label = "interactions" if len(plan) == 1 else f"interactions, pass {number} of {len(plan)}"
        totals = [Totals(basis, l, outputs, path, memory) for l, outputs in jobs]
        for total in _measured(totals, records.stream(label=label)):
            sections[total.l].add(total)
    info = {
        "method": basis.method,
        "interactions": method,
        "rules": [section.rule for section in sections],
        "quadrature": None
        if method == "gradient"
        else {"rule": "Gauss-Legendre", "n_steps": n_steps, "baseline": baseline},
        "top_k": facts(sections, top_k, len(plan)),
        "data": records.facts(),
        "traced": traced.facts(),
        "versions": versions(),
        "fit": basis.info,
    }
    matrices = [section.matrices() for section in sections]
    return InteractionGraph(basis, tuple(e for e, _ in matrices), tuple(s for _, s in matrices), info)


def _measured(totals: list[Totals], stream: Iterable[Record]) -> list[Totals]:
    for record in stream:
        for total in totals:
            total.add(record)
    return totals


def _all(shapes: Sequence[tuple[int, int]]) -> Jobs:
    return [(l, slice(0, k_out)) for l, (k_out, _) in enumerate(shapes)]
