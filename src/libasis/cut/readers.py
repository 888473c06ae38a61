"""Where a hook changes a site's tensor for all that read it: before a module it changes what that module reads."""

from __future__ import annotations

from collections.abc import Iterator, Set

from torch import fx

from .program import Program, aten, is_size

_CONVERSIONS = {aten.to.dtype, aten.to.dtype_layout, aten.to.device, aten.to.other, aten._to_copy.default}


def hook_at(program: Program, site: str) -> str | None:
    """Of a site's tensor that others read too the name at which a hook of torch changes it for all, ``""`` for none.

    None where the site's own name is such a one: also of a module that passes it on, which is made for hooks, and where
    the graph does not tell.
    """
    own = site if site in program.marks else f"{site}:out"
    if own not in program.marks:
        return None
    node = program.marks[own]
    names = [name for name, marked in program.marks.items() if marked is node]
    if _passes_on(own, names) or not all(user.meta.get("nn_module_stack") for user in _readers(node)):
        return None
    known = {name.rpartition(":")[0] for name in program.marks}
    inside = [_modules(user, known) for user in _readers(node)]

    def serves(name: str) -> bool:
        path, _, end = name.rpartition(":")
        if "#" in path or f"{path}#2:{end}" in program.marks or _passes_on(name, names):
            return False
        within = [path in modules for modules in inside]
        return not any(within) if end == "out" else all(within) and node not in program.outputs.values()

    names.sort(key=lambda name: name[-3:] != own[-3:])  # at the same end the hook is of the same kind
    return None if serves(own) else next(filter(serves, names), "")


def _passes_on(name: str, names: list[str]) -> bool:
    path = name.rpartition(":")[0]
    return f"{path}:in" in names and f"{path}:out" in names


def _readers(node: fx.Node) -> Iterator[fx.Node]:
    """What is computed of a tensor; a conversion to the dtype that it has is the tensor itself."""
    for user in node.users:
        if user.target in _CONVERSIONS and user.meta["val"].dtype == node.meta["val"].dtype:
            yield from _readers(user)
        elif not is_size(user):
            yield user


def _modules(node: fx.Node, known: Set[str]) -> set[str]:
    """Paths of the modules in which a node is computed: behind entry and model, with its prefix or not."""
    paths = [str(path) for path, _ in node.meta["nn_module_stack"].values()][2:]
    return {path if path in known else path.removeprefix("model.") for path in paths}
