"""`libasis ab design`, `ab analyse`, `effect`, `value` and `practice`, from files as people have them."""

import json

import numpy as np
import pytest

from libasis.causal import CausalEffect
from libasis.practice import ABDesign, ABOutcome, PracticePlan, ValueEstimate
from run.answers import facts, ok, refused

RATE = "conversion,baseline=0.05,effect=10%"


@pytest.fixture
def groups(folder):
    draw = np.random.default_rng(0)
    for name, rate in (("before", 0.2), ("after", 0.28)):
        rows = [f"{int(draw.random() < rate)};{wait:.2f};2026-11-{1 + i // 100:02d}".replace(".", ",")
                for i, wait in enumerate(draw.gamma(4, 5, 1500))]  # fmt: skip
        (folder / f"{name}.csv").write_text("\n".join(["gekauft;Länge;Tag", *rows]), "cp1252")
    return folder


def test_help_has_an_example(command):
    for verb in (("ab", "design"), ("ab", "analyse"), ("effect",), ("value",), ("practice",)):
        assert f"Example: libasis {' '.join(verb)}" in ok(command(*verb, "--help"))
    for verb in ("design", "analyse"):
        assert verb in ok(command("ab", "--help"))


def test_a_design(command, folder):
    guard = ("--guardrail", "latency,baseline=200,sd=80,margin=2%,better=lower")
    out = ok(command("ab", "design", "--success", RATE, *guard, "--traffic", 5000, "--out", "design"))
    assert "units in the control group" in out
    assert "latency not worse than the margin" in out
    assert ABDesign.load("design").traffic == 5000
    found = facts(command("ab", "design", "--success", RATE, "--json"))
    assert found["command"] == "ab design"
    assert found["rows"][0]["control"] == 31234
    assert facts(command("ab", "design", "--success", RATE.replace("0.05", "5%"), "--json"))["rows"] == found["rows"]
    refused(command("ab", "design", "--success", "conversion,baseline=5%,effect=1"), "from 0.05 to 1.05", "0 and 1")


def test_two_files_are_read(command, groups):
    arguments = ("ab", "analyse", "before.csv", "after.csv", "--success", "gekauft", "--time", "Tag")
    out = ok(command(*arguments, "--guardrail", "Länge,margin=3,better=lower", "--out", "outcome"))
    assert "Verdict: win." in out
    assert ABOutcome.load("outcome").verdict == "win"
    found = facts(command(*arguments, "--json"))
    assert found["verdict"] == "win"
    assert len(found["looks"]) == 15


def test_a_design_is_taken_from_its_folder(command, groups):
    ok(
        command(
            "ab", "design", "--success", "gekauft,baseline=0.2,effect=0.05", "--analysis", "fixed", "--out", "design"
        )
    )
    out = ok(command("ab", "analyse", "before.csv", "after.csv", "--design", "design"))
    assert "delta 0.05" in out
    assert "one look that was planned" in out


def test_bad_input_of_ab_is_one_sentence(command, groups):
    refused(command("ab", "design"), "success is empty")
    refused(command("ab", "analyse", "before.csv", "after.csv"), "success is not given", "'gekauft', 'Länge', 'Tag'")
    refused(command("ab", "design", "--success", "a,basline=1"), "did you mean 'baseline'?")
    refused(command("ab", "design", "--success", RATE, "--analysis", "weekly"), "'fixed' or 'always-valid'")
    refused(command("ab", "analyse", "before.csv", "after.csv", "--success", "gekauft", "--delta", 1), "it is a rate")
    refused(command("ab", "analyse", "gone.csv", "after.csv", "--success", "gekauft"), "gone.csv")
    refused(command("ab", "analyse", "before.csv", "after.csv", "--success", "bought"), "no column 'bought'")
    refused(command("ab", "analyse", "before.csv", "after.csv", "--success", "Tag"), "no number")
    refused(command("ab", "analyse", "before.csv", "--success", "gekauft", "--json"), "Give two sources")
    lines = (groups / "after.csv").read_text("cp1252").split("\n")
    (groups / "after.csv").write_text("\n".join(lines[:1000]), "cp1252")
    refused(command("ab", "analyse", "before.csv", "after.csv", "--success", "gekauft"), "chi-square", "find the cause")


def test_a_plan_from_settings_and_results(command, groups):
    ok(command("ab", "analyse", "before.csv", "after.csv", "--success", "gekauft", "--out", "outcome"))
    (groups / "my.toml").write_text(
        """
[practice]
change = "New limit"
rows_per_day = 480
events_per_day = 2
results = ["outcome"]
owners = { shadow = "Night shift" }
success = [{ name = "scrap", baseline = 0.04, effect = 0.01, better = "lower" }]
guardrails = [{ name = "cycle", baseline = 60, sd = 8, margin = 1, better = "lower" }]
traffic = 480
value = { events = [100, 180, 250], avoided = [0.2, 0.5, 0.7], saving = 1200 }
unit = "EUR"
""",
        "utf-8",
    )
    out = ok(command("practice", "my.toml"))
    for part in ("New limit", "Night shift", "scrap is better", "EUR", "verdict: win", "plan.html"):
        assert part in out
    assert "夜勤" not in out
    assert "比較試験" in (groups / "libasis-practice/plan.ja.md").read_text("utf-8")
    assert PracticePlan.load("libasis-practice/plan").value is not None
    refused(command("practice", "my.toml"), "--force")
    found = facts(command("practice", "my.toml", "--force", "--json", "--set", "practice.rows_per_day=10"))
    assert found["info"]["rates"]["rows_per_day"] == 10
    assert json.dumps(found)
    japanese = ok(command("practice", "--result", "outcome", "--lang", "ja", "--out", "other"))
    assert "検証結果を運用につなげる計画" in japanese


def test_bad_settings_of_a_plan_are_one_sentence(command, groups):
    refused(command("practice", "gone.toml"), "no settings file 'gone.toml'")
    refused(command("practice", "--result", "gone"), "gone")
    refused(command("practice", "--set", "practice.rows_a_day=3"), "did you mean 'rows_per_day'?")
    refused(command("practice", "--set", "practice.rows_per_day=-3"), "a number above 0")
    refused(command("practice", "--set", "practice.success=[{nmae='a'}]"), "did you mean 'name'?")
    refused(command("practice", "--set", "practice.success=[{baseline=1}]"), "has no name")
    refused(command("practice", "--set", "practice.value={events=[3,1]}"), "not in the order")
    refused(command("practice", "--lang", "de"), '"en" or "ja"')
    assert not (groups / "libasis-practice/plan.html").exists()


@pytest.fixture
def records(folder):
    draw = np.random.default_rng(3)
    load, night = draw.normal(size=600), draw.random(600) < 0.5
    new = (draw.random(600) < 1 / (1 + np.exp(-load))).astype(int)
    scrap = 5 + 2 * load + 1.5 * night - 1.0 * new + draw.normal(size=600)
    rows = [f"{t};{s:.4f};{x:.4f};{'night' if n else 'day'};{i // 4}".replace(".", ",")
            for i, (t, s, x, n) in enumerate(zip(new, scrap, load, night, strict=True))]  # fmt: skip
    (folder / "records.csv").write_text("\n".join(["new_valve;scrap;load;shift;batch", *rows]), "utf-8")
    return folder


def test_an_effect_in_observed_data(command, records):
    arguments = ("effect", "records.csv", "--treatment", "new_valve", "--outcome", "scrap", "--adjust", "load,shift")
    out = ok(command(*arguments, "--units", "batch", "--out", "effect", "--page", "effect.html", "--lang", "ja"))
    assert "new_valve on scrap, from 0 to 1: -" in out
    found = CausalEffect.load("effect")
    assert found.main.low < -1 < found.main.high < 0
    assert found.units_used == 150
    assert 'lang="ja"' in (records / "effect.html").read_text("utf-8")[:200]
    assert facts(command(*arguments, "--json"))["survives"] is True
    refused(command("effect", "records.csv", "--treatment", "valve", "--outcome", "scrap"), "'valve'")
    refused(command("effect", "records.csv", "--treatment", "shift", "--outcome", "scrap"), "turn it into numbers")
    refused(command("effect", "gone.csv", "--treatment", "a", "--outcome", "b"), "no such file")


def test_a_value_with_its_range(command, folder):
    ranges = ("events=100,180,250", "avoided=20%,50%,70%", "saving=1200", "once=20000,40000")
    out = ok(command("value", *ranges, "--unit", "EUR", "--out", "worth", "--page", "worth.html"))
    assert "Net value:" in out
    assert "EUR" in out
    found = ValueEstimate.load("worth")
    assert {one.name: one.likely for one in found.inputs}["avoided"] == 0.5
    assert "worth.html" in out
    refused(command("value", "events=many"), "'events=many' is no number of its own")
    for given in ("saving=1,200", "once=20,500", "events=1,000", "events=50,120,300", "events=1,200,1,500"):
        refused(command("value", given), f"{given!r} may be a range", "as 1200", "as 1..200")
    dots = ("events=100..180..250", "avoided=20%..50%..70%", "saving=1200", "once=20000..40000")
    assert facts(command("value", *dots, "--json"))["rows"] == found.rows()
    refused(command("value", *ranges[:1], "avoided=150%", "saving=1200"), "'avoided' is 1.5 (150%)")
    refused(command("value", *ranges, "tax=3"), "'tax', which the formula")
    refused(command("value", "a=1", "a=2", "--formula", "a"), "write each once")
