"""Does each sample have its values for itself? Checked once, on a few samples of the example."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from ..data import size_of
from ..errors import ActivationError, BatchError
from .export import named_tensors
from .record import Record
from .self_check import close

Inputs = tuple[tuple[Any, ...], dict[str, Any]]
FEW = 4


def check_apart(
    run: Callable[[Inputs], Record], inputs: Inputs, together: Record, names: Sequence[str], fixed: int | None,
    *, placed: bool = False,
) -> None:  # fmt: skip
    """Refuse a model in which the value of a sample depends on other samples, or on its place among them.

    Samples in another order, and one sample in place of all, must have at every site the values that they had before.

    Args:
        run: the model's record of inputs.
        inputs: the example.
        together: its record.
        names: of the sites.
        fixed: the only number of samples that the model takes, or None.
        placed: whether a value may depend on the sample's place, as long as it does not on other samples.

    Raises:
        BatchError: they do not.
    """
    shown = _varied(inputs, fixed)
    try:
        together = together if shown is inputs else run(shown)
    except Exception:
        return  # it takes nothing but the example
    inputs, size = shown, size_of(shown)
    if size == 1:
        return
    tensors = [t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)]
    batched = [i for i, t in enumerate(tensors) if t.ndim and len(t) == size]
    alike: list[Collection[int]] = [(), *((i,) for i in batched[1:]), *([batched[1:]] if len(batched) > 2 else [])]
    found = None
    if fixed is None and size > FEW:
        found = _mixed(run, together, inputs, torch.linspace(0, size - 1, FEW).long(), ())
        if found is None:
            return
    some = torch.arange(size + (fixed is None)) % size  # where it can be, their number changes too
    for shared in alike:  # of a sequence as long as the batch, what belongs to the positions looks like samples
        first = _mixed(run, together, inputs, some, shared)
        if first is None:
            return
        found = first if found is None else found
    if placed and not _seen(run, together, inputs):
        return
    again = run(inputs)
    if not all(close(b, a) for a, b in zip(together.activations, again.activations, strict=True)):
        raise ActivationError("The model is random, two runs on the same inputs differ; make it deterministic.")
    raise BatchError(
        f"The first dimension of the inputs is read as the batch, but at site {names[found or 0]!r} the value of one "
        "sample depends on the other samples or on its place among them; give inputs with the batch first, and a model "
        "that treats samples independently (modules that take the sequence first need batch_first=True, or a model "
        "around them that transposes; a graph network needs graphs as samples)."
    )


def check_number(answer: Callable[[Inputs], Any], inputs: Inputs, together: Any) -> None:
    """Refuse a model whose graph is of one batch size, and in which a sample's answer depends on their number.

    Args:
        answer: what the model itself says.
        inputs: the example.
        together: its answer.

    Raises:
        BatchError: it does.
    """
    size = size_of(inputs)
    some = torch.arange(size // 2)
    try:
        fewer = answer(_rearranged(inputs, some, ()))
    except Exception:
        return  # it takes no other number
    for (name, a), (_, b) in zip(named_tensors(together), named_tensors(fewer), strict=False):
        if a.is_floating_point() and len(some) and len(a) == size and len(b) == len(some) and not close(b, a[: len(b)]):
            raise BatchError(
                f"What the model gives for one sample depends on how many samples there are (its {name!r} differs for "
                f"{len(some)} and for {size}); give a model that treats samples independently."
            )


def _mixed(
    run: Callable[[Inputs], Record], together: Record, inputs: Inputs, some: Tensor, shared: Collection[int]
) -> int | None:
    """The first site at which some samples do not keep their values, or None where all do."""
    for order in (some.flip(0), some[:1].expand(len(some)), some[-1:].expand(len(some))):
        try:
            moved = run(_rearranged(inputs, order, shared))
        except Exception:  # it does not run without the other samples
            return 0
        for i, (a, b) in enumerate(zip(together.activations, moved.activations, strict=True)):
            if len(a) != together.size or len(b) != len(order) or not close(b, a[order.to(a.device)]):
                return i
    return None


def _seen(run: Callable[[Inputs], Record], together: Record, inputs: Inputs) -> bool:
    """Whether samples that keep their places change with the others."""
    places, size = torch.arange(together.size), together.size
    orders = [places * 0, places * 0 + size - 1, places // 2 * 2, (places + 1) // 2 * 2 - 1]
    for order in orders:
        order = order.clamp(0, size - 1)  # noqa: PLW2901
        moved, same = run(_rearranged(inputs, order, ())), order == places
        pairs = zip(together.activations, moved.activations, strict=True)
        if not all(close(b[same.to(b.device)], a[same.to(a.device)]) for a, b in pairs):
            return True
    return False


def _rearranged(inputs: Inputs, samples: Tensor, shared: Collection[int]) -> Inputs:
    """Inputs made of these samples; tensors with the numbers ``shared`` belong to all samples, whatever their shape."""
    batch, numbers = size_of(inputs), itertools.count()

    def take(t: Tensor) -> Tensor:
        mine = next(numbers) not in shared and t.ndim > 0 and len(t) == batch
        return t[samples.to(t.device)] if mine else t

    return pytree.tree_map_only(Tensor, take, inputs)


def _varied(inputs: Inputs, fixed: int | None) -> Inputs:
    """Inputs of at least two samples that differ: one is doubled, and what is alike is moved a little."""
    batch = size_of(inputs)
    tensors = [t for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim and len(t) == batch]
    if (batch == 1 and fixed == 1) or any(not torch.equal(t, t[:1].expand_as(t)) for t in tensors):
        return inputs
    generator = torch.Generator().manual_seed(0)

    def vary(t: Tensor) -> Tensor:
        if not t.ndim or len(t) != batch:
            return t
        t = torch.cat([t, t]) if batch == 1 else t
        if t.is_floating_point() or t.is_complex():
            noise = torch.randn(t.shape, generator=generator).to(t)
            return t + 0.1 * noise * (t.abs().mean() or 1.0)
        return torch.stack([row.roll(i, -1) if row.ndim else row for i, row in enumerate(t)])

    return pytree.tree_map_only(Tensor, vary, inputs)
