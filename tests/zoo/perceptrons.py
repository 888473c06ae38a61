"""Perceptrons: activations, norms, gates, residuals, ways of holding weights."""
# ruff: noqa: E501
# fmt: off

import copy
import re

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

from .row import Net, floats, rows, several, weight

add = rows("Perceptrons")
L, Seq, X = nn.Linear, nn.Sequential, floats(6)

for act in (
    nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SELU, nn.CELU, nn.LeakyReLU, nn.Softplus, nn.Softsign, nn.Mish,
    nn.Hardtanh, nn.Hardswish, nn.Hardsigmoid, nn.ReLU6, nn.LogSigmoid, nn.Tanhshrink, nn.Softshrink, nn.Hardshrink, nn.PReLU,
    nn.Identity,
):  # fmt: skip
    add(f"activation {act.__name__}", lambda act=act: Seq(L(6, 8), act(), L(8, 4)), X, "input output", expect="closed")

for name, act in {
    "GELU of tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick GELU, x sigmoid(1.702 x)": lambda x: x * torch.sigmoid(1.702 * x),
    "GELU by erf": lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)),
    "squared ReLU": lambda x: F.relu(x).square(),
    "sine": torch.sin,
    "exp": lambda x: torch.exp(-x * x),
    "snake": lambda x: x + torch.sin(x) ** 2,
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "max with zero": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "where": lambda x: torch.where(x > 0, x, 0.1 * x),
    "product with a comparison": lambda x: x * (x > 0),
    "square root of abs": lambda x: (x.abs() + 0.1).sqrt(),
    "power": lambda x: x**3,
    "log1p exp": lambda x: torch.log1p(x.exp()),
    "reciprocal": lambda x: 1 / (1 + x * x),
    "polynomial": lambda x: torch.addcmul(x, x, x, value=0.3),
    "threshold": lambda x: F.threshold(x, 0.1, -0.2),
    "sign-preserving log": lambda x: x.sign() * x.abs().log1p(),
    "atan": torch.atan,
    "logaddexp": lambda x: torch.logaddexp(x, 0.5 * x),
}.items():
    add(f"activation {name}", lambda act=act: Net(lambda m, x: m.b(act(m.a(x))), a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")

add("softmax as activation", lambda: Seq(L(6, 8), nn.Softmax(-1), L(8, 4)), X, "input 1:in output")
add("log-softmax at the end", lambda: Seq(L(6, 8), nn.ReLU(), L(8, 4), nn.LogSoftmax(-1)), X, "input 2:in output")
add("maxout", lambda: Net(lambda m, x: m.b(m.a(x).unflatten(-1, (8, 2)).amax(-1)), a=L(6, 16), b=L(8, 4)), X, "input output")
add("GLU", lambda: Seq(L(6, 16), nn.GLU(), L(8, 4)), X, "input output", expect="closed")
add("RReLU", lambda: Seq(L(6, 8), nn.RReLU(), L(8, 4)), X, "input output", expect="closed")
add("sorted units", lambda: Net(lambda m, x: m.b(m.a(x).sort(-1).values), a=L(6, 8), b=L(8, 4)), X, "input output")
add("k winners", lambda: Net(lambda m, x: m.b((lambda h: torch.zeros_like(h).scatter(-1, h.topk(3).indices, h.topk(3).values))(m.a(x))), a=L(6, 8), b=L(8, 4)), X, "input output")


def gated(act):
    return Net(lambda m, x: m.down(act(m.gate(x)) * m.up(x)), gate=L(6, 8), up=L(6, 8), down=L(8, 6))


add("gated, SwiGLU", lambda: gated(F.silu), X, "input output", expect="closed")
add("gated, GEGLU", lambda: gated(F.gelu), X, "input output", expect="closed")
add("gated, bilinear", lambda: gated(lambda x: x), X, "input output", expect="closed")
add("gated, chunk", lambda: Net(lambda m, x: (lambda a, b: m.d(F.silu(a) * b))(*m.u(x).chunk(2, -1)), u=L(6, 16), d=L(8, 6)), X, "input output", expect="closed")
add("gated, split", lambda: Net(lambda m, x: (lambda a, b: m.d(F.silu(a) * b))(*m.u(x).split(8, -1)), u=L(6, 16), d=L(8, 6)), X, "input output", expect="closed")
add("gated, tensor_split", lambda: Net(lambda m, x: (lambda a, b: m.d(F.silu(a) * b))(*m.u(x).tensor_split(2, -1)), u=L(6, 16), d=L(8, 6)), X, "input output", expect="closed")
add("gated, slices", lambda: Net(lambda m, x: (lambda h: m.d(F.silu(h[..., :8]) * h[..., 8:]))(m.u(x)), u=L(6, 16), d=L(8, 6)), X, "input output", expect="closed")
add("gated, interleaved", lambda: Net(lambda m, x: (lambda h: m.d(F.silu(h[..., ::2]) * h[..., 1::2]))(m.u(x)), u=L(6, 16), d=L(8, 6)), X, "input output", expect="closed")
add("gated, unbind", lambda: Net(lambda m, x: (lambda a, b: m.d(F.silu(a) * b))(*m.u(x).unflatten(-1, (2, 8)).unbind(-2)), u=L(6, 16), d=L(8, 6)), X, "input output", expect="closed")
add("gated, three factors", lambda: Net(lambda m, x: m.d(F.silu(m.a(x)) * m.b(x) * torch.tanh(m.c(x))), a=L(6, 8), b=L(6, 8), c=L(6, 8), d=L(8, 6)), X, "input output", expect="closed")
add("gated after LayerNorm", lambda: Net(lambda m, x: x + m.d(F.silu(m.g(m.n(x))) * m.u(m.n(x))), n=nn.LayerNorm(6), g=L(6, 8), u=L(6, 8), d=L(8, 6)), X, "input output", expect="closed")
add("highway", lambda: Net(lambda m, x: (lambda t: t * torch.relu(m.h(x)) + (1 - t) * x)(torch.sigmoid(m.t(x))), h=L(6, 6), t=L(6, 6)), X, "input output", expect="closed")

BLOCK = lambda m, x: x + m.b(torch.relu(m.a(x)))  # noqa: E731
add("residual", lambda: Net(BLOCK, a=L(6, 8), b=L(8, 6)), X, "input output", expect="closed")
add("residual, three blocks", lambda: Seq(*(Net(BLOCK, a=L(6, 8), b=L(8, 6)) for _ in range(3))), X, expect="closed")
add("residual, in place", lambda: Net(lambda m, x: (lambda h: h.add_(m.b(torch.relu(h))))(m.a(x)), a=L(6, 6), b=L(6, 6)), X, "input a output", expect="closed")
add("residual with a scale", lambda: Net(lambda m, x: x + m.s * m.b(torch.relu(m.a(x))), a=L(6, 8), b=L(8, 6), s=weight(6)), X, "input output", expect="closed")
add("residual by torch.add alpha", lambda: Net(lambda m, x: torch.add(x, m.b(torch.relu(m.a(x))), alpha=0.3), a=L(6, 8), b=L(8, 6)), X, "input output", expect="closed")
add("residual by torch.sub alpha", lambda: Net(lambda m, x: torch.sub(x, m.b(torch.relu(m.a(x))), alpha=0.3), a=L(6, 8), b=L(8, 6)), X, "input output", expect="closed")
add("residual by rsub", lambda: Net(lambda m, x: torch.rsub(x, m.b(torch.relu(m.a(x))), alpha=0.7), a=L(6, 8), b=L(8, 6)), X, "input output", expect="closed")
add("skip past two layers", lambda: Net(lambda m, x: (lambda h: m.c(torch.relu(m.b(torch.relu(h)))) + h)(m.a(x)), a=L(6, 8), b=L(8, 8), c=L(8, 8)), X, "input a output")
add("dense connections", lambda: Net(lambda m, x: (lambda h: m.b(torch.cat([h, torch.relu(m.a(h))], -1)))(m.s(x)), s=L(6, 6), a=L(6, 8), b=L(14, 4)), X, "input s output", expect="closed")
add("lerp of two branches", lambda: Net(lambda m, x: torch.lerp(x, torch.relu(m.a(x)), 0.3), a=L(6, 6)), X, "input output", expect="closed")

NORMS = (
    nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False), nn.LayerNorm(8, bias=False), nn.RMSNorm(8), nn.RMSNorm(8, eps=1e-3),
    nn.BatchNorm1d(8), nn.BatchNorm1d(8, affine=False), nn.GroupNorm(1, 8), nn.GroupNorm(2, 8),
)
USUAL = NORMS[0], NORMS[3], NORMS[5], NORMS[8]
for norm in NORMS:  # fmt: skip
    closed = not (isinstance(norm, nn.GroupNorm) and norm.num_groups == 2)
    text = re.sub(r"(, )+", ", ", str(norm).replace("elementwise_affine=True", "").replace("track_running_stats=True", "")).replace(", )", ")")
    new = lambda norm=norm: copy.deepcopy(norm)  # noqa: E731
    usual = {"rare": norm not in USUAL}
    add(f"{text}, before the MLP", lambda new=new: Seq(L(6, 8), new(), L(8, 9), nn.GELU(), L(9, 4)), X, "input 1:in output", expect="closed" if closed else "exact", **usual)
    add(f"{text}, between weights and activation", lambda new=new: Seq(L(6, 8), new(), nn.ReLU(), L(8, 4)), X, "input 1:in 1:out output", **usual)
    add(f"{text}, post-norm", lambda new=new: Net(lambda m, x: m.n(x + m.b(torch.relu(m.a(x)))), s=L(6, 8), a=L(8, 9), b=L(9, 8), n=new()), floats(8), "input n:in output", **usual)
    add(f"{text}, at the end", lambda new=new: Seq(L(6, 8), nn.Tanh(), L(8, 8), new()), X, "input 2:in output", **usual)


def norm_spelled(function):
    return lambda: Net(lambda m, x: x + m.b(F.gelu(m.a(function(m, x)))), a=L(6, 8), b=L(8, 6), w=weight(6), c=weight(6))


for name, function in {
    "x - mean over std": lambda m, x: (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + 1e-5).sqrt() * m.w + m.c,
    "x rsqrt(mean square)": lambda m, x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * m.w,
    "x over norm": lambda m, x: x / (x.norm(dim=-1, keepdim=True) + 1e-6) * 6**0.5 * m.w,
    "F.normalize": lambda m, x: F.normalize(x, dim=-1) * m.w,
    "std unbiased": lambda m, x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-5) * m.w,
    "var_mean": lambda m, x: (lambda v, u: (x - u) * torch.rsqrt(v + 1e-5) * m.w + m.c)(*torch.var_mean(x, -1, keepdim=True, correction=0)),
    "(1 + w) x rsqrt, Gemma": lambda m, x: (1 + m.w) * (x * torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)),
    "F.layer_norm": lambda m, x: F.layer_norm(x, (6,), m.w, m.c),
    "F.rms_norm": lambda m, x: F.rms_norm(x, (6,), m.w),
    "linalg.vector_norm": lambda m, x: x / torch.linalg.vector_norm(x, dim=-1, keepdim=True) * m.w,
    "square sum over": lambda m, x: x / ((x**2).sum(-1, keepdim=True) / 6 + 1e-6) ** 0.5 * m.w,
    "einsum of squares": lambda m, x: x * torch.rsqrt(torch.einsum("bi,bi->b", x, x)[:, None] / 6 + 1e-6) * m.w,
    "L1 norm": lambda m, x: x / x.abs().sum(-1, keepdim=True) * m.w,
    "mean removed only": lambda m, x: (x - x.mean(-1, keepdim=True)) * m.w,
    "tanh in place of a norm (DyT)": lambda m, x: torch.tanh(0.7 * x) * m.w + m.c,
}.items():  # fmt: skip
    add(f"norm spelled {name}", norm_spelled(function), X, "input output", expect="exact" if name in ("L1 norm", "tanh in place of a norm (DyT)") else "closed")

add("sandwich norm", lambda: Net(lambda m, x: x + m.n2(m.b(F.gelu(m.a(m.n1(x))))), a=L(6, 8), b=L(8, 6), n1=nn.RMSNorm(6), n2=nn.RMSNorm(6)), X, "input output")
add("tied weights", lambda: Net(lambda m, x: F.linear(torch.relu(m.a(x)), m.a.weight.T), a=L(6, 8)), X, "input a output", expect="closed")
add("one module called three times", lambda: Net(lambda m, x: m.a(torch.relu(m.a(torch.relu(m.a(x))))), a=L(6, 6)), X, "input a#2:in a#3:in output", expect="closed")
add("dropout", lambda: Seq(L(6, 8), nn.Dropout(), nn.ReLU(), nn.AlphaDropout(), L(8, 4)), X, "input 1 output", expect="closed")
add("F.dropout that heeds the mode", lambda: Net(lambda m, x: m.b(F.dropout(torch.relu(m.a(x)), 0.5, m.training)), a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("F.dropout that is always on", lambda: Net(lambda m, x: m.b(F.dropout(torch.relu(m.a(x)), 0.5)), a=L(6, 8), b=L(8, 4)), X, "input output", expect="refused", says="random", instead="pass training=self.training to F.dropout")
add("noise is added", lambda: Net(lambda m, x: m.a(x) + 0.1 * torch.randn_like(m.a(x)), a=L(6, 8)), X, "input output", expect="refused", says="random", instead="add noise in training mode only")
add("weight_norm (old)", lambda: Seq(weight_norm(L(6, 8)), nn.ReLU(), L(8, 4)), X, "input output", expect="closed")
add("weight_norm (parametrization)", lambda: Seq(parametrizations.weight_norm(L(6, 8)), nn.ReLU(), L(8, 4)), X, "input output", expect="closed")
add("spectral_norm (parametrization)", lambda: Seq(parametrizations.spectral_norm(L(6, 8)), nn.ReLU(), L(8, 4)), X, "input output", expect="closed")
add("spectral_norm (old)", lambda: Seq(nn.utils.spectral_norm(L(6, 8)), nn.ReLU(), L(8, 4)), X, "input output", expect="closed")
add("orthogonal weights", lambda: Seq(parametrizations.orthogonal(L(6, 6)), nn.ReLU(), L(6, 4)), X, "input output", expect="closed")
add("pruned weights", lambda: Seq(nn.utils.prune.l1_unstructured(L(6, 8), "weight", 0.3), nn.ReLU(), L(8, 4)) if hasattr(nn.utils, "prune") else Seq(L(6, 4)), X, "input output", expect="closed")
add("LoRA", lambda: Net(lambda m, x: m.c(torch.relu(m.w(x) + 0.5 * m.b(m.a(x)))), w=L(6, 8), a=L(6, 2, bias=False), b=L(2, 8, bias=False), c=L(8, 4)), X, "input output", expect="closed")
add("weights masked by a buffer", lambda: Net(lambda m, x: m.b(torch.relu(x @ (m.w * m.mask))), w=weight(6, 8), mask=(torch.rand(6, 8) > 0.4).double(), b=L(8, 4)), X, "input output", expect="closed")
add("autoregressive masks (MADE)", lambda: Net(lambda m, x: F.linear(torch.relu(F.linear(x, m.a.weight * m.k, m.a.bias)), m.b.weight), a=L(6, 8), b=L(8, 6), k=torch.ones(8, 6).tril().double()), X, "input output", expect="closed")
add("Bilinear", lambda: Net(lambda m, x: m.b(x, x), b=nn.Bilinear(6, 6, 4)), X, "input output")
add("factored bilinear", lambda: Net(lambda m, x: m.c(m.a(x) * m.b(x)), a=L(6, 8), b=L(6, 8), c=L(8, 4)), X, "input output", expect="closed")
add("factorisation machine", lambda: Net(lambda m, x: m.a(x) + 0.5 * ((x @ m.v) ** 2 - (x**2) @ (m.v**2)).sum(-1, keepdim=True), a=L(6, 1), v=weight(6, 3)), X, "input output")
add("deep and cross", lambda: Net(lambda m, x: m.c(x * m.a(x) + x), a=L(6, 6), c=L(6, 4)), X, "input output", expect="closed")
add("linear only", lambda: Seq(L(6, 8), L(8, 4)), X, "input 0 output", expect="closed")
add("one unit out", lambda: Seq(L(6, 8), nn.ReLU(), L(8, 1), nn.Flatten(0)), X, "input 1:in output")
add("matmul with a parameter", lambda: Net(lambda m, x: torch.relu(x @ m.a + m.c) @ m.b, a=weight(6, 8), b=weight(8, 4), c=weight(8)), X, "input output", expect="closed")
add("einsum with a parameter", lambda: Net(lambda m, x: torch.einsum("bi,io->bo", torch.relu(torch.einsum("bi,oi->bo", x, m.a)), m.b), a=weight(8, 6), b=weight(8, 4)), X, "input output", expect="closed")
add("addmm", lambda: Net(lambda m, x: torch.addmm(m.c, torch.relu(x @ m.a), m.b, beta=0.5, alpha=2.0), a=weight(6, 8), b=weight(8, 4), c=weight(4)), X, "input output", expect="closed")
add("baddbmm over positions", lambda: Net(lambda m, x: torch.baddbmm(m.c, torch.relu(x @ m.a), m.b.expand(len(x), 8, 4), beta=0.5, alpha=2.0), a=weight(6, 8), b=weight(8, 4), c=weight(1, 4)), floats(3, 6), "input output", expect="closed")
add("tensordot", lambda: Net(lambda m, x: torch.tensordot(torch.relu(torch.tensordot(x, m.a, dims=1)), m.b, dims=1), a=weight(6, 8), b=weight(8, 4)), floats(3, 6), "input output", expect="closed")
add("outer features", lambda: Net(lambda m, x: m.a((x[..., None] * x[..., None, :]).flatten(1)), a=L(36, 4)), X, "input output")
add("residual MLP over positions", lambda: Net(BLOCK, a=L(6, 8), b=L(8, 6)), floats(3, 6), "input output", expect="closed")
add("four dimensions, features last", lambda: Net(BLOCK, a=L(6, 8), b=L(8, 6)), floats(2, 3, 6), "input output", expect="closed", channels={"*": -1})
add("float32 model in float64", lambda: Seq(L(6, 8), nn.GELU(), L(8, 4)), X, "input output", expect="closed", dtype="float64")
add("float16 model in float64", lambda: Seq(L(6, 8), nn.GELU(), L(8, 4)).half(), X, "input output", expect="closed", dtype="float64")
add("bfloat16 model in float64", lambda: Seq(L(6, 8), nn.LayerNorm(8), L(8, 4)).bfloat16(), X, "input 1:in output", expect="closed", dtype="float64")
add("casts to float32 inside", lambda: Net(lambda m, x: m.b(torch.relu(m.a(x).float()).to(x.dtype)), a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed", dtype="float64", plain=lambda: Net(lambda m, x: m.b(torch.relu(m.a(x))), a=L(6, 8), b=L(8, 4)))
add("KAN of Gaussians", lambda: Net(lambda m, x: torch.einsum("bik,oik->bo", torch.exp(-((x[..., None] - m.c) ** 2)), m.w), c=torch.linspace(-2, 2, 5).double(), w=weight(4, 6, 5)), X, "input output")
add("RBF by cdist", lambda: Net(lambda m, x: m.a(torch.exp(-torch.cdist(x, m.c) ** 2 / 6)), c=weight(8, 6, scale=1.0), a=L(8, 4)), X, "input output")
add("RBF spelled out", lambda: Net(lambda m, x: m.a(torch.exp(-((x[:, None] - m.c) ** 2).sum(-1) / 6)), c=weight(8, 6, scale=1.0), a=L(8, 4)), X, "input output")
add("Fourier features", lambda: Net(lambda m, x: m.a(torch.cat([torch.sin(x @ m.f), torch.cos(x @ m.f)], -1)), f=torch.randn(6, 5).double(), a=L(10, 4)), X, "input output", expect="closed")
add("SIREN", lambda: Net(lambda m, x: m.b(torch.sin(3.0 * m.a(x))), a=L(6, 8), b=L(8, 4)), X, "input output", expect="closed")
add("cosine similarity head", lambda: Net(lambda m, x: 5 * F.linear(F.normalize(m.a(x), dim=-1), F.normalize(m.w, dim=-1)), a=L(6, 8), w=weight(4, 8)), X, "input a output", expect="closed")
add("F.cosine_similarity", lambda: Net(lambda m, x: F.cosine_similarity(m.a(x)[:, None], m.w, dim=-1), a=L(6, 8), w=weight(4, 8)), X, "input a output")
add("prototypes by squared distance", lambda: Net(lambda m, x: -(m.a(x)[:, None] - m.w).square().sum(-1), a=L(6, 8), w=weight(4, 8)), X, "input a output")
add("hypernetwork", lambda: Net(lambda m, x: (lambda z: torch.bmm(m.h(z).view(-1, 4, 6), z[..., None])[..., 0])(m.s(x)), s=L(6, 6), h=L(6, 24)), X, "input s output")
add("mixture of experts, soft", lambda: Net(lambda m, x: (m.g(x).softmax(-1)[..., None] * torch.stack([e(x) for e in m.e], 1)).sum(1), g=L(6, 3), e=nn.ModuleList(L(6, 4) for _ in range(3))), X, "input output")
add("mixture of experts, top 1 by gather", lambda: Net(lambda m, x: torch.einsum("bi,bio->bo", x, m.w[m.g(x).argmax(-1)]), g=L(6, 3), w=weight(3, 6, 4)), X, "input output")
add("mixture of experts, top 2 by mask", lambda: Net(lambda m, x: (lambda p: (torch.where(p >= p.topk(2).values[:, -1:], p, 0.0)[..., None] * torch.stack([e(x) for e in m.e], 1)).sum(1))(m.g(x).softmax(-1)), g=L(6, 3), e=nn.ModuleList(Seq(L(6, 8), nn.GELU(), L(8, 4)) for _ in range(3))), X, "input output")
add("decision of a soft tree", lambda: Net(lambda m, x: (lambda p: p * m.a(x) + (1 - p) * m.b(x))(torch.sigmoid(m.s(x))), s=L(6, 1), a=L(6, 4), b=L(6, 4)), X, "input output")
add("Hopfield update", lambda: Net(lambda m, x: (2 * x @ m.p.T).softmax(-1) @ m.p, p=weight(5, 6)), X, "input output")
add("conditioning (FiLM)", lambda: Net(lambda m, x, c: m.b(m.s(c) * torch.relu(m.a(x)) + m.t(c)), a=L(6, 8), s=L(3, 8), t=L(3, 8), b=L(8, 4)), several(X, floats(3)), "input.x+input.c output")
add("two inputs added", lambda: Net(lambda m, x, y: m.c(torch.relu(m.a(x) + m.b(y))), a=L(6, 8), b=L(3, 8), c=L(8, 4)), several(X, floats(3)), "input.x+input.y c:in output")
add("two inputs, only one is cut at", lambda: Net(lambda m, x, y: m.c(torch.relu(m.a(x) + m.b(y))), a=L(6, 8), b=L(3, 8), c=L(8, 4)), several(X, floats(3)), "input.x output", expect="refused", says="BypassError.*b:out", instead='cut at both together, ["input.x", "input.y"]')
add("Siamese", lambda: Net(lambda m, x, y: (m.a(x) - m.a(y)).abs(), a=Seq(L(6, 8), nn.ReLU(), L(8, 4))), several(X, X), "input.x+input.y output")
