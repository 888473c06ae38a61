"""Hypotheses in the settings, and the verbs explore, plan and verify."""

import json
import tomllib

import pytest
import torch

import libasis
from libasis.run import verification
from libasis.run.config import parse_config, read_config
from libasis.run.pipeline import fit

CLAIMS = """
[[hypotheses]]
name = "first"
site = "fc2:in"
features = [0]
direction = "decrease"
delta = 0.2
[[hypotheses]]
site = "fc1:in"
features = [[0], [1]]
metric = "output[1]"
[verify]
controls = 39
"""


@pytest.fixture
def begun(settings):
    """Settings with hypotheses, and a basis."""
    settings.write_text(settings.read_text() + CLAIMS)
    fit(read_config(settings))
    return settings


def test_explore_plan_verify(begun, command, folder):
    output = folder / "libasis-run"
    assert command("plan", begun, "--set", "hypotheses=[]")[::2] == (
        2,
        "The settings have no [[hypotheses]]; write at least one, with site and features.\n",
    )
    assert command("verify", begun)[2] == "libasis-run/plan.json does not exist; run libasis plan first.\n"
    code, out, _ = command("explore", begun, "--json")
    assert code == 0
    assert {row["site"] for row in json.loads(out)["rows"]} == {"fc1:in", "fc2:in"}  # not the output
    code, out, _ = command("plan", begun)
    assert code == 0
    assert "first: decrease, delta 0.2" in out
    code, out, _ = command("verify", begun, "--json")
    assert code == 0
    told, saved = json.loads(out), libasis.load(output / "verification")
    assert told["verdicts"] == saved.verdicts
    assert told["rows"][0]["p"] == saved.rows()[0]["p"]
    assert command("verify", begun)[2].startswith("libasis-run/verification already exists; give --force")
    code, out, _ = command("verify", begun, "--force")
    assert "run 2 on the same data" in out
    assert libasis.load(output / "verification").repeat == 2

    explored, plan = libasis.load(output / "exploration"), libasis.load(output / "plan.json")
    assert [run["run"] for run in plan.ledger] == [1, 2]
    assert plan.explored == (explored.seen,)
    assert explored.info["data"]["samples"] + saved.info["data"]["samples"] == 20
    text = (output / "plan.json").read_text()
    (output / "plan.json").write_text(text.replace('"delta": 0.2', '"delta": 0.1'))
    assert "its checksum is wrong" in command("verify", begun, "--force")[2]


def test_python_gives_the_same_numbers(begun):
    config = read_config(begun)
    verification.run_plan(config)
    found = verification.run_verify(config)
    opened = verification.Opened(config)
    _, confirm = verification._parts(opened)
    basis = libasis.load(begun.parent / "libasis-run/basis")
    again = libasis.verify(opened.traced, basis, confirm, libasis.load(begun.parent / "libasis-run/plan.json"))
    assert again.repeat == 2
    assert again.to_dataframe().drop(columns="repeat").equals(found.to_dataframe().drop(columns="repeat"))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"hypotheses": [{"site": "fc2:in", "featurs": [1]}]}, "unknown key 'featurs' in [hypotheses] (did you mean"),
        (
            {"hypotheses": [{"site": "fc2:in", "delta": -1.0}]},
            "hypotheses.delta is -1.0, but it must be a number above",
        ),
        ({"hypotheses": [{"features": [1]}]}, "lacks the key 'hypotheses.site'; it must be the name of a site"),
        ({"verify": {"alpha": 2.0}}, "verify.alpha is 2.0, but it must be a number between 0 and 1"),
    ],
)
def test_what_is_wrong_in_the_settings_is_told(change, told):
    with pytest.raises(libasis.LibasisError) as error:
        parse_config({"model": {"source": "m:f"}, "data": {"source": "d:f"}, **change})
    assert told in str(error.value)


def test_settings_are_written_and_read_again():
    given = {"hypotheses": [{"site": "a", "features": [[1, 2], [3]], "metric": "output[1]"}], "verify": {"units": "u"}}
    config = parse_config({"model": {"source": "m:f"}, "data": {"source": "d:f"}, **given})
    assert parse_config(tomllib.loads(config.to_toml())) == config


def test_units_are_a_column_of_the_table(code, folder):
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(3))
    rows = [f"{a:.4f},{b:.4f},{c:.4f},p{i // 5},{i % 2}" for i, (a, b, c) in enumerate(x.tolist())]
    (folder / "data.csv").write_text("\n".join(["a,b,c,patient,y", *rows]))
    settings = {
        "sites": ["fc1:in", "fc2:in", "output"],
        "model": {"source": f"{code}:model"},
        "data": {"source": "data.csv", "columns": ["a", "b", "c"], "target": "y", "test_fraction": 0.5},
        "hypotheses": [{"site": "fc2:in", "features": [0], "name": "one"}],
        "verify": {"units": "patient", "controls": 39, "explore_share": 0.3},
    }
    config = parse_config(settings)
    fit(config)
    plan = verification.run_plan(config)
    found = verification.run_verify(config)
    assert plan.clustered
    assert 2 <= found["one"].kinds[0].effect.units <= 12
    assert any("units are also among the data of the fit" in note for note in found.notes)
