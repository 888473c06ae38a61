"""A one-layer transformer that adds modulo 113: the model, its data and its shipped weights."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from libasis.demo import _common

PRIME = 113
EQUALS = PRIME  # the token of "="
VOCABULARY = PRIME + 1
TRAIN_FRACTION = 0.3
NAME = "modadd113"


class Attention(nn.Module):
    """Causal self-attention, [batch, position, d_model] to the same shape."""

    def __init__(self, d_model: int = 128, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.d_head = d_model // heads
        self.query = nn.Linear(d_model, d_model)
        self.key = nn.Linear(d_model, d_model)
        self.value = nn.Linear(d_model, d_model)
        self.out = nn.Linear(d_model, d_model)

    def split_heads(self, x: Tensor) -> Tensor:
        """Split [batch, position, d_model] into [batch, head, position, d_head]."""
        return x.unflatten(-1, (self.heads, self.d_head)).transpose(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position read from itself and from those before it."""
        query, key, value = (self.split_heads(part(x)) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.d_head)
        future = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, -math.inf).softmax(-1)
        return self.out((weights @ value).transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    """Two linear maps with a ReLU between them, [..., d_model] to the same shape."""

    def __init__(self, d_model: int = 128, d_mlp: int = 512) -> None:
        super().__init__()
        self.linear_in = nn.Linear(d_model, d_mlp)
        self.relu = nn.ReLU()
        self.linear_out = nn.Linear(d_mlp, d_model)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the three layers in turn."""
        return self.linear_out(self.relu(self.linear_in(x)))


class Block(nn.Module):
    """Attention, then an MLP at the last position alone; `ln1` and `ln2` are hook points, not normalisations."""

    def __init__(self) -> None:
        super().__init__()
        self.ln1 = nn.Identity()
        self.attn = Attention()
        self.ln2 = nn.Identity()
        self.mlp = MLP()

    def forward(self, x: Tensor) -> Tensor:
        """Take the residual stream [batch, position, d_model] to that of its last position, [batch, d_model]."""
        x = x + self.attn(self.ln1(x))
        x = x[:, -1]
        return x + self.mlp(self.ln2(x))


class ModularAdditionTransformer(nn.Module):
    """A one-layer transformer for (a + b) mod 113.

    The prompt is the three tokens [a, b, 113], where 113 stands for "="; there is no normalisation,
    and after attention only the last position goes on. Sites worth cutting at: `"blocks.0.ln1:in"`
    [batch, 3, 128], `"blocks.0.ln2:in"` [batch, 128], `"unembed:in"` [batch, 128], `"output"` [batch, 114].
    """

    def __init__(self, d_model: int = 128) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, d_model)
        self.pos_embed = nn.Parameter(torch.empty(3, d_model))
        self.blocks = nn.ModuleList([Block()])
        self.unembed = nn.Linear(d_model, VOCABULARY)
        for embedding in (self.embed.weight, self.pos_embed):
            nn.init.normal_(embedding, std=1 / math.sqrt(d_model))

    def forward(self, tokens: Tensor) -> Tensor:
        """Give the logits [batch, 114] of the answer to the prompts `tokens` [batch, 3]."""
        x = self.embed(tokens) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.unembed(x)


def load() -> ModularAdditionTransformer:
    """Load the trained model: float32, in evaluation mode."""
    return _common.load(ModularAdditionTransformer(), NAME)


def content() -> dict[str, Any]:
    """Give the keyword arguments of `libasis.collect` that say how a prompt and the answers are shown."""
    return {"vocabulary": words, "outputs": [*map(str, range(PRIME)), "="]}


def words(prompt: list[int]) -> list[str]:
    """Give the three tokens of a prompt as texts, such as `["a=17", "b=5", "="]`."""
    return [f"a={prompt[0]}", f"b={prompt[1]}", "="]


def prompts() -> Tensor:
    """Give all 12,769 prompts [a, b, 113], int64 [12769, 3], with a*113 + b the row of [a, b, 113]."""
    numbers = torch.arange(PRIME)
    return torch.cartesian_prod(numbers, numbers, torch.tensor([EQUALS]))


def split(seed: int) -> tuple[Tensor, Tensor]:
    """Split the prompts at random: train [3830, 3] and test [8939, 3], the same for the same seed."""
    return _common.shuffled_split(prompts(), TRAIN_FRACTION, seed)


def splits() -> tuple[Tensor, Tensor]:
    """Give the train [3830, 3] and test [8939, 3] prompts of the shipped model, int64."""
    return split(_common.card(NAME)["seed"])


def targets(inputs: Tensor) -> Tensor:
    """Give the answers (a + b) mod 113, int64 [n], to the prompts `inputs` [n, 3]."""
    return (inputs[:, 0] + inputs[:, 1]) % PRIME


def batches(inputs: Tensor, batch_size: int = 512) -> list[tuple[Tensor, Tensor]]:
    """Cut the prompts `inputs` [n, 3] into pairs ([batch, 3], [batch]) of prompts and answers."""
    return _common.batches(inputs, targets(inputs), batch_size)


def batches_train() -> list[tuple[Tensor, Tensor]]:
    """Give the train split as batches; takes no argument, so that a settings file can name it."""
    return batches(splits()[0])


def batches_test() -> list[tuple[Tensor, Tensor]]:
    """Give the test split as batches; takes no argument, so that a settings file can name it."""
    return batches(splits()[1])
