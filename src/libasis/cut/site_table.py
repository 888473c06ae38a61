"""The table of sites: one row for each tensor at which a model can be cut, under the name that says most."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from ..errors import printable
from .check import why_not
from .program import Program

ALIKE = 3
"""So many rows that differ in a layer's number alone are printed as one."""


@dataclass(frozen=True)
class SiteRow:
    """One possible site.

    Attributes:
        name: what to write in ``sites``.
        shape: shape of one sample.
        module: class of the module.
        ok: whether this site alone cuts the model in two.
        reason: why not.
        aliases: further names of the same tensor.
        rule: how the importance of a section that starts here and ends at the next site is computed; empty where none
            does.
        cost: what the rule takes beyond a few forward passes, in words.
    """

    name: str
    shape: tuple[int, ...]
    module: str
    ok: bool
    reason: str
    aliases: tuple[str, ...] = ()
    rule: str = ""
    cost: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the tensor."""
        return (self.name, *self.aliases)


class SiteTable(tuple[SiteRow, ...]):
    """All sites of a model: a tuple of `SiteRow` that prints as a table, rows of like layers as one."""

    __slots__ = ()

    def to_dicts(self) -> list[dict[str, Any]]:
        """As plain JSON data."""
        return [{**vars(row), "shape": list(row.shape), "aliases": list(row.aliases)} for row in self]

    def row(self, name: str) -> SiteRow:
        """The row of a name, which may be an alias.

        Raises:
            KeyError: there is none.
        """
        for row in self:
            if name in row.names or f"{name}:out" in row.names:
                return row
        raise KeyError(name)

    def __str__(self) -> str:
        found = [_cells(rows) for rows in _alike(self)]
        head = ("site", "", "shape", "module", "cut", "rule from here", "cost", "why not, or other names")
        used = [i for i in range(len(head)) if any(cells[i] for cells in found)]
        widths = {i: max(len(cells[i]) for cells in [head, *found]) for i in used}
        room = max(shutil.get_terminal_size((160, 0)).columns, 80)
        lines = ["  ".join(cells[i].ljust(widths[i]) for i in used).rstrip() for cells in [head, *found]]
        return "\n".join(line if len(line) <= room else line[: room - 1] + "…" for line in map(printable, lines))

    __repr__ = __str__


def pattern_of(name: str) -> str:
    """A name with ``*`` for each layer's number: ``"blocks.*.mlp:in"``."""
    return re.sub(r"(?<=\.)\d+(?=\.|[:#])", "*", name)


def _alike(table: Iterable[SiteRow]) -> list[list[SiteRow]]:
    """Rows that differ in the number of a layer alone, together, where the first of them stands."""
    groups: dict[Any, list[SiteRow]] = {}
    for row in table:
        pattern = pattern_of(row.name)
        layered = ".*." in pattern or pattern != row.name
        key = (pattern, row.shape, row.module, row.ok, row.rule, row.cost) if layered else row.name
        groups.setdefault(key, []).append(row)
    found = []
    for rows in groups.values():
        found += [rows] if len(rows) >= ALIKE else [[row] for row in rows]
    return found


def _cells(rows: Sequence[SiteRow]) -> tuple[str, ...]:
    last, several = rows[-1], len(rows) > 1
    name, reason, aliases = last.name, last.reason, ", ".join(last.aliases)
    if several:
        name, reason, aliases = (pattern_of(text) for text in (name, reason, aliases))
    shape, cut = str(list(last.shape)), "yes" if last.ok else "no"
    return name, f"x{len(rows)}" if several else "", shape, last.module, cut, last.rule, last.cost, reason or aliases


def site_table(program: Program) -> SiteTable:
    """Every possible site of a program, in the model's order."""
    tensors: dict[fx.Node, list[str]] = {}
    for name, node in program.site_nodes().items():
        tensors.setdefault(node, []).append(name)
    rows = []
    for node, names in sorted(tensors.items(), key=lambda item: program.order.get(item[0], 0)):
        name = best_name(program, names)
        shape, dim = node.meta["val"].shape, program.batch_dim(node)
        sample = tuple(s for i, s in enumerate(shape) if i != (dim or 0)) if len(shape) else ()
        kind = program.classes.get(name, "input" if name.startswith("input") else "output")
        reason = why_not(program, name, node)
        others = tuple(other for other in names if other != name)
        rows.append(SiteRow(name, _ints(sample), kind, not reason, reason, others))
    return SiteTable(rows)


def chain_of(program: Program, table: SiteTable) -> list[str]:
    """The sites that each alone cut the model, up to its output: every two of them enclose a section."""
    ends = {*program.outputs} - {"output"}
    return [row.name for row in table if row.ok and ("output" in row.names or not ends & {*row.names})]


def best_name(program: Program, names: Sequence[str]) -> str:
    """Of the names of one tensor: the norm that takes it, else the only layer that does, else who made it.

    Where several layers take it (query, key and value), it is the module that holds them all.
    """
    if ends := [name for name in names if name in ("input", "output")] or [n for n in names if n in program.outputs]:
        return ends[0]
    own = set(names)
    busy = [name for name in names if not {_side(name, "in"), _side(name, "out")} <= own]  # not a hook or dropout
    made = {name: program.marks.get(_side(name, "out")) for name in busy if name.endswith(":in")}
    takes = [name for name, node in made.items() if node is None or program.taint[node] == "value"]  # no position table
    if norms := [name for name in takes if "norm" in program.classes[name].lower()]:
        return norms[0]
    leaves = [name for name in takes if not any(_holds(name, other) for other in takes)]
    if len(leaves) == 1:
        return leaves[0]
    if around := [name for name in takes if all(_holds(name, leaf) for leaf in leaves)]:
        return around[-1]
    return next(iter([*leaves, *(name for name in busy if name.endswith(":out")), *names]))


def _side(name: str, end: str) -> str:
    return f"{name.rpartition(':')[0]}:{end}"


def _holds(name: str, other: str) -> bool:
    """Whether one module is inside another."""
    return other.startswith(name.rpartition(":")[0] + ".")


def _ints(shape: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(s if isinstance(s, int) else -1 for s in shape)
