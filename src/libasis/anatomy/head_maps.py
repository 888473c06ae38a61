"""Which heads share what, and the maps of heads put together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from .components import Attention, Values
from .roles import Atom, Dim, NoMatch, Roles


def number(heads: Dim) -> int:
    """How many heads."""
    return math.prod(atom.size for atom in heads)


def index_of(heads: Dim, count: int) -> Tensor:
    """For each head which of those that a tensor counts it reads, ``[count]``."""
    every, index = torch.arange(count), torch.zeros(count, dtype=torch.long)
    for atom in heads:
        index = index * atom.size + every // atom.step % atom.size
    return index


def first_of(index: Tensor) -> Tensor:
    """For each value of an index where it stands first."""
    return torch.stack([(index == i).nonzero()[0, 0] for i in range(int(index.max()) + 1)])


def picked(x: Tensor, count: int, heads: Tensor) -> Tensor:
    """Some of the heads of ``[b, t, count e]``, one after the other."""
    return x if len(heads) == count else x.unflatten(-1, (count, -1))[:, :, heads.to(x.device)].flatten(2)


def for_all(
    run: Callable[[Tensor, Values], Tensor], own: Tensor, every: Tensor, groups: int
) -> Callable[[Tensor, Values], Tensor]:
    """A rotation of what few heads have as one of what all heads read.

    Args:
        run: from the inputs of few heads to the results of some.
        own: which result each head reads ``[H]``.
        every: which input each head reads ``[H]``.
        groups: how many inputs there are.
    """
    H, first, results = len(every), first_of(every), int(own.max()) + 1
    if len(first) != groups:
        raise NoMatch("has queries or keys that no head reads")
    if results == H and groups == H:
        return run
    return lambda x, values: (
        run(picked(x, H, first), values).unflatten(-1, (results, -1))[:, :, own.to(x.device)].flatten(2)
    )


def weights_view(roles: Roles, count: int) -> Callable[[Tensor], Tensor]:
    """From the graph's attention weights to ``[b, H, t, s]``, every window as a sample of its own."""
    atoms = [atom for dim in roles for atom in dim]
    sizes = [-1 if atom.role == "b" else atom.size for atom in atoms]
    order = [k for role in "bwhts" for k in sorted(_of(atoms, role), key=lambda k: -atoms[k].step)]
    T, S = (math.prod(atoms[k].size for k in _of(atoms, role)) for role in "ts")
    if count != math.prod(atoms[k].size for k in _of(atoms, "h")):
        raise NoMatch("has attention weights that some heads share")
    return lambda x: x.reshape(sizes).permute(order).reshape(-1, count, T, S)


def _of(atoms: Sequence[Atom], role: str) -> list[int]:
    return [k for k, atom in enumerate(atoms) if atom.role == role]


def scaled(found: Attention, scale: Tensor) -> Attention:
    """With the factor that each head's scores have: one number, or in its queries."""
    if bool((scale == scale[0]).all()):
        return replace(found, scale=float(scale[0]))
    if bool((scale == 0).any()):
        raise NoMatch("has heads that look nowhere")
    scale, e = scale.to(found.W_Q), found.W_Q.shape[1]
    by_query = scale.repeat_interleave(e)
    pattern = found.pattern
    return replace(
        found,
        W_Q=found.W_Q * scale[:, None, None],
        b_Q=found.b_Q * scale[:, None],
        pattern=lambda q, k, values: pattern(q / by_query.to(q), k, values),
    )


def side_by_side(attentions: Sequence[Attention]) -> Attention:
    """Several attentions as one with more heads."""
    first, *others = attentions
    if not others:
        return first
    widths = {(n.W_Q.shape[1], n.W_V.shape[1]) for n in attentions}
    turned = any(n.rotate_query is not None or n.rotate_key is not None for n in attentions)
    if len(widths) > 1 or turned or any(n.scale != first.scale for n in others):
        raise NoMatch("has more than one attention")
    counts = [len(n.W_Q) * n.W_Q.shape[1] for n in attentions]

    def pattern(q: Tensor, k: Tensor, values: Values) -> Tensor:
        each = zip(attentions, q.split(counts, -1), k.split(counts, -1), strict=True)
        return torch.cat([n.pattern(mine, theirs, values) for n, mine, theirs in each], 1)

    def joined(name: str, dim: int = 0) -> Tensor:
        return torch.cat([getattr(n, name) for n in attentions], dim)

    W_Q, W_K, W_V, b_Q, b_K, b_V = (joined(name) for name in ("W_Q", "W_K", "W_V", "b_Q", "b_K", "b_V"))
    return Attention(W_Q, W_K, W_V, b_Q, b_K, b_V, joined("W_O", 1), first.scale, pattern)
