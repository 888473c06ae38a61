"""Does the graph say what the model says, and of each sample alone? Checked once, on the example."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..data import size_of
from ..errors import ActivationError, BatchError
from .check import module_of
from .export import named_tensors, refusal
from .program import Program, draws, walk
from .record import Record
from .state import run_model


def check_not_random(program: Program, targets: Sequence[fx.Node]) -> None:
    """Refuse a graph that draws random numbers on the way to the targets.

    Raises:
        ActivationError: names the operation and its module.
    """
    for node in walk(targets, lambda node: node.all_input_nodes):
        if draws(node):
            where = module_of(node)
            raise ActivationError(
                f"The model is random: {node.name!r} computed in {f'module {where!r}' if where else 'the model'} draws "
                "random numbers even in eval mode; make it deterministic."
            )


def answers_of(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """What the model itself says, twice.

    Raises:
        BatchError: it refuses the inputs.
    """
    try:
        return run_model(model, args, kwargs, times=2)
    except Exception as error:
        raise refusal(model, args, kwargs, error) from error


def check_reproduces(answers: Sequence[Any], path: str, output: Tensor) -> None:
    """Compare the graph's output with the model's.

    Raises:
        ActivationError: they differ.
    """
    for answer in answers:
        named = [(n, t) for n, t in named_tensors(answer) if t.is_floating_point()]
        expected = dict(named).get(path.removeprefix("output"), named[0][1])
        if not _close(output, expected):
            worst = float((output - expected).abs().amax()) if output.shape == expected.shape else float("nan")
            raise ActivationError(
                f"The traced graph does not reproduce the model on the example (outputs differ by {worst:.2g}); the "
                "model is random or keeps a state between calls; make it deterministic or use libasis.Chain."
            )


def first_sample_repeated(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs in which every sample is the first."""
    batch = size_of((args, kwargs))

    def repeat(t: Tensor) -> Tensor:
        return t[:1].expand_as(t).clone() if t.ndim and t.shape[0] == batch else t

    return pytree.tree_map_only(Tensor, repeat, (args, kwargs))


def check_samples_apart(names: Sequence[str], together: Record, alone: Record) -> None:
    """What a site holds of the first sample must not change with the other samples.

    Raises:
        BatchError: it does.
    """
    for name, a, b in zip(names, together.activations, alone.activations, strict=True):
        if a.shape != b.shape or not _close(a[0], b[0]):
            raise BatchError(
                f"The first dimension of the inputs is read as the batch, but at site {name!r} the value of one sample "
                "depends on the other samples; give inputs with the batch first, and a model that treats samples "
                "independently."
            )


def _close(actual: Tensor, expected: Tensor) -> bool:
    """Equal up to rounding; what is not finite is reported elsewhere."""
    if actual.shape != expected.shape:
        return False
    if not torch.isfinite(expected).all() or not expected.numel():
        return True
    tolerance = 1e3 * torch.finfo(expected.dtype).eps
    return torch.allclose(actual, expected, tolerance, tolerance * float(expected.abs().amax()))
