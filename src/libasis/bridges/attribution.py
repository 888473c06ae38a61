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
        readers: what reads them from an activation ``[m, d]``: columns of C.
    """

    positions: Tensor
    features: Tensor
    amounts: Tensor
    effects: Tensor
    readers: Tensor


@typed
@neutral
def attribution_graph(  # noqa: PLR0913 - keyword options of the public face
    path: str | Path,
    traced: Traced,
    basis_or_graph: Basis | InteractionGraph,
    inputs: Any,
    *,
    output: int | None = None,
    feature: int | None = None,
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
        output: the number of the output (the coordinate of the last site) that is explained, at the last position that
            counts; None takes the largest.
        feature: in its place a feature of the last site, where features are not the outputs themselves (after
            ``rotate_final=True``, of a large vocabulary, of directions of your own).
        tokens: the prompt, a text for each position.
        most: features of each site.
        model: the model's name (Neuronpedia looks it up).

    Raises:
        OptionError: these are several inputs, no position of it counts, the tokens are not as many as the positions, or
            there is no such output or feature.
        StoreError: there is a file that is no attribution graph of libasis, or it cannot be written.
    """
    graph = basis_or_graph if isinstance(basis_or_graph, InteractionGraph) else None
    basis = graph.basis if graph else basis_or_graph
    assert isinstance(basis, Basis)  # noqa: S101 - for the type checker
    check_fits(traced, basis)
    record = traced.record(inputs)
    if record.size != 1 or most < 1:
        raise OptionError(f"There are {record.size} inputs, with most={most}; give one, and at least one feature.")
    if any(counted is not None and not counted.any() for counted in record.counted):
        raise OptionError("No position of this input counts, by the mask of the traced model; give one that has some.")
    length = max(x.shape[1] for x in record.activations)
    tokens = list(tokens) if tokens is not None else list(ALONE) if length == 1 else [f" {i}" for i in range(length)]
    if len(tokens) != max(length, len(ALONE)):
        raise OptionError(f"There are {len(tokens)} tokens; give one for each of {length} positions, and at least two.")
    names = {key: label.label for key, label in graph.labels.items()} if graph else {}
    last, called = _target(record, basis.sites[-1], output, feature)
    chosen = [last]
    pulled = _written(last, record.activations[-1])
    links: list[list[Tensor]] = []
    for l in reversed(range(len(basis) - 1)):
        here, rows, pulled = _before(record, basis.sites, l, chosen[0], pulled, most)
        chosen.insert(0, here)
        links.insert(0, list(rows))
    places = [_places(len(tokens), x, one) for x, one in zip(record.activations, chosen, strict=True)]
    parts = _nodes(basis, chosen, places, names, called), _links(chosen, links, places)
    return write_graph(path, model, _about(basis), tokens, parts, {"basis": basis.method, "most": most})


def _target(
    record: Record, site: SiteBasis, output: int | None, feature: int | None
) -> tuple[_Chosen, tuple[str, float]]:
    """What is explained of the last site, its name, and its probability where it is one of several classes."""
    x, counted = record.activations[-1], record.counted[-1]
    for name, given, most in (("output", output, site.d), ("feature", feature, site.k)):
        if given is not None and not 0 <= given < most:
            raise OptionError(f"{name} is {given}, but the last site {site.name!r} has {most}, from 0 to {most - 1}.")
    if output is not None and feature is not None:
        raise OptionError(f"output is {output} and feature is {feature}; give one of them, it is what is explained.")
    position = x.shape[1] - 1 if counted is None else int(counted[0].nonzero()[-1])
    here = x[0, position].double().cpu()
    number = feature if feature is not None else int(here.argmax()) if output is None else output
    unit = (torch.arange(site.d) == number).to(here)
    both = number < min(site.d, site.k) and torch.equal(site.C[:, number], unit)  # the feature is the output
    reader = unit if feature is None else site.C[:, feature]
    classes = (feature is None or both) and site.name.startswith("output") and site.d > 1
    name = f"{site.name} {number}" if feature is None and not both else f"{site.name}:{number}"
    amount = ((here - site.mean) @ reader)[None]
    chosen = _Chosen(torch.tensor([position]), torch.tensor([number]), amount, amount, reader[None])
    return chosen, (name, float(here.softmax(-1)[number]) if classes else 1.0)


def _written(chosen: _Chosen, x: Tensor) -> Tensor:
    """The cotangents of features at their positions ``[m, 1, position, d]``."""
    found = x.new_zeros(len(chosen.features), *x.shape)
    found[torch.arange(len(found)), 0, chosen.positions] = chosen.readers.to(x)
    return found


def _before(
    record: Record, sites: Sequence[SiteBasis], l: int, later: _Chosen, pulled: Tensor, most: int
) -> tuple[_Chosen, Tensor, Tensor]:
    """Features of site l, the links ``[m later, m here]`` from them, and the output's derivative ``[1, 1, s, d]``."""
    x, counted = record.activations[l], record.counted[l]
    _, pull = pull_back(lambda z: record.forward(z, l, l + 1), x, [record.contexts[l]])
    back = pull(torch.cat([_written(later, record.activations[l + 1]), pulled]))
    features = sites[l].encode(x[0].double())  # [s, k]
    if counted is not None:
        features = features * counted[0][:, None]
    weights = (back[:, 0].double() @ sites[l].C_pinv.to(features).T) * features  # [m + 1, s, k]
    effects = weights[-1].flatten()
    strongest = effects.abs().topk(min(most, int(effects.count_nonzero()))).indices
    positions, numbers = (strongest // sites[l].k).cpu(), (strongest % sites[l].k).cpu()
    amounts, found = features.flatten()[strongest].cpu(), effects[strongest].cpu()
    here = _Chosen(positions, numbers, amounts, found, sites[l].C.T[numbers])
    return here, weights[:-1].flatten(1)[:, strongest].cpu(), back[-1:]


def _places(length: int, x: Tensor, chosen: _Chosen) -> list[int]:
    """Tokens of features; a site with fewer positions has the last ones."""
    return (chosen.positions + length - x.shape[1]).tolist()


def _nodes(
    basis: Basis,
    chosen: Sequence[_Chosen],
    places: Sequence[list[int]],
    names: dict[str, str],
    called: tuple[str, float],
) -> list[Plain]:
    last, rows = len(basis) - 1, []
    for l, (site, here) in enumerate(zip(basis, chosen, strict=True)):
        shares = shares_of(here.effects.abs().tolist())
        for n, (place, i) in enumerate(zip(places[l], here.features.tolist(), strict=True)):
            key, p = called if l == last else (f"{site.name}:{i}", None)
            node = node_of(l, i, place, names.get(key) or key, influence=shares[n][1], p=p)
            rows.append({**node, "activation": float(here.amounts[n]), "is_target_logit": l == last})
    return rows


def _links(chosen: Sequence[_Chosen], links: Sequence[Sequence[Tensor]], places: Sequence[list[int]]) -> list[Plain]:
    ids = [
        [f"{l}_{i}_{s}" for s, i in zip(places[l], here.features.tolist(), strict=True)]
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
