"""Recurrent and state-space models, forecasting, Fourier layers, graphs, sets."""
# ruff: noqa: E501
# fmt: off

import torch
import torch.nn.functional as F
from torch import nn

from .row import Net, floats, ids, named, rows, several, weight

L, Seq = nn.Linear, nn.Sequential
X, TF = floats(5, 6), "give the batch first: batch_first=True, or transpose in a wrapper"
SMALL = {"size": 8}

add = rows("Recurrent and state-space models")
for cls in (nn.RNN, nn.GRU, nn.LSTM):
    name, each = cls.__name__, {**SMALL, "rare": cls is not nn.LSTM}
    add(f"{name}, batch first", lambda cls=cls: Net(lambda m, x: m.o(m.r(m.s(x))[0]), s=L(6, 6), r=cls(6, 5, batch_first=True), o=L(5, 3)), X, "input s o:in output", **each)
    add(f"{name}, last step", lambda cls=cls: Net(lambda m, x: m.o(m.r(x)[0][:, -1]), r=cls(6, 5, batch_first=True), o=L(5, 3)), X, "input o:in output", **each)
    add(f"{name}, two layers, both ways", lambda cls=cls: Net(lambda m, x: m.o(m.r(x)[0]), r=cls(6, 4, 2, batch_first=True, bidirectional=True), o=L(8, 3)), X, "input o:in output", **each)
    add(f"{name}, the batch is second", lambda cls=cls: Net(lambda m, x: m.o(m.r(x)[0]), r=cls(6, 5), o=L(5, 3)), lambda n, g: torch.randn(5, 8, 6, dtype=torch.float64, generator=g), "input o:in output", expect="refused", says="BatchError.*batch first", instead=TF)
    add(f"{name}, the batch is second only inside", lambda cls=cls: Net(lambda m, x: m.o(m.r(x.transpose(0, 1))[0].transpose(0, 1)), r=cls(6, 5), o=L(5, 3)), X, "input o:in output", **each)
    add(f"{name}, transposed inside, cut at its output", lambda cls=cls: Net(lambda m, x: m.o(m.r(x.transpose(0, 1))[0]).transpose(0, 1), r=cls(6, 5), o=L(5, 3)), X, "input o:in output", batch={"o:in": 1}, **each)
    add(f"{name}, forgets batch_first, five steps and five samples", lambda cls=cls: Net(lambda m, x: m.o(m.r(x)[0]), r=cls(6, 5), o=L(5, 3)), X, "input o:in output", expect="refused", says="BatchError.*batch first", instead=TF, **{**each, "size": 5})
for cell in (nn.RNNCell, nn.GRUCell):
    add(f"{cell.__name__} in a loop", lambda cell=cell: Net(lambda m, x: _loop(m, x), c=cell(6, 5), o=L(5, 3)), X, "input output", **SMALL)


def _loop(m, x):
    h, out = torch.zeros(len(x), 5, dtype=x.dtype), []
    for t in range(x.shape[1]):
        h = m.c(x[:, t], h)
        out.append(m.o(h))
    return torch.stack(out, 1)


def _lstm_loop(m, x):
    h = c = torch.zeros(len(x), 5, dtype=x.dtype)
    for t in range(x.shape[1]):
        h, c = m.c(x[:, t], (h, c))
    return m.o(h)


add("LSTMCell in a loop", lambda: Net(_lstm_loop, c=nn.LSTMCell(6, 5), o=L(5, 3)), X, "input output", **SMALL)
add("LSTM with projection", lambda: Net(lambda m, x: m.o(m.r(x)[0]), r=nn.LSTM(6, 5, proj_size=3, batch_first=True), o=L(3, 3)), X, "input o:in output", **SMALL)
add("LSTM's last hidden state", lambda: Net(lambda m, x: m.o(m.r(x)[1][0][-1]), r=nn.LSTM(6, 5, batch_first=True), o=L(5, 3)), X, "input o:in output", **SMALL)
add("LSTM on tokens", lambda: Net(lambda m, x: m.o(m.r(m.e(x))[0]), e=nn.Embedding(11, 6), r=nn.LSTM(6, 5, batch_first=True), o=L(5, 3)), ids(), "e o:in output", **SMALL)
add("GRU seq2seq", lambda: Net(lambda m, x, y: m.o(m.d(m.e(y), m.r(x)[1])[0]), e=nn.Embedding(7, 6), r=nn.GRU(6, 5, batch_first=True), d=nn.GRU(6, 5, batch_first=True), o=L(5, 3)), several(X, lambda n, g: torch.arange(3).expand(n, 3).clone()), "input output", expect="refused", says="BypassError.*e:out", instead="cut where encoder and decoder meet", **SMALL)
add("cumulative sum over time, batch first", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x).cumsum(1))), a=L(6, 5), b=L(5, 3)), X, "input b:in output", **SMALL)
add("cumulative sum over the first dimension", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x).cumsum(0))), a=L(6, 5), b=L(5, 3)), X, "input b:in output", expect="refused", says="BatchError.*batch first", instead=TF, **SMALL)
add("cumulative sum from behind over the first dimension", lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x).flip(0).cumsum(0).flip(0))), a=L(6, 5), b=L(5, 3)), X, "input b:in output", expect="refused", says="BatchError.*batch first", instead=TF, **SMALL)
add("next sample is read (roll over dimension 0)", lambda: Net(lambda m, x: m.a(x + x.roll(1, 0)), a=L(6, 5)), floats(6), "input output", expect="refused", says="BatchError.*other samples", instead="a sample's value must not depend on the others")
add("mean of the batch is removed", lambda: Net(lambda m, x: m.a(x - x.mean(0)), a=L(6, 5)), floats(6), "input output", expect="refused", says="BatchError.*other samples", instead="a sample's value must not depend on the others")
add("softmax over the batch", lambda: Net(lambda m, x: m.a(x).softmax(0), a=L(6, 5)), floats(6), "input output", expect="refused", says="BatchError.*other samples", instead="a sample's value must not depend on the others")
add("contrastive logits over the batch (CLIP)", lambda: Net(lambda m, x: m.a(x) @ m.a(x).T, a=L(6, 5)), floats(6), "input output", expect="refused", says="BatchError|SiteError|ExportError", instead="cut at the embedding of one sample")
add("linear recurrence (S4D, Python loop)", lambda: Net(lambda m, x: _scan(m, x), a=weight(4), b=L(6, 4), c=L(4, 3)), X, "input output", **SMALL)
add("selective scan (Mamba-like)", lambda: Net(lambda m, x: _mamba(m, x), i=L(6, 8), d=L(4, 4), B=L(4, 3), C=L(4, 3), A=weight(4, 3), o=L(4, 6), cv=nn.Conv1d(4, 4, 3, padding=2, groups=4)), X, "input output", **SMALL)
add("RWKV-like time mix", lambda: Net(lambda m, x: _rwkv(m, x), k=L(6, 4), v=L(6, 4), r=L(6, 4), w=weight(4), u=weight(4), o=L(4, 6)), X, "input output", **SMALL)
add("token shift", lambda: Net(lambda m, x: m.a(x + m.w * (F.pad(x, (0, 0, 1, -1)) - x)), a=L(6, 5), w=weight(6)), X, "input output", expect="closed", **SMALL)
add("linear attention by cumsum", lambda: Net(lambda m, x: (lambda q, k, v: m.o(torch.einsum("btd,btde->bte", q, torch.einsum("btd,bte->btde", k, v).cumsum(1))))(m.q(x).exp(), m.k(x).exp(), m.v(x)), q=L(6, 3), k=L(6, 3), v=L(6, 4), o=L(4, 6)), X, "input output", **SMALL)
add("retention with decay", lambda: Net(lambda m, x: m.o(((m.q(x) @ m.k(x).transpose(1, 2)) * m.d) @ m.v(x)), q=L(6, 4), k=L(6, 4), v=L(6, 4), o=L(4, 6), d=(0.8 ** (torch.arange(5)[:, None] - torch.arange(5)).clamp_min(0)).tril().double()), X, "input output", **SMALL)
add("Hyena-like long convolution by FFT", lambda: Net(lambda m, x: m.o(m.g(x) * torch.fft.irfft(torch.fft.rfft(m.v(x), n=10, dim=1) * torch.fft.rfft(m.h, n=10, dim=0), n=10, dim=1)[:, :5]), g=L(6, 4), v=L(6, 4), h=weight(5, 4), o=L(4, 6)), X, "input output", **SMALL)
add("echo state with a fixed matrix", lambda: Net(lambda m, x: _echo(m, x), w=0.3 * torch.randn(5, 5).double(), i=torch.randn(6, 5).double(), o=L(5, 3)), X, "input output", **SMALL)
add("packed sequence", lambda: Net(lambda m, x: m.o(nn.utils.rnn.pad_packed_sequence(m.r(nn.utils.rnn.pack_padded_sequence(x, torch.full((len(x),), 5), batch_first=True))[0], batch_first=True)[0]), r=nn.GRU(6, 5, batch_first=True), o=L(5, 3)), X, "input o:in output", expect="refused", says="ExportError", instead="feed padded sequences and count with a mask", **SMALL)


def _scan(m, x):
    h, out, a, u = 0.0, [], torch.sigmoid(m.a), m.b(x)
    for t in range(x.shape[1]):
        h = a * h + u[:, t]
        out.append(m.c(h))
    return torch.stack(out, 1)


def _mamba(m, x):
    u, z = m.i(x).chunk(2, -1)
    u = F.silu(m.cv(u.transpose(1, 2))[..., :5].transpose(1, 2))
    delta, A = F.softplus(m.d(u)), -torch.exp(m.A)
    h, out = torch.zeros(len(x), 4, 3, dtype=x.dtype), []
    for t in range(x.shape[1]):
        h = torch.exp(delta[:, t, :, None] * A) * h + (delta[:, t] * u[:, t])[..., None] * m.B(u[:, t])[:, None]
        out.append((h * m.C(u[:, t])[:, None]).sum(-1))
    return x + m.o(torch.stack(out, 1) * F.silu(z))


def _rwkv(m, x):
    k, v, r = m.k(x), m.v(x), torch.sigmoid(m.r(x))
    a = b = torch.zeros_like(k[:, 0])
    out, decay = [], torch.exp(-torch.exp(m.w))
    for t in range(x.shape[1]):
        e = torch.exp(m.u + k[:, t])
        out.append((a + e * v[:, t]) / (b + e))
        a, b = decay * a + torch.exp(k[:, t]) * v[:, t], decay * b + torch.exp(k[:, t])
    return x + m.o(r * torch.stack(out, 1))


def _echo(m, x):
    h = torch.zeros(len(x), 5, dtype=x.dtype)
    for t in range(x.shape[1]):
        h = torch.tanh(h @ m.w + x[:, t] @ m.i)
    return m.o(h)


add = rows("Forecasting, dynamics, Fourier layers")
S = floats(8)


def _revin(detach):
    def forward(m, x):  # x [batch, time, channel]
        mean, std = x.mean(1, keepdim=True), (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        mean, std = (mean.detach(), std.detach()) if detach else (mean, std)
        y = m.b(torch.relu(m.a(((x - mean) / std).transpose(1, 2)))).transpose(1, 2)
        return y * std + mean

    return lambda: Net(forward, a=L(5, 8), b=L(8, 4))


add("RevIN", _revin(False), floats(5, 3), "input output", **SMALL)
add("RevIN with detach", _revin(True), floats(5, 3), "input output", **SMALL)
add("detach of a mean", lambda: Net(lambda m, x: m.a(x - x.mean(-1, keepdim=True).detach()), a=L(6, 4)), floats(6), "input output")
add("no_grad around a part", lambda: Net(_no_grad, a=L(6, 6), b=L(6, 4)), floats(6), "input output")
add("inference_mode around a part", lambda: Net(_inference, a=L(6, 6), b=L(6, 4)), floats(6), "input output")
add("straight-through estimator", lambda: Net(lambda m, x: (lambda h: m.b(h + (h.sign() - h).detach()))(m.a(x)), a=L(6, 6), b=L(6, 4)), floats(6), "input b:in output", expect="refused", says="(?i)(derivative|depends|detach)", instead="a step function has no derivative; cut behind it")
add("straight-through beside a smooth path", lambda: Net(lambda m, x: (lambda h: m.b(h + (h.sign() - h).detach()) + m.c(h))(m.a(x)), a=L(6, 6), b=L(6, 4), c=L(6, 4)), floats(6), "input output")
add("vector quantised (argmin of codes)", lambda: Net(lambda m, x: (lambda h: m.b(h + (m.c[(h[:, None] - m.c).square().sum(-1).argmin(-1)] - h).detach()) + m.d(x))(m.a(x)), a=L(6, 3), c=weight(5, 3), b=L(3, 4), d=L(6, 4)), floats(6), "input output")
add("detach on a skip", lambda: Net(lambda m, x: (lambda h: m.b(torch.relu(h)) + m.c(h.detach()))(m.a(x)), a=L(6, 6), b=L(6, 4), c=L(6, 4)), floats(6), "input a output")
add("detach between two layers", lambda: Seq(L(6, 6), Net(lambda m, x: x.detach()), nn.Tanh(), L(6, 4)), floats(6), "input 0 2:in output")
add(".data between two layers", lambda: Seq(L(6, 6), Net(lambda m, x: x.data), nn.Tanh(), L(6, 4)), floats(6), "input 0 2:in output")
add("torch.tensor made of a value", lambda: Net(lambda m, x: m.a(x) * float(x.mean()), a=L(6, 4)), floats(6), "input output", expect="refused", says="ExportError|BatchError", instead="keep values in tensors, of each sample by itself")


def _no_grad(m, x):
    with torch.no_grad():
        s = torch.sigmoid(m.a(x))
    return m.b(x * s)


def _inference(m, x):
    with torch.inference_mode():
        s = torch.sigmoid(m.a(x))
    return m.b(x * s)


def _nbeats(m, x):
    total = 0.0
    for block in m.blocks:
        h = torch.relu(block[0](x))
        x, total = x - block[1](h), total + block[2](h)
    return total


add("N-BEATS", lambda: Net(_nbeats, blocks=nn.ModuleList(nn.ModuleList([L(8, 6), L(6, 8), L(6, 4)]) for _ in range(2))), S, "input output")
add("DLinear", lambda: Net(lambda m, x: (lambda t: m.s(x - t) + m.t(t))(F.avg_pool1d(F.pad(x[:, None], (1, 1), mode="replicate"), 3, 1)[:, 0]), s=L(8, 4), t=L(8, 4)), S, "input output")
add("NLinear", lambda: Net(lambda m, x: m.a(x - x[:, -1:]) + x[:, -1:], a=L(8, 4)), S, "input output")
add("TSMixer", lambda: Net(lambda m, x: x + m.t(x.transpose(1, 2)).transpose(1, 2).relu() + m.f(x).relu(), t=L(5, 5), f=L(6, 6)), X, "input output", **SMALL)
add("PatchTST's patches by unfold", lambda: Net(lambda m, x: m.o(torch.relu(m.a(x.unfold(1, 4, 2)))), a=L(4, 6), o=L(6, 3)), S, "input o:in output")
add("neural ODE, Euler", lambda: Net(lambda m, x: _euler(m, x), f=Seq(L(6, 8), nn.Tanh(), L(8, 6)), o=L(6, 3)), floats(6), "input o:in output")
add("neural ODE, one step a section", lambda: Net(lambda m, x: _euler(m, x), f=Seq(L(6, 8), nn.Tanh(), L(8, 6)), o=L(6, 3)), floats(6), "input f#2:in f#3:in o:in output", expect="closed")
add("neural ODE, RK4", lambda: Net(lambda m, x: _rk4(m, x), f=Seq(L(6, 8), nn.Tanh(), L(8, 6)), o=L(6, 3)), floats(6), "input o:in output")
add("deep equilibrium, ten steps", lambda: Net(lambda m, x: _fixed_point(m, x), w=weight(6, 6, scale=0.1), i=L(6, 6), o=L(6, 3)), floats(6), "input output")
add("gradient of an energy inside", lambda: Net(lambda m, x: _energy(m, x), a=L(6, 8), b=L(8, 1)), floats(6), "input output", expect="refused", says="ExportError", instead="write the gradient out, or give a Chain")
add("gradient of an energy by torch.func.grad", lambda: Net(lambda m, x: x - torch.func.grad(lambda z: m.b(torch.tanh(m.a(z))).sum())(x), a=L(6, 8), b=L(8, 1)), floats(6), "input output", expect="refused", says="ExportError.*Chain", instead="write the gradient out, or give a Chain")


def _euler(m, x):
    for _ in range(3):
        x = x + 0.1 * m.f(x)
    return m.o(x)


def _rk4(m, x):
    k1 = m.f(x)
    k2 = m.f(x + 0.05 * k1)
    k3 = m.f(x + 0.05 * k2)
    return m.o(x + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + m.f(x + 0.1 * k3)))


def _fixed_point(m, x):
    z = torch.zeros_like(x)
    for _ in range(10):
        z = torch.tanh(z @ m.w + m.i(x))
    return m.o(z)


def _energy(m, x):
    with torch.enable_grad():
        z = x.detach().requires_grad_()
        return x - torch.autograd.grad(m.b(torch.tanh(m.a(z))).sum(), z)[0]


G = floats(2, 8)
CH = {"channels": {"*": 1}, "size": 6}
add("FNO layer", lambda: Net(lambda m, x: torch.relu(torch.fft.irfft(torch.einsum("bix,iox->box", torch.fft.rfft(m.l(x))[..., :3], torch.view_as_complex(m.w)), n=8) + m.c(x)), l=nn.Conv1d(2, 3, 1), w=weight(3, 3, 3, 2), c=nn.Conv1d(2, 3, 1)), G, "input output", **CH)
add("FNO layer, cut inside at one branch", lambda: Net(lambda m, x: m.o(torch.relu(torch.fft.irfft(torch.fft.rfft(x)[..., :3] * torch.view_as_complex(m.w), n=8) + m.c(m.k(x)))), w=weight(2, 3, 2), k=nn.Identity(), c=nn.Conv1d(2, 2, 1), o=nn.Conv1d(2, 2, 1)), G, "input c:out output", expect="refused", says="BypassError", instead="cut before the branches part", **CH)
add("FNO, two layers", lambda: Net(lambda m, x: m.o(_fno(m, m.k(_fno(m, m.l(x), 0)), 1)), l=nn.Conv1d(2, 3, 1), w=weight(2, 3, 3, 3, 2), c=nn.ModuleList(nn.Conv1d(3, 3, 1) for _ in range(2)), k=nn.Identity(), o=nn.Conv1d(3, 2, 1)), G, "input l k o:in output", **CH)
add("2d FNO layer", lambda: Net(lambda m, x: torch.fft.irfft2(torch.fft.rfft2(x)[..., :2] * torch.view_as_complex(m.w), s=(4, 5)) + m.c(x), w=weight(2, 4, 2, 2), c=nn.Conv2d(2, 2, 1)), floats(2, 4, 5), "input output", **CH)
add("FNet", lambda: Net(lambda m, x: (lambda h: m.n(h + m.b(F.gelu(m.a(h)))))(x + torch.fft.fft2(x, dim=(1, 2)).real), a=L(6, 8), b=L(8, 6), n=nn.LayerNorm(6)), X, "input n:in output", **SMALL)
add("FNet, real part of fft(fft)", lambda: Net(lambda m, x: m.a(torch.fft.fft(torch.fft.fft(x, dim=-1), dim=-2).real), a=L(6, 3)), X, "input a:in output", **SMALL)
add("spectrum's magnitude", lambda: Net(lambda m, x: m.a(torch.fft.rfft(x).abs()), a=L(5, 3)), S, "input a:in output")
add("power by view_as_real", lambda: Net(lambda m, x: m.a(torch.view_as_real(torch.fft.rfft(x)).square().sum(-1)), a=L(5, 3)), S, "input a:in output")
add("complex weights", lambda: Net(lambda m, x: torch.view_as_real(torch.complex(x, 0 * x) @ torch.view_as_complex(m.w)).flatten(1), w=weight(8, 3, 2)), S, "input output")
add("STFT", lambda: Net(lambda m, x: m.a(torch.stft(x, 4, 2, window=torch.hann_window(4, dtype=x.dtype), return_complex=True).abs().flatten(1)), a=L(15, 3)), S, "input a:in output")
add("global filter (GFNet)", lambda: Net(lambda m, x: m.a(torch.fft.irfft(torch.fft.rfft(x, dim=1, norm="ortho") * torch.view_as_complex(m.w), n=5, dim=1, norm="ortho")), w=weight(3, 6, 2), a=L(6, 3)), X, "input a:in output", **SMALL)
add("discrete cosine by a matrix", lambda: Net(lambda m, x: m.a((x @ m.d).relu()), d=torch.cos(torch.outer(torch.arange(8) + 0.5, torch.arange(8)) * torch.pi / 8).double(), a=L(8, 3)), S, "input output", expect="closed")


def _fno(m, x, i):
    spectrum = torch.einsum("bix,iox->box", torch.fft.rfft(x)[..., :3], torch.view_as_complex(m.w[i]))
    return F.gelu(torch.fft.irfft(spectrum, n=8) + m.c[i](x))


add = rows("Graphs and sets")
EDGES = torch.tensor([[0, 1, 2, 3, 1], [1, 2, 3, 0, 3]])
N = floats(4, 6)
A = lambda n, g: (torch.rand(n, 4, 4, generator=torch.Generator().manual_seed(n)) > 0.5).double()  # noqa: E731
NF = {"size": 8}
add("graph convolution, adjacency is a buffer", lambda: Net(lambda m, x: m.b(m.A @ torch.relu(m.A @ m.a(x))), a=L(6, 5), b=L(5, 3), A=torch.rand(4, 4).double()), N, "input output", **NF)
add("graph convolution, adjacency is a buffer, by layer", lambda: Net(lambda m, x: m.A @ m.b(torch.relu(m.A @ m.a(x))), a=L(6, 5), b=L(5, 3), A=torch.rand(4, 4).double()), N, "input b:in output", **NF)
add("graph convolution, adjacency is an input", lambda: Net(lambda m, x, adjacency: m.b(torch.relu(adjacency @ m.a(x))), a=L(6, 5), b=L(5, 3)), several(N, A), "input.x output", expect="refused", says="BypassError", instead="give the adjacency as bool or integers, which are context, or cut at both inputs", **NF)
add("graph convolution, adjacency of booleans", lambda: Net(lambda m, x, adjacency: m.b(torch.relu(adjacency.to(x.dtype) @ m.a(x))), a=L(6, 5), b=L(5, 3)), several(N, lambda n, g: A(n, g).bool()), "input b:in output", **NF)
add("messages by index_add", lambda: Net(lambda m, x: m.b(torch.relu(torch.zeros(len(x), 4, 5, dtype=x.dtype).index_add(1, EDGES[1], m.a(x)[:, EDGES[0]]))), a=L(6, 5), b=L(5, 3)), N, "input b:in output", **NF)
add("messages by scatter_add", lambda: Net(lambda m, x: m.b(torch.relu(torch.zeros(len(x), 4, 5, dtype=x.dtype).scatter_add(1, EDGES[1][None, :, None].expand(len(x), 5, 5), m.a(x)[:, EDGES[0]]))), a=L(6, 5), b=L(5, 3)), N, "input b:in output", **NF)
add("messages by scatter_reduce, max", lambda: Net(lambda m, x: m.b(torch.zeros(len(x), 4, 5, dtype=x.dtype).scatter_reduce(1, EDGES[1][None, :, None].expand(len(x), 5, 5), m.a(x)[:, EDGES[0]], "amax", include_self=False)), a=L(6, 5), b=L(5, 3)), N, "input b:in output", **NF)
add("edges with an MLP", lambda: Net(lambda m, x: torch.zeros(len(x), 4, 5, dtype=x.dtype).index_add(1, EDGES[1], m.b(torch.relu(m.a(torch.cat([x[:, EDGES[0]], x[:, EDGES[1]]], -1))))), a=L(12, 8), b=L(8, 5)), N, "input output", **NF)
add("graph attention, dense", lambda: Net(lambda m, x: (lambda h: (F.leaky_relu(m.s(h) + m.t(h).transpose(1, 2)).masked_fill(~m.A, -1e9).softmax(-1)) @ h)(m.w(x)), w=L(6, 5), s=L(5, 1), t=L(5, 1), A=torch.eye(4).roll(1, 0).bool() | torch.eye(4).bool()), N, "input output", **NF)
add("one graph, nodes in place of samples", lambda: Net(lambda m, x: m.b(torch.relu(torch.zeros(4, 5, dtype=x.dtype).index_add(0, EDGES[1], m.a(x)[EDGES[0]]))), a=L(6, 5), b=L(5, 3)), lambda n, g: torch.randn(4, 6, dtype=torch.float64, generator=g), "input b:in output", expect="refused", says="no batch dimension of its own|other samples", instead="a batch of graphs: x[None]", size=4)
add("one graph, node 0 has no neighbour", lambda: Net(lambda m, x, edges: m.b(torch.relu(m.s(x) + torch.zeros_like(m.a(x)).index_add(0, edges[1], m.a(x)[edges[0]]))), a=L(6, 5), s=L(6, 5), b=L(5, 3)), lambda n, g: (torch.randn(7, 6, dtype=torch.float64, generator=g), torch.tensor([[1, 2, 3, 4, 5], [2, 3, 4, 5, 6]])), "input.x b:in output", expect="refused", says="BatchError", instead="a batch of graphs: x[None]", size=7)
add("one graph, adjacency as a buffer, node 0 alone", lambda: Net(lambda m, x: m.b(torch.relu(m.A @ m.a(x))), a=L(6, 5), b=L(5, 3), A=torch.block_diag(torch.eye(1), torch.rand(6, 6)).double()), lambda n, g: torch.randn(7, 6, dtype=torch.float64, generator=g), "input b:in output", expect="refused", says="BatchError|ExportError|SiteError", instead="a batch of graphs: x[None]", size=7)
add("DeepSets", lambda: Net(lambda m, x: m.r(torch.relu(m.p(x)).sum(1)), p=L(6, 5), r=L(5, 3)), N, "input r:in output", **NF)
add("DeepSets, mean of present ones", lambda: Net(lambda m, x, mask: m.r((torch.relu(m.p(x)) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)), p=L(6, 5), r=L(5, 3)), several(N, lambda n, g: torch.ones(n, 4, dtype=torch.long)), "input r:in output", **NF)
add("PointNet, max", lambda: Net(lambda m, x: m.r(m.p(x).amax(1)), p=Seq(L(6, 5), nn.ReLU(), L(5, 5)), r=L(5, 3)), N, "input r:in output", **NF)
add("relation network", lambda: Net(lambda m, x: m.f(m.g(torch.cat([x[:, :, None].expand(-1, -1, 4, -1), x[:, None].expand(-1, 4, -1, -1)], -1)).relu().sum((1, 2))), g=L(12, 5), f=L(5, 3)), N, "input f:in output", **NF)
add("pairwise distances inside", lambda: Net(lambda m, x: m.f(torch.cdist(x, x).flatten(1)), f=L(16, 3)), N, "input output", **NF)
add("equivariant layer (EGNN-like)", lambda: Net(lambda m, x: x + ((x[:, :, None] - x[:, None]) * m.f((x[:, :, None] - x[:, None]).square().sum(-1, keepdim=True))).sum(2), f=Seq(L(1, 4), nn.SiLU(), L(4, 1))), N, "input output", **NF)
add("capsules, squash", lambda: Net(lambda m, x: (lambda s: s * (s.norm(dim=-1, keepdim=True) / (1 + s.square().sum(-1, keepdim=True))))(m.a(x).view(len(x), 4, 3, 2)).flatten(2), a=L(6, 6)), N, "input output", **NF)
add("slot attention, two rounds", lambda: Net(lambda m, x: _slots(m, x), s=weight(3, 4), q=L(4, 4), k=L(6, 4), v=L(6, 4), o=L(4, 3)), N, "input output", **NF)
add("embedding bag", lambda: Net(lambda m, x: m.b(torch.relu(m.a(m.e(x)))), e=nn.EmbeddingBag(11, 6, mode="mean"), a=L(6, 5), b=L(5, 3)), ids(), "e a output", **NF)
add("embedding bag, sum with weights", lambda: Net(lambda m, x, w: m.b(m.e(x, per_sample_weights=w)), e=nn.EmbeddingBag(11, 6, mode="sum"), b=L(6, 3)), several(ids(), lambda n, g: torch.linspace(0.5, 1, 5, dtype=torch.float64).expand(n, 5).clone()), "e output", **NF)
add("several embeddings and numbers (tabular)", lambda: Net(lambda m, cat, num: m.o(torch.relu(m.h(torch.cat([m.e1(cat[:, 0]), m.e2(cat[:, 1]), m.n(num)], -1)))), e1=nn.Embedding(5, 3), e2=nn.Embedding(5, 3), n=L(4, 3), h=L(9, 6), o=L(6, 3)), several(ids(2, 5), floats(4)), "h:in o:in output", size=16)
add("word2vec product", lambda: Net(lambda m, a, b: (m.u(a) * m.v(b)).sum(-1), u=nn.Embedding(11, 5), v=nn.Embedding(11, 5)), several(lambda n, g: torch.randint(11, (n,), generator=g), lambda n, g: torch.randint(11, (n,), generator=g)), "u+v output", size=20)
add("inputs by name, a dict comes out", lambda: Net(lambda m, a, b: {"logits": m.c(torch.relu(m.a(a) + m.b(b))), "aux": b}, a=L(6, 5), b=L(4, 5), c=L(5, 3)), named(a=floats(6), b=floats(4)), "c:in output.logits", **NF)
add("a tuple comes out", lambda: Net(lambda m, x: (m.b(torch.relu(m.a(x))), x), a=L(6, 5), b=L(5, 3)), floats(6), "input b:in output", **NF)
add("the loss comes out too", lambda: Net(lambda m, x: {"loss": x.square().mean(), "logits": m.b(torch.relu(m.a(x)))}, a=L(6, 5), b=L(5, 3)), floats(6), "input b:in output", **NF)
add("only a scalar comes out", lambda: Net(lambda m, x: m.a(x).square().mean(), a=L(6, 5)), floats(6), "input output", expect="refused", says="SiteError|ExportError|BatchError", instead="return one value a sample", **NF)
add("VAE in eval: the mean", lambda: Net(lambda m, x: m.d(m.e(x).chunk(2, -1)[0]), e=Seq(L(6, 8), nn.ReLU(), L(8, 6)), d=Seq(L(3, 8), nn.ReLU(), L(8, 6))), floats(6), "input d:in output", **NF)
add("VAE that always samples", lambda: Net(lambda m, x: (lambda mu, s: m.d(mu + torch.randn_like(s) * s.exp()))(*m.e(x).chunk(2, -1)), e=L(6, 6), d=L(3, 6)), floats(6), "input output", expect="refused", says="random", instead="take the mean in eval mode", **NF)
add("normalising flow, coupling", lambda: Net(lambda m, x: (lambda a, b: torch.cat([a, b * m.s(a).tanh().exp() + m.t(a)], -1))(*x.chunk(2, -1)), s=L(3, 3), t=L(3, 3)), floats(6), "input output", **NF)


def _slots(m, x):
    s, k, v = m.s.expand(len(x), 3, 4), m.k(x), m.v(x)
    for _ in range(2):
        a = (m.q(s) @ k.transpose(1, 2)).softmax(1)
        s = s + (a / a.sum(-1, keepdim=True)) @ v
    return m.o(s)
