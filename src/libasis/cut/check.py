"""Is a cut valid? Read off the graph: what would go around a site, and which sites a model offers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence

from torch import fx

from ..errors import BypassError, SiteError
from .layout import layout_of_node
from .program import Program, is_complex, is_size, module_of

SiteSpec = str | Sequence[str]

_SYMBOL = r"\b[su]\d+\b"  # that an export has for a size


def site_name(spec: SiteSpec) -> str:
    """The name of a site: itself, or its parts joined by ``" + "``.

    Raises:
        SiteError: it is neither a string nor a list of strings.
    """
    if isinstance(spec, str):
        return spec
    if not isinstance(spec, Sequence) or not spec or not all(isinstance(part, str) for part in spec):
        raise SiteError(f"A site is {spec!r}; name it by a string, or a concatenated site by a list of strings.")
    return " + ".join(spec)


def resolve(program: Program, spec: SiteSpec) -> list[fx.Node]:
    """The nodes of a site.

    Raises:
        SiteError: the name is unknown, or the tensor cannot be a site.
    """
    return [_resolve_part(program, part) for part in ([spec] if isinstance(spec, str) else spec)]


def _resolve_part(program: Program, name: str) -> fx.Node:
    known = program.site_nodes()
    node = known.get(name) or known.get(f"{name}:out")
    if node is None and (same := _other_name(program, name)):
        raise SiteError(
            f"Site {name!r} is the module that is also called {same!r}; its calls are, in the model's order, {same!r}, "
            f"{same + '#2'!r} and so on: use these names."
        )
    if node is None:
        if name == "input" or name.startswith("input."):
            raise SiteError(
                f"Site {name!r} does not exist: the model has no floating-point input of that name; choose the output "
                f"of its embedding, for instance {_first_embedding(program)!r}."
            )
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.3) or list(known)[:3]
        raise SiteError(
            f"Site {name!r} does not exist in this model; near it are {near}; libasis.find_sites(model, example) "
            "lists all of them."
        )
    if reason := _no_value(program, node):
        raise SiteError(f"Site {name!r} cannot be a cut: its value {reason}; choose another site.")
    if layout_of_node(node) is None or program.batch_dim(node) is None:
        raise SiteError(
            f"Site {name!r} cannot be a cut: its shape {_shape(program, node)} has no batch dimension of its own; "
            "choose a site before samples are mixed, or merged with positions."
        )
    return node


def _shape(program: Program, node: fx.Node) -> str:
    """As a reader knows it: ``[3*batch, 8]``, and a question mark for what the values decide."""
    batch = str(program.batch_symbol)
    sizes = ", ".join(re.sub(rf"\b{batch}\b", "batch", str(size)) for size in node.meta["val"].shape)
    return f"[{re.sub(_SYMBOL, '?', sizes)}]"


def _no_value(program: Program, node: fx.Node) -> str:
    """Why nothing can be differentiated by a node's value, or an empty string."""
    if program.taint[node] == "value":
        return ""
    if program.taint[node] == "context":
        return "depends on the inputs only through whole numbers or booleans, which have no derivative"
    return "does not depend on the inputs"


def _other_name(program: Program, name: str) -> str | None:
    """The name under which a module is known that is registered under several."""
    path = name.removesuffix(":in").removesuffix(":out").split("#")[0]
    return program.aliases.get(path)


def _first_embedding(program: Program) -> str:
    return next((n for n, c in program.classes.items() if c == "Embedding" and n.endswith(":out")), "embed:out")


def frontier(program: Program, sources: Sequence[fx.Node], targets: Sequence[fx.Node]) -> Iterator[tuple[fx.Node, str]]:
    """What enters the section from sources to targets without passing the sources, with its taint.

    Walks back from the targets through what descends from the sources; the first node on each path that does not
    descend from them enters from outside. Constants and sizes are left out.
    """
    inside = program.descendants(sources)
    stop = set(sources)
    seen: set[fx.Node] = set()
    stack = list(targets)
    while stack:
        node = stack.pop()
        if node in seen or node in stop:
            continue
        seen.add(node)
        if node in inside:
            stack.extend(node.all_input_nodes)
        elif program.taint[node] in ("context", "value") and not is_size(node):
            yield node, program.taint[node]
        elif program.taint[node] == "shape" and not is_size(node):
            stack.extend(node.all_input_nodes)


def section_context(
    program: Program,
    source: tuple[str, list[fx.Node]],
    target: tuple[str, list[fx.Node]],
    earlier: Sequence[tuple[str, list[fx.Node]]] | None = None,
) -> list[fx.Node]:
    """The context nodes of a valid section.

    Args:
        program: the graph.
        source: name and nodes of the site where it starts.
        target: of the site where it ends.
        earlier: the sites before the source, where what goes around it may be held at its value; None refuses it.

    Raises:
        SiteError: the sites are out of order or unconnected, or what is to be held depends on an earlier site.
        BypassError: a value goes around the source.
    """
    (a, sources), (b, targets) = source, target
    inside = program.descendants(sources)
    if not any(t in inside for t in targets):
        behind = program.descendants(targets)
        if any(s in behind for s in sources):
            raise SiteError(f"Sites are out of order: {b!r} comes before {a!r} in the model; list them the other way.")
        raise SiteError(f"Site {b!r} does not depend on site {a!r}; choose sites on one path through the model.")
    entering = sorted(frontier(program, sources, targets), key=lambda item: program.order[item[0]])
    for node in (node for node, taint in entering if taint == "value"):
        if earlier is None:
            raise BypassError(bypass_message(program, node, source, b))
        _check_held(program, node, source, b, earlier)
    return [node for node, _ in entering]


def _check_held(
    program: Program,
    node: fx.Node,
    source: tuple[str, list[fx.Node]],
    b: str,
    earlier: Sequence[tuple[str, list[fx.Node]]],
) -> None:
    """Whether the rest of the model, with a value held, still follows what changes at the sites before.

    Raises:
        BypassError: the value depends on one of them, or belongs to no sample.
    """
    names = list(_origins(program, node).values()) or [f"tensor {node.name!r}"]
    around = f"What goes around {source[0]!r} on the way to {b!r} ({', '.join(names)})"
    for name, nodes in earlier:
        if node in program.descendants(nodes):
            raise BypassError(
                f"{around} depends on the earlier site {name!r}: held at its value, it would not follow a change "
                "there; trace the model once for each of the two sites."
            )
    if program.batch_dim(node) is None:
        raise BypassError(f"{around} has no batch dimension of its own, so it cannot be held; choose another site.")


def held_names(program: Program, context: Sequence[fx.Node]) -> list[str]:
    """What of a section's context is held at its value: the sites that it comes from, or its tensors."""
    held = [node for node in context if program.taint[node] == "value"]
    return list(dict.fromkeys(name for n in held for name in _origins(program, n).values() or [n.name]))


def bypass_message(program: Program, node: fx.Node, source: tuple[str, list[fx.Node]], b: str) -> str:
    """One sentence naming the tensor that goes around, its module and the site to add."""
    a, sources = source
    where = module_of(node)
    tensor = f"tensor {node.name!r}{f' computed in module {where!r}' if where else ''}"
    advice = "add a site for it (an nn.Identity hook point in that module) and cut at both together"
    if is_complex(node):
        advice = "its numbers are complex and no site, so cut before it branches off or behind where it joins again"
    if origins := _origins(program, node):
        names = list(origins.values())
        of = f"site {names[0]!r}" if origins.get(node) else "from " + ", ".join(map(repr, names))
        tensor = f"{tensor} ({of})"
        advice = f"cut at both together, {[*a.split(' + '), *names]}"
        layouts = [layout_of_node(n) for n in [*sources, *origins]]
        if len({layout.positions if layout else 0 for layout in layouts}) > 1:
            advice = "cut where they have the same number of positions (they cannot be joined here)"
    return (
        f"The cut at {a!r} does not hold: the {tensor} reaches {b!r} without passing it; {advice}, choose a site that "
        'everything passes, or hold it at its value (around="hold").'
    )


def _origins(program: Program, node: fx.Node) -> dict[fx.Node, str]:
    """The nearest sites from which a value is computed, itself if it is one; none if they do not determine it."""
    names: dict[fx.Node, str] = {}
    for name, marked in program.site_nodes().items():
        if name != "input":  # its full name follows
            names.setdefault(marked, name)
    found: dict[fx.Node, str] = {}
    stack = [node]
    while stack:
        current = stack.pop()
        if current in names:
            found[current] = names[current]
            continue
        values = [n for n in current.all_input_nodes if program.taint[n] == "value"]
        if not values:
            return {}
        stack.extend(values)
    return dict(sorted(found.items(), key=lambda item: program.order[item[0]]))


def why_not(program: Program, name: str, node: fx.Node) -> str:
    """Why a tensor alone does not cut the model, or an empty string."""
    output = program.outputs.get("output")
    if reason := _no_value(program, node):
        return reason
    if layout_of_node(node) is None or program.batch_dim(node) is None:
        return "batch and other dimensions are merged here"
    if output is None or node is output:
        return ""
    if output not in program.descendants([node]):
        return "" if name in program.outputs else "the output does not depend on it"
    for other, taint in frontier(program, [node], [output]):
        if taint == "value":
            names = [n for n, marked in program.site_nodes().items() if marked is other]
            via = names[0] if names else f"{other.name} in {module_of(other) or 'the model'}"
            return f"bypassed by {via}" + (", unless it is the last site" if name in program.outputs else "")
    return ""
