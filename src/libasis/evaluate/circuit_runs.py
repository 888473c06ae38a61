"""The runs that test a circuit: it alone, all but it, nothing, it without each member, it with random parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..ablation.masked_section import MaskedSection
from ..ablation.ranking import Ranking
from ..basis import Basis, SiteBasis
from ..cut import Record
from ..errors import OptionError
from ..graphs import InteractionGraph
from ..intervene import Intervention, Preparation
from ..intervene.place import SiteBatch
from ..intervene.registry import FILLERS
from ..intervene.scores import run_many
from ..measure import Records
from ..types import Activations, Matrix

Outputs = Callable[[Record], Iterator[Tensor]]
Run = dict[str, Intervention]
"""What is done at each site of the circuit."""


class _Circuit:
    """Runs in this order: the model, the circuit, without it, nothing; members taken out; random parts put in.

    Attributes:
        members: place, member, and the number of the run without it.
        parts: by place the numbers of the runs with a random part put in.
        count: number of runs.
    """

    members: list[tuple[str, Any, int]]
    parts: dict[str, list[int]]
    count: int

    def _number(self, members: list[tuple[str, Any]], parts: Mapping[str, int]) -> None:
        self.members = [(place, member, 4 + i) for i, (place, member) in enumerate(members)]
        self.parts, self.count = {}, 4 + len(members)
        for place, number in parts.items():
            self.parts[place] = list(range(self.count, self.count + number))
            self.count += number


class FeatureCircuit(_Circuit):
    """Features of one site or several, kept together."""

    def __init__(self, basis: Basis, circuit: Mapping[str, Any], options: tuple[str, int, int]) -> None:
        self.basis, (self.filler, controls, self.seed) = basis, options
        if self.filler not in FILLERS:
            raise OptionError(f"replacement is {self.filler!r}; use one of {list(FILLERS)}.")
        names = [site.name for site in basis]
        if not circuit or (unknown := [name for name in circuit if name not in names]):
            raise OptionError(f"circuit names the sites {unknown if circuit else []}; give some of {names}.")
        self.kept = {name: self._only(name, circuit[name]) for name in names if name in circuit}
        for one in self.kept.values():
            one.check(basis)
        members = [(name, feature) for name, one in self.kept.items() for feature in one.features or ()]
        if not members:
            raise OptionError("circuit has no features; give one or more.")
        gone = {name: dataclasses.replace(one, to=self.filler, value=None) for name, one in self._some()}
        runs = [self.kept, gone, {name: self._only(name, ()) for name in self.kept}]
        for name, feature in members:
            rest = [f for f in self.kept[name].features or () if f != feature]
            runs.append({**self.kept, name: self._only(name, rest)})
        drawn = {name: self._parts(basis[name], one, controls) for name, one in self.kept.items()}
        for name, parts in drawn.items():
            runs += [{**self.kept, name: part} for part in parts]
        self.runs: list[Run] = runs
        self._number(members, {name: len(parts) for name, parts in drawn.items()})

    def _only(self, name: str, features: Any) -> Intervention:
        return Intervention(name, features, "keep_only", self.filler, seed=self.seed)

    def _some(self) -> list[tuple[str, Intervention]]:
        return [(name, one) for name, one in self.kept.items() if one.features]

    def _parts(self, site: SiteBasis, one: Intervention, controls: int) -> list[Intervention]:
        """The circuit's features kept, with one random direction of unit variance among the others."""
        chosen = list(one.features or ())
        deviation = site.variances.clamp(min=0).sqrt()
        if chosen and not deviation[chosen].all():  # a feature that never varies is no direction to be told apart
            return []
        others = [i for i in range(site.k) if i not in chosen and deviation[i] > 0]
        generator = torch.Generator().manual_seed(self.seed)
        drawn = torch.randn(controls if others else 0, len(others), generator=generator, dtype=torch.float64)
        rows = torch.nn.functional.normalize(drawn, dim=1) * deviation[others] @ site.C_pinv[others]
        own = site.C_pinv[chosen]
        return [
            Intervention(
                site.name, to="keep_only", value=self.filler, directions=torch.cat([own, row[None]]), seed=self.seed
            )
            for row in rows
        ]

    def outputs(self, records: Records, memory: int) -> Outputs:
        """Gives a batch's outputs in all runs."""
        known = Preparation(records, self.basis)
        known.learn([one for run in self.runs for one in run.values()])
        runs = [{known.index[name]: known.of(one) for name, one in run.items()} for run in self.runs]
        last = max(known.index[name] for name in self.kept)

        def end(record: Record, run: Mapping[int, Any]) -> Activations:
            at, x = min(run), record.activations[min(run)]
            for l, prepared in sorted(run.items()):
                x = record.forward(x, at, l)
                at, x = l, prepared.run(SiteBatch(record.with_activation(l, x), l, self.basis.sites[l]))
            return record.forward(x, at, last)

        def outputs(record: Record) -> Iterator[Tensor]:
            yield record.output
            yield from run_many(record, last, (end(record, run) for run in runs), memory)

        return outputs


class EdgeCircuit(_Circuit):
    """Edges of one section."""

    def __init__(self, graph: InteractionGraph, circuit: Mapping[str, Any], controls: int, seed: int) -> None:
        names = list(graph.sites[:-1])
        if len(circuit) != 1 or (name := next(iter(circuit))) not in names:
            raise OptionError(f"circuit names the sections {list(circuit)}; give one of {names}.")
        self.graph, self.l = graph, names.index(name)
        strengths = graph.edges[self.l]
        strengths = strengths.to_dense() if strengths.is_sparse else strengths
        whole, own = strengths > 0, _mask(circuit[name], tuple(strengths.shape))
        if not own.any():
            raise OptionError("circuit has no edges; give one or more.")
        rng = np.random.default_rng(seed)
        others = (whole & ~own).nonzero()
        drawn = others[torch.from_numpy(rng.permutation(len(others))[:controls])]
        members = own.nonzero().tolist()
        self.masks = [own, ~own, torch.zeros_like(own)]
        self.masks += [_with(own, i, j, False) for i, j in members] + [
            _with(own, i, j, True) for i, j in drawn.tolist()
        ]
        self._number([(name, f"{i}<-{j}") for i, j in members], {name: len(drawn)})

    def outputs(self, records: Records, memory: int) -> Outputs:
        """Gives a batch's outputs in all runs."""
        source, target = self.graph.basis.sites[self.l : self.l + 2]
        section = MaskedSection(self.l, source, target, Ranking(torch.zeros(target.k, source.k)), memory)

        def outputs(record: Record) -> Iterator[Tensor]:
            yield record.output
            yield from run_many(record, self.l + 1, section.run_masks(record, self.masks), memory)

        return outputs


def _mask(given: Any, shape: tuple[int, ...]) -> Matrix:
    """Pairs (target, source), or bool ``[k_out, k_in]``, as a mask."""
    if isinstance(given, Tensor) and given.dtype == torch.bool:
        given = given.to_dense() if given.is_sparse else given
        if tuple(given.shape) != shape:
            raise OptionError(f"circuit is a mask of shape {list(given.shape)}, but the section's is {list(shape)}.")
        return given
    out = torch.zeros(shape, dtype=torch.bool)
    try:
        pairs: Sequence[tuple[int, int]] = [(int(i), int(j)) for i, j in given]
    except (TypeError, ValueError):
        raise OptionError("A circuit of edges is pairs (target, source), or bool [k_out, k_in].") from None
    for i, j in pairs:
        if not (0 <= i < shape[0] and 0 <= j < shape[1]):
            raise OptionError(f"circuit has the edge {(i, j)}, but the section has {list(shape)} (targets, sources).")
        out[i, j] = True
    return out


def _with(mask: Matrix, i: int, j: int, there: bool) -> Matrix:  # noqa: FBT001 - a value, not an option
    out = mask.clone()
    out[i, j] = there
    return out
