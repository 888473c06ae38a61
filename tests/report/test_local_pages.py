"""Pages around one input, and of edges against interventions: whole, safe, in two languages, with their numbers."""

import html
import re

import pytest
import torch

import libasis
from libasis import local
from libasis.errors import OptionError, StoreError
from libasis.report import Results, draw_calibration, to_svg, write_page
from libasis.report.numbers import quantity
from libasis.report.sample import grid, picture, scaled, tokens
from libasis.report.words import Words
from report.synthetic import make_graph

HOSTILE = "</script><img src=x onerror=alert(1)>"
F64 = torch.float64
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR4nGNgqGf4/x8AAwEB/l0mF5kAAAAASUVORK5CYII="


def contributions(n=1, content=None):
    content = content or {"kind": "table", "columns": [HOSTILE, "b"], "values": [1.5, -2.25]}
    k = 3
    parts = torch.tensor([[2.0, -0.5, 0.25]] * n, dtype=F64) + 0.01 * torch.arange(n, dtype=F64)[:, None]
    change = parts.sum(1) + 0.125
    return local.Contributions(
        "fc:in", f"output {HOSTILE}", "sample 4", torch.arange(n), change + 1.0, torch.ones(n, dtype=F64), parts,
        torch.full((n,), 0.125, dtype=F64), torch.ones(n, k, dtype=F64),
        [torch.tensor([1.0, -0.5, 0.0, 0.25])] * min(n, 8),
        torch.full((n,), 1e-4, dtype=F64), torch.full((n,), 16), {1: HOSTILE},
        [{"sample": i, "content": content, "output": HOSTILE} for i in range(min(n, 8))], {"note": HOSTILE},
    )  # fmt: skip


def counterfactuals():
    change = {"feature": 1, "from": 0.5, "to": -1.25, "sd": -1.75, "low": -2.0, "high": 3.0}
    inputs = [{"column": HOSTILE, "from": 320.5, "to": 298.25}]
    head = {"before": HOSTILE, "margin": 0.5}
    return local.Counterfactuals(
        "fc:in",
        "the largest output",
        [
            {"sample": 0, **head, "after": "bad", "distance": 1.75, "changes": [change], "inputs": inputs},
            {"sample": 7, **head, "after": None, "distance": None, "changes": []},
        ],
        4,
        {1: HOSTILE},
        [{"sample": 0, "content": {"kind": "number", "values": [1.0, None], "names": None}}],
    )


def sensitivity(content=None, boxes=None):
    content = content or {"kind": "text", "tokens": [HOSTILE, " ran", " off", "."]}
    finite = torch.tensor([[0.5, 2.0], [-0.25, -1.0], [0.0, 0.5], [torch.nan, torch.nan]], dtype=F64)
    return local.InputSensitivity(
        ["fc:in:0", "the largest output"], ["0", "1", "2", "3"], torch.tensor([5]), [finite], [0.5 * finite], None, 0.1,
        torch.ones(1, 2, dtype=F64), torch.ones(1, 2, dtype=F64),
        torch.tensor([[1 / 3, 0.05], [0.0, 0.6]], dtype=F64), boxes,
        {"fc:in:0": HOSTILE}, [{"sample": 5, "content": content}], {"replaced_by": "the mean"},
    )  # fmt: skip


def edges(controls=20):
    strengths = [torch.tensor([[1.0, 0.25], [0.5, 0.0]], dtype=F64)]
    measured = [torch.stack([strengths[0], 2 * strengths[0]])]
    row = {
        "source": f"{HOSTILE}:0", "target": "output:1", "to": "mean", "edge": 0.25, "measured": 0.3125,
        "measured_low": 0.25, "measured_high": 0.375, "random": 0.125, "p_random": 1 / (controls + 1), "signed": -0.1,
        "signed_low": -0.2, "signed_high": 0.0, "p_signed": 0.04, "path": 0.0625, "path_low": 0.03, "path_high": 0.09,
        "p_path": 1e-4, "random_path": 0.01, "p_random_path": 1 / (controls + 1), "whole": 0.5, "n": 40, "units": 40,
    }  # fmt: skip
    calibration = {
        "section": f"{HOSTILE} → output",
        "pairs": 4,
        "sources": 2,
        "low": None,
        "high": None,
        "within": None,
    }
    calibration |= {"spearman": 0.8125, "ratio": 1.0, "slope": 1.0}
    both = [{**calibration, "to": "mean"}, {**calibration, "to": "resample", "ratio": 2.0}]
    return libasis.EdgeEffects(
        [row], both, [[0, 1]], strengths, measured, ("mean", "resample"), (HOSTILE, "output"), "cross_entropy",
        {"controls": controls, "note": HOSTILE},
    )  # fmt: skip


RESULTS = {
    "contributions": contributions,
    "contributions of a group": lambda: contributions(12),
    "counterfactuals": counterfactuals,
    "sensitivity": sensitivity,
    "edges": edges,
}


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("name", RESULTS)
def test_the_page_is_safe_and_whole(name, lang, tmp_path):
    result = RESULTS[name]()
    text = result.to_html(tmp_path / "one.html", lang).read_text(encoding="utf-8")
    assert text.startswith(f'<!DOCTYPE html>\n<html lang="{lang}">')
    assert "<img" not in text
    assert "onerror=alert" in text  # as text
    assert text.count("<script") == text.count("</script>") == 2
    assert "default-src 'none'" in text
    assert not re.search(r'(src|href)="', text)
    assert not re.search(r' (style|on\w+)="', text)
    assert re.search(r"\{\w+\}", re.sub(r"<(style|script)[^>]*>.*?</\1>", "", text, flags=re.S)) is None
    again = libasis.load(result.save(tmp_path / "kept")).to_html(tmp_path / "again.html", lang)
    assert again.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("name", RESULTS)
def test_another_language_and_another_file_are_refused(name, tmp_path):
    with pytest.raises(OptionError, match="'fr'"):
        RESULTS[name]().to_html(tmp_path / "one.html", "fr")
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(StoreError, match="not written by libasis"):
        RESULTS[name]().to_html(tmp_path / "mine.html")


def test_numbers_of_the_pages_are_those_of_the_results(tmp_path):
    def seen(result):
        return html.unescape(result.to_html(tmp_path / "page.html").read_text(encoding="utf-8"))

    text = seen(contributions())
    for row in contributions().rows():
        assert quantity(row["contribution"]).replace("-", "−") in text
    assert "From sample 4" in text
    assert "95% interval" not in text
    assert "95% interval" in seen(contributions(12))
    text = seen(counterfactuals())
    for told in (
        "−1.750",
        "−1.250",
        "298.2",
        "320.5",
        "none found within the range",
        "1 of 2 samples decide otherwise",
    ):
        assert told in text
    text = seen(sensitivity())
    assert Words("en", "local")("said_agree") in text
    assert Words("en", "local")("short_partly") in text
    assert "0.33" in text
    text = seen(edges())
    for told in ("0.3125", "0.06250", "0.81", "Of 1 tests of edges, 1 lie beyond"):
        assert told in text


def test_a_picture_with_its_heat_and_a_broken_one():
    content = {"kind": "image", "png": PNG, "width": 2, "height": 2}
    words, entry = Words("en", "local"), {"sample": 3, "content": content}
    boxes = grid(content, 4)
    assert boxes == [(0.0, 0.0, 1.0, 1.0), (0.0, 1.0, 1.0, 1.0), (1.0, 0.0, 1.0, 1.0), (1.0, 1.0, 1.0, 1.0)]
    drawn = picture(entry, boxes, [2.0, -1.0, 0.0, float("nan")], words)
    assert drawn.count("<rect") == 3
    assert drawn.count('fill="#1a6fd6"') == 1
    assert 'fill-opacity="0.650"' in drawn
    assert picture({"sample": 3, "content": {**content, "png": '"><script>'}}, boxes, [1.0], words) == ""
    assert grid({"width": 8, "height": 8}, 7) is None
    assert grid({"width": 8, "height": 8}, 1) is None
    assert grid({"width": 8, "height": 4}, 8) is not None
    assert scaled([(0, 0, 4, 4), (0, 4, 4, 4)], {"width": 4.0, "height": 2.0}) == [(0, 0, 2, 2), (0, 2, 2, 2)]


def test_a_picture_is_allowed_by_the_page_and_shown(tmp_path):
    content = {"kind": "image", "png": PNG, "width": 2, "height": 2}
    boxes = [(0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 1, 1)]
    for result in (contributions(1, content), sensitivity(content, boxes)):
        text = result.to_html(tmp_path / "one.html").read_text(encoding="utf-8")
        assert text.count(f'<image href="data:image/png;base64,{PNG}"') in (2, 4)  # in both languages
        assert "img-src data:" in text


def test_tokens_are_shaded_by_sign_and_size():
    drawn = tokens({"tokens": ["a", "b", "<i>", "d"]}, [1.0, -1.0, 0.0, 0.1])
    assert 'class="l-up5" title="1.000">a<' in drawn
    assert 'class="l-down5" title="-1.000">b<' in drawn
    assert "&lt;i&gt;" in drawn
    assert 'class="l-up1" title="0.1000">d<' in drawn
    assert tokens({"tokens": ["a"]}, None) == '<p class="l-text"><span>a</span></p>'


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_the_calibration_as_a_figure_and_in_the_page(lang, tmp_path):
    svg = to_svg(draw_calibration(edges(), lang=lang), lang=lang)
    assert Words(lang, "edges")("axis_strength") in svg
    assert to_svg(draw_calibration(edges(), lang=lang), lang=lang) == svg
    graph = make_graph((3, 2), ("a", "output"))
    found = libasis.EdgeEffects(**{**vars(edges()), "sites": ("a", "output"), "info": {}})
    text = write_page(tmp_path / "page.html", Results([graph], edge_effects=found), lang).read_text(encoding="utf-8")
    assert Words(lang, "edges")("calibration") in text
    other = libasis.EdgeEffects(**{**vars(found), "info": {"stands_on": {"graph": "0" * 64}}})
    with pytest.raises(OptionError, match="edge effects stand on another graph"):
        Results([graph], edge_effects=other)
