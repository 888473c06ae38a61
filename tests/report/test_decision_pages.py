"""Pages of an A/B test, of an effect from observed data and of a value: both languages, every sentence translated."""

import re

import numpy as np
import pytest

import libasis
from libasis.report import MARK
from libasis.run import cli

pytest.importorskip("statsmodels")
pandas = pytest.importorskip("pandas")
RNG = np.random.default_rng


def design():
    guard = libasis.practice.ABMetric(name="latency", baseline=200, sd=80, margin="2%", better="lower")
    wins = [libasis.practice.ABMetric(name=name, baseline=0.05, effect="10%") for name in ("<b>bought", "kept")]
    return libasis.practice.ab_design(wins, [guard], traffic=500, analysis="always-valid")


def outcome(path):
    rng = RNG(0)
    for name, rate in (("before", 0.1), ("after", 0.3)):
        days, bought, wait = rng.integers(1, 4, 400), rng.random(400) < rate, rng.normal(100, 30, 400)
        lines = [f"{int(b)},{w:.3f},{d}" for b, w, d in zip(bought, wait, days, strict=True)]
        (path / f"{name}.csv").write_text("\n".join(["bought,wait,day", *lines]) + "\n")


def observed():
    rng = RNG(1)
    load = rng.normal(size=300)
    valve = (rng.random(300) < 1 / (1 + np.exp(-2 * load))).astype(int)
    scrap = 5 + load - valve + rng.normal(size=300)
    table = pandas.DataFrame({"valve": valve, "load": load, "scrap": scrap, "earlier": rng.normal(size=300)})
    return libasis.causal.effect(table, "valve", "scrap", ["load"], negative_controls=["earlier"], repeats=20)


def value():
    given = {"events": (100, 180, 250), "avoided": (-0.1, 0.2, 0.7), "saving": 1200, "once": (20000, 40000)}
    return libasis.practice.value(given, unit="EUR")


def in_japanese(page):
    """All text that is shown in Japanese."""
    return re.sub(r"<[^>]+>", " ", " ".join(re.findall(r'<(?:div|span) class="in-ja" lang="ja">(.*?)(?=<(?:div|span) class="in-en"|</main>)', page, re.S)))  # fmt: skip  # noqa: E501


def written(result, path, lang="ja"):
    page = result.to_html(path, lang).read_text(encoding="utf-8")
    assert MARK in page
    assert f'<html lang="{lang}">' in page
    assert not re.search(r"(?:src|href)=[\"']http", page)
    assert result.to_html(path, lang).read_text(encoding="utf-8") == page
    assert "<b>bought" not in page
    return page


def test_a_design(tmp_path):
    found = design()
    page = written(found, tmp_path / "design.html")
    assert f"{found.total:,} units" in page
    assert f"全部で {found.total:,} 件が必要です" in page
    assert f"{found.days} 日かかります" in page
    assert "2 個の指標で誤判定の危険を分け合っています" in page
    assert "share the risk" not in in_japanese(page)


def test_a_comparison_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    outcome(tmp_path)
    options = ["--success", "bought", "--guardrail", "wait,margin=10,better=lower", "--time", "day"]
    assert cli.run(["ab", "analyse", "before.csv", "after.csv", *options, "--page", "ab.html", "--lang", "ja"]) == 0
    assert "Page written to ab.html" in capsys.readouterr().out
    page = (tmp_path / "ab.html").read_text(encoding="utf-8")
    assert "Win: it is better, and every guardrail holds (800 units)." in page
    assert "効果あり：指標は良くなり" in page
    assert page.count("<td>3</td>") >= 2  # each day of each metric
    (tmp_path / "mine.html").write_text("mine")
    assert cli.run(["ab", "analyse", "before.csv", "after.csv", *options, "--page", "mine.html"]) == 2
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_an_effect_from_observed_data(tmp_path):
    found = observed()
    page = written(found, tmp_path / "effect.html")
    shown = in_japanese(page)
    for check in found.checks:
        assert check.text not in shown
    for warning in found.overlap.warnings:
        assert warning not in shown
    assert "二重にロバストな推定" in page
    assert "scrap" in page
    survives = "The effect survives the attempts" in page
    assert survives == found.survives


def test_a_value(tmp_path):
    found = value()
    page = written(found, tmp_path / "value.html", "en")
    assert "Probability of a loss" in page
    assert "回避できる割合" in page
    own = libasis.practice.value({"a": (1, 3), "b": 2}, "a * b")
    assert "a * b" in written(own, tmp_path / "own.html")
