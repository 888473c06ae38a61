"""The user's batches, read the same way everywhere."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from ..errors import BatchError
from .file_batches import FileBatches
from .replay import random_state, replayed


@dataclass(frozen=True)
class Batch:
    """One batch: positional and keyword inputs of the model, and targets if there were any."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: Any
    index: int

    def select(self, samples: Tensor, size: int) -> Batch:
        """Some samples ``[m]`` of the batch, which has ``size``; what all samples share stays as it is."""
        args, kwargs, targets = (select(part, samples, size) for part in (self.args, self.kwargs, self.targets))
        return Batch(args, kwargs, targets, self.index)


def by_sample(value: Any, size: int) -> bool:
    """Whether something has one entry for each of ``size`` samples."""
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim > 0 and len(value) == size
    own = isinstance(value, (list, tuple)) and len(value) == size
    return own and not all(isinstance(part, (Tensor, np.ndarray)) and by_sample(part, size) for part in value)


def select(value: Any, samples: Tensor, size: int) -> Any:
    """Some samples of what a batch holds, in dicts, tuples and lists too; what all samples share stays as it is."""
    if by_sample(value, size):
        if isinstance(value, Tensor):
            return value[samples.to(value.device)]
        numbers = samples.cpu()
        return value[numbers.numpy()] if isinstance(value, np.ndarray) else [value[i] for i in numbers.tolist()]
    if isinstance(value, Mapping):
        return {key: select(part, samples, size) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        parts = [select(part, samples, size) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


def entries(value: Any, size: int) -> Iterator[Any]:
    """The parts of what a batch holds: each has one entry for each sample, or belongs to all of them."""
    if isinstance(value, (list, tuple, Mapping)) and not by_sample(value, size):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from entries(part, size)
    else:
        yield value


def joined(values: Sequence[Any], size: int = 1) -> Any:
    """Batches of ``size`` samples each, selected alike, as one; what all samples share is that of the first."""
    first = values[0]
    if by_sample(first, size):
        if isinstance(first, Tensor):
            return torch.cat(list(values))
        return np.concatenate(values) if isinstance(first, np.ndarray) else [one for value in values for one in value]
    if isinstance(first, Mapping):
        return {key: joined([value[key] for value in values], size) for key in first}
    if isinstance(first, (list, tuple)):
        parts = [joined(parts, size) for parts in zip(*values, strict=True)]
        return parts if isinstance(first, list) else tuple(parts)
    return first


@dataclass(frozen=True)
class Structure:
    """The structure of the inputs: ``kind`` is ``"tensor"``, ``"tuple"`` or ``"dict"``; ``keys`` names the parts.

    Dicts with the same keys have the same structure; the example's ``order`` of keys is the one in which they are read.
    """

    kind: str
    keys: tuple[Any, ...]
    order: tuple[str, ...] = field(default=(), compare=False)

    @classmethod
    def of(cls, inputs: Any) -> Structure | None:
        """The structure of an object, or None if it cannot be a model's inputs."""
        if isinstance(inputs, Tensor):
            return cls("tensor", ())
        if isinstance(inputs, Mapping):
            return cls("dict", tuple(sorted(map(str, inputs))), tuple(map(str, inputs)))
        if isinstance(inputs, (tuple, list)):
            return cls("tuple", tuple(range(len(inputs))))
        return None

    def split(self, inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Positional and keyword arguments of inputs of this structure."""
        if self.kind == "tensor":
            return (inputs,), {}
        if self.kind == "dict":
            return (), {str(k): inputs[k] for k in sorted(inputs, key=lambda k: self.order.index(str(k)))}
        return tuple(inputs), {}

    def joined(self, batch: Batch) -> Any:
        """The inverse: the inputs of a batch."""
        return batch.kwargs if self.kind == "dict" else batch.args[0] if self.kind == "tensor" else batch.args

    def __str__(self) -> str:
        if self.kind == "tensor":
            return "a tensor"
        if self.kind == "dict":
            return f"a dict with the keys {list(self.keys)}"
        return f"a tuple of {len(self.keys)}"


def structure_of_example(example: Any) -> Structure:
    """The structure that every batch must have.

    Raises:
        BatchError: the example is no tensor, tuple or dict with a tensor in it.
    """
    structure = Structure.of(example)
    if structure is None or not any(isinstance(v, Tensor) for v in pytree.tree_leaves(_parts(example))):
        hint = " (torch.as_tensor makes one)" if isinstance(example, (np.ndarray, list)) else ""
        raise BatchError(
            f"The example is of type {type(example).__name__}; give the model's inputs as a tensor{hint}, a tuple of "
            "positional inputs or a dict of keyword inputs."
        )
    check_dense(example, "The example")
    return structure


def check_dense(inputs: Any, whose: str) -> None:
    """Refuse tensors that are no plain arrays of numbers.

    Raises:
        BatchError: there is one.
    """
    for leaf in pytree.tree_leaves(inputs):
        if not isinstance(leaf, Tensor):
            continue
        kinds = {
            "nested (to_padded_tensor makes an ordinary one, with a mask)": leaf.is_nested,
            "quantized (dequantize makes an ordinary one)": leaf.is_quantized,
            "without values (device meta)": leaf.is_meta,
            "sparse (to_dense makes an ordinary one)": not leaf.is_nested and leaf.layout != torch.strided,
        }
        if found := next((kind for kind, holds in kinds.items() if holds), None):
            raise BatchError(f"{whose} holds a tensor that is {found}; give ordinary tensors.")


def as_tensors(item: Any) -> Any:
    """NumPy arrays of numbers as tensors, in tuples, lists and dicts too; anything else as it is."""
    if isinstance(item, np.ndarray) and item.dtype.kind in "biufc":
        if np.ma.is_masked(item) or item.dtype in (np.longdouble, np.clongdouble):
            given = "masked values" if np.ma.is_masked(item) else f"{item.dtype} numbers, which torch has not"
            raise BatchError(f"An array of the data holds {given}; fill them in or leave them out, or give float64.")
        return torch.as_tensor(np.ascontiguousarray(item.astype(item.dtype.newbyteorder("="), copy=False)))
    if type(item) in (tuple, list) and any(isinstance(part, (np.ndarray, tuple, list, dict)) for part in item):
        return type(item)([as_tensors(part) for part in item])
    if type(item) is dict:
        return {key: as_tensors(part) for key, part in item.items()}
    return item


def _parts(inputs: Any) -> list[Any]:
    if isinstance(inputs, Tensor):
        return [inputs]
    return list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)


def _is_pair(item: Any) -> bool:
    return isinstance(item, (tuple, list)) and len(item) == 2


def first_inputs(model: nn.Module, batches: Iterable[Any]) -> Any:
    """The inputs of the first item, for an example.

    A pair is ``(inputs, targets)`` when its first element is a tuple or dict, or when the model's forward takes one
    positional input; otherwise the pair is two positional inputs.
    """
    check_reiterable(batches)
    for drawn in replayed(batches, random_state()):
        item = as_tensors(drawn)
        if _is_pair(item) and (not isinstance(item[0], Tensor) or _takes_one(model)):
            return item[0]
        return item
    raise BatchError("The batches are empty; give at least one batch.")


def _takes_one(model: nn.Module) -> bool:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if any(p.kind == p.VAR_POSITIONAL for p in parameters):
        return False
    required = [p for p in positional if p.default is p.empty]
    return len(required) == 1 or len(positional) == 1


def check_reiterable(batches: Any) -> None:
    """Refuse what can be read only once, or not at all.

    Raises:
        BatchError: it is a one-shot iterator, a bare tensor or not iterable.
    """
    if isinstance(batches, (Tensor, Mapping, str)) or not isinstance(batches, Iterable):
        hint = "wrap it in a list" if isinstance(batches, (Tensor, Mapping)) else "give a list or a DataLoader"
        raise BatchError(f"The batches are of type {type(batches).__name__}, not an iterable of batches; {hint}.")
    if isinstance(batches, Iterator):
        raise BatchError(
            f"The batches are a one-shot iterator ({type(batches).__name__}), but they are read several times; "
            "give a list or a DataLoader instead."
        )


def read_batches(batches: Iterable[Any], structure: Structure) -> Iterator[Batch]:
    """Each item as a `Batch`; one that is a `Batch` already stays as it is, with its number.

    Raises:
        BatchError: the iterable is empty or one-shot, or an item has another structure than the example.
    """
    check_reiterable(batches)
    index = -1
    for index, item in enumerate(batches):
        number = index
        if isinstance(item, Batch):
            args, kwargs, targets, number = item.args, item.kwargs, item.targets, item.index
        else:
            inputs, targets = _separate(as_tensors(item), structure, index)
            args, kwargs = structure.split(inputs)
            check_dense(inputs, f"Batch {index}")
        first = next((v for v in [*args, *kwargs.values()] if isinstance(v, Tensor) and v.ndim), None)
        if first is not None and not len(first):
            raise BatchError(f"Batch {index} holds no samples; leave empty batches out.")
        yield Batch(args, kwargs, targets, number)
    if index < 0:
        raise BatchError("The batches are empty; give at least one batch.")


def _separate(item: Any, structure: Structure, index: int) -> tuple[Any, Any]:
    if Structure.of(item) == structure:
        return item, None
    if _is_pair(item) and Structure.of(item[0]) == structure:
        return item[0], item[1]
    if structure.kind == "tensor" and isinstance(item, (tuple, list)) and len(item) == 1:
        return item[0], None
    given = Structure.of(item) or f"of type {type(item).__name__}"
    if isinstance(item, (tuple, list)) and not any(isinstance(part, (Tensor, Mapping, tuple)) for part in item):
        given = f"a {type(item).__name__} without a tensor in it"
    raise BatchError(
        f"Batch {index} is {given}, but the example was {structure}; give inputs like the example, or pairs "
        "(inputs, targets)."
    )


def describe(batches: Any) -> str:
    """A short description of where the data came from, for the record."""
    kind = type(batches).__name__
    if isinstance(batches, FileBatches):
        kind += "".join(f" ({said})" for said in (batches.written, batches.filled) if said)
    try:
        return f"{kind} of {len(batches)} batches"
    except Exception:  # a loader of an IterableDataset has no length, though it has __len__
        return kind


def to_device(value: Any, device: torch.device | None, dtype: torch.dtype | None) -> Any:
    """A tensor moved, and cast if it is floating; anything else unchanged."""
    if not isinstance(value, Tensor):
        return value
    return own(value).to(device=device, dtype=dtype if value.is_floating_point() else None)


def own(tensor: Tensor) -> Tensor:
    """A tensor that can be differentiated: one made in inference mode is copied."""
    return tensor.clone() if tensor.is_inference() else tensor
