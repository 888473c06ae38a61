"""Pairs of TopK dictionaries before and behind a gated MLP, plain or with a sparse Jacobian (Farnik et al. 2025)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from libasis.bridges import Autoencoder

RESAMPLED = 100
"""Steps between two looks for latents that nothing uses."""


@dataclass(frozen=True)
class GatedMLP:
    """y = (silu(x Wg) * (x Wu)) Wd, without biases.

    Attributes:
        gate: Wg ``[d, hidden]``.
        up: Wu ``[d, hidden]``.
        down: Wd ``[hidden, d]``.
    """

    gate: Tensor
    up: Tensor
    down: Tensor

    @classmethod
    def of(cls, mlp: Any) -> GatedMLP:
        """That of a Llama-like model."""
        return cls(*(one.weight.detach().T.contiguous() for one in (mlp.gate_proj, mlp.up_proj, mlp.down_proj)))

    def __call__(self, x: Tensor) -> Tensor:
        """What it gives ``[..., d]``."""
        return (nn.functional.silu(x @ self.gate) * (x @ self.up)) @ self.down

    def slopes(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """By what a small change of x Wg and of x Wu is multiplied, ``[..., hidden]`` each."""
        a, u = x @ self.gate, x @ self.up
        s = a.sigmoid()
        return s * (1 + a * (1 - s)) * u, a * s

    def jacobian(self, x: Tensor, ins: tuple[Tensor, Tensor], outs: Tensor) -> Tensor:
        """Derivatives ``[n, j, i]`` at x ``[n, d]`` along directions at x, those at y read out.

        Args:
            x: where.
            ins: the directions times Wg and times Wu, ``[n, i, hidden]`` or ``[i, hidden]`` each.
            outs: Wd times what reads y, ``[n, j, hidden]`` or ``[j, hidden]``.
        """
        at_gate, at_up = self.slopes(x)
        inside = at_gate[:, None] * ins[0] + at_up[:, None] * ins[1]
        return outs @ inside.transpose(1, 2)


class Dictionary(nn.Module):
    """TopK latents of activations, which it takes in units of their spread.

    Attributes:
        mean: of the activations ``[d]``.
        spread: root mean square of their coordinates around it.
    """

    def __init__(self, x: Tensor, latents: int, k: int) -> None:
        super().__init__()
        d = x.shape[1]
        self.k, self.mean = k, x.mean(0)
        self.spread = (x - self.mean).square().mean().sqrt()
        rows = nn.functional.normalize(torch.randn(latents, d), dim=1)
        self.decoder, self.encoder = nn.Parameter(rows.clone()), nn.Parameter(rows.T.clone())
        self.bias, self.centre = nn.Parameter(torch.zeros(latents)), nn.Parameter(torch.zeros(d))

    def scaled(self, x: Tensor) -> Tensor:
        """In units of the spread."""
        return (x - self.mean) / self.spread

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The numbers and values ``[n, k]`` of the largest latents, and what they reconstruct, of scaled x."""
        z, which = ((x - self.centre) @ self.encoder + self.bias).topk(self.k, dim=1)
        z = z.relu()
        whole = torch.zeros(len(x), len(self.bias)).scatter(1, which, z)
        return which, z, whole @ self.decoder + self.centre

    def finished(self) -> Autoencoder:
        """The dictionary of activations as they are; unit decoders are as long as the spread there."""
        weights = {
            "W_enc": self.encoder / self.spread,
            "W_dec": self.decoder * self.spread,
            "b_enc": self.bias,
            "b_dec": self.mean + self.spread * self.centre,
        }
        return Autoencoder({name: one.detach().clone() for name, one in weights.items()}, topk(self.k))


def topk(k: int) -> dict[str, Any]:
    """The settings of such a dictionary."""
    return {"architecture": "topk", "k": k}


def active_jacobian(mlp: GatedMLP, source: Dictionary, target: Dictionary, x: Tensor, y: Tensor) -> Tensor:
    """Derivatives ``[n, k, k]`` of the latents active at y by those active at x, at what these reconstruct.

    x and y are in units of the spread. Rows and columns are of the latents in the order of `Dictionary.forward`; where
    a latent is 0 in spite of being among the largest, the derivative is 0.
    """
    which_in, z_in, back = source(x)
    which_out, z_out, _ = target(y)
    used_in, ins = which_in.unique(return_inverse=True)
    used_out, outs = which_out.unique(return_inverse=True)
    read = (target.encoder[:, used_out].T @ mlp.down.T)[outs] / target.spread
    rows = source.decoder[used_in] * source.spread
    J = mlp.jacobian(back * source.spread + source.mean, ((rows @ mlp.gate)[ins], (rows @ mlp.up)[ins]), read)
    return J * (z_out > 0)[:, :, None] * (z_in > 0)[:, None]


class Trainer:
    """A pair of dictionaries on activations ``[n, d]`` of the two sites.

    Args:
        mlp: what is between the sites.
        data: what the MLP reads, and what it gives.
        settings: ``latents``, ``k``, ``batch``, ``rate``, ``jacobian``.
        coefficient: of mean |J|.
        seed: of the first weights and the order of vectors.
    """

    def __init__(
        self,
        mlp: GatedMLP,
        data: tuple[Tensor, Tensor],
        settings: dict[str, Any],
        coefficient: float = 0,
        seed: int = 0,
    ) -> None:
        self.mlp, self.data, self.settings, self.coefficient = mlp, data, settings, coefficient
        self.generator = torch.Generator().manual_seed(seed)
        some = torch.randperm(len(data[0]), generator=self.generator)[:20_000]
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.pair = [Dictionary(one[some].float(), settings["latents"], settings["k"]) for one in data]
        weights = [p for one in self.pair for p in one.parameters()]
        self.optimizer = torch.optim.Adam(weights, lr=settings["rate"], betas=(0.9, 0.999))
        self.used = [torch.zeros(settings["latents"], dtype=torch.bool) for _ in data]

    def run(self, steps: int, label: str = "") -> list[dict[str, float]]:
        """So many steps, the last fifth with a falling rate; a line for every tenth."""
        told, order, start = [], torch.empty(0, dtype=torch.long), time.monotonic()
        for step in range(steps):
            if len(order) < self.settings["batch"]:
                order = torch.randperm(len(self.data[0]), generator=self.generator)
            rows, order = order[: self.settings["batch"]], order[self.settings["batch"] :]
            for group in self.optimizer.param_groups:
                group["lr"] = self.settings["rate"] * min(1, (step + 1) / 20, 5 * (steps - step) / steps)
            line = self.step(rows)
            if step % RESAMPLED == RESAMPLED - 1 and step < 0.7 * steps:
                line["set"] = sum(self.resample(i, rows) for i in (0, 1))
            if step % 10 == 9 or step == steps - 1:
                told.append({"step": step + 1, **line})
                print(label, told[-1], f"{time.monotonic() - start:.0f} s", flush=True)
        return told

    def step(self, rows: Tensor) -> dict[str, float]:
        """One step on these vectors."""
        with torch.enable_grad():
            scaled = [one.scaled(data[rows].float()) for one, data in zip(self.pair, self.data, strict=True)]
            losses = []
            for i, (one, x) in enumerate(zip(self.pair, scaled, strict=True)):
                which, z, back = one(x)
                losses.append((back - x).square().mean())
                self.used[i][which[z > 0]] = True
            loss, line = losses[0] + losses[1], {"x": losses[0].item(), "y": losses[1].item()}
            if self.coefficient:
                n = self.settings["jacobian"]
                J = active_jacobian(self.mlp, self.pair[0], self.pair[1], scaled[0][:n], scaled[1][:n]).abs().mean()
                loss, line["J"] = loss + self.coefficient * J, J.item()
            self.optimizer.zero_grad()
            loss.backward()
        self.optimizer.step()
        for one in self.pair:
            one.decoder.data = nn.functional.normalize(one.decoder.data, dim=1)
        return line

    def resample(self, i: int, rows: Tensor) -> int:
        """Set the latents that nothing used since the last look to what is reconstructed worst; their number."""
        one, dead = self.pair[i], (~self.used[i]).nonzero()[:, 0]
        self.used[i].zero_()
        if len(dead):
            x = one.scaled(self.data[i][rows].float())
            error = x - one(x)[2]
            drawn = torch.multinomial(error.square().sum(1), min(len(dead), len(x)), generator=self.generator)
            dead = dead[: len(drawn)]
            rows_new = nn.functional.normalize(error[drawn], dim=1)
            one.decoder.data[dead] = rows_new
            one.encoder.data[:, dead] = 0.5 * one.encoder.data.norm(dim=0).mean() * rows_new.T
            one.bias.data[dead] = 0
            for weight, places in ((one.decoder, (dead,)), (one.encoder, (slice(None), dead)), (one.bias, (dead,))):
                state = self.optimizer.state[weight]
                state["exp_avg"][places], state["exp_avg_sq"][places] = 0, 0
        return len(dead)

    def finished(self) -> list[Autoencoder]:
        """The dictionaries at x and y."""
        return [one.finished() for one in self.pair]


def unexplained(dictionary: Autoencoder, x: Tensor, mean: Tensor) -> float:
    """Share of the variance around a mean that is not reconstructed."""
    left = total = 0.0
    for part in x.split(4096):
        part = part.float()
        left += float((dictionary.decode(dictionary.encode(part)) - part).double().square().sum())
        total += float((part - mean).double().square().sum())
    return left / total


@torch.no_grad()
def mean_jacobian(mlp: GatedMLP, pair: Sequence[Dictionary], data: tuple[Tensor, Tensor]) -> float:
    """Mean |J| between active latents of these vectors."""
    parts = zip(*(one.scaled(x.float()).split(64) for one, x in zip(pair, data, strict=True)), strict=True)
    return float(torch.stack([active_jacobian(mlp, pair[0], pair[1], x, y).abs().mean() for x, y in parts]).mean())
