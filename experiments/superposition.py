"""A sparse dictionary of one MLP of SmolLM2-135M, and LIB inside and beside it.

Run: python experiments/superposition.py [--out build/results/superposition] [--text FOLDER]

What is measured stands in experiments/protocols/superposition.toml, which was written before. Model and texts are those
of experiments/language_branches.py. Every stage keeps what it made, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from experiments import language, language_branches
from experiments.sparse_dictionary import GatedMLP, Trainer, mean_jacobian, topk, unexplained

from libasis.bridges import Autoencoder
from libasis.run.errors import MissingDataError

PROTOCOL = Path(__file__).parent / "protocols" / "superposition.toml"
BATCH = PER_TEXT = 50


class Pair(NamedTuple):
    """Dictionaries at the two sites."""

    x: Autoencoder
    y: Autoencoder


class Stop(Exception):
    """What is behind a site is not needed."""


def watched(model: Any, block: int, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The stream before the MLP's norm of a block, and what the MLP reads, both ``[batch, position, d]``."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        found.extend((inputs[0], out))
        raise Stop

    hook = model.model.layers[block].post_attention_layernorm.register_forward_hook(keep)
    with contextlib.closing(_Closing(hook.remove)), contextlib.suppress(Stop):
        model.model(ids, use_cache=False)
    return found[0], found[1]


class _Closing:
    def __init__(self, close: Callable[[], None]) -> None:
        self.close = close


def collect(model: Any, block: int, ids: Tensor) -> dict[str, Tensor]:
    """What the MLP reads and adds ``[sequence, position - 1, d]``, in half precision, without first positions."""
    parts: dict[str, list[Tensor]] = {"x": [], "y": []}
    start = time.monotonic()
    for i, batch in enumerate(ids.split(BATCH)):
        x = watched(model, block, batch)[1][:, 1:]
        parts["x"].append(x.half())
        parts["y"].append(model.model.layers[block].mlp(x.half().float()).half())
        if i % 10 == 0:
            print(f"collect: {(i + 1) * BATCH} of {len(ids)}, {time.monotonic() - start:.0f} s", flush=True)
    return {name: torch.cat(each) for name, each in parts.items()}


def train(stages: Stages, mlp: GatedMLP, data: dict[str, Tensor], protocol: dict[str, Any]) -> dict[str, Pair]:
    """The plain pair and the Jacobian one, after short runs have chosen its coefficient."""
    settings, seed, per_text = protocol["train"], protocol["seed"], PER_TEXT
    last = torch.arange(len(data["x"])) % per_text == per_text - 1
    own, kept = ([data[site][which].flatten(0, 1) for site in "xy"] for which in (~last, last))
    middle = [one[:20_000].float().mean(0) for one in own]

    def made(label: str, steps: int, coefficient: float) -> tuple[Trainer, dict[str, Any]]:
        trainer = Trainer(mlp, (own[0], own[1]), settings, coefficient, seed)
        lines = trainer.run(steps, label)
        left = [unexplained(*each) for each in zip(trainer.finished(), kept, middle, strict=True)]
        return trainer, {"coefficient": coefficient, "unexplained": left, "lines": lines}

    def pair(label: str, coefficient: Callable[[], float]) -> Pair:
        def make() -> dict[str, Tensor]:
            trainer, told = made(label, settings["steps"], coefficient())
            told["J"] = mean_jacobian(mlp, trainer.pair, (kept[0][:1024], kept[1][:1024]))
            stages.keep(f"train-{label}", told)
            return {
                f"{site}.{k}": v for site, one in zip("xy", trainer.finished(), strict=True) for k, v in _weights(one)
            }

        found = stages.tensors(f"dictionaries-{label}", make)
        return Pair(*(_loaded(found, site, settings["k"]) for site in "xy"))

    def unit() -> float:
        return stages.read("train-plain")["J"]

    def trials() -> list[dict[str, Any]]:
        rows = [made(f"trial {c}", settings["trial"], c / unit())[1] for c in (0.0, *settings["coefficients"])]
        return [{**row, "asked": c} for row, c in zip(rows, (0.0, *settings["coefficients"]), strict=True)]

    def coefficient() -> float:
        rows = stages.values("trials", trials)
        worst = settings["worse"] * sum(rows[0]["unexplained"])
        return max(
            [row["coefficient"] for row in rows[1:] if sum(row["unexplained"]) <= worst], default=rows[1]["coefficient"]
        )

    return {"plain": pair("plain", lambda: 0.0), "jacobian": pair("jacobian", coefficient)}


class Stages:
    """Files of a folder, each made once; what it took is kept beside them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.costs = folder, folder / "costs.json"

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Those of a safetensors file."""
        path = self.folder / f"{name}.safetensors"
        if not path.exists():
            made = self._timed(name, make)
            save_file({key: value.contiguous() for key, value in made.items()}, f"{path}.part")
            os.replace(f"{path}.part", path)
        return load_file(path)

    def values(self, name: str, make: Callable[[], Any]) -> Any:
        """Those of a JSON file."""
        path = self.folder / f"{name}.json"
        if not path.exists():
            self.keep(name, self._timed(name, make))
        return self.read(name)

    def keep(self, name: str, made: Any) -> None:
        """Write a JSON file."""
        _write(self.folder / f"{name}.json", made)

    def read(self, name: str) -> Any:
        """Those of a JSON file that is there."""
        return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))

    def _timed(self, name: str, make: Callable[[], Any]) -> Any:
        start = time.process_time()
        made = make()
        old = json.loads(self.costs.read_text(encoding="utf-8")) if self.costs.exists() else {}
        seconds, peak = time.process_time() - start, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        _write(self.costs, {**old, name: {"seconds": round(seconds, 1), "peak_gib": round(peak, 2)}})
        print(f"{name}: {seconds:.0f} s", flush=True)
        return made


def _weights(one: Autoencoder) -> list[tuple[str, Tensor]]:
    return [(name, weight) for name, weight in one.named_buffers() if name != "kept"]


def _loaded(found: dict[str, Tensor], site: str, k: int) -> Autoencoder:
    own = {name[2:]: weight for name, weight in found.items() if name.startswith(site)}
    return Autoencoder(own, topk(k))


def _write(path: Path, made: Any) -> None:
    Path(f"{path}.part").write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    os.replace(f"{path}.part", path)


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and measure."""
    parser = argparse.ArgumentParser(description="A sparse dictionary of one MLP, and LIB inside and beside it.")
    parser.add_argument("--out", type=Path, default=Path("build/results/superposition"))
    parser.add_argument("--text", type=Path, default=Path(language.CORPUS))
    chosen = parser.parse_args(arguments)
    protocol = tomllib.loads(PROTOCOL.read_text(encoding="utf-8"))
    try:
        ids = language_branches.sequences(chosen, protocol["data"])
        model = language.unpacked()
    except MissingDataError as error:
        print(f"superposition is passed over: {error}")
        return
    del ids["other"]
    chosen.out.mkdir(parents=True, exist_ok=True)
    language_branches.same_settings(chosen.out / "protocol.json", protocol, ids)
    stages = Stages(chosen.out)
    with torch.no_grad():
        data = stages.tensors("activations", lambda: collect(model, protocol["block"], ids["fit"]))
        mlp = GatedMLP.of(model.model.layers[protocol["block"]].mlp)
        trained = train(stages, mlp, data, protocol)


if __name__ == "__main__":
    main()
