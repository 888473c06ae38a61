"""The form by position is the exact rule for whatever positions compute before and behind one attention."""

import pytest
import torch
from torch.nn import functional as F

from anatomy.test_anatomy import NOT, D, T, attend, example, turn
from cut.cutting import randn
from importance.measuring import chosen, moment_by, span_of
from importance.test_moments import BY_POSITION, assert_same, both, traced_last
from libasis.measure import Records

SEEN = torch.ones(T, T, dtype=torch.bool).tril()


def parts(m, x):
    return [part(x).unflatten(-1, (2, 3)).transpose(1, 2) for part in (m.q, m.k, m.v)]


def written(m, scores, v, norm=lambda y: y):
    return norm(m.o((scores.masked_fill(~SEEN, -torch.inf).softmax(-1) @ v).transpose(1, 2).flatten(2)))


def normed(m, x):
    q, k, v = parts(m, x)
    q, k = (turn(F.rms_norm(y, (3,))[..., :2]) for y in (q, k))
    return x + written(m, q @ k.mT, v)


def sink(m, x):
    q, k, v = parts(m, m.norm(x))
    scores = torch.cat([(q @ k.mT).masked_fill(~SEEN, -torch.inf), m.place.expand(len(x), 2, -1, -1)], -1)
    return x + m.o((scores.softmax(-1)[..., :-1] @ v).transpose(1, 2).flatten(2))


def normed_over_heads(m, x):
    q, k, v = (y.unflatten(-1, (2, 3)).transpose(1, 2) for y in (m.rms(m.q(x)), m.norm(m.k(x)), m.v(x)))
    return x + m.norm2(written(m, q @ k.mT, v))


def gated(m, x):
    q, k, v = parts(m, m.rms(x))
    heads = (q @ k.mT).softmax(-1) @ v
    return x + m.o(heads.transpose(1, 2).flatten(2) * m.p(x).sigmoid())


def shared_keys(m, x):
    """Capped scores of two heads on the keys and values of one."""
    q, k, v = m.q(x).unflatten(-1, (2, 3)).transpose(1, 2), m.k(x)[:, None, :, :3], m.v(x)[:, None, :, :3]
    return written(m, 2 * torch.tanh(q @ k.mT / 2), v)


def experts(m, x):
    """The two best of three for each position."""
    flat = x.flatten(0, 1)
    weight, index = m.p(flat)[:, :3].softmax(-1).topk(2)
    W = torch.stack([m.q.weight, m.k.weight, m.v.weight])[index.flatten()]
    each = (W @ flat.repeat_interleave(2, 0)[..., None])[..., 0].relu() * weight.flatten()[:, None]
    return x + each.unflatten(0, (-1, T, 2)).sum(2)


def windows(m, x, shift=0, dilated=False, mask=None):
    """Each position sees those of its half, or every second one."""
    y = m.norm(x).roll(-shift, 1)
    y = y.unflatten(1, (2, 2)).transpose(1, 2) if dilated else y.unflatten(1, (2, 2))
    q, k, v = (part(y.flatten(0, 1)).unflatten(-1, (2, 3)).transpose(1, 2) for part in (m.q, m.k, m.v))
    scores = q @ k.mT
    if mask is not None:
        scores = (scores.unflatten(0, (-1, 2)) + mask[:, None]).flatten(0, 1)
    y = m.o((scores.softmax(-1) @ v).transpose(1, 2).flatten(2)).unflatten(0, (-1, 2))
    return x + (y.transpose(1, 2) if dilated else y).flatten(1, 2).roll(shift, 1)


def shifted(m, x):
    """The window that the border parts sees one side of it."""
    mask = torch.zeros(2, 2, 2)
    mask[1, 0, 1] = mask[1, 1, 0] = -torch.inf
    return windows(m, x, shift=1, mask=mask.to(x))


def turned_round(m, x):
    q, k, v = parts(m, x.flip(1))
    return m.rms(x + written(m, q @ k.mT, v).flip(1))


FORMS = {
    "windows": windows,
    "every second one": lambda m, x: windows(m, x, dilated=True),
    "shifted windows": shifted,
    "turned round, causal": turned_round,
    **{name: NOT[name] for name in sorted(BY_POSITION)},
    "causal, capped": lambda m, x: x + attend(m, m.norm(x), cap=2.0),
    "capped, last position": lambda m, x: (x + attend(m, m.norm(x), cap=2.0))[:, -1],
    "normed and turned": normed,
    "normed over heads, norm behind": normed_over_heads,
    "norm of the sum": lambda m, x: m.norm(x + attend(m, x)),
    "between two norms": lambda m, x: x + m.rms(m.o(m.q(m.norm(x)).relu())),
    "sink": sink,
    "gated heads": gated,
    "shared keys": shared_keys,
    "experts": experts,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_by_position_is_exact(name):
    x = example(name)
    closed, exact = both(FORMS[name], [x, 2 * x[:2] + 0.5])
    assert_same(closed, exact)
    assert chosen(span_of(Records(traced_last(FORMS[name], x), [x])))[0].name == "closed form, by position"


@pytest.mark.parametrize("name", ["sink", "experts", "norm of the sum", "shared keys", "two layers", "shifted windows"])
def test_padding_and_small_memory(name):
    mask = torch.tensor([[True] * T, [True, False, True, False], [False] * (T - 1) + [True]])
    assert_same(*both(FORMS[name], [example(name)], mask=lambda _: mask, memory=1))


def test_sequences_of_other_lengths():
    """Each length has a graph of its own."""
    run = lambda m, x: m.norm(x + m.o((m.q(x) @ m.k(x).mT).softmax(-1) @ m.v(x)))  # noqa: E731
    batches = [randn(2, length, D) for length in (4, 6, 1)]
    records = Records(traced_last(run, batches[0]), batches)
    readout = randn(D, 3)
    closed, exact = (moment_by(rule, records, readout) for rule in ("auto", "exact"))
    assert closed.rule == "closed form, by position"
    assert_same(closed.value, exact.value)


def test_a_function_that_mixes_positions_says_so():
    x = example("a shift")
    passed = chosen(span_of(Records(traced_last(lambda m, x: m.norm(x.cumsum(1)), x), [x])))[1]
    assert "cumsum" in passed["closed form, by position"]
