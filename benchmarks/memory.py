"""Peak resident memory of a fit with its edges beside the bound that was given, for little data and for eight times it.

Each line is a process of its own. The bound is what `memory` allows twice (products of a batch, activations kept
between passes), the sums (three matrices of width x width in float64 a site), and one forward pass of a batch, which
the model takes by itself. Data are made batch by batch and held nowhere.
Run: OMP_NUM_THREADS=1 python benchmarks/memory.py [--memory 32 128] [--width 256]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch
from blocks import Block
from torch import nn

import libasis

LAYERS, SAMPLES, POSITIONS, ERROR = 4, 8, 32, 0.2


class Drawn:
    """Batches that are drawn anew whenever they are asked for, each from its number."""

    def __init__(self, width: int, count: int) -> None:
        self.width, self.count = width, count

    def __iter__(self):
        """The batches."""
        for i in range(self.count):
            yield torch.randn(SAMPLES, POSITIONS, self.width, generator=torch.Generator().manual_seed(i))


def resident(name: str) -> float:
    """VmRSS (now) or VmHWM (the most so far) of this process, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def work(width: int, memory: int, batches: int) -> None:
    """One process: print its bound, and by how much its memory grew at most."""
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(width) for _ in range(LAYERS))).eval()
    data = Drawn(width, batches)
    traced = libasis.trace(model, next(iter(data)), ["input", *(str(i) for i in range(LAYERS))])
    options = {"memory": memory * 2**20, "progress": False}
    few = Drawn(width, 4)  # what is loaded and compiled once is not counted
    libasis.interactions(traced, libasis.fit(traced, few, **options), few, relative_error=ERROR, **options)
    before, forward = resident("VmRSS"), 4 * SAMPLES * POSITIONS * width * 12 / 2**20
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the most so far begins anew
    libasis.interactions(traced, libasis.fit(traced, data, **options), data, relative_error=ERROR, **options)
    sums = 3 * 8 * width**2 * (LAYERS + 1) / 2**20
    bound, grew = 2 * memory + sums + forward, resident("VmHWM") - before
    positions = batches * SAMPLES * POSITIONS
    print(
        f"memory={memory} MiB, {positions} positions, {4 * positions * width * (LAYERS + 1) / 2**20:.0f} MiB in all: "
        f"grew by {grew:.0f} MiB, bound {bound:.0f} MiB, ratio {grew / bound:.2f}"
    )


def main() -> None:
    """Each bound with one and eight times the data."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--memory", type=int, nargs="+", default=[32, 128])
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--batches", type=int, default=8)
    options.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.work:
        work(given.width, given.memory[0], given.batches)
        return
    for memory in given.memory:
        for batches in (given.batches, 8 * given.batches):
            shape = [f"--memory={memory}", f"--width={given.width}", f"--batches={batches}"]
            subprocess.run([sys.executable, __file__, "--work", *shape], env=dict(os.environ), check=True)


if __name__ == "__main__":
    main()
