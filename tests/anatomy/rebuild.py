"""A section put together again from its anatomy, by the formula."""

import torch


def rebuilt(anatomy, context, x):
    """``D x + sum B phi(A u + b) + sum W_O o`` at the positions read: the section but for its constant."""
    u = x if anatomy.norm is None else anatomy.norm(x)[0]
    y = x.new_zeros(*x.shape[:2], anatomy.d_out)
    if anatomy.skip is not None:
        y = y + x @ anatomy.skip.T
    for branch in anatomy.pointwise:
        y = y + branch.activate(*(u @ A.T + b for A, b in zip(branch.A, branch.b, strict=True))) @ branch.B.T
    if anatomy.attention is not None:
        n = anatomy.attention
        q, k, v = ((u @ W.flatten(0, 1).T + b.flatten()) for W, b in ((n.W_Q, n.b_Q), (n.W_K, n.b_K), (n.W_V, n.b_V)))
        q = q if n.rotate_query is None else n.rotate_query(q, context.values)
        k = k if n.rotate_key is None else n.rotate_key(k, context.values)
        weights = n.pattern(q, k, context.values)
        y = y + torch.einsum("bhts,bshv,ohv->bto", weights, v.unflatten(-1, (len(n.W_V), -1)), n.W_O)
    return y if anatomy.read is None else y[:, list(anatomy.read)]


def differs_by_a_constant(anatomy, context, x):
    """How far the section is from its anatomy, apart from what is the same for all samples."""
    rest = context(x) - rebuilt(anatomy, context, x)
    return float((rest - rest[:1]).abs().max() / context(x).abs().max())
