"""Speed-up of several processes over one: the same fit, the same bytes, with the bytes that were sent.

``python benchmarks/processes.py --processes 1 2`` starts torchrun for each number; each process has one thread. Two
processes need two cores that nobody else uses.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time

import torch
from blocks import Block
from torch import nn

import libasis


def work(width: int, layers: int, batches: int) -> None:
    """One process: fit twice, and let the first print what it took."""
    torch.manual_seed(0)
    model = nn.Sequential(*(Block(width) for _ in range(layers))).eval()
    data = [torch.randn(16, 64, width, generator=torch.Generator().manual_seed(i)) for i in range(batches)]
    traced = libasis.trace(model, data[0], ["input", *(str(i) for i in range(layers))])
    with libasis.distributed() as team:
        libasis.fit(traced, data[: 2 * team.size])
        sent, start = team.sent, time.perf_counter()
        basis = libasis.fit(traced, data)
        seconds = time.perf_counter() - start
        if team.first:
            bits = hashlib.sha256(b"".join(site.C.numpy().tobytes() for site in basis)).hexdigest()
            print(json.dumps({"seconds": seconds, "sent": team.sent - sent, "bits": bits}))


def main() -> None:
    """Each number of processes in turn, and the ratios."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    options.add_argument("--width", type=int, default=256)
    options.add_argument("--layers", type=int, default=4)
    options.add_argument("--batches", type=int, default=64)
    options.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = options.parse_args()
    shape = [f"--{name}={getattr(given, name)}" for name in ("width", "layers", "batches")]
    if given.work:
        work(given.width, given.layers, given.batches)
        return
    first = None
    for count in given.processes:
        start = [sys.executable, "-m", "torch.distributed.run", f"--nproc_per_node={count}", "--standalone"]
        run = subprocess.run(
            [*start, __file__, "--work", *shape],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
        found = json.loads(run.stdout.splitlines()[-1])
        first = first or found
        tokens = given.batches * 16 * 64
        same = "same bytes" if found["bits"] == first["bits"] else "OTHER BYTES"
        ratio = first["seconds"] / found["seconds"]
        print(
            f"{count} processes: {found['seconds']:.2f} s, {tokens / found['seconds']:.0f} tokens/s, "
            f"speed-up {ratio:.2f}, the first sent {found['sent'] / 2**20:.1f} MiB, {same}"
        )


if __name__ == "__main__":
    main()
