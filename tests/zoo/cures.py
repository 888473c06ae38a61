"""What `instead` says of a refusal, done: by the row's name, what is changed of it. The test holds each against the truth."""
# ruff: noqa: E501
# fmt: off

from typing import Any

import torch
from torch import nn

from .attentions import D, H
from .families import family
from .row import Net, floats, named, several
from .writing import L, Plain

_N = nn.functional


def _turned(n: int, g: torch.Generator) -> torch.Tensor:
    return torch.randn(4, 6, D, dtype=torch.float64, generator=g)


def _encoder(**options: Any) -> nn.Module:
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(D, H, 12, norm_first=True, batch_first=True), 1, enable_nested_tensor=False, **options)


def _causal(x: torch.Tensor) -> torch.Tensor:
    return nn.Transformer.generate_square_subsequent_mask(6, dtype=x.dtype)


_STEPS = floats(5, 6)
_GRAPH = torch.tensor([[1, 2, 3, 4, 5], [2, 3, 4, 5, 6]])
_RNN: dict[str, Any] = {
    f"{cls.__name__}, {what}": {"make": lambda cls=cls: Net(lambda m, x: m.o(m.r(x)[0]), r=cls(6, 5, batch_first=True), o=L(5, 3)), "inputs": _STEPS}
    for cls in (nn.RNN, nn.GRU, nn.LSTM) for what in ("the batch is second", "forgets batch_first, five steps and five samples")
}  # fmt: skip

def _without_cache(attention: str | None = None) -> nn.Module:
    model = family("causal", "dory", {}, attention)()
    model.config.use_cache = False
    return model


_TOKENS = lambda n, g: torch.randint(3, 11, (n, 5), generator=g)  # noqa: E731

CURES: dict[str, dict[str, Any]] = {
    **_RNN,
    "nn.MultiheadAttention, causal, time is the first dimension": {"make": lambda: Net(lambda m, x: m.o(m.a(x, x, x, attn_mask=torch.ones(6, 6).triu(1).bool(), need_weights=False)[0]), a=nn.MultiheadAttention(D, H, batch_first=True), o=L(D, 3)), "inputs": _turned},
    "nn.MultiheadAttention, time is the first dimension": {"make": lambda: Net(lambda m, x: (lambda y: m.o(m.a(y, y, y, need_weights=False)[0].transpose(0, 1)))(x.transpose(0, 1)), a=nn.MultiheadAttention(D, H), o=L(D, 3)), "inputs": _turned},
    "nn.TransformerEncoder, time is the first dimension": {"make": lambda: Net(lambda m, x: m.o(m.e(x)), e=_encoder(), o=L(D, 3)), "inputs": _turned},
    "nn.TransformerEncoder, causal, time is the first dimension": {"make": lambda: Net(lambda m, x: m.o(m.e(x, mask=_causal(x), is_causal=True)), e=_encoder(), o=L(D, 3)), "inputs": _turned},
    "nn.TransformerDecoderLayer, memory goes round": {"sites": "input.x+input.y output"},
    "GPT, the block's MLP alone": {"sites": "b.0.mid output"},
    "early exit: a value decides": {"make": lambda: Net(lambda m, x: torch.where(m.a(x).mean((1, 2), True) > 0, m.b(m.a(x)), m.c(m.a(x))), a=L(D, D), b=L(D, 3), c=L(D, 3))},
    "U-Net, middle alone": {"sites": "d:in output"},
    "FractionalMaxPool2d": {"make": lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.AdaptiveMaxPool2d(2), nn.GELU(), nn.Conv2d(4, 3, 1))},
    "F.dropout that is always on": {"make": lambda: Net(lambda m, x: m.b(_N.dropout(torch.relu(m.a(x)), 0.5, training=m.training)), a=L(6, 8), b=L(8, 4))},
    "layers dropped at random in eval too": {"make": lambda: Net(lambda m, x: x + m.b(torch.relu(m.a(x))) * ((torch.rand(len(x), 1) < 0.9) if m.training else 1), a=L(6, 8), b=L(8, 6))},
    "noise is added": {"make": lambda: Net(lambda m, x: m.a(x) + (0.1 * torch.randn_like(m.a(x)) if m.training else 0), a=L(6, 8))},
    "two inputs, only one is cut at": {"sites": "input.x+input.y output"},
    "GRU seq2seq": {"sites": "o:in output"},
    "cumulative sum over the first dimension": {"make": lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x).cumsum(1))), a=L(6, 5), b=L(5, 3))},
    "cumulative sum from behind over the first dimension": {"make": lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x).flip(1).cumsum(1).flip(1))), a=L(6, 5), b=L(5, 3))},
    "next sample is read (roll over dimension 0)": {"make": lambda: Net(lambda m, x: m.a(x + x.roll(1, 1)), a=L(6, 5))},
    "mean of the batch is removed": {"make": lambda: Net(lambda m, x: m.a(x - x.mean(1, keepdim=True)), a=L(6, 5))},
    "softmax over the batch": {"make": lambda: Net(lambda m, x: m.a(x).softmax(1), a=L(6, 5))},
    "contrastive logits over the batch (CLIP)": {"make": lambda: Net(lambda m, x: m.a(x), a=L(6, 5))},
    "packed sequence": {"make": lambda: Net(lambda m, x, there: m.o(m.r(x)[0]), r=nn.GRU(6, 5, batch_first=True), o=L(5, 3)), "inputs": named(x=_STEPS, there=lambda n, g: (torch.arange(5) < 3).long().expand(n, 5).clone()), "mask": "there"},
    "straight-through estimator": {"sites": "b:in output"},
    "torch.tensor made of a value": {"make": lambda: Net(lambda m, x: m.a(x) * x.mean(-1, keepdim=True), a=L(6, 4))},
    "gradient of an energy inside": {"make": lambda: Net(lambda m, x: x - (m.b.weight * (1 - torch.tanh(m.a(x)) ** 2)) @ m.a.weight, a=L(6, 8), b=L(8, 1))},
    "gradient of an energy by torch.func.grad": {"make": lambda: Net(lambda m, x: x - (m.b.weight * (1 - torch.tanh(m.a(x)) ** 2)) @ m.a.weight, a=L(6, 8), b=L(8, 1))},
    "FNO layer, cut inside at one branch": {"sites": "input output"},
    "graph convolution, adjacency is an input": {"sites": "input.x+input.adjacency output", "inputs": several(floats(4, 6), floats(4, 4))},
    "one graph, nodes in place of samples": {"make": lambda: Net(lambda m, x: m.b(torch.relu(m.A @ m.a(x))), a=L(6, 5), b=L(5, 3), A=torch.rand(4, 4).double()), "inputs": floats(4, 6)},
    "one graph, node 0 has no neighbour": {"make": lambda: Net(lambda m, x: m.b(torch.relu(m.s(x) + torch.zeros_like(m.a(x)).index_add(1, _GRAPH[1], m.a(x)[:, _GRAPH[0]]))), a=L(6, 5), s=L(6, 5), b=L(5, 3)), "inputs": floats(7, 6)},
    "one graph, adjacency as a buffer, node 0 alone": {"inputs": floats(7, 6)},
    "only a scalar comes out": {"make": lambda: Net(lambda m, x: m.a(x).square().flatten(1).mean(1, True), a=L(6, 5))},
    "VAE that always samples": {"make": lambda: Net(lambda m, x: m.d(m.e(x).chunk(2, -1)[0]), e=L(6, 6), d=L(3, 6))},
    **dict.fromkeys(("torch.jit.script", "torch.jit.trace", "int8, dynamic", "weights made in inference mode"), {"make": Plain}),
    "a scripted part inside": {"make": lambda: nn.Sequential(L(6, 6), nn.Tanh(), L(6, 4))},
    "DataParallel": {"make": lambda: nn.DataParallel(Plain()).module, "sites": "input b:in output"},
    "fake quantisation": {"make": lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))), a=L(6, 8), b=L(8, 4))},
    "training mode of a part": {"make": lambda: Net(lambda m, x: m.b(m.d(m.a(x))), a=L(6, 8), d=nn.Dropout(), b=L(8, 4))},
    "a state that changes the outcome": {"make": lambda: Net(lambda m, x: (m.n.zero_(), m.n.add_(1), m.b(torch.tanh(m.a(x))) * m.n)[2], a=L(6, 8), b=L(8, 4), n=torch.zeros(1))},
    "the batch size is used as a number": {"make": lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))) / x.shape[1], a=L(6, 8), b=L(8, 4))},
    "the batch size is written into the code": {"make": lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x)).view(-1, 2, 4).flatten(1)), a=L(6, 8), b=L(8, 4))},
    **dict.fromkeys(("a value decides (if)", "torch.cond"), {"make": lambda: Net(lambda m, x: torch.where(x.sum(-1, True) > 0, m.b(x), m.a(x)), a=L(6, 4), b=L(6, 4))}),
    "a value decides (while)": {"make": lambda: Net(lambda m, x: m.b(m.a(m.a(x).tanh() * 0.01).tanh() * 0.01), a=L(6, 6), b=L(6, 4))},
    "a value decides (.item())": {"make": lambda: Net(lambda m, x: m.b(torch.tanh(m.a(x))) * x.amax(-1, True), a=L(6, 8), b=L(8, 4))},
    "NumPy in forward": {"make": lambda: Net(lambda m, x: m.b(x * 2), b=L(6, 4))},
    **dict.fromkeys(("masked_select by a mask of values", "nonzero of values"), {"make": lambda: Net(lambda m, x: torch.where(x.sum(-1, True) > 0, m.a(x), 0.0), a=L(6, 4))}),
    "batch and positions merged, cut there": {"sites": "input output"},
    "meets an unused module": {"sites": "input b:in output"},
    "site is a constant": {"sites": "input b:in output"},
    "sites out of order": {"sites": "a:out b:in output"},
    "a site twice": {"sites": "input a output"},
    "a dead end as site": {"sites": "input b:in output"},
    "inputs of whole numbers only, cut before the weights": {"inputs": lambda n, g: torch.randint(5, (n, 6), generator=g).double()},
    "timestep embedding (diffusion)": {"sites": "b:in output"},
    "shared submodule, by its second name": {"sites": "input one#2:in output"},
    "random features fixed by a seed": {"make": lambda: Net(lambda m, x: m.a(torch.cos(x @ m.w)), a=L(8, 4), w=torch.randn(6, 8))},
    "dory": {"make": _without_cache, "plain": lambda: _without_cache("eager")},
    "longt5": {"inputs": named(input_ids=_TOKENS, decoder_input_ids=_TOKENS, attention_mask=lambda n, g: torch.ones(n, 5, dtype=torch.long))},
}
"""Of `jetmoe`, which is left to a Chain, there is none."""
