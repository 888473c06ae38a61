"""Calls of the public face with one argument out of place: every verb, every parameter, every kind of value."""

import inspect
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

import libasis
from libasis import practice

N = 12


class Net(nn.Module):
    """Small enough for thousands of calls."""

    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(3, 4)
        self.act = nn.ReLU()
        self.fc2 = nn.Linear(4, 2)

    def forward(self, x):
        return self.fc2(self.act(self.fc1(x)))


def _raise(*_, **__):
    raise ValueError("the user's own error")


class _Odd:
    """Nothing that anybody expects."""

    def __repr__(self):
        return "odd " * 50


VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "0": 0,
    "-1": -1,
    "1": 1,
    "10**30": 10**30,
    "10**400": 10**400,
    "0.5": 0.5,
    "-0.0": -0.0,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "1e308": 1e308,
    "complex": 1j,
    "empty text": "",
    "text": "fc2",
    "long text": "x" * 100_000,
    "NUL": "a\0b",
    "half a character": "\ud800",
    "newline": "a\nb",
    "bytes": b"fc2:in",
    "empty list": [],
    "empty tuple": (),
    "empty dict": {},
    "empty set": set(),
    "list of None": [None],
    "list of texts": ["a", "b"],
    "list of lists": [[[]]],
    "list of numbers": [0, 1],
    "list of nan": [math.nan],
    "dict": {"a": 1},
    "dict of numbers": {0: 1},
    "range": range(3),
    "generator": "a generator",
    "object": _Odd(),
    "class": _Odd,
    "function": lambda *_: None,
    "raises": _raise,
    "module": torch,
    "dtype": torch.float16,
    "device": torch.device("meta"),
    "tensor": torch.zeros(()),
    "tensor of nan": torch.full((N, 3), math.nan),
    "tensor of integers": torch.zeros(N, 3, dtype=torch.int64),
    "complex tensor": torch.zeros(N, 3, dtype=torch.complex64),
    "sparse tensor": torch.zeros(N, 3).to_sparse(),
    "tensor without rows": torch.zeros(0, 3),
    "tensor on meta": torch.zeros(N, 3, device="meta"),
    "wide tensor": torch.zeros(N, 5),
    "list of tensors": [torch.zeros(N, 3)],
    "list of pairs": [(torch.zeros(N, 3), torch.zeros(N, dtype=torch.int64))],
    "uneven pairs": [(torch.zeros(N, 3), torch.zeros(N - 1, dtype=torch.int64))],
    "pairs with nan": [(torch.zeros(N, 3), torch.full((N,), math.nan))],
    "array": np.zeros((N, 3)),
    "array of objects": np.array([None, "a"], dtype=object),
    "array of texts": np.array(["a", "b"]),
    "model": nn.Linear(3, 2).eval(),
    "scripted": "a scripted model",
}


@dataclass(frozen=True)
class Call:
    """One call: which verb, which parameter, which value."""

    verb: str
    parameter: str
    value: str

    def __str__(self) -> str:
        return f"{self.verb}-{self.parameter}-{self.value}".replace(" ", "_")


class World:
    """A model, its data and its results, to call every verb rightly."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = Net().eval()
        x = torch.randn(2 * N, 3)
        self.batches = [(x[:N], x[:N].argmax(-1) % 2), (x[N:], x[N:].argmax(-1) % 2)]
        self.sites = ["fc1:in", "fc2:in", "output"]
        self.traced = libasis.trace(self.model, x[:4], self.sites)
        self.basis = libasis.fit(self.traced, self.batches, progress=False)
        self.graph = libasis.interactions(self.traced, self.basis, self.batches, progress=False)
        self.cards = libasis.collect(self.traced, self.graph, self.batches, samples=8, tested=1, progress=False)
        intervention = [libasis.Intervention("fc2:in", features=[0])]
        claim = libasis.Hypothesis("fc2:in", [0], name="one")
        plan = libasis.plan(self.traced, self.basis, self.batches, claim, controls=9, progress=False)
        traced, graph, batches = self.traced, self.graph, self.batches
        draw = np.random.default_rng(0)
        table = {"arm": ["control", "new"] * 30, "y": draw.random(60), "z": draw.random(60)}
        observed = {"t": [0, 1] * 30, "y": table["y"], "z": table["z"]}
        metric = practice.ABMetric("y", sd=1.0, effect=0.5)
        self.verbs: dict[str, tuple[Any, tuple[Any, ...]]] = {
            "find_sites": (libasis.find_sites, (self.model, x[:4])),
            "trace": (libasis.trace, (self.model, x[:4], self.sites)),
            "fit": (libasis.fit, (traced, batches)),
            "build": (libasis.build, (self.model, batches, self.sites)),
            "interactions": (libasis.interactions, (traced, self.basis, batches)),
            "ablate_nodes": (libasis.ablate_nodes, (traced, graph, batches)),
            "ablate_edges": (libasis.ablate_edges, (traced, graph, batches)),
            "collect": (libasis.collect, (traced, graph, batches)),
            "intervene": (libasis.intervene, (traced, graph, batches, intervention)),
            "Intervention": (libasis.Intervention, ("fc2:in", [0])),
            "Hypothesis": (libasis.Hypothesis, ("fc2:in", [0])),
            "parts": (libasis.parts, (batches,)),
            "explore": (libasis.explore, (traced, self.basis, batches)),
            "plan": (libasis.plan, (traced, self.basis, batches, claim)),
            "verify": (libasis.verify, (traced, self.basis, batches, plan)),
            "faithfulness": (libasis.faithfulness, (traced, graph, batches)),
            "circuit_tests": (libasis.circuit_tests, (traced, graph, batches, {"fc2:in": [0]})),
            "edge_effects": (libasis.edge_effects, (traced, graph, batches)),
            "contributions": (libasis.local.contributions, (traced, graph, batches, "fc1:in")),
            "counterfactual": (libasis.local.counterfactual, (traced, graph, batches, "fc1:in")),
            "sensitivity": (libasis.local.sensitivity, (traced, graph, batches, "fc1:in")),
            "Show": (libasis.local.Show, ()),
            "communities": (libasis.communities, (graph,)),
            "diff": (libasis.diff, (graph, graph)),
            "diagnose": (libasis.diagnose, (self.model, batches, [x + 1])),
            "check": (libasis.check, (self.model, batches, [x + 1])),
            "keep": (libasis.keep, (traced, batches)),
            "load": (libasis.load, ("nowhere",)),
            "Results": (libasis.report.Results, ([graph],)),
            "effect": (libasis.causal.effect, (observed, "t", "y", ["z"])),
            "evalue": (libasis.causal.evalue, (2.0, 1.5, 3.0)),
            "features": (libasis.causal.features, (traced, graph, batches, {"fc2:in": [0]})),
            "ABMetric": (practice.ABMetric, ("y", 0.5)),
            "ab_design": (practice.ab_design, (metric,)),
            "ab_analyse": (practice.ab_analyse, (table,)),
            "value": (practice.value, ({"a": (1, 2)}, "a")),
            "practice_plan": (practice.practice_plan, ([],)),
            "write_page": (libasis.report.write_page, ("page.html", libasis.report.Results([graph]))),
        }

    def calls(self) -> Iterator[Call]:
        """Every call with one argument out of place."""
        for verb, (function, _) in self.verbs.items():
            for parameter in inspect.signature(inspect.unwrap(function)).parameters:
                yield from (Call(verb, parameter, value) for value in VALUES)

    def run(self, call: Call) -> Any:
        """Make a call."""
        function, right = self.verbs[call.verb]
        names = list(inspect.signature(inspect.unwrap(function)).parameters)
        arguments = dict(zip(names, right, strict=False))
        if "progress" in names:
            arguments["progress"] = False
        if call.verb == "edge_effects":
            arguments |= {"strongest": 1, "controls": 2}
        if call.verb in ("contributions", "counterfactual", "sensitivity"):
            arguments |= {"samples": 1}
        if call.verb == "collect":
            arguments |= {"samples": 8, "tested": 1}
        if call.verb in ("plan", "circuit_tests"):
            arguments |= {"controls": 9}
        if call.verb == "effect":
            arguments |= {"repeats": 20}
        if call.verb == "ab_analyse":
            arguments |= {"success": "y", "arm": "arm"}
        arguments[call.parameter] = self.value(call.value)
        return function(**arguments)

    def value(self, name: str) -> Any:
        """The value of that name, made anew where it can be used but once."""
        if name == "generator":
            return (batch for batch in self.batches)
        if name == "scripted":
            return torch.jit.trace(self.model, torch.zeros(2, 3))
        return VALUES[name]
