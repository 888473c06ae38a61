"""What the data are, without a model: how many samples, and digests of them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree

from ..errors import BatchError
from ..types import Plain
from .batches import Structure, check_reiterable, describe, read_batches
from .identity import Roll, sample_digests
from .replay import Replayed, random_state


def data_facts(batches: Iterable[Any], structure: Structure) -> Plain:
    """The same as `libasis.measure.Records.facts`, with no model run.

    ``source`` in words, ``samples``, ``digest`` of all samples whatever their order, and ``order``: of the same in
    their order. How the samples are cut into batches does not matter.

    Args:
        batches: a re-iterable of inputs or of pairs (inputs, targets).
        structure: of the inputs.

    Raises:
        BatchError: the batches are empty, one-shot or of another structure.
    """
    check_reiterable(batches)
    roll = Roll()
    call = roll.call()
    for batch in read_batches(Replayed(batches, random_state()), structure):
        call.numbers(sample_digests(batch, size_of((batch.args, batch.kwargs))), batch.index)
    call.over()
    return {"source": describe(batches), "samples": len(roll), "digest": roll.digest, "order": roll.order}


def size_of(batch: Any) -> int:
    """How many samples inputs or a batch hold: the first dimension of the first tensor that has one.

    Raises:
        BatchError: there is no such tensor.
    """
    for leaf in pytree.tree_leaves(batch):
        if isinstance(leaf, Tensor) and leaf.ndim:
            return len(leaf)
    raise BatchError("The inputs hold no tensor with a batch dimension; give at least one tensor.")
