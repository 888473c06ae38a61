"""A small zoo of models: each entry makes a model, an example and batches, and names sites that cut the model."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FEATURES, CLASSES, VOCABULARY, LENGTH = 6, 3, 11, 5


class MLP(nn.Module):
    """[batch, 6] -> [batch, 3]."""

    def __init__(self, width: int = 7):
        super().__init__()
        self.fc1 = nn.Linear(FEATURES, width)
        self.act1 = nn.GELU()
        self.drop = nn.Dropout(0.5)
        self.fc2 = nn.Linear(width, width)
        self.act2 = nn.Tanh()
        self.head = nn.Linear(width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act2(self.fc2(self.drop(self.act1(self.fc1(x))))))


class ResidualBlock(nn.Module):
    """Convolution, BatchNorm and an in-place ReLU that overwrites the sum."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += x
        return self.relu(out)


class ResidualCNN(nn.Module):
    """[batch, 2, 4, 6] -> [batch, 3]; a residual block and a pool."""

    def __init__(self, channels: int = 4):
        super().__init__()
        self.stem = nn.Conv2d(2, channels, 3, padding=1)
        self.bn = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)
        self.block1 = ResidualBlock(channels)
        self.pool = nn.MaxPool2d(2)
        self.gap = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(channels, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn(self.stem(x)))
        x = self.pool(self.block1(x))
        return self.head(self.gap(x).flatten(1))


class HookPointBlock(nn.Module):
    """Causal attention and an MLP; nn.Identity modules stand where the residual stream can be cut."""

    def __init__(self, d: int, heads: int):
        super().__init__()
        self.heads = heads
        self.hook_pre = nn.Identity()
        self.ln1, self.ln2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.proj = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.hook_mid = nn.Identity()
        self.up, self.act, self.down = nn.Linear(d, 2 * d), nn.GELU(), nn.Linear(2 * d, d)

    def attend(self, x: Tensor) -> Tensor:
        batch, length, d = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / (d // self.heads) ** 0.5
        future = torch.ones(length, length, dtype=torch.bool, device=x.device).triu(1)
        pattern = scores.masked_fill(future, float("-inf")).softmax(-1)
        return self.proj((pattern @ v).transpose(1, 2).reshape(batch, length, d))

    def forward(self, x: Tensor) -> Tensor:
        x = self.hook_pre(x)
        x = self.hook_mid(x + self.attend(self.ln1(x)))
        return x + self.down(self.act(self.up(self.ln2(x))))


class HookPointTransformer(nn.Module):
    """Token ids [batch, 5] -> logits [batch, 5, 11]."""

    def __init__(self, d: int = 8, heads: int = 2, layers: int = 2):
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, d)
        self.pos = nn.Parameter(torch.randn(LENGTH, d) * 0.3)
        self.blocks = nn.ModuleList(HookPointBlock(d, heads) for _ in range(layers))
        self.hook_post = nn.Identity()
        self.ln = nn.LayerNorm(d)
        self.unembed = nn.Linear(d, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids) + self.pos[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.unembed(self.ln(self.hook_post(x)))


@dataclass(frozen=True)
class Case:
    """One model of the zoo."""

    name: str
    make: Callable[[], nn.Module]
    inputs: Callable[[int, torch.dtype], Any]
    sites: tuple[str, ...]

    def model(self, dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Module:
        """A fresh model in eval mode, its weights and statistics random."""
        kept = torch.get_rng_state()
        torch.manual_seed(seed)
        model = self.make()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
                nn.init.normal_(module.running_mean)
                nn.init.uniform_(module.running_var, 0.5, 2.0)
        torch.set_rng_state(kept)
        return model.to(dtype).eval()

    def example(self, dtype: torch.dtype = torch.float64) -> Any:
        """Inputs of two samples."""
        return self.inputs(2, dtype)

    def batches(self, dtype: torch.dtype = torch.float64) -> list[Any]:
        """Two batches, the last one smaller."""
        return [self.inputs(4, dtype), self.inputs(3, dtype)]


def floats(*shape: int) -> Callable[[int, torch.dtype], Tensor]:
    """Makes random inputs [batch, *shape]."""
    return lambda batch, dtype: torch.randn(batch, *shape, dtype=dtype, generator=torch.Generator().manual_seed(batch))


def ids(length: int = LENGTH, vocabulary: int = VOCABULARY) -> Callable[[int, torch.dtype], Tensor]:
    """Makes random token ids [batch, length]."""
    return lambda batch, _: torch.randint(vocabulary, (batch, length), generator=torch.Generator().manual_seed(batch))


MLP_CASE = Case("mlp", MLP, floats(FEATURES), ("input", "fc1", "drop", "fc2:in", "act2", "head:in", "output"))
CNN_CASE = Case(
    "residual_cnn", ResidualCNN, floats(2, 4, 6), ("input", "bn", "block1:in", "block1", "pool", "gap", "output")
)
TRANSFORMER_CASE = Case(
    "hook_transformer",
    HookPointTransformer,
    ids(),
    ("blocks.0.hook_pre", "blocks.0.hook_mid", "blocks.1.hook_pre", "blocks.1.hook_mid", "hook_post", "ln", "output"),
)
ZOO = (MLP_CASE, CNN_CASE, TRANSFORMER_CASE)


def copy_of(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A deep copy in another dtype."""
    return copy.deepcopy(model).to(dtype)
