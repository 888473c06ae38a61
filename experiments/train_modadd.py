"""Train the modular-addition transformer: `python -m experiments.train_modadd --seed 0 --out DIR`.

The model first memorises its training prompts and generalises ("groks") only much later, pushed by weight decay.
Training goes on for a while after that, until memorised remains have decayed, and ends with a falling learning rate.
The moment of grokking is read from the test accuracy, and learning rate and weight decay were chosen by watching it
(1e-3 and 1.0 still had 0.2% right after 7,000 steps), so that accuracy is no unbiased estimate; no test prompt enters
a gradient.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from experiments import weights
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from libasis.demo import _common
from libasis.demo.modadd import EQUALS, NAME, VOCABULARY, Block, ModularAdditionTransformer, split, targets


@dataclass(frozen=True)
class Settings:
    """How to train: full-batch AdamW for at most `max_steps` steps until grokked, then `settle_steps` more."""

    lr: float = 2e-3
    weight_decay: float = 2.0
    beta1: float = 0.9
    beta2: float = 0.98
    goal: float = 0.999
    max_steps: int = 40_000
    settle_steps: int = 4_000
    check_every: int = 100


def fast_logits(model: ModularAdditionTransformer, tokens: Tensor) -> Tensor:
    """Compute the model's logits [batch, 114] for prompts [batch, 3], faster than its forward.

    Only the last position is used, and its token is always "=", so there is one query; keys and values are
    computed once per position and token [3 * 114, 128] and looked up.
    """
    block = cast(Block, model.blocks[0])
    attn = block.attn
    streams = (model.embed.weight + model.pos_embed[:, None]).flatten(0, 1)
    last = streams[2 * VOCABULARY + EQUALS]
    products = (attn.key(streams) * attn.query(last)).unflatten(-1, (attn.heads, attn.d_head)).sum(-1)
    rows = tokens + VOCABULARY * torch.arange(3)
    weights = (F.embedding(rows, products) / math.sqrt(attn.d_head)).softmax(1)
    values = F.embedding(rows, attn.value(streams)).unflatten(-1, (attn.heads, attn.d_head))
    x = last + attn.out((weights[..., None] * values).sum(1).flatten(1))
    return model.unembed(x + block.mlp(x))


class Trainer:
    """A model, its optimiser and its prompts, all determined by `seed` and `settings`."""

    def __init__(self, seed: int, settings: Settings) -> None:
        torch.manual_seed(seed)
        self.settings = settings
        self.model = ModularAdditionTransformer()
        self.train_inputs, self.test_inputs = split(seed)
        self.train_targets, self.test_targets = targets(self.train_inputs), targets(self.test_inputs)
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(),
            lr=settings.lr,
            betas=(settings.beta1, settings.beta2),
            weight_decay=settings.weight_decay,
        )

    def step(self) -> float:
        """Take one step on all training prompts; the log-softmax is in float64, for losses down to 1e-9 and below."""
        logits = fast_logits(self.model, self.train_inputs)
        loss = F.cross_entropy(logits.double(), self.train_targets)
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return loss.item()

    def accuracies(self) -> dict[str, float]:
        """Give the share of right answers on the train and on the test prompts, by the model's own forward."""
        return {
            "train_accuracy": _common.accuracy(self.model, self.train_inputs, self.train_targets),
            "test_accuracy": _common.accuracy(self.model, self.test_inputs, self.test_targets),
        }

    def until_grokked(self) -> int:
        """Train until the test accuracy reaches the goal, at most `max_steps`; give the number of steps taken."""
        with tqdm(total=self.settings.max_steps, desc="grok", mininterval=2) as progress:
            for step in range(1, self.settings.max_steps + 1):
                loss = self.step()
                progress.update()
                if step % self.settings.check_every == 0:
                    found = self.accuracies()
                    progress.set_postfix({"loss": f"{loss:.2e}", **{k: f"{v:.4f}" for k, v in found.items()}})
                    if found["test_accuracy"] >= self.settings.goal:
                        return step
        return self.settings.max_steps

    def settle(self) -> float:
        """Train `settle_steps` more, the second half with a learning rate falling to 0; give the last loss."""
        loss = math.nan
        steps = self.settings.settle_steps
        for step in tqdm(range(steps), desc="settle", mininterval=2):
            for group in self.optimiser.param_groups:
                group["lr"] = self.settings.lr * min(1.0, 2 * (1 - step / steps))
            loss = self.step()
        return loss


def train(seed: int, settings: Settings, out: Path) -> dict[str, Any]:
    """Train a model from `seed`, write its two files into the folder `out` and give its card."""
    start = time.perf_counter()
    trainer = Trainer(seed, settings)
    steps_to_goal = trainer.until_grokked()
    train_loss = trainer.settle()
    card: dict[str, Any] = {
        "task": "(a + b) mod 113",
        "seed": seed,
        "settings": asdict(settings),
        "train_prompts": len(trainer.train_inputs),
        "test_prompts": len(trainer.test_inputs),
        "steps_to_goal": steps_to_goal,
        "steps": steps_to_goal + settings.settle_steps,
        "seconds": round(time.perf_counter() - start),
        "train_loss": train_loss,
        **trainer.accuracies(),
        "torch": torch.__version__,
    }
    weights.write(trainer.model, NAME, card, out)
    return card


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, train, and print the accuracies."""
    parser = argparse.ArgumentParser(description="Train the modular-addition transformer.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for the two files")
    parser.add_argument("--lr", type=float, default=Settings.lr)
    parser.add_argument("--weight-decay", type=float, default=Settings.weight_decay)
    parser.add_argument("--max-steps", type=int, default=Settings.max_steps)
    parser.add_argument("--settle-steps", type=int, default=Settings.settle_steps)
    chosen = vars(parser.parse_args(arguments))
    seed, out, settings = chosen.pop("seed"), chosen.pop("out"), Settings(**chosen)
    torch.set_num_threads(1)
    card = train(seed, settings, out)
    print(f"test accuracy {card['test_accuracy']:.4f} after {card['steps']} steps, {card['seconds']} s")
    if card["test_accuracy"] < settings.goal:
        parser.exit(1, f"That is below the goal of {settings.goal}: raise --max-steps or try another --seed.\n")


if __name__ == "__main__":
    main()
