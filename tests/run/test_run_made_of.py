"""No command goes on from results of other settings, data or weights; what decides nothing changes nothing."""

import shutil
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

import libasis
from libasis.run import cli
from libasis.run.config import parse_config
from libasis.run.made_of import FREE, STAGES, MadeOf, deciding
from libasis.run.settings import SECTIONS, Config
from run.answers import ok, refused, written

MODEL = """
import torch
from safetensors.torch import load_file
from torch import nn

SCALE = 1.0

def scaled(x):
    return x * SCALE

class Scaled(nn.Sequential):
    def __init__(self, *layers):
        super().__init__(*layers)
        self.factor = 1.0

    def prepared(self, x):
        return scaled(x) * self.factor

    def forward(self, x):
        return super().forward(self.prepared(x))

def model():
    found = Scaled(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2)).eval()
    found.load_state_dict(load_file("weights.safetensors"))
    return found
"""
SETTINGS = """
sites = ["0:in", "2:in", "output"]
[model]
source = "user_made_of:model"
[data]
source = "train.csv"
test_source = "test.csv"
target = "y"
[ablate]
max_drop = 0.2
[report]
features = 2
tested = 2
[compare]
methods = ["lib", "pca"]
replicates = 20
[sensitivity]
factors = [1.0]
shares = [0.5]
seeds = []
"""
VERBS = {
    "graph": ["graph", "--set", "output=only-fitted"],
    "ablate": ["ablate", "--force"],
    "report": ["report"],
    "export": ["export", "--to", "graph.csv"],
    "compare": ["compare", "--out", "compared"],
    "sensitivity": ["sensitivity", "--out", "compared"],
}
"""Commands that go on from saved results."""


def write_rows(path, seed):
    x = torch.randn(24, 3, generator=torch.Generator().manual_seed(seed)).tolist()
    rows = [f"{a:.6f},{b:.6f},{c:.6f},{int(a + b * c > 0)}" for a, b, c in x]
    path.write_text("\n".join(["a,b,c,y", *rows]) + "\n")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder in which every command has been run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "user_made_of.py").write_text(MODEL)
    (folder / "libasis.toml").write_text(SETTINGS)
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2))
    save_file(model.state_dict(), folder / "weights.safetensors")
    write_rows(folder / "train.csv", 1)
    write_rows(folder / "test.csv", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        first = [["fit", "--set", "output=only-fitted"], ["graph"], ["ablate"]]
        for arguments in [*first, *(VERBS[verb] for verb in ("report", "compare", "sensitivity"))]:
            assert cli.run(arguments) == 0
    return folder


@pytest.fixture
def run(finished, folder):
    """The current folder: a copy of the finished one."""
    shutil.copytree(finished, folder, dirs_exist_ok=True)
    sys.modules.pop("user_made_of", None)  # each test has a file of its own
    return folder


def change_a_cell(folder, name="train.csv"):
    lines = (folder / name).read_text().splitlines()
    lines[7] = "9.5" + lines[7][lines[7].index(",") :]
    (folder / name).write_text("\n".join(lines) + "\n")


def change_the_order(folder, name="train.csv"):
    head, *rows = (folder / name).read_text().splitlines()
    (folder / name).write_text("\n".join([head, rows[1], rows[0], *rows[2:]]) + "\n")


def change_weights(folder):
    weights = load_file(folder / "weights.safetensors")
    weights["0.weight"][2, 1] += 1e-4
    save_file(weights, folder / "weights.safetensors")


def change_the_activation(folder):
    code = folder / "user_made_of.py"
    code.write_text(code.read_text().replace("ReLU()", "ELU()"))


CHANGES = {
    change_a_cell: ("training data of data.source changed since (digest ", " then, "),
    change_the_order: ("training data of data.source come in another order now",),
    change_weights: ("other weights", "changed since (fingerprint "),
    change_the_activation: ("another model: its weights are the same", "changed since"),
}


@pytest.mark.parametrize("verb", VERBS)
def test_nothing_is_refused_while_nothing_has_changed(run, command, verb):
    before = {path: written(path) for path in ("libasis-run/graph", "compared/compare/model/lib")}
    ok(command(*VERBS[verb]))
    assert {path: written(path) for path in before} == before


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
@pytest.mark.parametrize("verb", VERBS)
def test_other_data_order_or_weights_are_noticed_by_every_command(run, command, verb, change):
    change(run)
    refused(command(*VERBS[verb]), "was made with", *CHANGES[change])


@pytest.mark.parametrize(
    ("before", "after"),
    [("x * SCALE", "x + SCALE"), ("SCALE = 1.0", "SCALE = 2.0"), ("scaled(x) ", "scaled(-x) "), ("r = 1.0", "r = 2.0")],
)
def test_what_a_model_calls_is_part_of_it(run, command, before, after):
    ok(command(*VERBS["export"]))
    code = run / "user_made_of.py"
    code.write_text(code.read_text().replace(before, after))
    sys.modules.pop("user_made_of")
    refused(command(*VERBS["export"]), "another model: its weights are the same")


@pytest.mark.parametrize("change", [change_a_cell, change_the_order])
@pytest.mark.parametrize("verb", ["report", "compare", "sensitivity"])
def test_other_test_data_are_noticed_where_they_count(run, command, verb, change):
    change(run, "test.csv")
    refused(command(*VERBS[verb]), "test data of data.test_source")
    ok(command("export", "--to", "graph.csv"))
    ok(command("ablate", "--force"))
    ok(command("report"))


@pytest.mark.parametrize(
    ("verb", "change", "named"),
    [
        ("graph", "fit.truncation=relative:1e-9", "fit.truncation was 'auto' and is 'relative:1e-9' now"),
        ("ablate", "interactions.baseline=zero", "interactions.baseline was 'mean'"),
        ("report", "ablate.metric=cross_entropy", "ablate.metric was 'accuracy'"),
        ("report", "trace.dtype=float64", "trace.dtype was None and is 'float64' now"),
        ("export", "fit.method=pca", "fit.method was 'lib'"),
        ("compare", "ablate.max_drop=0.1", "ablate.max_drop was 0.2"),
        ("compare", "compare.confidence=0.9", "compare.confidence was 0.95"),
        ("sensitivity", "sensitivity.shares=[0.25]", "sensitivity.shares was [0.5]"),
        ("sensitivity", "fit.moments.relative_error=0.5", "fit.moments was 'auto'"),
    ],
)
def test_other_settings_are_named(run, command, verb, change, named):
    refused(command(*VERBS[verb], "--set", change), "was made with other settings", named)


FREELY = [
    "data.batch_size=7", "trace.device=cpu", "fit.memory=2000000", "fit.spill=.", "fit.progress=false",
    "interactions.memory=2000000", "interactions.progress=false", "ablate.memory=2000000", "ablate.progress=false",
    "report.lang=ja", "report.title=Mine", "report.question=Why?", "report.path=page.html",
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_settings_that_decide_nothing_change_nothing(run, command, verb):
    kept = ["only-fitted/basis", "libasis-run/graph", "libasis-run/cards", "compared/compare/model/lib"]
    before = {path: written(path) for path in kept}
    ok(command(*VERBS[verb], *(part for change in FREELY for part in ("--set", change))))
    assert {path: written(path) for path in kept} == before


def test_every_setting_decides_something_or_is_free():
    shown = SECTIONS.keys() - {"run", "practice"}  # how a command runs, and a plan that is made anew each time
    everything = {f"{name}.{key}" for name in shown for key in SECTIONS[name].model_fields}
    config = parse_config({"model": {"source": "m:f"}, "data": {"source": "d:f"}})
    decides = {key for stage in STAGES for key in deciding(stage, config)}
    assert everything | {"sites", "hypotheses"} == decides | FREE
    both = {"ablate.nodes", "ablate.edges"}  # what is compared has both in one result
    assert decides & FREE == both | {"data.time", "data.unit"}  # which stand beside the samples of cards alone
    assert set(Config.model_fields) - set(SECTIONS) == {"sites", "output", "hypotheses"}


@pytest.mark.parametrize("stage", ["nodes", "edges"])
def test_each_ablation_depends_on_its_own_settings(stage):
    config = parse_config({"model": {"source": "m:f"}, "data": {"source": "d:f"}})
    keys = {key for key in deciding(stage, config) if key.startswith("ablate.")}
    own = {
        "nodes": {"ablate.sites", "ablate.schedule", "ablate.replacement", "ablate.where", "ablate.seed"},
        "edges": {"ablate.sections", "ablate.search", "ablate.stable"},
    }
    assert keys == {"ablate.metric", "ablate.max_drop"} | own[stage]


def test_a_page_never_joins_a_graph_with_ablations_of_another(run, command):
    change_a_cell(run)
    ok(command("graph", "--force"))
    for cards in ("true", "false"):
        refused(command("report", "--set", f"report.cards={cards}"), "another graph", "libasis ablate --force")
    ok(command("ablate", "--force"))
    ok(command("report"))


def test_without_cards_only_what_is_saved_is_read(run, command):
    for gone in ("train.csv", "test.csv", "weights.safetensors"):
        (run / gone).unlink()
    ok(command("report", "--set", "report.cards=false"))
    ok(command("export", "--to", "graph.csv"))
    refused(command("export", "--to", "graph.csv", "--set", "fit.method=pca"), "fit.method was 'lib'")


def test_force_replaces_what_was_made_of_something_else(run, command):
    change_weights(run)
    for verb in ("graph", "compare", "sensitivity"):
        ok(command(*VERBS[verb], "--force"))
        refused(command(*VERBS[verb]), "already exists") if verb == "graph" else ok(command(*VERBS[verb]))


def test_results_carry_what_they_were_made_of(run):
    graph = libasis.load("libasis-run/graph")
    of = graph.info["made_of"]
    known = {key: graph.info["data"][key] for key in ("samples", "digest", "order")}
    assert {key: of["data"]["training data of data.source"][key] for key in known} == known
    assert of["weights"].startswith(graph.info["traced"]["fingerprint"])
    assert of["settings"]["fit.method"] == "lib"


def test_a_difference_is_one_phrase():
    facts = {"samples": 3, "digest": "ab" * 32, "order": "cd" * 32}
    now = MadeOf({"a.b": 1}, {"data of x": facts}, "ef" * 32, {"graph": "01" * 32})
    assert now.difference(now.to_plain()) is None
    assert MadeOf({"a.b": 1}).difference(now.to_plain()) is None
    assert "a.b was 2 and is 1 now" in str(now.difference({**now.to_plain(), "settings": {"a.b": 2}}))
    assert "data of x changed since" in str(now.difference({**now.to_plain(), "data": {}}))
    assert "another order" in str(
        now.difference({**now.to_plain(), "data": {"data of x": {**facts, "order": "ff" * 32}}})
    )
    assert "other weights" in str(now.difference({**now.to_plain(), "weights": None}))
    assert "another graph" in str(now.difference({**now.to_plain(), "results": {}}))
    for nothing in (None, "text", {}, {"settings": 3}):
        assert "does not say" in str(now.difference(nothing))


SHUFFLED = """
import random
import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

def data():
    x = torch.randn(24, 3)
    return DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), batch_size=8, shuffle=True)
"""


def test_a_loader_that_shuffles_gives_the_same_in_every_command(run, command):
    """Where it draws from the global generators, without a seed of its own."""
    (run / "user_shuffled.py").write_text(SHUFFLED)
    own = ["--set", "data.source=user_shuffled:data", "--set", "output=shuffled"]
    plain = (run / "libasis.toml").read_text().replace('test_source = "test.csv"\ntarget = "y"\n', "")
    (run / "libasis.toml").write_text(plain)
    ok(command("fit", *own))
    for verb in ("graph", "ablate", "report"):
        torch.randn(3)  # another random state than that of the command before
        ok(command(verb, *own))
