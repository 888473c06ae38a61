"""Attention: ways of writing the same mathematics, and what modern models add to it."""
# ruff: noqa: E501
# fmt: off

import math

import torch
import torch.nn.functional as F
from torch import nn

from .row import Net, floats, ids, named, rows, several, weight

add = rows("Attention")
L = nn.Linear
T, D, H, E = 5, 8, 2, 4
X = floats(T, D)
SMALL = {"size": 6}
CAUSAL = torch.ones(T, T).tril().bool()


def parts(**more):
    return {"q": L(D, D), "k": L(D, D), "v": L(D, D), "o": L(D, D), **more}


def split(x, h=H):
    return x.view(x.shape[0], x.shape[1], h, -1).transpose(1, 2)


def merge(x):
    return x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1)


def attention(function, sites="input output", expect="closed", inputs=X, **more):
    """A row: ``function(m, q, k, v)`` of heads ``[batch, head, time, width]`` gives what is read."""
    def forward(m, x):
        return m.o(merge(function(m, split(m.q(x)), split(m.k(x)), split(m.v(x)))))
    return forward


def spelled(name, function, expect="closed", instead="", **more):
    add(name, lambda: Net(lambda m, x: m.o(merge(function(m, split(m.q(x)), split(m.k(x)), split(m.v(x))))), **parts(**{k: v() if callable(v) and not isinstance(v, nn.Module) else v for k, v in more.items()})), X, "input output", expect=expect, instead=instead, **SMALL)


def whole(name, forward, expect="closed", **more):
    rest = {k: more.pop(k) for k in ("says", "instead", "size", "channels", "batch", "mask") if k in more}
    inputs, sites = more.pop("inputs", X), more.pop("sites", "input output")
    add(name, lambda: Net(forward, **{k: v() for k, v in more.items()}), inputs, sites, expect=expect, **{**SMALL, **rest})


R = E**-0.5
spelled("plain", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R).softmax(-1) @ v)
spelled("causal, masked_fill of -inf", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R).masked_fill(~CAUSAL, -math.inf).softmax(-1) @ v)
spelled("causal, where with -1e9", lambda m, q, k, v: torch.where(CAUSAL, q @ k.transpose(-1, -2) * R, -1e9).softmax(-1) @ v)
spelled("causal, an added mask of -inf", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R + torch.full((T, T), -math.inf, dtype=q.dtype).triu(1)).softmax(-1) @ v)
spelled("causal, mask times -10000", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R + (1 - CAUSAL.to(q.dtype)) * -10000.0).softmax(-1) @ v)
spelled("causal, scores minus a bias", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R - (1 - CAUSAL.to(q.dtype)) * 1e4).softmax(-1) @ v)
spelled("causal, torch.add(bias, scores, alpha)", lambda m, q, k, v: torch.add((CAUSAL.to(q.dtype) - 1) * 1e4, q @ k.transpose(-1, -2), alpha=R).softmax(-1) @ v)
spelled("causal, scores.add(bias, alpha)", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R).add((CAUSAL.to(q.dtype) - 1), alpha=1e4).softmax(-1) @ v)
spelled("causal, in place masked_fill_", lambda m, q, k, v: (q @ k.transpose(-1, -2) * R).masked_fill_(~CAUSAL, -math.inf).softmax(-1) @ v)
spelled("scores over root(width)", lambda m, q, k, v: F.softmax(q @ k.mT / math.sqrt(E), dim=-1) @ v)
spelled("queries are scaled", lambda m, q, k, v: ((q * R) @ k.mT).softmax(-1) @ v)
spelled("queries and keys are scaled", lambda m, q, k, v: ((q * E**-0.25) @ (k * E**-0.25).mT).softmax(-1) @ v)
spelled("scores negated twice", lambda m, q, k, v: (-(q @ -k.mT) * R).softmax(-1) @ v)
spelled("no scale", lambda m, q, k, v: (q @ k.mT).softmax(-1) @ v)
spelled("einsum", lambda m, q, k, v: torch.einsum("bhts,bhse->bhte", (torch.einsum("bhte,bhse->bhts", q, k) * R).softmax(-1), v))
spelled("scaled_dot_product_attention", lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v))
spelled("scaled_dot_product_attention, is_causal", lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True))
spelled("scaled_dot_product_attention, boolean mask", lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=CAUSAL))
spelled("scaled_dot_product_attention, float mask and scale", lambda m, q, k, v: F.scaled_dot_product_attention(q, k, v, attn_mask=torch.full((T, T), -math.inf, dtype=q.dtype).triu(1), scale=0.3))
spelled("softmax spelled out", lambda m, q, k, v: (lambda e: e / e.sum(-1, keepdim=True) @ v)((q @ k.mT * R).exp()))
spelled("softmax spelled out, maximum removed", lambda m, q, k, v: (lambda s: (lambda e: e / e.sum(-1, keepdim=True) @ v)((s - s.amax(-1, keepdim=True)).exp()))(q @ k.mT * R))
spelled("softmax in float32, cast back", lambda m, q, k, v: (q @ k.mT * R).softmax(-1, dtype=torch.float64).to(q.dtype) @ v)
spelled("softmax, type_as", lambda m, q, k, v: (q @ k.mT * R).double().softmax(-1).type_as(q) @ v)
spelled("log_softmax, exp", lambda m, q, k, v: (q @ k.mT * R).log_softmax(-1).exp() @ v)
spelled("softmax over dim -2 of transposed scores", lambda m, q, k, v: (k @ q.mT * R).softmax(-2).mT @ v)
spelled("dropout on the weights", lambda m, q, k, v: F.dropout((q @ k.mT * R).softmax(-1), 0.1, m.training) @ v)
spelled("temperature per head", lambda m, q, k, v: (q @ k.mT * m.t).softmax(-1) @ v, t=lambda: weight(H, 1, 1))
spelled("temperature per head, exp and clamp (Swin v2)", lambda m, q, k, v: (q @ k.mT * m.t.clamp(max=4.6).exp()).softmax(-1) @ v, t=lambda: weight(H, 1, 1))
spelled("a gate per head on the outcome", lambda m, q, k, v: m.g * ((q @ k.mT * R).softmax(-1) @ v), g=lambda: weight(H, 1, 1))
spelled("relative bias, a table", lambda m, q, k, v: (q @ k.mT * R + m.b).softmax(-1) @ v, b=lambda: weight(H, T, T))
spelled("relative bias, an embedding of distances (T5)", lambda m, q, k, v: (q @ k.mT + m.b(torch.arange(T)[:, None] - torch.arange(T) + T).permute(2, 0, 1)).softmax(-1) @ v, b=lambda: nn.Embedding(2 * T, H))
spelled("ALiBi", lambda m, q, k, v: (q @ k.mT * R + torch.tensor([0.5, 0.25], dtype=q.dtype).view(H, 1, 1) * (torch.arange(T) - torch.arange(T)[:, None]).to(q.dtype)).masked_fill(~CAUSAL, -math.inf).softmax(-1) @ v)
spelled("sliding window", lambda m, q, k, v: (q @ k.mT * R).masked_fill(~(CAUSAL & ~CAUSAL.tril(-2)), -math.inf).softmax(-1) @ v)
spelled("soft cap", lambda m, q, k, v: (3.0 * torch.tanh(q @ k.mT * R / 3.0)).softmax(-1) @ v)
spelled("sink: a learned column that nothing reads", lambda m, q, k, v: torch.cat([q @ k.mT * R, m.s.expand(len(q), H, T, 1)], -1).softmax(-1)[..., :-1] @ v, s=lambda: weight(H, 1, 1))
spelled("softmax plus one", lambda m, q, k, v: (lambda e: e / (1 + e.sum(-1, keepdim=True)) @ v)((q @ k.mT * R).exp()))
spelled("QK-norm, RMSNorm", lambda m, q, k, v: (m.a(q) @ m.b(k).mT * R).softmax(-1) @ v, a=lambda: nn.RMSNorm(E), b=lambda: nn.RMSNorm(E))
spelled("QK-norm, LayerNorm", lambda m, q, k, v: (m.a(q) @ m.b(k).mT * R).softmax(-1) @ v, a=lambda: nn.LayerNorm(E), b=lambda: nn.LayerNorm(E))
spelled("QK-norm, F.normalize (cosine attention)", lambda m, q, k, v: (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT * 3).softmax(-1) @ v)
spelled("sigmoid attention", lambda m, q, k, v: torch.sigmoid(q @ k.mT * R - math.log(T)) @ v, "exact")
spelled("ReLU attention", lambda m, q, k, v: F.relu(q @ k.mT * R) / T @ v, "exact")
spelled("linear attention, elu + 1", lambda m, q, k, v: (lambda a, b: a @ (b.mT @ v) / (a @ b.sum(-2, keepdim=True).mT))(F.elu(q) + 1, F.elu(k) + 1), "exact")
spelled("attention weights without softmax", lambda m, q, k, v: (q @ k.mT) @ v, "exact")
spelled("by distance of queries and keys", lambda m, q, k, v: (-(q[..., :, None, :] - k[..., None, :, :]).square().sum(-1)).softmax(-1) @ v, "exact")
spelled("talking heads", lambda m, q, k, v: torch.einsum("bhts,hg->bgts", torch.einsum("bhts,hg->bgts", q @ k.mT * R, m.a).softmax(-1), m.b) @ v, "exact", a=lambda: weight(H, H), b=lambda: weight(H, H))
spelled("differential attention", lambda m, q, k, v: ((q @ k.mT * R).softmax(-1) - 0.3 * (k @ q.mT * R).softmax(-1)) @ v, "exact")
spelled("top-k attention", lambda m, q, k, v: (lambda s: s.masked_fill(s < s.topk(3).values[..., -1:], -math.inf).softmax(-1) @ v)(q @ k.mT * R), "exact")
spelled("tanh of a query-key sum (additive, Bahdanau)", lambda m, q, k, v: (torch.tanh(q[..., :, None, :] + k[..., None, :, :]) @ m.w).softmax(-1) @ v, "exact", w=lambda: weight(E))

COS, SIN = (f(torch.arange(T)[:, None] * torch.tensor([1.0, 0.1])).double() for f in (torch.cos, torch.sin))


def halves(x):
    a, b = x.chunk(2, -1)
    return torch.cat([a * COS - b * SIN, b * COS + a * SIN], -1)


def rotate_half(x):
    cos, sin = torch.cat([COS, COS], -1), torch.cat([SIN, SIN], -1)
    return x * cos + torch.cat([-x[..., E // 2:], x[..., : E // 2]], -1) * sin


def interleaved(x):
    a, b = x[..., ::2], x[..., 1::2]
    return torch.stack([a * COS - b * SIN, a * SIN + b * COS], -1).flatten(-2)


def complexes(x):
    z = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2).contiguous())
    return torch.view_as_real(z * torch.complex(COS, SIN)).flatten(-2)


def polar(x):
    z = torch.view_as_complex(x.unflatten(-1, (-1, 2)))
    return torch.view_as_real(z * torch.polar(torch.ones_like(COS), torch.atan2(SIN, COS))).flatten(3).type_as(x)


def matrix(x):
    M = torch.stack([torch.stack([COS, -SIN], -1), torch.stack([SIN, COS], -1)], -2)
    return torch.einsum("tpij,bhtpj->bhtpi", M, x.unflatten(-1, (-1, 2))).flatten(-2)


def partly(x):
    c, s = COS[:, :1], SIN[:, :1]
    a, b, rest = x[..., :1], x[..., 1:2], x[..., 2:]
    return torch.cat([a * c - b * s, a * s + b * c, rest], -1)


for name, rotate in {"halves by chunk": halves, "rotate_half": rotate_half, "interleaved, stacked": interleaved, "complex numbers": complexes, "complex numbers, polar": polar, "a matrix for each place": matrix, "a part of the width": partly}.items():
    spelled(f"rotary, {name}", lambda m, q, k, v, r=rotate: (r(q) @ r(k).mT * R).masked_fill(~CAUSAL, -math.inf).softmax(-1) @ v)
spelled("rotary after QK-norm", lambda m, q, k, v: (rotate_half(m.a(q)) @ rotate_half(m.b(k)).mT * R).softmax(-1) @ v, a=lambda: nn.RMSNorm(E), b=lambda: nn.RMSNorm(E))

O = {"o": lambda: L(D, D)}
QKV = {"w": lambda: L(D, 3 * D), **O}
sdpa = F.scaled_dot_product_attention
whole("one matrix, chunk", lambda m, x: m.o(merge(sdpa(*(split(t) for t in m.w(x).chunk(3, -1))))), **QKV)
whole("one matrix, split", lambda m, x: m.o(merge(sdpa(*(split(t) for t in m.w(x).split(D, -1))))), **QKV)
whole("one matrix, view and permute (timm)", lambda m, x: (lambda t: m.o(merge(sdpa(t[0], t[1], t[2]))))(m.w(x).reshape(-1, T, 3, H, E).permute(2, 0, 3, 1, 4)), **QKV)
whole("one matrix, view and permute, unbind", lambda m, x: m.o(merge(sdpa(*m.w(x).reshape(-1, T, 3, H, E).permute(2, 0, 3, 1, 4).unbind(0)))), **QKV)
whole("one matrix, unpacked tuple", lambda m, x: (lambda q, k, v: m.o(merge((q @ k.mT * R).softmax(-1) @ v)))(*m.w(x).view(-1, T, 3, H, E).permute(2, 0, 3, 1, 4)), **QKV)
whole("one matrix, heads interleaved (GPT-NeoX)", lambda m, x: m.o(merge(sdpa(*m.w(x).view(-1, T, H, 3 * E).transpose(1, 2).chunk(3, -1)))), **QKV)
whole("one matrix, unflatten", lambda m, x: m.o(merge(sdpa(*(t.unflatten(-1, (H, E)).transpose(1, 2) for t in m.w(x).tensor_split(3, -1))))), **QKV)
whole("batch and heads merged, bmm", lambda m, x: (lambda q, k, v: m.o((torch.bmm((torch.bmm(q, k.transpose(1, 2)) * R).softmax(-1), v)).view(-1, H, T, E).transpose(1, 2).reshape(-1, T, D)))(*(split(t).reshape(-1, T, E) for t in m.w(x).chunk(3, -1))), **QKV)
whole("batch and heads merged, baddbmm", lambda m, x: (lambda q, k, v: m.o((torch.bmm(torch.baddbmm(m.z, q, k.transpose(1, 2), beta=0.5, alpha=R).softmax(-1), v)).view(-1, H, T, E).transpose(1, 2).reshape(-1, T, D)))(*(split(t).reshape(-1, T, E) for t in m.w(x).chunk(3, -1))), z=lambda: weight(1, T, T), **QKV)
whole("keys permuted to [batch, head, width, time]", lambda m, x: (lambda q, k, v: m.o(merge((q @ k * R).softmax(-1) @ v)))(split(m.q(x)), m.k(x).view(-1, T, H, E).permute(0, 2, 3, 1), split(m.v(x))), q=lambda: L(D, D), k=lambda: L(D, D), v=lambda: L(D, D), **O)
whole("einsum in [batch, time, head, width]", lambda m, x: (lambda q, k, v: m.o(torch.einsum("bhqk,bkhd->bqhd", (torch.einsum("bqhd,bkhd->bhqk", q, k) * R).softmax(-1), v).reshape(-1, T, D)))(*(t.view(-1, T, H, E) for t in m.w(x).chunk(3, -1))), **QKV)
whole("einsum weights for each head (TransformerLens)", lambda m, x: (lambda q, k, v: torch.einsum("bqhd,hde->bqe", torch.einsum("bhqk,bkhd->bqhd", (torch.einsum("bqhd,bkhd->bhqk", q, k) * R).masked_fill(~CAUSAL, -math.inf).softmax(-1), v), m.o) + m.b)(*(torch.einsum("bti,hid->bthd", x, w) for w in m.w)), w=lambda: weight(3, H, D, E), o=lambda: weight(H, E, D), b=lambda: weight(D))
whole("a module for each head", lambda m, x: m.o(torch.cat([(m.q[i](x) @ m.k[i](x).mT * R).softmax(-1) @ m.v[i](x) for i in range(H)], -1)), q=lambda: nn.ModuleList(L(D, E) for _ in range(H)), k=lambda: nn.ModuleList(L(D, E) for _ in range(H)), v=lambda: nn.ModuleList(L(D, E) for _ in range(H)), **O)
whole("one head", lambda m, x: m.o((m.q(x) @ m.k(x).mT * R).softmax(-1) @ m.v(x)), q=lambda: L(D, E), k=lambda: L(D, E), v=lambda: L(D, E), o=lambda: L(E, D))
whole("one head, keys are the queries", lambda m, x: m.o((m.q(x) @ m.q(x).mT * R).softmax(-1) @ m.v(x)), q=lambda: L(D, E), v=lambda: L(D, E), o=lambda: L(E, D))
whole("without any weights", lambda m, x: (x @ x.mT * R).softmax(-1) @ x)
whole("Conv1d of kernel 1 as weights", lambda m, x: m.o((m.q(x.mT).mT @ m.k(x.mT) * R).softmax(-1) @ m.v(x.mT).mT), q=lambda: nn.Conv1d(D, E, 1), k=lambda: nn.Conv1d(D, E, 1), v=lambda: nn.Conv1d(D, E, 1), o=lambda: L(E, D))
whole("grouped keys, repeat_interleave", lambda m, x: m.o(merge(sdpa(split(m.q(x), 4), split(m.k(x)).repeat_interleave(2, 1), split(m.v(x)).repeat_interleave(2, 1)))), q=lambda: L(D, 16), k=lambda: L(D, D), v=lambda: L(D, D), o=lambda: L(16, D))
whole("grouped keys, expand and reshape", lambda m, x: (lambda g: m.o(merge(sdpa(split(m.q(x), 4), g(split(m.k(x))), g(split(m.v(x)))))))(lambda t: t[:, :, None].expand(-1, -1, 2, -1, -1).reshape(len(t), 4, T, E)), q=lambda: L(D, 16), k=lambda: L(D, D), v=lambda: L(D, D), o=lambda: L(16, D))
whole("grouped keys, enable_gqa", lambda m, x: m.o(merge(sdpa(split(m.q(x), 4), split(m.k(x)), split(m.v(x)), enable_gqa=True))), q=lambda: L(D, 16), k=lambda: L(D, D), v=lambda: L(D, D), o=lambda: L(16, D))
whole("one key for all heads", lambda m, x: m.o(merge((split(m.q(x)) @ m.k(x)[:, None].mT * R).softmax(-1) @ m.v(x)[:, None])), q=lambda: L(D, D), k=lambda: L(D, E), v=lambda: L(D, E), **O)
whole("one key for all heads, heads broadcast in five dimensions", lambda m, x: m.o((lambda q, k, v: torch.einsum("bkgts,bksd->btkgd", (torch.einsum("btkgd,bksd->bkgts", q, k) * R).softmax(-1), v).reshape(-1, T, 16))(m.q(x).view(-1, T, 2, 2, E), split(m.k(x)), split(m.v(x)))), q=lambda: L(D, 16), k=lambda: L(D, D), v=lambda: L(D, D), o=lambda: L(16, D))
whole("latent keys and values (MLA)", lambda m, x: (lambda c: m.o(merge(sdpa(split(m.q(x)), split(m.k(c)), split(m.v(c))))))(m.c(x)), c=lambda: L(D, 3), q=lambda: L(D, D), k=lambda: L(3, D), v=lambda: L(3, D), **O)
whole("latent keys with a norm (DeepSeek)", lambda m, x: (lambda c: m.o(merge(sdpa(split(m.q(x)), split(m.k(c)), split(m.v(c))))))(m.n(m.c(x))), "exact", c=lambda: L(D, 3), n=lambda: nn.RMSNorm(3), q=lambda: L(D, D), k=lambda: L(3, D), v=lambda: L(3, D), **O)
whole("gated outcome (sigmoid of the input)", lambda m, x: m.o(merge(sdpa(*(split(t) for t in m.w(x).chunk(3, -1)))) * torch.sigmoid(m.g(x))), "exact", g=lambda: L(D, D), **QKV)
whole("two attentions added", lambda m, x: m.o(merge(sdpa(*(split(t) for t in m.w(x).chunk(3, -1))))) + m.p(merge(sdpa(*(split(t) for t in m.u(x).chunk(3, -1)), is_causal=True))), "exact", u=lambda: L(D, 3 * D), p=lambda: L(D, D), **QKV)
whole("external keys and values", lambda m, x: m.o((m.q(x) @ m.k.T * R).softmax(-1) @ m.v), "exact", q=lambda: L(D, E), k=lambda: weight(7, E), v=lambda: weight(7, E), o=lambda: L(E, D))
whole("queries are learned (pooling)", lambda m, x: m.o((m.q @ m.k(x).mT * R).softmax(-1) @ m.v(x)), "exact", q=lambda: weight(3, E), k=lambda: L(D, E), v=lambda: L(D, E), o=lambda: L(E, D))
whole("keys pooled over places (Linformer)", lambda m, x: m.o((m.q(x) @ (m.p @ m.k(x)).mT * R).softmax(-1) @ (m.p @ m.v(x))), "exact", p=lambda: weight(3, T), q=lambda: L(D, E), k=lambda: L(D, E), v=lambda: L(D, E), o=lambda: L(E, D))
whole("query of the last place only", lambda m, x: m.o((m.q(x[:, -1:]) @ m.k(x).mT * R).softmax(-1) @ m.v(x))[:, 0], "exact", q=lambda: L(D, E), k=lambda: L(D, E), v=lambda: L(D, E), o=lambda: L(E, D))
whole("with weights as second outcome", lambda m, x: (lambda a: (m.o(a @ m.v(x)), a))((m.q(x) @ m.k(x).mT * R).softmax(-1)), q=lambda: L(D, E), k=lambda: L(D, E), v=lambda: L(D, E), o=lambda: L(E, D))

for name, options in {"batch first": {}, "no bias": {"bias": False}, "bias_kv": {"add_bias_kv": True}, "zero_attn": {"add_zero_attn": True}, "kdim": {"kdim": D, "vdim": D}}.items():
    whole(f"nn.MultiheadAttention, {name}", lambda m, x: m.a(x, x, x, need_weights=False)[0], "exact" if name in ("bias_kv", "zero_attn") else "closed", a=lambda o=options: nn.MultiheadAttention(D, H, batch_first=True, **o))
whole("nn.MultiheadAttention, weights wanted", lambda m, x: m.a(x, x, x)[0], a=lambda: nn.MultiheadAttention(D, H, batch_first=True))
whole("nn.MultiheadAttention, causal", lambda m, x: m.a(x, x, x, attn_mask=~CAUSAL, need_weights=False)[0], a=lambda: nn.MultiheadAttention(D, H, batch_first=True))
whole("nn.MultiheadAttention, is_causal", lambda m, x: m.a(x, x, x, attn_mask=~CAUSAL, is_causal=True, need_weights=False)[0], a=lambda: nn.MultiheadAttention(D, H, batch_first=True))
whole("nn.MultiheadAttention, padding mask", lambda m, x, pad: m.a(x, x, x, key_padding_mask=pad.bool(), need_weights=False)[0], a=lambda: nn.MultiheadAttention(D, H, batch_first=True), inputs=several(X, lambda n, g: (torch.arange(T) > 3).long().expand(n, T).clone()), sites="input.x output")
whole("nn.MultiheadAttention, time first inside", lambda m, x: m.a(*[x.transpose(0, 1)] * 3, need_weights=False)[0].transpose(0, 1), a=lambda: nn.MultiheadAttention(D, H))
whole("nn.MultiheadAttention, causal, time is the first dimension", lambda m, x: m.o(m.a(x, x, x, attn_mask=torch.ones(6, 6).triu(1).bool(), need_weights=False)[0]), "refused", a=lambda: nn.MultiheadAttention(D, H), **O, sites="input o:in output", inputs=lambda n, g: torch.randn(6, 4, D, dtype=torch.float64, generator=g), says="BatchError.*batch first", instead="give the batch first: batch_first=True, or transpose in a wrapper")
whole("nn.MultiheadAttention, time is the first dimension", lambda m, x: m.o(m.a(x, x, x, need_weights=False)[0]), "refused", a=lambda: nn.MultiheadAttention(D, H), **O, sites="input o:in output", inputs=lambda n, g: torch.randn(6, 4, D, dtype=torch.float64, generator=g), says="BatchError.*batch first", instead="give the batch first: batch_first=True, or transpose in a wrapper")

add = rows("Transformers written by hand and by torch")
whole = whole  # noqa: PLW0127


def row(name, make, inputs, sites, **more):
    add(name, make, inputs, sites, **{**SMALL, **more})


def torch_layer(**o):
    return nn.TransformerEncoderLayer(D, H, 12, 0.1, batch_first=True, **o)


for name, o in {"post-norm": {}, "pre-norm": {"norm_first": True}, "pre-norm, GELU, no bias": {"norm_first": True, "activation": "gelu", "bias": False}}.items():
    row(f"nn.TransformerEncoderLayer, {name}", lambda o=o: torch_layer(**o), X, "input output")
    row(f"nn.TransformerEncoder, {name}", lambda o=o: nn.TransformerEncoder(torch_layer(**o), 2, enable_nested_tensor=False), X, "input layers.1:in output")
    row(f"nn.TransformerEncoder, {name}, as made by default", lambda o=o: nn.TransformerEncoder(torch_layer(**o), 2), X, "input layers.1:in output")
row("nn.TransformerEncoderLayer, pre-norm, attention and MLP apart", lambda: torch_layer(norm_first=True), X, "input norm2:in output", expect="closed")
row("nn.TransformerEncoder, time first inside", lambda: Net(lambda m, x: m.o(m.e(x.transpose(0, 1))).transpose(0, 1), e=nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, 12, norm_first=True), 1, enable_nested_tensor=False), o=L(D, 3)), X, "input o:in output", batch={"o:in": 1})
row("nn.TransformerEncoder, time is the first dimension", lambda: Net(lambda m, x: m.o(m.e(x)), e=nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, 12, norm_first=True), 1, enable_nested_tensor=False), o=L(D, 3)), lambda n, g: torch.randn(6, 4, D, dtype=torch.float64, generator=g), "input o:in output", expect="refused", says="BatchError.*batch first", instead="give the batch first: batch_first=True")
row("nn.TransformerEncoder, causal, time is the first dimension", lambda: Net(lambda m, x: m.o(m.e(x, mask=nn.Transformer.generate_square_subsequent_mask(6, dtype=x.dtype), is_causal=True)), e=nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, 12, norm_first=True), 1, enable_nested_tensor=False), o=L(D, 3)), lambda n, g: torch.randn(6, 4, D, dtype=torch.float64, generator=g), "input o:in output", expect="refused", says="BatchError.*batch first", instead="give the batch first: batch_first=True")
row("nn.TransformerEncoder, causal mask made inside", lambda: Net(lambda m, x: m.o(m.e(x, mask=nn.Transformer.generate_square_subsequent_mask(T, dtype=x.dtype))), e=nn.TransformerEncoder(torch_layer(norm_first=True), 2, enable_nested_tensor=False), o=L(D, 3)), X, "input e.layers.1:in output", says="", instead="")
row("nn.TransformerEncoder, causal mask, is_causal is said", lambda: Net(lambda m, x: m.o(m.e(x, mask=nn.Transformer.generate_square_subsequent_mask(T, dtype=x.dtype), is_causal=True)), e=nn.TransformerEncoder(torch_layer(norm_first=True), 2, enable_nested_tensor=False), o=L(D, 3)), X, "input e.layers.1:in output")
row("nn.TransformerEncoder, padding mask", lambda: Net(lambda m, x, pad: m.o(m.e(x, src_key_padding_mask=pad.bool())), e=nn.TransformerEncoder(torch_layer(norm_first=True), 2, enable_nested_tensor=False), o=L(D, 3)), several(X, lambda n, g: (torch.arange(T) > 3).long().expand(n, T).clone()), "input.x e.layers.1:in o:in output")
row("nn.TransformerDecoderLayer, both at once", lambda: Net(lambda m, x, y: m.d(x, y), d=nn.TransformerDecoderLayer(D, H, 12, batch_first=True, norm_first=True)), several(X, X), "input.x+input.y output")
row("nn.TransformerDecoderLayer, memory goes round", lambda: Net(lambda m, x, y: m.d(x, y), d=nn.TransformerDecoderLayer(D, H, 12, batch_first=True, norm_first=True)), several(X, X), "input.x output", expect="refused", says="BypassError.*input.y", instead='cut at both together, ["input.x", "input.y"]')
row("nn.Transformer", lambda: Net(lambda m, x, y: m.o(m.t(x, y)), t=nn.Transformer(D, H, 1, 1, 12, batch_first=True), o=L(D, 3)), several(X, X), "input.x+input.y o:in output")
row("cross-attention of tokens to an image", lambda: Net(lambda m, x, y: m.o(m.a(m.e(x), y, y, need_weights=False)[0]), e=nn.Embedding(11, D), a=nn.MultiheadAttention(D, H, batch_first=True), o=L(D, 3)), several(ids(), X), "e+input.y o:in output")


def block(norm=nn.LayerNorm, causal=True):
    def forward(m, x):
        q, k, v = (split(t) for t in m.w(m.n1(x)).chunk(3, -1))
        x = m.mid(x + m.o(merge(sdpa(q, k, v, is_causal=causal))))
        return x + m.down(F.gelu(m.up(m.n2(x))))
    return Net(forward, n1=norm(D), n2=norm(D), w=L(D, 3 * D), o=L(D, D), mid=nn.Identity(), up=L(D, 12), down=L(12, D))


def gpt(m, x):
    x = m.e(x) + m.p
    for b in m.b:
        x = b(x)
    return m.u(m.n(x))


row("GPT, pre-norm", lambda: Net(gpt, e=nn.Embedding(11, D), p=weight(T, D), b=nn.ModuleList(block() for _ in range(2)), n=nn.LayerNorm(D), u=L(D, 11)), ids(), "b.0:in b.0.mid b.1:in b.1.mid n:in output", expect="closed")
row("GPT, sites are chosen", lambda: Net(gpt, e=nn.Embedding(11, D), p=weight(T, D), b=nn.ModuleList(block() for _ in range(2)), n=nn.LayerNorm(D), u=L(D, 11)), ids(), "")
row("GPT, RMSNorm, not causal", lambda: Net(gpt, e=nn.Embedding(11, D), p=weight(T, D), b=nn.ModuleList(block(nn.RMSNorm, False) for _ in range(2)), n=nn.RMSNorm(D), u=L(D, 11)), ids(), "b.0:in b.0.mid b.1:in b.1.mid n:in output", expect="closed")
row("GPT, the block's MLP alone", lambda: Net(gpt, e=nn.Embedding(11, D), p=weight(T, D), b=nn.ModuleList(block() for _ in range(1)), n=nn.LayerNorm(D), u=L(D, 11)), ids(), "b.0.up:out output", expect="refused", says="BypassError.*b.0.mid", instead="cut at the residual stream (b.0.mid), or at both together")
row("parallel attention and MLP (GPT-J)", lambda: Net(lambda m, x: (lambda h: x + m.o(merge(sdpa(*(split(t) for t in m.w(h).chunk(3, -1))))) + m.d(F.gelu(m.u(h))))(m.n(x)), n=nn.LayerNorm(D), w=L(D, 3 * D), o=L(D, D), u=L(D, 12), d=L(12, D)), X, "input output", expect="closed")
row("attention and MLP in one section", lambda: block(), X, "input output")
row("post-norm block, from norm to norm (BERT)", lambda: Net(lambda m, x: (lambda h: m.n2(h + m.d(F.gelu(m.u(h)))))(m.n1(x + m.o(merge(sdpa(*(split(t) for t in m.w(x).chunk(3, -1))))))), n1=nn.LayerNorm(D), n2=nn.LayerNorm(D), w=L(D, 3 * D), o=L(D, D), u=L(D, 12), d=L(12, D)), X, "input n1:in n2:in output", expect="closed")
row("post-norm block, behind the norms", lambda: Net(lambda m, x: (lambda h: m.n2(h + m.d(F.gelu(m.u(h)))))(m.n1(x + m.o(merge(sdpa(*(split(t) for t in m.w(x).chunk(3, -1))))))), n1=nn.LayerNorm(D), n2=nn.LayerNorm(D), w=L(D, 3 * D), o=L(D, D), u=L(D, 12), d=L(12, D)), X, "input n1 output", expect="closed", instead="the cut in front of a norm (n1:in) has the closed form")
row("sandwich norm (Gemma 2)", lambda: Net(lambda m, x: x + m.n2(m.o(merge(sdpa(*(split(t) for t in m.w(m.n1(x)).chunk(3, -1)))))), n1=nn.RMSNorm(D), n2=nn.RMSNorm(D), w=L(D, 3 * D), o=L(D, D)), X, "input output", expect="closed")
row("norm of the branch only (OLMo 2)", lambda: Net(lambda m, x: x + m.n2(m.o(merge(sdpa(*(split(t) for t in m.w(x).chunk(3, -1)))))), n2=nn.RMSNorm(D), w=L(D, 3 * D), o=L(D, D)), X, "input output", expect="closed")
row("layer scale (CaiT)", lambda: Net(lambda m, x: x + m.g * m.o(merge(sdpa(*(split(t) for t in m.w(m.n(x)).chunk(3, -1))))), n=nn.LayerNorm(D), w=L(D, 3 * D), o=L(D, D), g=weight(D)), X, "input output", expect="closed")
row("vision transformer with a class token", lambda: Net(lambda m, x: m.h(m.b(torch.cat([m.c.expand(len(x), 1, D), m.p(x).flatten(2).transpose(1, 2)], 1) + m.e)[:, 0]), c=weight(1, 1, D), e=weight(1, 5, D), p=nn.Conv2d(2, D, 2, stride=2), b=block(causal=False), h=L(D, 3)), floats(2, 4, 4), "input b:in b.mid h:in output", channels={"input": 1, "*": -1})
row("windows of an image (Swin)", lambda: Net(_swin, w=L(D, 3 * D), o=L(D, D), n=nn.LayerNorm(D)), floats(4, 4, D), "input output", channels={"*": -1})
row("Swin, shifted windows", lambda: Net(lambda m, x: _swin(m, x.roll((-1, -1), (1, 2))).roll((1, 1), (1, 2)), w=L(D, 3 * D), o=L(D, D), n=nn.LayerNorm(D)), floats(4, 4, D), "input output", channels={"*": -1})
row("attention mask of integers, positions count by it", lambda: Net(lambda m, ids, attention_mask: m.u(m.b(m.e(ids)) * attention_mask[..., None]), e=nn.Embedding(11, D), b=block(), u=L(D, 5)), named(ids=ids(), attention_mask=lambda n, g: (torch.arange(T) < 4).long().expand(n, T).clone()), "e b.mid u:in output", mask="attention_mask")
row("attention over axes of an image (axial)", lambda: Net(lambda m, x: x + m.o(merge(sdpa(*(split(t) for t in m.w(x.flatten(0, 1)).chunk(3, -1))))).view_as(x), w=L(D, 3 * D), o=L(D, D)), floats(3, 4, D), "input output", channels={"*": -1})
row("memory tokens are put in front", lambda: Net(lambda m, x: m.b(torch.cat([m.m.expand(len(x), 2, D), x], 1))[:, 2:], m=weight(1, 2, D), b=block(causal=False)), X, "input output")
row("Perceiver: latents read the input", lambda: Net(lambda m, x: m.o((lambda z: z + m.a(z, x, x, need_weights=False)[0])(m.z.expand(len(x), 3, D)).mean(1)), z=weight(1, 3, D), a=nn.MultiheadAttention(D, H, batch_first=True), o=L(D, 3)), X, "input o:in output")
row("early exit: a value decides", lambda: Net(lambda m, x: m.b(m.a(x)) if m.a(x).mean() > 0 else m.c(m.a(x)), a=L(D, D), b=L(D, 3), c=L(D, 3)), X, "input output", expect="refused", says="ExportError.*Chain", instead="choose for each sample by itself with torch.where")


def _swin(m, x):
    n = len(x)
    t = m.n(x).view(n, 2, 2, 2, 2, D).permute(0, 1, 3, 2, 4, 5).reshape(-1, 4, D)
    t = m.o(merge(sdpa(*(split(s) for s in m.w(t).chunk(3, -1)))))
    return x + t.view(n, 2, 2, 2, 2, D).permute(0, 1, 3, 2, 4, 5).reshape(n, 4, 4, D)
