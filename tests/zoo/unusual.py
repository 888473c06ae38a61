"""Spellings that are rarely met: parametrized weights, outputs of other kinds, loops, constants in unexpected places."""
# ruff: noqa: E501
# fmt: off

import dataclasses
import functools

import torch
import torch.nn.functional as F
from torch import nn

from .attentions import D, H, T, merge
from .attentions import X as XT
from .row import Net, floats, ids, named, rows, several, weight

add = rows("Unusual spellings")
L, Seq = nn.Linear, nn.Sequential
X, S = floats(6), floats(5, 6)


@dataclasses.dataclass
class Out:
    logits: torch.Tensor
    hidden: torch.Tensor


add(
    "sdpa gqa scale",
    lambda: Net(lambda m, x: x + m.o(merge(F.scaled_dot_product_attention(m.q(x).view(-1, T, H, 4).transpose(1, 2), m.k(x).view(-1, T, 1, 4).transpose(1, 2), m.v(x).view(-1, T, 1, 4).transpose(1, 2), scale=0.3, enable_gqa=True, is_causal=True))), q=L(D, 4 * H), k=L(D, 4), v=L(D, 4), o=L(4 * H, D)),
    XT,
    "input output",
    expect="closed",
)
add("Bilinear with memory", lambda: Net(lambda m, x: m.o(torch.tanh(m.b(m.a(x), m.c.expand(len(x), 3)))), a=L(6, 5), b=nn.Bilinear(5, 3, 8), c=weight(3), o=L(8, 4)), X, "input o:in output")
add("weight norm parametrization", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.utils.parametrizations.weight_norm(L(6, 8)), b=L(8, 4)), X, "input b:in output", expect="closed")
add("old weight norm", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.utils.weight_norm(L(6, 8)), b=L(8, 4)), X, "input b:in output", expect="closed")
add("spectral norm", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.utils.parametrizations.spectral_norm(L(6, 8)), b=L(8, 4)), X, "input b:in output", expect="closed")
add("old spectral norm", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.utils.spectral_norm(L(6, 8)), b=L(8, 4)), X, "input b:in output", expect="closed")
add("orthogonal", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=nn.utils.parametrizations.orthogonal(L(6, 6)), b=L(6, 4)), X, "input b:in output", expect="closed")
add("Siamese shared, dict out", lambda: Net(lambda m, x, y: {"d": (m.a(x).tanh() - m.a(y).tanh()).abs()}, a=L(6, 5)), several(X, X), "input.x+input.y output.d")
add("dataclass out", lambda: Net(lambda m, x: (lambda h: Out(m.b(h), h))(torch.tanh(m.a(x))), a=L(6, 8), b=L(8, 4)), X, "input b:in output.logits", expect="closed")
add("nested dict out", lambda: Net(lambda m, x: {"out": {"y": [m.b(torch.tanh(m.a(x)))]}}, a=L(6, 8), b=L(8, 4)), X, "input b:in output.out.y[0]", expect="closed")
add("kwargs only", lambda: Net(lambda m, *, x, scale: m.b(torch.tanh(m.a(x))) * scale, a=L(6, 8), b=L(8, 4)), named(x=X, scale=lambda n, g: torch.full((n, 1), 2)), "input b:in output")
add("**kwargs", lambda: Net(lambda m, **k: m.b(torch.tanh(m.a(k["x"]))), a=L(6, 8), b=L(8, 4)), named(x=X), "input b:in output", expect="closed")
add("nn.Unflatten", lambda: Seq(L(6, 8), nn.Unflatten(1, (2, 4)), nn.Tanh(), L(4, 3), nn.Flatten()), X, "input 1:in output")
add("circular pad conv1d", lambda: Seq(nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"), nn.GELU(), nn.Conv1d(4, 3, 1)), floats(2, 7), "input 1:in output", channels={"*": 1}, expect="closed")
add("F.pad reflect", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(F.pad(x, (1, 1), "reflect")))), a=nn.Conv1d(2, 4, 3), b=nn.Conv1d(4, 3, 1)), floats(2, 7), "input b:in output", channels={"*": 1})
add("ConvTranspose3d", lambda: Seq(nn.ConvTranspose3d(2, 3, 2, stride=2), nn.GELU(), nn.Conv3d(3, 2, 1)), floats(2, 2, 2, 2), "input 1:in output", channels={"*": 1}, size=4)
add("GroupNorm one channel each", lambda: Seq(nn.Conv1d(2, 4, 1), nn.GroupNorm(4, 4), nn.GELU(), nn.Conv1d(4, 3, 1)), floats(2, 5), "input 1:in 2:in output", channels={"*": 1})
add("Fourier features", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(torch.cat([torch.sin(x @ m.f), torch.cos(x @ m.f)], -1)))), a=L(10, 8), b=L(8, 4), f=torch.randn(6, 5).double()), X, "input a:in b:in output", expect="closed")


def rwkv(m, x):
    k, v, r = m.k(x), m.v(x), m.r(x).sigmoid()
    num = torch.zeros_like(k[:, 0])
    den = torch.zeros_like(num)
    out = []
    for i in range(x.shape[1]):
        w = torch.exp(k[:, i])
        out.append((num + w * v[:, i]) / (den + w))
        num = num * m.d.sigmoid() + w * v[:, i]
        den = den * m.d.sigmoid() + w
    return x + m.o(r * torch.stack(out, 1))


add("RWKV loop", lambda: Net(rwkv, k=L(6, 4), v=L(6, 4), r=L(6, 4), o=L(4, 6), d=weight(4)), floats(4, 6), "input output")


def ssm(m, x):
    h = torch.zeros(len(x), 4, dtype=x.dtype)
    ys = []
    for u in x.unbind(1):
        h = h * torch.exp(-F.softplus(m.dt(u))) + m.B(u)
        ys.append(m.C(h))
    return torch.stack(ys, 1)


add("Mamba-like loop", lambda: Net(ssm, dt=L(6, 4), B=L(6, 4), C=L(4, 3)), floats(4, 6), "input output")
add("cross attention const memory", lambda: Net(lambda m, x: x + m.a(x, m.mem.expand(len(x), 5, D), m.mem.expand(len(x), 5, D), need_weights=False)[0], a=nn.MultiheadAttention(D, H, batch_first=True), mem=weight(1, 5, D)), XT, "input output", expect="closed")
add("tied embedding scaled", lambda: Net(lambda m, t: m.n(m.h(m.e(t) * D**0.5)) @ m.e.weight.T, e=nn.Embedding(11, 6), h=L(6, 6), n=nn.RMSNorm(6)), ids(), "e n:in output", size=8, expect="closed")
add("stochastic depth eval", lambda: Net(lambda m, x: x + (m.b(torch.relu(m.a(x))) if not m.training else m.b(torch.relu(m.a(x))) * (torch.rand(1) > 0.5)), a=L(6, 8), b=L(8, 6)), X, "input output", expect="closed")
add("quantize-dequantize weights", lambda: Net(lambda m, x: m.b(torch.tanh(F.linear(x, (m.a.weight / 0.05).round() * 0.05, m.a.bias))), a=L(6, 8), b=L(8, 4)), X, "input b:in output", expect="closed")
add("torch.where gate", lambda: Net(lambda m, x: m.b(torch.where(m.g(x) > 0, m.a(x), 0.1 * m.a(x))), a=L(6, 8), g=L(6, 8), b=L(8, 4)), X, "input b:in output", expect="closed")
add("masked by own sign (x>0)*x", lambda: Net(lambda m, x: (lambda h: m.b((h > 0) * h))(m.a(x)), a=L(6, 8), b=L(8, 4)), X, "input b:in output", expect="closed")
add("cumsum over features", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)).cumsum(-1)), a=L(6, 8), b=L(8, 4)), X, "input b:in output")
add("cumsum over time", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)).cumsum(1)), a=L(6, 8), b=L(8, 4)), S, "input b:in output")
add("cumprod", lambda: Net(lambda m, x: m.b(torch.sigmoid(m.a(x)).cumprod(-1)), a=L(6, 8), b=L(8, 4)), X, "input b:in output")
add("sort", lambda: Net(lambda m, x: m.b(m.a(x).sort(-1)[0]), a=L(6, 8), b=L(8, 4)), X, "input b:in output")
add("sort over time", lambda: Net(lambda m, x: m.b(m.a(x).sort(1)[0]), a=L(6, 8), b=L(8, 4)), S, "input b:in output")
add("topk pool over time", lambda: Net(lambda m, x: m.b(m.a(x).topk(2, 1)[0].mean(1)), a=L(6, 8), b=L(8, 4)), S, "input b:in output")
add("logsumexp pool", lambda: Net(lambda m, x: m.b(m.a(x).logsumexp(1)), a=L(6, 8), b=L(8, 4)), S, "input b:in output")
add("median", lambda: Net(lambda m, x: m.b(m.a(x).median(1)[0]), a=L(6, 8), b=L(8, 4)), floats(3, 6), "input b:in output")
add("median over features", lambda: Net(lambda m, x: m.b(m.a(x).median(-1, True)[0]), a=L(6, 7), b=L(1, 4)), X, "input b:in output")
add("softmax pool attention weights", lambda: Net(lambda m, x: m.b((m.s(x).softmax(1) * m.a(x)).sum(1)), s=L(6, 1), a=L(6, 8), b=L(8, 4)), S, "input b:in output")
add("attention pooled by tanh (Bahdanau self)", lambda: Net(lambda m, x: m.b(torch.einsum("bt,btd->bd", m.s(torch.tanh(m.a(x)))[..., 0].softmax(-1), x)), s=L(8, 1), a=L(6, 8), b=L(6, 4)), S, "input b:in output")
add("gumbel hard eval", lambda: Net(lambda m, x: m.b(F.one_hot(m.a(x).argmax(-1), 8).to(x) + m.a(x).softmax(-1)), a=L(6, 8), b=L(8, 4)), X, "input b:in output")
add("addmm bmm chain", lambda: Net(lambda m, x: torch.addmm(m.c, torch.tanh(torch.addmm(m.d, x, m.w, beta=0.5, alpha=2.0)), m.v), c=weight(4), d=weight(8), w=weight(6, 8), v=weight(8, 4)), X, "input output", expect="closed")
add("kron", lambda: Net(lambda m, x: m.b(torch.tanh(x @ torch.kron(m.u, m.v))), u=weight(2, 4), v=weight(3, 2), b=L(8, 4)), X, "input output", expect="closed")
add("roll over time then MLP", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x.roll(1, 1)))), a=L(6, 8), b=L(8, 4)), S, "input output", expect="closed")
add("token shift cat", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x + F.pad(x, (0, 0, 1, -1))))), a=L(6, 8), b=L(8, 4)), S, "input output")
add("diag_embed", lambda: Net(lambda m, x: m.b(torch.diag_embed(torch.tanh(m.a(x))).flatten(1)), a=L(6, 3), b=L(9, 4)), X, "input output")
add("matrix exp", lambda: Net(lambda m, x: m.b(torch.matrix_exp(m.a(x).view(-1, 2, 2)).flatten(1)), a=L(6, 4), b=L(4, 3)), X, "input output")
add("solve", lambda: Net(lambda m, x: m.b(torch.linalg.solve(torch.eye(2, dtype=x.dtype) * 5 + m.a(x).view(-1, 2, 2), m.c(x)[..., None])[..., 0]), a=L(6, 4), c=L(6, 2), b=L(2, 3)), X, "input output")
add("cholesky covariance", lambda: Net(lambda m, x: (lambda A: m.b(torch.linalg.cholesky(A @ A.mT + torch.eye(2, dtype=x.dtype)).flatten(1)))(m.a(x).view(-1, 2, 2)), a=L(6, 4), b=L(4, 3)), X, "input output")
add("nan_to_num, clamp", lambda: Net(lambda m, x: m.b(torch.nan_to_num(m.a(x)).clamp(-0.5, 0.5)), a=L(6, 8), b=L(8, 4)), X, "input b:in output", expect="closed")
add("bucketize embedding of input", lambda: Net(lambda m, x: m.b(m.e(torch.bucketize(x, m.k)).flatten(1) + m.a(x)), e=nn.Embedding(4, 2), k=torch.tensor([-1.0, 0.0, 1.0]), a=L(6, 12), b=L(12, 4)), X, "b:in output")
add("rotary from input dtype complex mult in place", lambda: Net(lambda m, x: m.b(torch.view_as_real(torch.view_as_complex(m.a(x).view(*x.shape[:-1], 4, 2).contiguous()) * m.r).flatten(-2).tanh()), a=L(6, 8), r=torch.polar(torch.ones(4).double(), torch.arange(4).double()), b=L(8, 3)), X, "input output")
add("deep supervision list of outputs", lambda: Net(lambda m, x: [m.a(x).tanh(), m.b(m.a(x).tanh())], a=L(6, 8), b=L(8, 4)), X, "input output[1]", expect="closed")
add("ModuleDict routing by key", lambda: Net(lambda m, x, k="p": m.d[k](torch.tanh(m.a(x))), a=L(6, 8), d=nn.ModuleDict({"p": L(8, 4), "q": L(8, 4)})), X, "input d.p:in output", expect="closed")
add("functools.partial norm", lambda: Net(lambda m, x: m.b(m.n(torch.tanh(m.a(x)))), a=L(6, 8), n=functools.partial(F.layer_norm, normalized_shape=(8,)), b=L(8, 4)), X, "input b:in output")
add("batchnorm folded no affine", lambda: Seq(L(6, 8), nn.BatchNorm1d(8, affine=False), nn.SiLU(), L(8, 4)), X, "input 2:in output", expect="closed")
add("lazy linear", lambda: (lambda m: (m(torch.zeros(1, 6)), m)[1])(Seq(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(4))), X, "input 2:in output", expect="closed")
add("einsum ellipsis", lambda: Net(lambda m, x: torch.einsum("...i,io->...o", torch.tanh(torch.einsum("...i,io->...o", x, m.w)), m.v), w=weight(6, 8), v=weight(8, 4)), S, "input output", expect="closed")
add("trace / quadratic form", lambda: Net(lambda m, x: m.b(torch.einsum("bi,ij,bj->b", x, m.w, x)[:, None]), w=weight(6, 6), b=L(1, 3)), X, "input output")
add("patches by view and permute (einops)", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x.view(-1, 3, 2, 2, 2, 2).permute(0, 2, 4, 3, 5, 1).reshape(-1, 4, 12)))), a=L(12, 8), b=L(8, 4)), floats(3, 4, 4), "input b:in output", channels={"input": 1, "*": -1})
add("pruned weights", lambda: _pruned(Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=L(6, 8), b=L(8, 4))), X, "input b:in output", expect="closed")
add("layers dropped at random in eval too", lambda: Net(lambda m, x: x + m.b(torch.relu(m.a(x))) * (torch.rand(len(x), 1) < 0.9), a=L(6, 8), b=L(8, 6)), X, "input output", expect="refused", says="random", instead="drop layers in training mode only")
add("windows of a sequence, shifted", lambda: Net(_windows, n=nn.LayerNorm(D), w=L(D, 3 * D), o=L(D, D)), floats(6, D), "input output", expect="closed")
add("windows, every second place (dilated)", lambda: Net(lambda m, x: _windows(m, x.unflatten(1, (-1, 2)).transpose(1, 2).flatten(1, 2), 0).unflatten(1, (2, -1)).transpose(1, 2).flatten(1, 2), n=nn.LayerNorm(D), w=L(D, 3 * D), o=L(D, D)), floats(6, D), "input output", expect="closed")
add("from behind: attention of a sequence that is turned round", lambda: Net(lambda m, x: m.n(x + m.a(x.flip(1), x.flip(1), x.flip(1), need_weights=False, attn_mask=torch.ones(T, T).triu(1).bool())[0].flip(1)), n=nn.RMSNorm(D), a=nn.MultiheadAttention(D, H, batch_first=True)), XT, "input output", expect="closed")


def _pruned(m):
    from torch.nn.utils import prune

    prune.l1_unstructured(m.a, "weight", 0.5)
    return m


def _windows(m, x, shift=1):
    """In two halves."""
    q, k, v = (t.unflatten(-1, (H, -1)).transpose(1, 2) for t in m.w(m.n(x).roll(-shift, 1).unflatten(1, (2, -1)).flatten(0, 1)).chunk(3, -1))
    return x + m.o(merge(F.scaled_dot_product_attention(q, k, v))).unflatten(0, (-1, 2)).flatten(1, 2).roll(shift, 1)
