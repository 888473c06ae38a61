"""The demo from end to end, on the smaller model."""

import pytest

import libasis
from libasis.demo.run import run
from libasis.errors import OptionError, StoreError


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    said = []
    folder = tmp_path_factory.mktemp("demo")
    return folder, run(folder, name="digits", progress=False, lang="ja", say=said.append), said


def test_it_leaves_a_page_and_graphs(found):
    folder, result, said = found
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert result["page"] == folder / "report.html"
    assert "手書き数字" in page
    assert libasis.load(folder / "graph").basis.method == "lib"
    assert libasis.load(folder / "graph-pca").basis.method == "pca"
    assert len(said) == 3


def test_it_collects_cards(found):
    folder, result, _ = found
    cards = libasis.FeatureCards.load(folder / "cards")
    graph = libasis.load(result["graph"])
    assert cards.kind == "image"
    assert set(cards.cards) <= {f"{site.name}:{i}" for site in graph.basis for i in range(site.k)}
    assert cards["fc1:in:0"]["direction"][0]["coordinate"].startswith("pixel (")
    assert cards["fc1:in:0"]["ablation"]["passed"]
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert cards["fc1:in:0"]["top"][0]["content"]["png"] in page


def test_it_counts_both_bases(found):
    _, result, _ = found
    assert len(result["rows"]) == 3
    for row in result["rows"]:
        for method in ("LIB", "PCA"):
            assert 0 < row[f"{method}, required"] <= row[f"{method}, all"]
            assert 0 < row[f"{method}, stable"] <= row[f"{method}, all"]


def test_it_replaces_nothing_unasked(found):
    folder, _, _ = found
    with pytest.raises(StoreError, match="--force"):
        run(folder, name="digits", progress=False)
    with pytest.raises(OptionError, match="no-such"):
        run(folder, name="no-such", progress=False)
