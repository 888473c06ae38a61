"""Commands that are killed, or refused by the system, at a chosen file operation: nothing is lost that was good.

``python tests/run/kills.py 500`` fails at every file operation of every command, first by true kills, until it has done
so as many times, and prints the counts.
"""

import contextlib
import errno
import io
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import libasis
from libasis.run import cli
from store.sabotage import WRITES, Killed, Saboteur

MODEL = """
import torch
from torch import nn

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).eval()

def batches():
    x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
    return [(x, (x[:, 0] > 0).long())]
"""
SETTINGS = """
sites = ["0:in", "2:in", "output"]
[model]
source = "user_of_kills:model"
[data]
source = "user_of_kills:batches"
[report]
features = 1
tested = 0
samples = 4
"""
TARGETS = ("edges.csv", "tables", "graph.graphml", "graph.json")
VERBS = {
    "fit": ["fit", "--force", "--set", "fit.method=pca"],
    "graph": ["graph", "--force", "--set", "fit.truncation=relative:1e-9"],
    "ablate": ["ablate", "--force", "--set", "ablate.max_drop=0.1"],
    "report": ["report", "--set", "report.seed=1"],
    "export": ["export", *(part for target in TARGETS for part in ("--to", target))],
}
FAILURES = {
    "kill": None,
    **{
        name: OSError(getattr(errno, name), os.strerror(getattr(errno, name))) for name in ("ENOSPC", "EDQUOT", "EFBIG")
    },
    "EIO": OSError(errno.EIO, os.strerror(errno.EIO)),
}
NOTES = ("libasis-run/notes.md", "libasis-run/graph/notes.md", "tables/notes.md")


@contextlib.contextmanager
def inside(folder):
    """The current folder, from which modules can be imported."""
    before = os.getcwd()
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        os.chdir(before)
        sys.path.remove(str(folder))


def answer(arguments):
    """Exit code, stdout and stderr of a command."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = cli.run(arguments)
    return code, out.getvalue(), err.getvalue()


def finished(folder):
    """Fill a folder with everything that the commands write, and with notes of the user."""
    (folder / "user_of_kills.py").write_text(MODEL)
    (folder / "libasis.toml").write_text(SETTINGS)
    with inside(folder):
        for arguments in (["graph"], ["ablate"], ["report"], VERBS["export"]):
            assert answer(arguments)[0] == 0
        for note in NOTES:
            Path(note).write_text("mine")


def fail(verb, allowed, failure, *, truly=False):
    """Run a command that fails at a file operation; whether it came so far."""
    if truly:
        child = os.fork()
        if child == 0:
            with pytest.MonkeyPatch.context() as patch:
                Saboteur(patch, allowed, half=True, calls=WRITES, truly=True)
                answer(VERBS[verb])
            os._exit(0)
        return os.waitpid(child, 0)[1] != 0
    with pytest.MonkeyPatch.context() as patch:
        saboteur = Saboteur(patch, allowed, error=FAILURES[failure], half=True, calls=WRITES)
        try:
            code, _, err = answer(VERBS[verb])
        except Killed:
            code, err = 0, ""
    saboteur.bury()
    if code:
        assert (code, err.count("\n")) == (2, 1), err
        assert FAILURES[failure].strerror in err
    assert saboteur.done or not code
    return saboteur.done


def check(verb):
    """All results are whole, no settings stand beside results of others, and the command can be run again."""
    found = {name: libasis.load(f"libasis-run/{name}") for name in ("basis", "graph", "ablation", "cards")}
    settings = Path("libasis-run/config.toml")
    texts = [found[name].info["config"] for name in ("basis", "graph", "ablation")]
    assert not settings.exists() or settings.read_text() in texts
    assert Path("libasis-run/report.html").read_text().endswith("</html>\n")
    assert json.loads(Path("graph.json").read_text())["edges"]
    assert Path("graph.graphml").read_text().endswith("</graphml>\n")
    assert all(Path(note).read_text() == "mine" for note in NOTES)
    code, _, err = answer(VERBS[verb])
    made_again = verb == "report" and "ablate" in err  # a graph of which the ablation was not killed any more
    assert code == 0 or made_again, err
    assert settings.read_text() in [
        libasis.load(f"libasis-run/{name}").info["config"] for name in found if name != "cards"
    ]
    assert list(map(str, Path().rglob(".libasis-*"))) == []


def attempt(source, verb, allowed, failure, *, truly=False):
    """One failure, in a copy of a finished folder; whether the command came so far."""
    with tempfile.TemporaryDirectory() as copy:
        shutil.copytree(source, copy, dirs_exist_ok=True)
        with inside(copy):
            done = fail(verb, allowed, failure, truly=truly)
            check(verb)
    return done


def main(attempts):
    torch.set_num_threads(1)
    logging.getLogger("libasis").addHandler(logging.NullHandler())  # notices, as under pytest, are no part of an error
    total, kinds = 0, [("kill", True), *((name, False) for name in FAILURES)]
    with tempfile.TemporaryDirectory() as source:
        finished(Path(source))
        for (failure, truly), verb in itertools.product(kinds, VERBS):
            place = 0
            while total + place < attempts and attempt(Path(source), verb, place, failure, truly=truly):
                place += 1
            total += place
            print(f"{place:4} {failure}{' -9' if truly else ''} of {verb}", flush=True)
    print(f"{total} failures: nothing was lost, and each command ran again")


if __name__ == "__main__":
    main(int(sys.argv[1]))
