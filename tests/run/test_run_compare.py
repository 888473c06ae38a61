"""`libasis compare` and `libasis sensitivity`: files, resuming, seeds, missing data."""

import csv
import json
import shutil

import pytest
import torch

from libasis.errors import LibasisError
from libasis.run import cli
from libasis.run.compare import run_comparison, with_seed
from libasis.run.config import parse_config, read_config
from libasis.run.errors import ConfigError, MissingDataError, RunError, SourceError
from libasis.run.opened import first
from libasis.run.sensitivity import run_sensitivity

SEEDED = """
from libasis.run.errors import MissingDataError
from {code} import Tiny, torch

CALLS = []

def model(seed, width=1):
    CALLS.append(("model", seed, width))
    torch.manual_seed(seed)
    return Tiny().eval()

def data(seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 3, generator=generator)
    with torch.no_grad():
        y = model(seed)(x).argmax(-1)
    return [(x[:20], y[:20])], [(x[20:], y[20:])]

def missing(seed=0):
    raise MissingDataError("There is no folder of images; set data.arguments.folder.")

def about(traced, basis):
    return {{"kept": basis[0].k}}
"""


@pytest.fixture
def experiment(code, folder):
    """A settings file with two seeds."""
    name = f"seeded_{code}"
    (folder / f"{name}.py").write_text(SEEDED.format(code=code))
    text = f"""
sites = ["fc1:in", "fc2:in", "output"]
[model]
source = "{name}:model"
[data]
source = "{name}:data"
[ablate]
max_drop = 0.1
[compare]
methods = ["lib", "pca"]
controls = ["random"]
seeds = [3, 5]
replicates = 20
describe = "{name}:about"
title = "Tiny"
[sensitivity]
factors = [1.0, 10.0]
shares = [0.5]
seeds = [1]
"""
    (folder / "exp.toml").write_text(text)
    return folder / "exp.toml"


def calls(experiment):
    import importlib

    module = next(line.split('"')[1].split(":")[0] for line in experiment.read_text().splitlines() if "source" in line)
    return importlib.import_module(module).CALLS


def test_results_tables_and_figures_are_written(experiment, folder):
    pytest.importorskip("matplotlib")
    told = []
    summary = run_comparison(read_config(experiment), out=folder / "out", say=told.append)
    files = {p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*") if p.is_file()}
    assert files == {
        *(f"compare/seed-3/{m}/manifest.json" for m in ("lib", "pca", "random")),
        *(f"compare/seed-5/{m}/manifest.json" for m in ("lib", "pca")),
        "compare.json", "edges.csv", "features.csv",
        "figures/edges.svg", "figures/nodes.svg", "figures/recovered.svg",
    }  # fmt: skip
    assert json.loads((folder / "out/compare.json").read_text())["edges"] == summary["edges"]
    with (folder / "out/edges.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["section"], r["method"], r["models"]) for r in rows] == [
        (s, m, n) for s in ("fc1:in", "fc2:in") for m, n in (("lib", "2"), ("pca", "2"), ("random", "1"))
    ]
    assert rows[0]["mean"] == str(summary["edges"][0]["mean"])
    assert summary["labels"]["seed-5"]["pca"]["kept"] >= 1
    assert [line.split(":")[0] for line in told] == ["seed-3, lib", "seed-3, pca", "seed-3, random", *(
        f"seed-5, {m}" for m in ("lib", "pca")
    )]  # fmt: skip


def test_each_seed_has_its_model_and_data(experiment, folder):
    run_comparison(read_config(experiment, ["model.arguments.width=2"]), out=folder / "out")
    assert ("model", 3, 2) in calls(experiment)
    assert ("model", 5, 2) in calls(experiment)


def test_what_is_there_is_not_computed_again(experiment, folder):
    config = read_config(experiment)
    first = run_comparison(config, out=folder / "out")
    shutil.rmtree(folder / "out/compare/seed-5/pca")
    told = []
    again = run_comparison(config, out=folder / "out", say=told.append)
    assert [line.split(":")[0] for line in told] == ["seed-5, pca"]
    assert again["edges"] == first["edges"]
    told.clear()
    more = read_config(experiment, ['compare.methods=["lib"]', "compare.controls=[]", "report.lang=ja"])
    assert len(run_comparison(more, out=folder / "out", say=told.append)["edges"]) == 2
    assert told == []


def test_results_of_other_settings_are_refused_and_replaced_by_force(experiment, folder):
    run_comparison(read_config(experiment), out=folder / "out")
    other = read_config(experiment, ["ablate.max_drop=0.3"])
    with pytest.raises(RunError, match=r"ablate.max_drop was 0.1 and is 0.3"):
        run_comparison(other, out=folder / "out")
    assert run_comparison(other, out=folder / "out", force=True)["max_drop"] == 0.3


def test_a_broken_file_is_no_result(experiment, folder):
    run_comparison(read_config(experiment), out=folder / "out")
    file = folder / "out/compare/seed-3/lib/manifest.json"
    file.write_text(file.read_text().replace("1", "2"))  # a digit is another one
    with pytest.raises(RunError, match="cannot be read"):
        run_comparison(read_config(experiment), out=folder / "out")


def test_sensitivity_is_written_and_read_again(experiment, folder):
    pytest.importorskip("matplotlib")
    config = read_config(experiment)
    first = run_sensitivity(config, out=folder / "out")
    assert {(r["varied"], r["value"]) for r in first["rows"]} == {
        ("threshold", 1), ("threshold", 10), ("samples", 0.5), ("seed", 1)
    }  # fmt: skip
    assert (folder / "out/figures/sensitivity.svg").read_text().startswith("<?xml")
    told = []
    assert run_sensitivity(config, out=folder / "out", say=told.append)["rows"] == first["rows"]
    assert told == []
    with pytest.raises(RunError, match="sensitivity.shares"):
        run_sensitivity(read_config(experiment, ["sensitivity.shares=[1]"]), out=folder / "out")


def test_the_commands_print_tables_or_json(experiment, folder, capfd):
    assert cli.run(["compare", str(experiment), "--out", "out"]) == 0
    out = capfd.readouterr().out
    assert "Tiny: edges required (stable)" in out
    assert "fc2:in" in out
    assert cli.run(["compare", str(experiment), "--out", "out", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["experiments"][0]["edges"][0]["method"] == "lib"
    assert cli.run(["sensitivity", str(experiment), "--out", "out"]) == 0
    assert "threshold" in capfd.readouterr().out


def test_missing_data_is_passed_over_among_others_only(experiment, folder, capfd):
    absent = folder / "absent.toml"
    absent.write_text(experiment.read_text().replace(":data", ":missing"))
    assert cli.run(["compare", str(absent), "--out", "out"]) == 2
    assert "There is no folder of images" in capfd.readouterr().err
    assert cli.run(["compare", str(absent), str(experiment), "--out", "both", "--json"]) == 0
    skipped, done = json.loads(capfd.readouterr().out)["experiments"]
    assert "There is no folder of images" in skipped["skipped"]
    assert done["folder"] == "both/exp"
    assert (folder / "both/exp/compare.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('compare.methods=["ica"]', "compare.methods is"),
        ("compare.replicates=0", "compare.replicates is 0"),
        ("compare.methdos=[]", "did you mean 'methods'"),
        ("model.arguments=3", "a table of keyword arguments"),
        ("sensitivity.factors=[]", "sensitivity.factors is"),
    ],
)
def test_wrong_settings_are_refused(experiment, change, message):
    with pytest.raises(ConfigError) as caught:
        read_config(experiment, [change])
    assert message in str(caught.value)


def test_arguments_belong_to_factories():
    config = parse_config({"model": {"source": "m:f"}, "data": {"source": "x.csv", "arguments": {"a": 1}}})
    from libasis.run.data import open_data
    from libasis.run.models import open_model

    with pytest.raises(SourceError, match=r"data.arguments is given, but 'x.csv' cannot use it"):
        open_data(config)
    with pytest.raises(SourceError, match="model.arguments is given"):
        open_model("model.pt2", {"a": 1})


def test_arguments_survive_the_settings_file(folder):
    config = parse_config({"model": {"source": "m:f", "arguments": {"a b": "x", "n": 2}}, "data": {"source": "m:g"}})
    (folder / "saved.toml").write_text(config.to_toml())
    assert read_config(folder / "saved.toml") == config
    assert with_seed(config, 4).model.arguments == {"a b": "x", "n": 2, "seed": 4}
    assert "seed" not in config.model.arguments


def test_so_many_samples_are_taken():
    x = torch.arange(10)
    batches = [((x[:4], x[:4]), x[:4]), ((x[4:8], x[4:8]), x[4:8]), ((x[8:], x[8:]), x[8:])]
    assert [len(b[1]) for b in first(batches, 6)] == [4, 2]
    assert first(batches, 6)[1][0][0].tolist() == [4, 5]
    assert [len(b[1]) for b in first(batches, 8)] == [4, 4]
    assert [len(b[1]) for b in first(batches, 99)] == [4, 4, 2]
    assert first(batches, None) is batches


def test_missing_data_is_an_error_of_libasis():
    assert issubclass(MissingDataError, LibasisError)
