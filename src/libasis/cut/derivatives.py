"""Derivatives of sections in the first way that torch knows for their operations: batched, one by one, the other mode.

An operation may have no rule for batches (``torch.func.vmap``) or no derivative in one of the two modes, and some have
one that is wrong without a word (those of ``cdist`` for batches, of operations of one's own in forward mode). So what
the fast way gives is compared once for each section; where it fails, the next is taken.
"""

from __future__ import annotations

import contextlib
import re
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import LibasisError, SiteError, first_line
from .program import module_of
from .record import Context

Section = Callable[[Tensor], Tensor]
Products = Callable[[Tensor], Tensor]
Check = Callable[[Tensor, Tensor], bool]

_Known = weakref.WeakKeyDictionary[Any, int]
_known: dict[str, _Known] = {"pull": weakref.WeakKeyDictionary(), "push": weakref.WeakKeyDictionary()}
"""By section how many ways have to be passed over."""


def pull_back(section: Section, x: Tensor, contexts: Sequence[Context] = ()) -> tuple[Tensor, Products]:
    """What a section makes of ``x`` ``[batch, s, d]``, and the vector-Jacobian products of cotangents ``[c, *y]``.

    Args:
        section: a function that treats samples independently.
        x: where.
        contexts: what the section was made of.

    Raises:
        SiteError: an operation has no derivative; it and its module are named.
    """
    ways: list[Products] = []
    try:
        y, pull = torch.func.vjp(section, x)[:2]
        one_of: Section = lambda one: pull(one)[0]  # noqa: E731
        ways += [lambda c: torch.func.vmap(one_of)(c) if len(c) > 1 else _each(one_of, c), lambda c: _each(one_of, c)]
    except Exception as error:  # an autograd.Function of the old form, say
        _pass_on(error)
        with differentiable():
            y, one_of = section(x), lambda one: one
    ways += [lambda c: _by_autograd(section, x, c), lambda c: _turned(_pushed(section, x), x, c)]

    def right(cotangents: Tensor, pulled: Tensor) -> bool:
        weights = _weights(cotangents)
        true = one_of(torch.tensordot(weights, cotangents, 1))
        return _close(torch.tensordot(weights, pulled, 1), true, float(true.abs().amax()), contexts)

    return y.detach(), _Ways(ways, right if len(ways) > 2 else None, contexts, "pull")


def push_forward(section: Section, x: Tensor, contexts: Sequence[Context] = ()) -> Products:
    """The Jacobian-vector products of tangents ``[c, *x]``; otherwise like `pull_back`."""
    pushed = _pushed(section, x)

    def pull(cotangent: Tensor) -> Tensor:
        return pull_back(section, x, contexts)[1](cotangent[None])[0]

    def right(tangents: Tensor, found: Tensor) -> bool:
        """By ``<c, J t> = <J^T c, t>``."""
        tangent, y = (torch.tensordot(_weights(tangents), v, 1) for v in (tangents, found))
        c = _weights(y.flatten()).view_as(y)
        here, there = c * y, pull(c) * tangent
        return _close(here.sum()[None], there.sum()[None], float(here.abs().sum() + there.abs().sum()), contexts)

    ways: list[Products] = [
        lambda t: torch.func.vmap(pushed)(t),
        lambda t: _each(pushed, t),
        lambda t: _turned(pull, section(x).detach(), t),
    ]
    return _Ways(ways, right, contexts, "push")


class _Ways:
    """Products by the first way that works; those that do not are not tried again."""

    def __init__(self, ways: list[Products], right: Check | None, contexts: Sequence[Context], kind: str) -> None:
        self.right, self.contexts, self.passed = right, contexts, 0
        self.known = _known[kind]
        self.sections = [c.subgraph for c in contexts if c.subgraph is not None]
        if self.sections and all(section in self.known for section in self.sections):
            self.right, self.passed = None, max(self.known[section] for section in self.sections)
        self.ways = ways[self.passed :]

    def __call__(self, vectors: Tensor) -> Tensor:
        first: Exception | None = None
        while self.ways:
            try:
                found = self.ways[0](vectors).detach()
            except Exception as error:
                _pass_on(error)
                first = first or error
            else:
                if self._is_right(vectors, found):
                    return found
            self.ways.pop(0)
            self.passed += 1
        raise SiteError(_no_derivative(first, self.contexts)) from first

    def _is_right(self, vectors: Tensor, found: Tensor) -> bool:
        """Whether the first way gives what it should; asked until several vectors at once have shown it."""
        if self.right is None:
            return True
        try:
            good = self.right(vectors, found)
        except Exception as error:
            _pass_on(error)
            good = True  # there is nothing to compare with
        if good and len(vectors) > 1:
            self.known.update(dict.fromkeys(self.sections, self.passed))
            self.right = None
        return good


def _weights(vectors: Tensor) -> Tensor:
    return torch.arange(1, len(vectors) + 1, device=vectors.device).cos().to(vectors)


def _close(a: Tensor, b: Tensor, scale: float, contexts: Sequence[Context]) -> bool:
    """Equal up to the rounding of the coarsest dtype in which the section computes anything."""
    graphs = [c.subgraph.program.graph for c in contexts if c.subgraph is not None]
    values = [node.meta.get("val") for graph in graphs for node in graph.nodes]
    dtypes = {v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()} or {torch.float32}
    eps = max(torch.finfo(dtype).eps for dtype in {a.dtype, *dtypes})
    return bool(((a - b).abs() <= min(1e4 * eps, 0.1) * scale).all())


def _pushed(section: Section, x: Tensor) -> Section:
    return lambda tangent: torch.func.jvp(section, (x,), (tangent,))[1]


def _each(product: Section, vectors: Tensor) -> Tensor:
    return torch.stack([product(one) for one in vectors])


def _by_autograd(section: Section, x: Tensor, cotangents: Tensor) -> Tensor:
    leaf = x.detach().requires_grad_()
    with torch.enable_grad():
        y = section(leaf)
    if not y.requires_grad:
        raise NotImplementedError("autograd does not see how the result depends on the input")
    return _each(lambda one: torch.autograd.grad(y, leaf, one, retain_graph=True)[0], cotangents)


def _turned(product: Section, like: Tensor, vectors: Tensor) -> Tensor:
    """The products with the transposed Jacobian, from those with one unit vector after the other, alike in all samples.

    Args:
        product: with the Jacobian, of one ``[batch, ...]`` of the form of ``like``.
        like: of the form that comes out.
        vectors: ``[c, batch, ...]``.
    """
    found = vectors.new_zeros(len(vectors), len(like), like[0].numel())
    for i in range(found.shape[-1]):
        unit = torch.zeros_like(like).flatten(1)
        unit[:, i] = 1.0
        found[..., i] = (product(unit.view_as(like)) * vectors).flatten(2).sum(-1)
    return found.view(len(vectors), *like.shape)


@contextlib.contextmanager
def differentiable() -> Iterator[None]:
    """For a derivative that is taken in one way alone.

    Raises:
        SiteError: an operation has none.
    """
    try:
        yield
    except Exception as error:
        _pass_on(error)
        raise SiteError(_no_derivative(error, ())) from error


def _pass_on(error: Exception) -> None:
    if isinstance(error, (LibasisError, torch.OutOfMemoryError)):
        raise error


def _no_derivative(error: Exception | None, contexts: Iterable[Context]) -> str:
    said = str(error)
    named = re.search(r"\b(\w+)::(\w+)", said)
    operation = named.group(2).removesuffix("_backward") if named else ""
    where = next((m for m in _modules(operation, contexts) if m), "") if operation else ""
    notes: list[Any] = getattr(error, "__notes__", [])
    at = f"{named.group(0)!r} in module {where!r}" if named and where else named.group(0) if named else "a section"
    if notes and not where:
        at = notes[0]
    return (
        f"The model has no derivative at {at}: {first_line(error) if error else 'unknown'}; choose sites with this "
        "operation before the first or behind the last, or write it in operations that torch can differentiate."
    )


def _modules(operation: str, contexts: Iterable[Context]) -> Iterable[str]:
    for context in contexts:
        for node in context.subgraph.program.graph.nodes if context.subgraph else ():
            if operation in str(node.target):
                yield module_of(node)
