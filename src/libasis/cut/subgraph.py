"""The part of a program's graph that is one section: for those who read what it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from torch import fx

from .functions import Functions
from .layout import Layout
from .program import Program


@dataclass(frozen=True)
class CutSite:
    """The tensors of one site."""

    nodes: list[fx.Node]
    layouts: list[Layout]


@dataclass(frozen=True, eq=False)
class Subgraph:
    """One section in its graph.

    Attributes:
        program: the graph.
        source: the input site.
        target: the output site.
        context: nodes of the context values, in the order of `Context.values`.
        functions: builds functions in the dtype and on the device of the cut.
    """

    program: Program
    source: CutSite
    target: CutSite
    context: list[fx.Node]
    functions: Functions
