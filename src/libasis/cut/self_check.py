"""Does the graph say what the model says, and of each sample alone? Checked once, on the example."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from ..ambient import ALONE
from ..errors import ActivationError, LibasisError, SiteError
from .export import named_tensors, refusal
from .functions import Function, Functions
from .hooks import Heard
from .program import Program, draws, is_size, module_of, walk
from .state import hear, run_model


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
                "random numbers even in eval mode; make it deterministic (if only its first forward draws, as it "
                "builds a part, run it once before)."
            )


def check_own_operations(
    functions: Functions, first: Sequence[fx.Node], targets: Sequence[fx.Node], values: Sequence[Tensor]
) -> None:
    """Refuse operations that are not torch's own and have no derivative: what they do would be left out in silence.

    Args:
        functions: of the program.
        first: the first site.
        targets: the others.
        values: of the program's inputs.

    Raises:
        SiteError: names the operation and its module.
    """
    program = functions.program
    for node in walk(set(targets) - set(first), lambda node: [n for n in node.all_input_nodes if n not in first]):
        foreign = isinstance(node.target, torch._ops.OpOverload) and node.target.namespace not in ("aten", "prims")
        if not foreign or node in first or not any(program.taint[n] == "value" for n in node.all_input_nodes):
            continue
        sources = [n for n in node.all_input_nodes if program.taint[n] and not is_size(n)]
        given = functions.build([leaf.node for leaf in program.inputs], sources)(*values)
        if not _differentiable(functions.build(sources, [node]), given):
            raise SiteError(
                f"The operation {node.target} in module {module_of(node)!r} has no derivative that torch knows; "
                "register one (torch.library.register_autograd), or choose sites that all lie before it or behind it."
            )


def _differentiable(function: Function, given: Sequence[Tensor]) -> bool:
    with ALONE, torch.enable_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")  # torch only warns of a derivative that was never registered
        leaves = [x.detach().clone().requires_grad_(x.is_floating_point() or x.is_complex()) for x in given]
        try:
            found = [y for y in pytree.tree_leaves(function(*leaves)) if isinstance(y, Tensor) and y.requires_grad]
            wanted = [x for x in leaves if x.requires_grad]
            grads = torch.autograd.grad([y.abs().sum() for y in found], wanted, allow_unused=True) if found else ()
        except (RuntimeError, NotImplementedError, UserWarning):
            return False
    return any(grad is not None for grad in grads)


def answers_of(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[list[Any], Heard]:
    """What the model itself says, twice (once more with all of the user's hooks), and what the hooks did.

    Raises:
        BatchError: it refuses the inputs.
        ModelStateError: a hook does what no graph can say.
    """
    try:
        answers, heard = hear(model, args, kwargs)
        return [*answers, *run_model(model, args, kwargs, heard, times=2)], heard
    except LibasisError:
        raise
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
        if not close(output, expected):
            worst = float((output - expected).abs().amax()) if output.shape == expected.shape else float("nan")
            raise ActivationError(
                f"The traced graph does not reproduce the model on the example (outputs differ by {worst:.2g}); the "
                "model is random or keeps a state between calls, or says something else without its cache of keys "
                "and values, or a hook changes it unseen; make it deterministic, set config.use_cache=False, write "
                "what the hook does into a module, or use libasis.Chain."
            )


def close(actual: Tensor, expected: Tensor) -> bool:
    """Equal up to rounding; what is not finite is reported elsewhere."""
    if actual.shape != expected.shape:
        return False
    if not torch.isfinite(expected).all() or not expected.numel():
        return True
    tolerance = min(1e3 * torch.finfo(expected.dtype).eps, 0.1)
    return torch.allclose(actual, expected, tolerance, tolerance * float(expected.abs().amax()))
