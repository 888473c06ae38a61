"""Names with ``*``: ``"model.layers.*.input_layernorm:in"`` stands for that site of every layer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..errors import SiteError
from .check import SiteSpec, resolve
from .program import Program


def is_wild(spec: SiteSpec) -> bool:
    """Whether a site's name has a ``*``."""
    return isinstance(spec, str) and "*" in spec


def matching(pattern: str, names: Iterable[str]) -> list[str]:
    """The names that a pattern stands for, in their order; without ``:in`` or ``:out`` it means ``:out``.

    ``*`` is one part of a dotted name, or some of it; ``**`` is any number of parts. Where no name fits so, ``*`` may
    be several parts, too.
    """
    names = list(names)
    for one in (r"[^.:]*", r".*"):
        text = re.escape(pattern).replace(r"\*\*", ".*").replace(r"\*", one)
        for end in ("", ":out"):
            if found := [name for name in names if re.fullmatch(text + end, name)]:
                return found
    return []


def expanded(program: Program, specs: Sequence[SiteSpec]) -> tuple[SiteSpec, ...]:
    """The sites without wildcards. With any, they are in the model's order, and no tensor is taken twice for one.

    Raises:
        SiteError: a wildcard fits nothing, or there are fewer than two sites.
    """
    if not any(map(is_wild, specs)):
        return tuple(specs)
    known = program.site_nodes()
    found = {tuple(resolve(program, spec)): spec for spec in specs if not is_wild(spec)}
    for spec in specs:
        names = matching(spec, known) if isinstance(spec, str) and is_wild(spec) else []
        if is_wild(spec) and not names:
            raise SiteError(
                f"Site {spec!r} fits no site of this model; libasis.find_sites(model, example) lists the sites of like "
                "layers under such names."
            )
        for name in names:
            found.setdefault((known[name],), name)
    if len(found) < 2:
        raise SiteError(f"sites {list(specs)!r} stands for {list(found.values())} alone; give at least two sites.")
    return tuple(spec for _, spec in sorted(found.items(), key=lambda item: max(program.order[n] for n in item[0])))
