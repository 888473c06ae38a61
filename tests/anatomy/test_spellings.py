"""One mathematics, one anatomy: attention, norms and MLPs as people write them."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import libasis
from anatomy.rebuild import differs_by_a_constant
from cut.cutting import randn
from libasis.anatomy import read

D, T, H, E = 8, 4, 2, 4
SEEN = torch.ones(T, T, dtype=torch.bool).tril()
ANGLE = torch.arange(T, dtype=torch.float64)[:, None] * torch.tensor([1.0, 0.3], dtype=torch.float64)
COS, SIN = ANGLE.cos(), ANGLE.sin()


def heads(y):
    return y.unflatten(-1, (H, E)).transpose(1, 2)


def hidden(scores):
    return scores.masked_fill(~SEEN, -torch.inf)


def written(m, weights, v):
    return m.o((weights @ v).transpose(1, 2).flatten(2))


def scores_as(spelled):
    """Causal attention with its scores spelled by a function of the model, queries and keys."""

    def run(m, x):
        return x + written(m, hidden(spelled(m, heads(m.q(x)), heads(m.k(x)))).softmax(-1), heads(m.v(x)))

    return run


def weights_as(spelled):
    """Attention with its weights spelled by a function of the scores."""
    return lambda m, x: written(m, spelled(heads(m.q(x)) @ heads(m.k(x)).mT / 2), heads(m.v(x)))


def parts_as(spelled):
    """Causal attention with queries, keys and values taken out of one projection."""

    def run(m, x):
        q, k, v = spelled(m.qkv(x))
        return written(m, hidden(q @ k.mT / 2).softmax(-1), v)

    return run


def turned_as(spelled):
    """Attention with queries and keys turned by a function."""
    return lambda m, x: written(m, (spelled(heads(m.q(x))) @ spelled(heads(m.k(x))).mT).softmax(-1), heads(m.v(x)))


def merged(m, x):
    q, k, v = (heads(part(x)).reshape(-1, T, E) for part in (m.q, m.k, m.v))
    bias = m.bias.repeat(len(x), 1, 1)
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), beta=0.5, alpha=0.3)
    return m.o(torch.bmm(scores.softmax(-1), v).view(-1, H, T, E).transpose(1, 2).reshape(-1, T, D))


def in_letters(m, x):
    q, k, v = (torch.einsum("btd,hde->bthe", x, W) for W in (m.WQ, m.WK, m.WV))
    weights = hidden(torch.einsum("bqhe,bkhe->bhqk", q, k)).softmax(-1)
    return torch.einsum("bhqk,bkhe,hed->bqd", weights, v, m.WO)


def grouped(m, x):
    k, v = (y[:, None] for y in m.kv(x).chunk(2, -1))
    q = heads(m.q(x)).unflatten(1, (1, H))
    weights = torch.einsum("bgrqe,bgke->bgrqk", q, k).softmax(-1)
    return m.o(torch.einsum("bgrqk,bgke->bqgre", weights, v).flatten(2))


def head_by_head(m, x):
    each = [hidden((x @ m.WQ[h]) @ (x @ m.WK[h]).mT).softmax(-1) @ (x @ m.WV[h]) for h in range(H)]
    return m.o(torch.stack(each, 2).flatten(2))


def exponentials(s):
    raised = torch.exp(hidden(s) - hidden(s).amax(-1, keepdim=True))
    return raised / raised.sum(-1, keepdim=True)


def masked_exponentials(s):
    raised = s.exp() * SEEN
    return raised / raised.sum(-1, keepdim=True)


def by_halves(y):
    a, b = y.chunk(2, -1)
    return torch.cat([a * COS - b * SIN, b * COS + a * SIN], -1)


def by_pairs(y):
    a, b = y.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([a * COS - b * SIN, b * COS + a * SIN], -1).flatten(-2)


def complex_pairs(y):
    turned = torch.view_as_complex(y.unflatten(-1, (-1, 2)).contiguous()) * torch.polar(torch.ones_like(ANGLE), ANGLE)
    return torch.view_as_real(turned).flatten(-2)


ATTENTION = {
    "einsum": scores_as(lambda m, q, k: torch.einsum("...qe,...ke->...qk", q, k) / 2),
    "einsum, keys first": scores_as(lambda m, q, k: torch.einsum("bhke,bhqe->bhqk", k, q)),
    "keys on the left": scores_as(lambda m, q, k: (k @ q.mT).mT),
    "both scaled": scores_as(lambda m, q, k: (q * 0.7) @ (k / math.sqrt(E)).transpose(2, 3)),
    "sum of a product": scores_as(lambda m, q, k: (q[:, :, :, None] * k[:, :, None]).sum(-1)),
    "temperature of each head": scores_as(lambda m, q, k: q @ k.mT * m.temperature[:, None, None]),
    "added with a factor": scores_as(lambda m, q, k: torch.add(m.bias, q @ k.mT, alpha=0.3)),
    "taken away with a factor": scores_as(lambda m, q, k: torch.sub(m.bias, q @ k.mT, alpha=0.3)),
    "product in place": scores_as(lambda m, q, k: torch.addcmul(m.bias, q @ k.mT, m.bias.new_tensor(0.5), value=0.7)),
    "cast": scores_as(lambda m, q, k: (q @ k.mT).type_as(q)),
    "exp over sum": weights_as(exponentials),
    "masked exp over sum": weights_as(masked_exponentials),
    "log-softmax": weights_as(lambda s: F.log_softmax(hidden(s), -1).exp()),
    "exp less logsumexp": weights_as(lambda s: torch.exp(hidden(s) - torch.logsumexp(hidden(s), -1, keepdim=True))),
    "where": weights_as(lambda s: torch.where(SEEN, s, -1e9).softmax(-1)),
    "times a mask": weights_as(lambda s: (s * SEEN - 1e10 * (~SEEN)).softmax(-1)),
    "weights renormalised": weights_as(lambda s: (p := s.softmax(-1) * SEEN) / p.sum(-1, keepdim=True)),
    "unbind": parts_as(lambda y: y.unflatten(-1, (3, H, E)).permute(2, 0, 3, 1, 4).unbind(0)),
    "unpacked": parts_as(lambda y: tuple(y.unflatten(-1, (3, H, E)).permute(2, 0, 3, 1, 4))),
    "three in each head": parts_as(lambda y: (z.transpose(1, 2) for z in y.view(-1, T, H, 3, E).unbind(-2))),
    "interleaved": parts_as(lambda y: y.view(-1, T, H, E, 3).transpose(1, 2).unbind(-1)),
    "tensor_split": parts_as(lambda y: map(heads, y.tensor_split(3, -1))),
    "listed features": parts_as(lambda y: (heads(y[..., torch.arange(i, i + D)]) for i in (0, D, 2 * D))),
    "heads merged with samples": merged,
    "letters alone": in_letters,
    "grouped letters": grouped,
    "head by head": head_by_head,
    "nn.MultiheadAttention": lambda m, x: m.mha(x, x, x, attn_mask=~SEEN)[0],
    "rotary by halves": turned_as(by_halves),
    "rotary by pairs": turned_as(by_pairs),
    "rotary by complex numbers": turned_as(complex_pairs),
}

NORMS = {
    "gain first": lambda m, x: m.g * x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5),
    "sum over width": lambda m, x: x * torch.rsqrt((x**2).sum(-1, keepdim=True) / D + 1e-5),
    "dot product": lambda m, x: x / (torch.einsum("btd,btd->bt", x, x) / D + 1e-5).sqrt()[..., None],
    "normalize": lambda m, x: F.normalize(x, dim=-1) * D**0.5 * m.g,
    "vector norm": lambda m, x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True),
    "unbiased variance": lambda m, x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt(),
    "standard deviation": lambda m, x: (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True) * m.g,
    "mean of squares less": lambda m, x: (
        (x - (mean := x.mean(-1, keepdim=True))) / ((x * x).mean(-1, keepdim=True) - mean**2 + 1e-5).sqrt()
    ),
    "group norm": lambda m, x: F.group_norm(x.flatten(0, 1), 1, m.g).view(x.shape),
}

MLPS = {
    "glu": lambda m, x: x + m.down(F.glu(m.both(x), -1)),
    "unbound gate": lambda m, x: m.down(F.silu((h := m.both(x).unflatten(-1, (2, 10)).unbind(-2))[0]) * h[1]),
    "every second": lambda m, x: m.down(F.silu((h := m.both(x))[..., ::2]) * h[..., 1::2]),
    "addmm": lambda m, x: torch.addmm(m.g, torch.addmm(m.c, x.view(-1, D), m.w, beta=0.3, alpha=0.5).tanh(), m.w.T),
    "channels first": lambda m, x: (m.w @ torch.tanh(m.w.T @ x.mT + m.c[:, None])).mT,
    "tensordot": lambda m, x: torch.tensordot(torch.tensordot(x, m.w, 1).relu(), m.w, ([2], [1])),
    "sum of a product": lambda m, x: x + m.down(m.up(x).relu()) * (m.g**2).sum() + (x * m.g).sum(-1, keepdim=True),
    "lerp": lambda m, x: torch.lerp(x, m.down(m.up(x).relu()), 0.3),
    "prelu": lambda m, x: x + m.down(F.prelu(m.up(x), m.temperature[:1])),
    "reordered units": lambda m, x: m.down(F.gelu(m.up(x)).flip(-1)[..., torch.arange(9, -1, -1)]),
}


class Spelled(nn.Module):
    def __init__(self, run):
        super().__init__()
        torch.manual_seed(0)
        self.run, self.site = run, nn.Identity()
        for name in "qkvo":
            setattr(self, name, nn.Linear(D, D))
        self.qkv, self.kv, self.both = nn.Linear(D, 3 * D), nn.Linear(D, 2 * E), nn.Linear(D, 20)
        self.up, self.down = nn.Linear(D, 10), nn.Linear(10, D)
        self.mha = nn.MultiheadAttention(D, H, batch_first=True)
        made = {"WQ": (H, D, E), "WK": (H, D, E), "WV": (H, D, E), "WO": (H, E, D), "bias": (H, T, T)}
        for name, shape in {**made, "temperature": (H,), "g": (D,), "w": (D, 10), "c": (10,)}.items():
            setattr(self, name, nn.Parameter(0.5 * torch.randn(shape) + 0.1))
        self.requires_grad_(False)

    def forward(self, x):
        return self.run(self, self.site(x))


def read_as(run):
    x = randn(2, T, D)
    (context,) = libasis.trace(Spelled(run).double().eval(), x, ["site", "output"]).record(x).contexts
    return read(context), context, x


@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name):
    found, context, x = read_as(ATTENTION[name])
    assert not isinstance(found, str), found
    assert found.attention is not None
    assert differs_by_a_constant(found, context, x) < 1e-12


@pytest.mark.parametrize("name", NORMS)
def test_norm(name):
    found, context, x = read_as(lambda m, x: m.down(F.gelu(m.up(NORMS[name](m, x)))))
    assert not isinstance(found, str), found
    assert found.norm is not None
    assert differs_by_a_constant(found, context, x) < 1e-12


@pytest.mark.parametrize("name", MLPS)
def test_mlp(name):
    found, context, x = read_as(lambda m, x: MLPS[name](m, x).view(x.shape))
    assert not isinstance(found, str), found
    assert len(found.pointwise) == 1
    assert differs_by_a_constant(found, context, x) < 1e-12


@pytest.mark.parametrize(
    "run",
    [
        weights_as(lambda s: (s.clamp(max=50.0)).softmax(-1)),
        weights_as(lambda s: s.softmax(-1) ** 2),
        weights_as(lambda s: (m := s.softmax(-1)) + 0.1 * m.flip(1)),
        lambda m, x: m.down(
            F.gelu(m.up((x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 0.1 * x[..., :1])))
        ),
        lambda m, x: m.down(F.gelu(m.up(x / x.norm(dim=-1, keepdim=True).clamp(min=3.0)))),
    ],
    ids=["clamped scores", "squared weights", "talking heads", "a coordinate beside the root", "norm from a size on"],
)
def test_what_is_nearly_the_same_is_not_taken_for_it(run):
    reason = read_as(run)[0]
    assert isinstance(reason, str)
    assert " " in reason


def test_operations_that_fail_when_read_are_no_match():
    """A lookup of what the input rounds to cannot be run at random inputs: the reason is told, nothing is raised."""
    reason = read_as(lambda m, x: x + m.w[x[..., 0].long().clamp(0, 3)][..., :D])[0]
    assert isinstance(reason, str)
