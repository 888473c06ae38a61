"""What the heads of an attention do, evaluated from its anatomy, is what they do in the model."""

import pytest
import torch

import libasis
from anatomy.rebuild import differs_by_a_constant
from anatomy.test_anatomy import MADE_OF, example, section
from cut.cutting import randn
from libasis.anatomy import AttentionMaps, PlacedAttention, read

WITH_ATTENTION = [name for name, made in MADE_OF.items() if made[3]]


@pytest.fixture(params=WITH_ATTENTION)
def attended(request):
    """The anatomy, the context, what the heads read, and what they do there."""
    context, x = section(MADE_OF[request.param][0], example(request.param))
    anatomy = read(context)
    assert differs_by_a_constant(anatomy, context, x) < 1e-12
    u = x if anatomy.norm is None else anatomy.norm(x)[0]
    maps = AttentionMaps(anatomy, u)
    return anatomy, context, u, maps, maps.attend(u, context.values)


def by_hand(anatomy, context, u):
    """Rotated queries and keys ``[b, t, H e]``, whole values ``[b, s, H, v]``, weights ``[b, H, t, s]``."""
    n = anatomy.attention
    q, k, v = (u @ W.flatten(0, 1).T + b.flatten() for W, b in ((n.W_Q, n.b_Q), (n.W_K, n.b_K), (n.W_V, n.b_V)))
    q = q if n.rotate_query is None else n.rotate_query(q, context.values)
    k = k if n.rotate_key is None else n.rotate_key(k, context.values)
    return q, k, v.unflatten(-1, (len(n.W_V), -1)), n.pattern(q, k, context.values)


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def heads_first(x, H):
    return x.unflatten(-1, (H, -1)).permute(2, 0, 1, 3)


def test_weights_queries_keys_and_values(attended):
    anatomy, context, u, maps, found = attended
    q, k, v, weights = by_hand(anatomy, context, u)
    rows = list(range(u.shape[1])) if anatomy.read is None else list(anatomy.read)
    close(found.A, weights[:, :, rows].transpose(0, 1))
    close(found.q, maps.n.scale * heads_first(q[:, rows], maps.H))
    close(found.k, maps.n.scale * heads_first(k, maps.H))
    close(found.v + anatomy.attention.b_V[:, None, None], v.permute(2, 0, 1, 3))
    for x in (found.A, found.q, found.k, found.v):
        assert x.shape[:2] == (maps.H, len(u))


def test_what_is_left_of_queries_and_keys_is_their_constant(attended):
    """Rotated, so that it differs from position to position, and from no sample to another."""
    anatomy, context, u, maps, found = attended
    other = maps.attend(u.flip(0) + 0.3, context.values)
    for mine, theirs in zip(maps.constant_free(found), maps.constant_free(other), strict=True):
        assert mine.shape == theirs.shape
    for x in (found, other):
        for whole, free, b in zip((x.q, x.k), maps.constant_free(x), (maps.n.b_Q, maps.n.b_K), strict=True):
            rest = whole / maps.n.scale - free
            close(rest, rest[:, :1].expand_as(rest))
            close(rest.norm(dim=-1), b.norm(dim=-1)[:, None, None].expand(rest.shape[:3]))


def test_rotations_are_turned_back(attended):
    _, _, _, _, found = attended
    for turn, x in ((found.turn_q, found.q), (found.turn_k, found.k)):
        if turn is not None:
            joined = x.permute(1, 2, 0, 3).flatten(2)
            again = heads_first(turn.forward(joined), len(x))
            close(turn.back(again), x)
            vectors = randn(5, x.shape[-1])
            everywhere = turn.everywhere(vectors)
            for i, vector in enumerate(vectors):
                one = turn.forward(vector.expand(*x.shape[1:3], -1))
                close(everywhere[:, :, i].expand_as(one), one)


def test_queries_that_are_not_asked_do_not_matter(attended):
    anatomy, context, u, maps, found = attended
    place = PlacedAttention(anatomy, u.shape[1], context.values, u)
    rows = slice(None) if anatomy.read is None else list(anatomy.read)
    W_Q, b_Q = anatomy.attention.W_Q.flatten(0, 1), anatomy.attention.b_Q.flatten()
    W_K, b_K = anatomy.attention.W_K.flatten(0, 1), anatomy.attention.b_K.flatten()
    A, q, k = place.weights(u[:, rows] @ W_Q.T + b_Q, u @ W_K.T + b_K)
    close(A, found.A)
    close(heads_first(q, maps.H) * maps.n.scale, found.q)
    close(heads_first(k, maps.H) * maps.n.scale, found.k)


def test_a_mask_of_each_sample_is_kept():
    """Context values that differ from sample to sample."""

    class Masked(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.site = torch.nn.Embedding(7, 6), torch.nn.Identity()
            self.q, self.k, self.v = (torch.nn.Linear(6, 6) for _ in range(3))

        def forward(self, ids, there):
            x = self.site(self.embed(ids))
            scores = (self.q(x) @ self.k(x).transpose(-1, -2)).masked_fill(~there[:, None], -torch.inf)
            return x + scores.softmax(-1) @ self.v(x)

    ids, there = torch.arange(15).view(3, 5) % 7, torch.arange(5) < torch.tensor([[5], [3], [2]])
    traced = libasis.trace(Masked().double().eval(), (ids, there), ["site", "output"])
    record = traced.record((ids, there))
    anatomy, values = read(record.contexts[0]), record.contexts[0].values
    assert not isinstance(anatomy, str), anatomy
    found = AttentionMaps(anatomy, record.activations[0]).attend(record.activations[0], values)
    assert torch.equal(found.A[0] > 0, there[:, None].expand(3, 5, 5))
