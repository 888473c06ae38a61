"""Whole runs that are killed at random moments, run again, and held against one that nobody ended.

``python tests/run/ends.py 40 10`` kills 40 runs of one process and 10 of two, and prints how many of them, gone on
with, gave the same bytes, and how much work was done twice.
"""

import contextlib
import filecmp
import os
import random
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from libasis.run import cli
from run.kills import MODEL, inside

BATCHES = """
def batches():
    x = torch.randn(120, 3, generator=torch.Generator().manual_seed(1))
    return [(some, (some[:, 0] > 0).long()) for some in x.split(6)]
"""
SETTINGS = """
sites = ["0:in", "2:in", "output"]
[model]
source = "user_of_ends:model"
[data]
source = "user_of_ends:batches"
[ablate]
metric = "cross_entropy"
max_drop = 0.05
[report]
features = 1
tested = 2
samples = 4
[run]
checkpoint_seconds = 0
timeout = 120
"""
STAGES = {"fit": "basis", "graph": "graph", "ablate": "ablation", "report": "report.html"}
WROTE = ("basis/manifest.json", "basis/tensors.safetensors", "graph/manifest.json", "graph/tensors.safetensors",
         "ablation/manifest.json", "ablation/tensors.safetensors", "cards/manifest.json")  # fmt: skip


def prepare(folder):
    """Model, data and settings of a run."""
    (folder / "user_of_ends.py").write_text(MODEL.partition("def batches")[0] + BATCHES)
    (folder / "libasis.toml").write_text(SETTINGS)


def work(folder):
    """Every command whose result is not there yet; batches that the passes went through are counted in a file."""
    with inside(folder), open("batches", "ab", buffering=0) as count, open(os.devnull, "w") as nothing:
        for verb, result in STAGES.items():
            if not (Path("libasis-run") / result).exists():
                with contextlib.redirect_stdout(nothing), contextlib.redirect_stderr(sys.stderr):
                    code = cli.run([verb], told=lambda event: event["event"] == "batch" and count.write(b"."))
                if code:
                    return code
    return 0


def start(folder, size=1):
    """The run, in so many forked processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    children = []
    for rank in range(size):
        children.append(os.fork())
        if not children[-1]:
            if size > 1:
                found = {"RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "localhost", "MASTER_PORT": port}
                os.environ.update({name: str(value) for name, value in found.items()})
            os.dup2(os.open(folder / "errors", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
            code = 70
            try:
                code = work(folder)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    return children


def end(children):
    """Wait for all; their exit codes."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def killed(folder, size, seconds):
    """A run of which one process is killed after so long, and the same run again; whether it was killed in time."""
    prepare(folder)
    children = start(folder, size)
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.kill(random.choice(children), signal.SIGKILL)
    codes = end(children)
    again = end(start(folder, size))
    assert not any(again), (codes, again, (folder / "errors").read_text())
    return any(codes)


def differing(one, other):
    """Files of two runs that are not the same."""
    return [name for name in WROTE if not filecmp.cmp(one / "libasis-run" / name, other / "libasis-run" / name, False)]


def main(single, double):
    random.seed(0)
    with tempfile.TemporaryDirectory() as root:
        for size, times in ((1, single), (2, double)):
            whole = Path(root) / f"whole{size}"
            whole.mkdir()
            prepare(whole)
            begin = time.monotonic()
            assert not any(end(start(whole, size)))
            took, batches = time.monotonic() - begin, (whole / "batches").stat().st_size
            same = hit = most = 0
            for number in range(times):
                folder = Path(root) / f"{size}-{number}"
                folder.mkdir()
                hit += killed(folder, size, random.uniform(0, took))
                wrong = differing(whole, folder)
                more = (folder / "batches").stat().st_size - batches
                most = max(most, more)
                same += not wrong
                print(f"{size} processes, run {number}: {wrong or 'the same bytes'}, {more} batches twice", flush=True)
            print(f"{size} processes: {same} of {times} the same, {hit} killed at work, at most {most} batches twice")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
