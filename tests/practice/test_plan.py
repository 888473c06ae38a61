"""The staged plan: filled from results, in two languages, with caveats, and nothing that only we understand."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import libasis
from libasis.causal import effect
from libasis.errors import OptionError, StoreError
from libasis.numerics import paired
from libasis.practice import ABMetric, PracticePlan, ab_analyse, ab_design, practice_plan, value
from libasis.practice.stages import needed
from libasis.verify.verification import Hypothesis, KindResult, Outcome, Verification

INNER = re.compile(r"logit|\bbas[ie]s\b|PCA|eigen|\brank\b|Jacobian|基底|固有", re.IGNORECASE)


class Alarm(torch.nn.Module):
    """Looks at the third column alone."""

    def forward(self, x):
        score = 3 * (x[:, 2] - 2)
        return torch.stack([-score, score], 1)


@pytest.fixture(scope="module")
def diagnosis():
    draw = np.random.default_rng(0)
    normal, fault = draw.normal(size=(200, 3)), draw.normal(size=(150, 3))
    fault[:, 2] += 4
    return libasis.diagnose(Alarm().eval(), normal, fault, columns=["flow", "temp", "valve"])


def verified(**verdicts):
    """A verification with one measured kind for each hypothesis."""
    estimate = paired([-0.2, -0.1, -0.3, -0.25, -0.15] * 12)
    kind = KindResult("mean", estimate, (estimate.low, estimate.high), 0.001, 1.0, 0.001, 999, None)
    outcomes = [
        Outcome(
            Hypothesis("fc:in", [0], name=name),
            verdict,
            0.001,
            True,
            "",
            900 if verdict == "undecided" else None,
            0.9,
            (kind,),
        )
        for name, verdict in verdicts.items()
    ]
    return Verification(tuple(outcomes), 0.05)


def lines(plan, lang="en"):
    return plan.text(lang)


def test_a_diagnosis_fills_the_plan(diagnosis):
    plan = practice_plan(diagnosis, change="Limit the valve", rows_per_day=480, events_per_day=0.5)
    assert [one.status for one in plan.stages] == ["done", "next", "open", "open", "open"]
    text = lines(plan)
    assert "valve" in text
    assert "on normal rows" in text
    assert "model’s alarm" in text
    assert "At most 4.8 false alarms a day (1% of 480)" in text
    assert plan.stages[2].days == 63
    assert [row["stage"] for row in plan.rows()][0] == "The finding by itself"


def test_both_languages_say_the_same_and_nothing_of_the_inside(diagnosis):
    results = [diagnosis, ab_design(ABMetric("scrap", baseline=0.04, effect=0.01, better="lower"), traffic=480)]
    results.append(value({"events": (100, 250), "avoided": (0.2, 0.7), "saving": 1200}, unit="EUR"))
    plan = practice_plan(results, change="X")
    english, japanese = lines(plan), lines(plan, "ja")
    assert english.count("\n") == japanese.count("\n")
    numbers = [sorted(re.findall(r"\d[\d,.]*\d|\d", text)) for text in (english, japanese)]
    assert set(numbers[0]) == set(numbers[1])
    for text in (english, japanese):
        assert not INNER.search(text)
        assert "{" not in text
    assert not re.search(r"[a-z]{3,}", re.sub(r"libasis|practice|valve|scrap|EUR|events_per_day", "", japanese))
    with pytest.raises(OptionError, match="lang is"):
        plan.text("de")


def test_the_words_have_the_same_keys_and_blanks():
    file = Path(libasis.__file__).parent / "practice/sentences.toml"
    words = tomllib.loads(file.read_text(encoding="utf-8"))
    assert list(words["en"]) == list(words["ja"])
    for key, text in words["en"].items():
        assert set(re.findall(r"{(\w+)}", text)) == set(re.findall(r"{(\w+)}", words["ja"][key])), key


def test_every_point_for_the_meeting_has_its_caveat(diagnosis):
    draw = np.random.default_rng(0)
    z = draw.standard_normal(400)
    t = (draw.random(400) < 1 / (1 + np.exp(-z))).astype(float)
    observed = effect({"t": t, "y": 2 * t + z + draw.standard_normal(400), "z": z}, "t", "y", ["z"], repeats=20)
    arm = draw.permutation(3000) % 2
    test = ab_analyse({"arm": arm, "y": (draw.random(3000) < 0.1 + 0.1 * arm).astype(int)}, success="y", arm="arm")
    worth = value({"events": (10, 20), "avoided": 0.5, "saving": 10})
    plan = practice_plan([diagnosis, observed, test, worth])
    points = lines(plan).partition("## For the meeting")[2].strip().split("\n")
    assert len(points) == len(plan.talking) >= 5
    for point in points:
        assert " But: " in point
    joined = "\n".join(points)
    assert "not measured" in joined
    assert "weeks that were tested" in joined
    assert "numbers we put in" in joined
    assert [one.status for one in plan.stages] == ["done", "done", "done", "done", "next"]


def test_nothing_verified_stops_the_plan():
    draw = np.random.default_rng(0)
    same = libasis.diagnose(Alarm().eval(), draw.normal(size=(100, 3)), draw.normal(size=(80, 3)))
    plan = practice_plan(same)
    assert [one.status for one in plan.stages] == ["stop", "open", "open", "open", "open"]
    assert "none was shown to carry the alarm" in lines(plan)
    assert "not proof that none does" in lines(plan)
    assert practice_plan().stages[0].status == "next"
    assert "begin with libasis diagnose" in lines(practice_plan())


def test_a_verification_fills_it_too():
    plan = practice_plan(verified(AB="supported", C="undecided"))
    text = lines(plan)
    assert "AB: supported, -0.2 [" in text
    assert "on 60 units" in text
    assert "About 900 units would decide on C" in text
    assert plan.stages[0].status == "done"
    assert practice_plan(verified(A="opposite")).stages[0].status == "stop"


def test_a_comparison_that_harmed_stops_there():
    draw = np.random.default_rng(0)
    arm = draw.permutation(3000) % 2
    worse = ab_analyse({"arm": arm, "y": (draw.random(3000) < 0.3 - 0.1 * arm).astype(int)}, success="y", arm="arm")
    assert {one.key: one.status for one in practice_plan(worse).stages}["ab"] == "stop"


@pytest.mark.parametrize(("share", "misses", "known"), [(0.01, 0, 299), (0.1, 0, 29), (0.1, 1, 46), (0.05, 0, 59)])
def test_how_many_cases_show_a_share(share, misses, known):
    assert needed(share, misses) == known  # tables of acceptance sampling, 95%


def test_it_is_saved_and_written(diagnosis, tmp_path):
    plan = practice_plan([diagnosis, value({"events": (1, 2), "avoided": 1, "saving": 5})], owners={"ab": "A. Owner"})
    plan.save(tmp_path / "plan")
    again = libasis.load(tmp_path / "plan")
    assert isinstance(again, PracticePlan)
    assert again.text("ja") == plan.text("ja")
    assert "A. Owner" in plan.text()
    page = plan.to_html(tmp_path / "plan.html", "ja")
    assert page.read_text("utf-8") == again.to_html(tmp_path / "again.html", "ja").read_text("utf-8")
    html = page.read_text("utf-8")
    assert '<html lang="ja">' in html
    assert "並行稼働" in html
    assert "Running beside" in html
    plan.to_markdown(tmp_path / "plan.md")
    plan.to_markdown(tmp_path / "plan.md", "ja")
    (tmp_path / "mine.md").write_text("mine", "utf-8")
    with pytest.raises(StoreError, match="not written by libasis"):
        plan.to_markdown(tmp_path / "mine.md")


def test_text_of_the_user_is_no_markup(tmp_path):
    page = practice_plan(change="<script>alert(1)</script>").to_html(tmp_path / "plan.html")
    assert "<script>alert" not in page.read_text("utf-8")


@pytest.mark.parametrize(
    ("results", "options", "match"),
    [
        ((), {"rows_per_day": 0.0}, "rows_per_day is 0"),
        ((), {"events_per_day": -1.0}, "events_per_day is -1"),
        ((), {"false_alarms": 1.0}, "false_alarms is 1"),
        ((), {"owners": {"shadwo": "me"}}, "did you mean 'shadow'"),
        ([3], {}, "cannot be made of 'int'"),
        (["folder"], {}, "cannot be made of 'str'"),
    ],
)
def test_bad_input_is_one_sentence(results, options, match):
    with pytest.raises(OptionError, match=match):
        practice_plan(results, **options)
