"""Edges: how strongly each feature of a site acts on each feature of the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, check_fits
from ..cut import Traced
from ..data import FileBatches
from ..errors import ON_TRACE, renamed
from ..graphs.graph import InteractionGraph
from ..measure import Records, expect, measure_all, shares
from ..provenance import versions
from ..types import Plain
from .cost import check_error, estimated
from .drawn_sums import SHARE, DrawnEdgeSums
from .edge_sums import EdgeSums
from .effects import GradientPath
from .strongest import Jobs, Strongest, check_top_k, facts, passes


@renamed(**ON_TRACE, nodes="it is n_steps now")
@typed
@neutral
def interactions(  # noqa: PLR0913 - keyword options of the public face
    traced: Traced,
    basis: Basis,
    batches: Iterable[Any],
    *,
    method: str = "gradient",
    n_steps: int = 8,
    baseline: str = "mean",
    top_k: int | None = None,
    relative_error: float | str = "auto",
    seed: int = 0,
    progress: bool | None = None,
    memory: int | str = "auto",
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
        relative_error: where edges are estimated from output positions drawn at random, until of the strongest edges
            that together make 90% of a section's strength 95% have at most this relative standard error. Each edge of
            such a section has its error in ``graph.stderr``, and ``graph.info["estimate"]`` says what was drawn and
            what the errors do to the ranking. ``"auto"`` estimates, to 10%, where the exact edges of a section take
            more than 4e12 multiplications (two sites of 576 features and 8,000 tokens, say); a number estimates all
            sections but affine ones; 0 measures all edges exactly.
        seed: of the draws.
        progress: show a progress bar; None shows one on a terminal only.
        memory: bound in bytes for what one batch's products may hold; with ``top_k`` also for the dense rows measured
            together, and where there are several passes for the activations kept between them. ``"auto"`` as in `fit`.

    Raises:
        OptionError: an option is unknown or the basis belongs to other sites.
        BatchError: the batches are empty, one-shot or of the wrong structure.
    """
    path = GradientPath.parse(method, n_steps, baseline)
    check_top_k(top_k)
    check_error(relative_error)
    kept, memory = shares(memory, traced)
    model = check_fits(traced, basis)
    plan = plan_of(basis, top_k, memory)
    records = Records.of(traced, batches, kept, progress=progress)
    drawn = Drawing(estimated(records, basis, relative_error), seed)
    if len(plan) == 1 and not drawn.errors:
        records.read_once()
    sections = list(measured_sections(records, basis, path, plan, top_k=top_k, memory=memory, drawn=drawn))
    strongest = [section.parts[0] for section in sections]
    info = {
        "method": basis.method,
        "interactions": method,
        "rules": [section.rule for section in sections],
        "counts": [section.count for section in sections],
        "quadrature": None
        if method == "gradient"
        else {"rule": "Gauss-Legendre", "n_steps": n_steps, "baseline": baseline},
        "top_k": facts(strongest, top_k, len(plan)),
        "data": records.facts(),
        **((isinstance(batches, FileBatches) and batches.column_facts()) or {}),
        "stands_on": {"basis": basis.digest()},
        "traced": model,
        "versions": versions(),
        "fit": basis.info,
    }
    matrices = [one.matrices() for one in strongest]
    edges, signed = (tuple(m[i] for m in matrices) for i in (0, 1))
    stderr = {site.name: m[2] for site, m in zip(basis, matrices, strict=False) if len(m) > 2}
    graph = InteractionGraph(basis, edges, signed, info, stderr=stderr)
    if drawn.errors:
        found = {name: _estimate(graph, name, sections, drawn) for name in stderr}
        info["estimate"] = {"seed": seed, "sections": found}
    return graph


def _estimate(graph: InteractionGraph, name: str, sections: Sequence[MeasuredSection], drawn: Drawing) -> Plain:
    """What is known about the edges of a section that were estimated."""
    l = graph.sites.index(name)
    strengths = graph.entries(l)[1].sort(descending=True).values
    count = int((strengths.cumsum(0) < SHARE * strengths.sum()).sum()) + 1
    counts = sorted({*(10**i for i in range(1, 12) if 10**i < len(strengths)), min(count, len(strengths))})
    return {
        **sections[l].facts,
        "relative_error": drawn.errors[l],
        "share": SHARE,
        "edges": count,
        "ranking": [{"edges": m, "right": graph.sure(l, m)} for m in counts],
    }


@dataclass(frozen=True)
class Drawing:
    """Which sections are estimated.

    Attributes:
        errors: their relative errors, by number.
        seed: of the draws.
    """

    errors: dict[int, float] = field(default_factory=dict)
    seed: int = 0


EXACT = Drawing()


@dataclass(frozen=True)
class MeasuredSection:
    """The edges of one section.

    Attributes:
        parts: of each part of the data.
        rule: how effects were computed.
        count: of the vectors that the edges are means over.
        facts: what was drawn for it, and the error reached, where it is an estimate.
    """

    parts: list[Strongest]
    rule: str
    count: int
    facts: Plain


def measured_sections(  # noqa: PLR0913 - what is measured, and how
    records: Records,
    basis: Basis,
    path: GradientPath,
    plan: Sequence[Jobs],
    *,
    top_k: int | None,
    memory: int,
    parts: int = 1,
    drawn: Drawing = EXACT,
) -> Iterator[MeasuredSection]:
    """One section after the other.

    Args:
        records: the data.
        basis: the features.
        path: where derivatives are taken.
        plan: from `plan_of`.
        top_k: edges to keep for each output feature.
        memory: bound in bytes for what one batch's products may hold.
        parts: of the data: batch i is in part i modulo their number.
        drawn: the sections that are estimated.
    """

    def start(l: int, outputs: slice) -> EdgeSums:
        if l not in drawn.errors:
            return EdgeSums(basis, l, outputs, path, memory, parts)
        return DrawnEdgeSums(basis, l, outputs, path, memory, relative_error=drawn.errors[l], seed=drawn.seed)

    found: list[Strongest] = []
    facts: list[Plain] = []
    if not drawn.errors:  # else only the errors say how many
        expect(len(plan))
    for number, jobs in enumerate(plan, 1):
        label = "interactions" if len(plan) == 1 else f"interactions, pass {number} of {len(plan)}"
        sums = [start(l, outputs) for l, outputs in jobs]
        measure_all(records, sums, label)
        while sums:
            total = sums.pop(0)
            if not total.outputs.start:
                found, facts = [Strongest((total.target.k, total.source.k), top_k) for _ in range(parts)], []
            stderr = total.stderr() if isinstance(total, DrawnEdgeSums) else None
            facts += [total.facts()] if isinstance(total, DrawnEdgeSums) else []
            for strongest, (edges, signed) in zip(found, total.finish(), strict=True):
                strongest.add(edges, signed, stderr)
            if total.outputs.stop == total.target.k:
                most = {key: max(one[key] for one in facts) for key in facts[0]} if facts else {}
                yield MeasuredSection(found, total.rule, int(total.counts.sum()), most)


def plan_of(basis: Basis, top_k: int | None, memory: int, parts: int = 1) -> list[Jobs]:
    """Passes that measure the edges of all sections, of so many parts of the data: one where nothing is dropped."""
    shapes = [(target.k, source.k) for source, target in zip(basis.sites[:-1], basis.sites[1:], strict=True)]
    if top_k is None and parts == 1:
        return [[(l, slice(0, k_out)) for l, (k_out, _) in enumerate(shapes)]]
    return passes([(k_out, parts * k_in) for k_out, k_in in shapes], memory)
