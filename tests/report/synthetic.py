"""Synthetic results: no model, only the plain data that the report reads."""

import torch

from libasis.ablation.results import Curve, EdgeAblation, NodeAblation
from libasis.basis import Basis, SiteBasis
from libasis.graphs.graph import InteractionGraph

NAMES = ("blocks.0.ln1:in", "blocks.0.ln2:in", "unembed:in", "output")
SIZES = (65, 30, 51, 114)


def site(name, k, importances=None):
    eye = torch.eye(k, dtype=torch.float64)
    values = torch.logspace(3, -5, k, dtype=torch.float64) if importances is None else importances.double()
    report = {"threshold": 1e-9, "around": {"kept": 1.5e-6, "dropped": 2e-12}}
    return SiteBasis(name, torch.zeros(k).double(), eye, eye, values, values, report)


def make_graph(sizes=SIZES, names=NAMES, method="lib", edges=None, importances=None):
    generator = torch.Generator().manual_seed(sum(sizes))
    pairs = list(zip(sizes[1:], sizes[:-1], strict=True))
    if edges is None:
        edges = [torch.rand(pair, generator=generator).double() ** 12 for pair in pairs]
    signs = [torch.where(torch.rand(e.shape, generator=generator) < 0.5, -1.0, 1.0) for e in edges]
    spectra = importances or [None] * len(sizes)
    basis = Basis(tuple(site(*row) for row in zip(names, sizes, spectra, strict=True)), method, {"rule": "exact"})
    signed = tuple(e.sqrt() * s for e, s in zip(edges, signs, strict=True))
    info = {"method": "gradient", "seed": 7, "data": {"samples": 3830, "files": ["a", "b"]}, "versions": {"torch": "x"}}
    return InteractionGraph(basis, tuple(edges), signed, info)


def make_edge_ablation(graph, required, stable, *, metric="accuracy", higher=True, base=0.99955, drop=0.001):
    names = graph.sites[:-1]
    totals = {n: e.numel() for n, e in zip(names, graph.edges, strict=True)}
    masks, curves = {}, {}
    for name, strength, count in zip(names, graph.edges, required, strict=True):
        mask = torch.zeros(strength.numel(), dtype=torch.bool)
        mask[torch.sort(strength.flatten(), descending=True, stable=True).indices[: count or 0]] = True
        masks[name] = mask.view_as(strength)
        ends = {0: base - 0.9 if higher else base + 3, totals[name]: base}
        curves[name] = Curve({**ends, **{c: base for c in (count, *stable) if c}})
    return EdgeAblation(
        edges_required=dict(zip(names, required, strict=True)),
        edges_required_stable=dict(zip(names, stable, strict=True)),
        edges_total=totals,
        curves=curves,
        masks=masks,
        base_score=base,
        metric=metric,
        higher_is_better=higher,
        max_drop=drop,
        samples=8939,
        info={"basis": graph.basis.method, "search": "bisect"},
    )


def make_node_ablation(graph, *, base=0.99955):
    scores = {0: 0.01, 5: base - 0.0005, 6: base - 0.2, 9: base - 0.0009}
    curves = {s.name: Curve({**{n: v for n, v in scores.items() if n < s.k}, s.k: base}) for s in graph.basis}
    needed = {
        name: next(n for n, score in reversed(curve.items()) if base - score > 0.001) for name, curve in curves.items()
    }
    needed = {name: min(n for n in curve if n > needed[name]) for name, curve in curves.items()}
    return NodeAblation(
        needed, needed, curves, 0.0088, base, "accuracy", True, 0.001, 8939, {"basis": graph.basis.method}
    )
