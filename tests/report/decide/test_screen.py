import dataclasses
import itertools
import re

import pytest

from libasis import Communities
from libasis.report import Results, decide
from libasis.report.decide.svg import WIDTH, shorten, width_of
from libasis.report.words import Words
from report.decide.cards import ablation, as_cards, make_cards
from report.synthetic import make_edge_ablation, make_graph, make_node_ablation
from report.test_page import EVIL, Reader

LANGS = pytest.mark.parametrize("lang", ["en", "ja"])


@pytest.fixture(scope="module")
def tests():
    return {"unembed:in:0": ablation(), "blocks.0.ln2:in:0": ablation(-0.002, passed=False)}


def first_screen(graphs, lang="en", **results):
    return decide.first_screen(Results(graphs, **results), Words(lang, "first"))


def marks(text):
    return re.findall(r'd-mark d-(\w+)"', text)


@LANGS
@pytest.mark.parametrize("kind", ["text", "image", "table", "number"])
def test_every_claim_has_one_mark_and_one_interval_or_the_words_that_there_is_none(
    lib, pca, edge_ablations, node_ablations, tests, lang, kind
):
    cards = make_cards(lib, kind, ablations=tests, groups=True)
    results = {"edge_ablations": edge_ablations, "node_ablations": node_ablations, "cards": cards}
    text = first_screen([lib, pca], **results, lang=lang)
    Reader(text)
    claims = text.count('class="d-basis"')
    assert claims == len(marks(text)) == text.count('class="d-interval"')
    assert marks(text).count("verified") == 2  # in the finding and in the feature's own card
    assert text.count("d-claim") == 1


@LANGS
def test_nothing_runs_and_no_style_is_inline(lib, edge_ablations, tests, lang):
    page = Reader(
        first_screen([lib], edge_ablations=edge_ablations[:1], cards=make_cards(lib, ablations=tests), lang=lang)
    )
    assert not {"script", "style", "link", "iframe", "form"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key in ("style", "id") or key.startswith("on")]
    assert all(v.startswith("data:image/png;base64,") for _, key, v in page.attributes if key == "src")


@LANGS
def test_without_cards_no_examples_no_bars_and_no_verified_claim(lib, lang):
    text = first_screen([lib], lang=lang)
    assert "d-examples" not in text
    assert "d-bar" not in text
    assert "verified" not in marks(text)
    assert text.count("d-feature") == 5  # the list and four features


@LANGS
def test_bars_show_both_groups_in_the_outputs_units(lib, lang):
    cards = make_cards(lib, groups=True)
    text = first_screen([lib], cards=cards, lang=lang)
    svg = text[text.index("d-bar0") - 400 :]
    for group in cards["groups"]:
        for mean, _ in group["outputs"]:
            assert f"{mean:.2f}".replace("-", "−") in svg
    widths = [float(w) for w in re.findall(r'class="d-bar\d" x="[\d.]+" y="[\d.]+" width="([\d.]+)" height="12"', svg)]
    means = [abs(m) for pair in zip(*(g["outputs"] for g in cards["groups"]), strict=True) for m, _ in pair]
    assert [w / widths[1] for w in widths] == pytest.approx([m / means[1] for m in means], abs=0.02)


@LANGS
def test_hostile_names_and_contents_are_only_text(lang):
    graph = make_graph((5, 4, 3), (EVIL, 'x" onload="alert(1)', "a\x00\ud800\u2028"), method=EVIL)
    for kind in ("text", "image", "table", "number"):
        cards = make_cards(graph, kind, groups=True, outputs=(EVIL, "b"))
        for group in cards["groups"]:
            group["name"] = EVIL
        for entry in cards["cards"].values():
            entry["suggestions"][0].update(kind=EVIL, value=EVIL, statistic=EVIL)
            for shown in entry["top"]:
                shown["target"] = EVIL
                if kind == "text":
                    shown["content"] = {"kind": "text", "tokens": [EVIL, EVIL], "values": [1, 2], "at": 1}
                if kind == "image":
                    shown["content"] = {"kind": "image", "png": f'"><img src=x>{EVIL}', "width": EVIL, "height": EVIL}
                if kind == "table":
                    shown["content"] = {"kind": "table", "columns": [EVIL], "values": [EVIL], "z": [None]}
        edges = [make_edge_ablation(graph, (3, 2), (3, 2), metric=EVIL)]
        cards = dataclasses.replace(as_cards(cards), kind=EVIL)
        results = {"cards": cards, "edge_ablations": edges, "node_ablations": [make_node_ablation(graph)]}
        together = Communities({f"{EVIL}:0": 0}, [1.0], 0.5, True)
        text = first_screen([graph], **results, communities=together, question=EVIL, lang=lang)
        page = Reader(text)
        assert "script" not in page.tags
        assert not [key for _, key, _ in page.attributes if key.startswith("on")]
        assert "<img src=x" not in text
        assert "\x00" not in text
        assert EVIL in page.text


@LANGS
def test_the_same_results_give_the_same_text(lib, tests, lang):
    cards = make_cards(lib, ablations=tests, groups=True)
    assert first_screen([lib], cards=cards, lang=lang) == first_screen([lib], cards=cards, lang=lang)


@LANGS
def test_one_site_many_sites_and_features_without_strength(lang):
    for graph in (make_graph((5,), ("only",)), make_graph((6,) * 30, tuple(f"block.{k}:in" for k in range(30)))):
        Reader(first_screen([graph], cards=make_cards(graph), lang=lang))


def test_a_question_of_ones_own(lib):
    assert "Why &lt;so&gt;?" in first_screen([lib], question="Why <so>?")
    asked = {"en": "Why <so>?", "ja": "なぜか。"}
    assert "なぜか。" in first_screen([lib], "ja", question=asked)
    assert "なぜか。" not in first_screen([lib], "en", question=asked)
    assert "なぜか。" in first_screen([lib], "en", question={"ja": "なぜか。"})


def test_labels_of_pictures_are_cut_to_their_room():
    assert shorten("short", 100) == "short"
    for text in ("a" * 100, "とても長い名前" * 5, "mixed 混ざった " * 9):
        cut = shorten(text, 80)
        assert cut.endswith("…")
        assert width_of(cut) <= 80


@pytest.mark.parametrize(
    "names",
    [
        ("fc1:in", "fc2:in", "fc3:in", "output"),
        (*(f"transformer.h.{k}.mlp:out" for k in range(5)), "output"),
        tuple(f"block.{k}:in" for k in range(30)),
        ("a", "a site with a name that is wider than the whole picture is, and then some more of it"),
    ],
)
def test_names_in_the_picture_stay_inside_and_apart(names):
    """Of sites above their columns, and of features below their dots."""
    text = first_screen([make_graph((6,) * len(names), names)])
    found = re.findall(r'class="d-(site|name)" x="([\d.]+)" y="([\d.]+)" text-anchor="middle">([^<]*)<', text)
    assert found
    rows = {}
    for kind, x, y, label in found:
        half = width_of(label) / 2
        assert float(x) - half >= -0.1
        assert float(x) + half <= WIDTH + 0.1
        rows.setdefault((kind, float(y) // 8), []).append((float(x) - half, float(x) + half))
    for ends in rows.values():
        ends.sort()
        assert all(a[1] <= b[0] for a, b in itertools.pairwise(ends))
