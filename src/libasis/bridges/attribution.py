"""The attribution graph of one input, for the viewer of circuit-tracer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..ambient import neutral
from ..arguments import typed
from ..basis import Basis, SiteBasis, check_fits
from ..cut import Record, Traced, pull_back
from ..errors import OptionError
from ..graphs import InteractionGraph
from ..graphs.export import node_of, shares_of, write_graph
from ..types import Plain

ALONE = ("One", " input")
"""Stands for the prompt of an input without positions; viewers drop what occurs at most of the tokens."""


@dataclass(frozen=True)
class _Chosen:
    """Features of one site at positions, for one input.

    Attributes:
        positions: of each ``[m]``.
        features: of each ``[m]``.
        amounts: how much of each there is, from the mean of the fit on ``[m]``.
        effects: what all of that contributes to the output, to first order ``[m]``.
    """

    positions: Tensor
    features: Tensor
    amounts: Tensor
    effects: Tensor


@typed
@neutral
def attribution_graph(  # noqa: PLR0913 - keyword options of the public face
    path: str | Path,
    traced: Traced,
    basis_or_graph: Basis | InteractionGraph,
    inputs: Any,
    *,
    output: int | None = None,
    tokens: Sequence[str] | None = None,
    most: int = 24,
    model: str = "libasis",
) -> Path:
    r"""Write what acts on what for one input, as JSON that the viewers of circuit-tracer and Neuronpedia show.

    A node is a feature of a site at a position. A link's weight is :math:`\hat f_i\, \partial \hat f_j / \partial \hat
    f_i`: what feature i contributes, to first order, to feature j of the next site, from the mean of the fit on, at
    which every feature is 0. Shown are the features of each site that contribute most to the output by all ways.

    Args:
        path: the file; the viewer wants a name of small letters, digits and hyphens.
        traced: from `trace`.
        basis_or_graph: whose features; the labels of a graph become names.
        inputs: a batch of one input.
        output: the feature of the last site (the output's number) that is explained, at the last position that counts;
            None takes the largest.
        tokens: the prompt, a text for each position.
        most: features of each site.
        model: the model's name (Neuronpedia looks it up).

    Raises:
        OptionError: these are several inputs, the tokens are not as many as the positions, or there is no such output.
        StoreError: there is a file that is no attribution graph of libasis, or it cannot be written.
    """
    graph = basis_or_graph if isinstance(basis_or_graph, InteractionGraph) else None
    basis = graph.basis if graph else basis_or_graph
    assert isinstance(basis, Basis)  # noqa: S101 - for the type checker
    check_fits(traced, basis)
    record = traced.record(inputs)
    if record.size != 1 or most < 1:
        raise OptionError(f"There are {record.size} inputs, with most={most}; give one, and at least one feature.")
    length = max(x.shape[1] for x in record.activations)
    tokens = list(tokens) if tokens is not None else list(ALONE) if length == 1 else [f" {i}" for i in range(length)]
    if len(tokens) != max(length, len(ALONE)):
        raise OptionError(f"There are {len(tokens)} tokens; give one for each of {length} positions, and at least two.")
    chosen = [_output(record, basis.sites[-1], output)]
    pulled = _written(basis.sites[-1], chosen[0], record.activations[-1])
    links: list[list[Tensor]] = []
    for l in reversed(range(len(basis) - 1)):
        here, rows, pulled = _before(record, basis.sites, l, chosen[0], pulled, most)
        chosen.insert(0, here)
        links.insert(0, list(rows))
    names = {key: label.label for key, label in graph.labels.items()} if graph else {}
    parts = _nodes(record, basis, chosen, names, len(tokens)), _links(record, chosen, links, len(tokens))
    return write_graph(path, model, _about(basis), tokens, parts, {"basis": basis.method, "most": most})


def _output(record: Record, site: SiteBasis, output: int | None) -> _Chosen:
    """The one feature of the last site that is explained."""
    x, counted = record.activations[-1], record.counted[-1]
    position = x.shape[1] - 1 if counted is None else int(counted[0].nonzero()[-1])
    values = site.encode(x[0, position].double())
    if output is not None and not 0 <= output < site.k:
        raise OptionError(f"output is {output}, but the last site {site.name!r} has {site.k}, from 0 to {site.k - 1}.")
    number = int(x[0, position].argmax()) if output is None and site.k == site.d else output or 0
    index = torch.tensor([number])
    return _Chosen(torch.tensor([position]), index, values[index].cpu(), values[index].cpu())


def _written(site: SiteBasis, chosen: _Chosen, x: Tensor) -> Tensor:
    """The cotangents of features at their positions ``[m, 1, position, d]``."""
    found = x.new_zeros(len(chosen.features), *x.shape)
    for row, (s, i) in enumerate(zip(chosen.positions.tolist(), chosen.features.tolist(), strict=True)):
        found[row, 0, s] = site.C[:, i].to(x)
    return found


def _before(
    record: Record, sites: Sequence[SiteBasis], l: int, later: _Chosen, pulled: Tensor, most: int
) -> tuple[_Chosen, Tensor, Tensor]:
    """Features of site l, the links ``[m later, m here]`` from them, and the output's derivative ``[1, 1, s, d]``."""
    x, counted = record.activations[l], record.counted[l]
    _, pull = pull_back(lambda z: record.forward(z, l, l + 1), x, [record.contexts[l]])
    back = pull(torch.cat([_written(sites[l + 1], later, record.activations[l + 1]), pulled]))
    features = sites[l].encode(x[0].double())  # [s, k]
    if counted is not None:
        features = features * counted[0][:, None]
    weights = (back[:, 0].double() @ sites[l].C_pinv.to(features).T) * features  # [m + 1, s, k]
    effects = weights[-1].flatten()
    strongest = effects.abs().topk(min(most, int(effects.count_nonzero()))).indices
    positions, numbers = strongest // sites[l].k, strongest % sites[l].k
    here = _Chosen(positions.cpu(), numbers.cpu(), features.flatten()[strongest].cpu(), effects[strongest].cpu())
    return here, weights[:-1].flatten(1)[:, strongest].cpu(), back[-1:]


def _places(record: Record, l: int, chosen: _Chosen, length: int) -> list[int]:
    """Tokens of features; a site with fewer positions has the last ones."""
    return (chosen.positions + length - record.activations[l].shape[1]).tolist()


def _nodes(record: Record, basis: Basis, chosen: Sequence[_Chosen], names: dict[str, str], length: int) -> list[Plain]:
    last, rows = len(basis) - 1, []
    for l, (site, here) in enumerate(zip(basis, chosen, strict=True)):
        shares = shares_of(here.effects.abs().tolist())
        p = None
        if l == last:
            x = record.activations[-1][0, int(here.positions[0])].double()
            classes = site.name.startswith("output") and 1 < len(x) == site.k
            p = float(x.softmax(-1)[here.features[0]]) if classes else 1.0
        for n, (place, i) in enumerate(zip(_places(record, l, here, length), here.features.tolist(), strict=True)):
            key = f"{site.name}:{i}"
            node = node_of(l, i, place, names.get(key) or key, influence=shares[n][1], p=p)
            rows.append({**node, "activation": float(here.amounts[n]), "is_target_logit": l == last})
    return rows


def _links(record: Record, chosen: Sequence[_Chosen], links: Sequence[Sequence[Tensor]], length: int) -> list[Plain]:
    ids = [
        [f"{l}_{i}_{s}" for s, i in zip(_places(record, l, here, length), here.features.tolist(), strict=True)]
        for l, here in enumerate(chosen)
    ]
    return [
        {"source": ids[l][i], "target": ids[l + 1][j], "weight": float(weight)}
        for l, rows in enumerate(links)
        for j, row in enumerate(rows)
        for i, weight in enumerate(row)
        if weight
    ]


def _about(basis: Basis) -> str:
    return (
        f"What features ({basis.method}) contribute to each other for one input, by libasis. Layers are the sites "
        f"{', '.join(site.name for site in basis)}. A link's weight is the feature, from its mean on, times the "
        "derivative of the later one by it. Of each site the features are shown that contribute most to the output."
    )
