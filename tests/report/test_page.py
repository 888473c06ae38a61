import base64
import dataclasses
import hashlib
import json
import re
import sys
from html.parser import HTMLParser

import pytest
import torch

from libasis.ablation.results import Curve
from libasis.errors import OptionError
from libasis.graphs.labels import Label
from libasis.report import Results, write_page
from libasis.report.words import Words
from report.decide.cards import make_cards
from report.synthetic import make_edge_ablation, make_graph, make_node_ablation

VOID = {"meta", "br", "wbr", "img", "link", "input", "hr"}
LOADS = {"src", "srcset", "action", "data", "poster", "background", "formaction", "ping"}
EVIL = "</script><img src=x onerror=alert(1)>\"'&lt;"


class Reader(HTMLParser):
    """Elements, attributes and text; checks that every element is closed in its place."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.cells, self.words = [], [], [], [], []
        self.scripts = []
        self.feed(text)
        self.close()
        assert not self.open, f"not closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        if "script" in self.open:
            self.scripts[-1] += data
            return
        self.words.append(data)
        if self.open and {"td", "th"} & set(self.open):
            self.cells[-1] += data

    @property
    def text(self):
        return re.sub(r"\s+", " ", "".join(self.words))


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def page_of(path, graphs, lang="en", **results):
    text = write_page(path / "page.html", Results(graphs, **results), lang).read_text(encoding="utf-8")
    return text, Reader(text)


@pytest.fixture(scope="module", params=["en", "ja"])
def full(request, tmp_path_factory, lib, pca, edge_ablations, node_ablations):
    results = {"edge_ablations": edge_ablations, "node_ablations": node_ablations}
    return request.param, *page_of(tmp_path_factory.mktemp("page"), [lib, pca], lang=request.param, **results)


def test_the_page_opens_in_its_language_and_holds_both(full):
    lang, text, page = full
    assert text.startswith("<!DOCTYPE html>")
    assert ("html", "lang", lang) in page.attributes
    assert {Words(one, "page")("graph") for one in ("en", "ja")} <= {w.strip() for w in page.words}


def test_only_its_own_script_and_style_may_run(full):
    """The policy names the digests of the one script and the one style sheet, and allows nothing else."""
    _, text, page = full
    policy = next(v for _, key, v in page.attributes if key == "content" and "default-src" in v)
    style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{digest(page.scripts[1])}'; style-src 'sha256-{digest(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    assert [v for tag, key, v in page.attributes if tag == "script" and key == "type"] == ["application/json"]
    assert page.tags.count("script") == 2


def test_nothing_is_loaded(full):
    _, text, page = full
    assert not {"link", "iframe", "object", "embed", "img", "form", "base", "foreignobject"} & set(page.tags)
    assert not [key for _, key, _ in page.attributes if key.startswith("on") or key == "style" or key in LOADS]
    assert all(v.startswith("#") for _, key, v in page.attributes if key in ("href", "xlink:href"))
    addresses = set(re.findall(r"https?://[^\s\"']+", text))
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.findall(r"@import|url\((?!#)|\beval\b|innerHTML|new Function|fetch\(|XMLHttpRequest", text)


def test_ids_are_unique_and_references_resolve(full):
    _, text, page = full
    ids = [v for _, key, v in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    pointed = {v[1:] for _, key, v in page.attributes if key == "href"} | set(re.findall(r"url\(#([^)]+)\)", text))
    labelled = {v for _, key, v in page.attributes if key == "aria-labelledby"}
    assert pointed | labelled <= set(ids)


def test_numbers_in_the_tables_are_those_of_the_results(full, edge_ablations):
    _, _, page = full
    cells = [cell.strip() for cell in page.cells]
    for result in edge_ablations:
        for row in result.rows():
            numbers = [f"{row[key]:,}" for key in ("edges_total", "edges_required", "edges_required_stable")]
            assert numbers in [cells[k : k + 3] for k in range(len(cells))]


def test_finding_is_built_from_the_numbers(tmp_path, lib, pca, edge_ablations):
    _, page = page_of(tmp_path, [lib, pca], edge_ablations=edge_ablations)
    assert (
        "At blocks.0.ln2:in → unembed:in, where the two differ most, 127 of 1,530 interactions in the LIB basis keep "
        "accuracy within 0.001 of the model’s 0.9996; PCA needs 163 of 3,520." in page.text
    )
    assert "These are stable counts; the bisection ends at 82 and 114." in page.text
    assert "LIB needs fewer interactions than PCA in 2 of 3 sections." in page.text


def test_finding_where_lib_is_worse_says_so(tmp_path, lib, pca):
    results = [make_edge_ablation(lib, (9, 9, 9), (90, 20, 30)), make_edge_ablation(pca, (9, 9, 9), (9, 20, 29))]
    _, page = page_of(tmp_path, [lib, pca], edge_ablations=results)
    assert "At blocks.0.ln1:in → blocks.0.ln2:in, where the two differ most, 90 of 1,950" in page.text
    assert "LIB needs fewer interactions than PCA in 0 of 3 sections." in page.text


def test_no_comparison_without_both_or_of_unlike_measurements(tmp_path, lib, pca, edge_ablations):
    unlike = make_edge_ablation(pca, (1, 1, 1), (1, 1, 1), drop=0.5)
    for results in (edge_ablations[:1], [edge_ablations[0], unlike]):
        _, page = page_of(tmp_path, [lib, pca], edge_ablations=results)
        assert "PCA needs" not in page.text
        assert "12.1% of the interactions in the LIB basis or fewer" in page.text
    _, page = page_of(tmp_path, [lib])
    assert "was not measured here" in page.text


def test_counts_that_never_pass_are_said_in_words(tmp_path, lib, pca):
    results = [make_edge_ablation(g, (None,) * 3, (None,) * 3) for g in (lib, pca)]
    for result in results:
        result.curves.update({name: Curve({total: 0.1}) for name, total in result.edges_total.items()})
    _, page = page_of(tmp_path, [lib, pca], edge_ablations=results)
    assert "No section can be compared" in page.text
    assert page.text.count("none passes") == 12


def test_stable_counts_that_were_not_searched_are_no_failure(tmp_path, lib, pca):
    results = [make_edge_ablation(g, (5, 6, 7), (None,) * 3) for g in (lib, pca)]
    _, page = page_of(tmp_path, [lib, pca], edge_ablations=results)
    assert "none passes" not in page.text
    assert "No section can be compared" not in page.text


@pytest.mark.parametrize(("samples", "said"), [(360, True), (8939, False)])
def test_an_allowance_finer_than_one_score_is_said(tmp_path, lib, samples, said):
    result = dataclasses.replace(make_edge_ablation(lib, (5, 6, 7), (5, 6, 7)), samples=samples)
    _, page = page_of(tmp_path, [lib], edge_ablations=[result])
    assert ("a single one weighs 0.0028" in page.text) == said


def test_features_needed_are_those_that_the_result_says(tmp_path, lib):
    result = make_node_ablation(lib)
    needed = {**result.features_required_stable, "unembed:in": None}
    _, page = page_of(tmp_path, [lib], node_ablations=[dataclasses.replace(result, features_required_stable=needed)])
    assert "none passes" in page.text


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_hostile_names_are_only_text(tmp_path, lang):
    names = (EVIL, 'x" onload="alert(1)', "]]><svg onload=1>", "a\x00\ud800\u2028")
    graph = make_graph((5, 4, 3, 2), names, method=EVIL)
    graph.info[EVIL] = {EVIL: [EVIL, {"k": EVIL}]}
    results = {
        "edge_ablations": [make_edge_ablation(graph, (3, 2, 1), (3, 2, 1), metric=EVIL)],
        "node_ablations": [make_node_ablation(graph)],
    }
    graph = dataclasses.replace(graph, labels={f"{EVIL}:0": Label(EVIL, EVIL)}, modules={f"{EVIL}:1": EVIL})
    text, page = page_of(tmp_path, [graph], lang=lang, title=EVIL, **results)
    assert "img" not in page.tags
    assert page.tags.count("script") == 2
    data = json.loads(page.scripts[0])
    assert data["graphs"][0]["labels"] == {f"{EVIL}:0": {"label": EVIL, "note": EVIL}}
    assert not [key for _, key, _ in page.attributes if key.startswith("on")]
    assert EVIL in page.text
    assert "<img" not in text
    assert "\x00" not in text


def test_every_key_of_the_record_is_shown(tmp_path, lib):
    _, page = page_of(tmp_path, [lib])
    for word in ("gradient", "seed", "7", "samples", "3830", "a, b", "versions", "threshold", "1e-09", "dropped"):
        assert word in page.text


def test_long_records_are_cut_with_words(tmp_path):
    graph = make_graph((3, 2), ("a", "b"))
    graph.info.update({"values": list(range(100)), "text": "y" * 5000, "nothing": {}, "flag": True, "none": None})
    _, page = page_of(tmp_path, [graph])
    assert "… 88 more values" in page.text
    assert "… 3,000 more characters" in page.text
    assert "yy" * 1001 not in page.text


def test_same_results_same_bytes(tmp_path, lib, edge_ablations):
    results = Results([lib], edge_ablations[:1])
    first = write_page(tmp_path / "a.html", results).read_bytes()
    assert first == write_page(tmp_path / "b.html", results).read_bytes()


def test_graph_writes_its_own_page(tmp_path, lib):
    path = lib.to_html(tmp_path / "new" / "graph.html", lang="ja")
    assert 'lang="ja"' in path.read_text(encoding="utf-8")


def test_large_graphs_stay_small_and_say_what_is_left_out(tmp_path):
    names = tuple(f"transformer.h.{k}.mlp:out" for k in range(49)) + ("output",)
    graph = make_graph((60,) * 50, names)
    masks = make_edge_ablation(graph, (3000,) * 49, (3000,) * 49)
    text, page = page_of(tmp_path, [graph], edge_ablations=[masks])
    assert len(text.encode()) < 5e6
    assert "The table shows the first 40 of 50 sites." in page.text
    assert "The first 24 of 50 panels are drawn." in page.text
    section = json.loads(page.scripts[0])["graphs"][0]["sections"][0]
    assert section["needed"]["stable"] == {"count": 3000, "held": 408, "weakest": pytest.approx(0.0, abs=1)}
    assert (section["total"], section["held"]) == (3600, 408)


def test_one_site_and_no_edges(tmp_path):
    _, page = page_of(tmp_path, [make_graph((5,), ("only",))])
    assert "with one site there are no interactions" in page.text


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_a_graph_of_the_strongest_edges_says_so(tmp_path, lang, lib):
    """Sparse edges: the page is made of them alone, and names the share of strength that they have."""
    kept = [e.topk(5).indices for e in lib.edges]
    masks = [torch.zeros_like(e).scatter_(1, i, 1.0) for e, i in zip(lib.edges, kept, strict=True)]
    shares = [float((e * m).sum() / e.sum()) for e, m in zip(lib.edges, masks, strict=True)]
    facts = {"k": 5, "kept_share": shares, "strength": [float(e.sum()) for e in lib.edges], "passes": 1}
    edges, signed = (
        tuple((e * m).to_sparse() for e, m in zip(es, masks, strict=True)) for es in (lib.edges, lib.signed)
    )
    graph = dataclasses.replace(lib, edges=edges, signed=signed, info={**lib.info, "top_k": facts})
    needed = make_edge_ablation(lib, (133, 82, 200), (151, 127, 250))
    sparse = {name: (mask * m).bool().to_sparse() for (name, mask), m in zip(needed.masks.items(), masks, strict=True)}
    _, alone = page_of(tmp_path, [graph], lang=lang)
    _, page = page_of(tmp_path, [graph], lang=lang, edge_ablations=[dataclasses.replace(needed, masks=sparse)])
    for text in (alone.text, page.text):
        assert ("only the 5 strongest were kept" if lang == "en" else "強い順に 5 本だけ") in text
        assert f"{min(shares):.1%}" in text
    assert ("strongest 1%" if lang == "en" else "上位 1%") not in alone.text


def test_unknown_language_is_refused(tmp_path, lib):
    with pytest.raises(OptionError, match="'fr'"):
        write_page(tmp_path / "x.html", Results([lib]), lang="fr")
    assert not (tmp_path / "x.html").exists()


def test_the_old_way_to_give_results_is_answered_with_the_new_one(tmp_path, lib, edge_ablations):
    with pytest.raises(OptionError, match=r"Results\(edge_ablations="):
        write_page(tmp_path / "x.html", [lib], edge_ablations=edge_ablations)
    with pytest.raises(OptionError, match="results is a list of InteractionGraph; write_page takes a Results"):
        write_page(tmp_path / "x.html", [lib])


def test_a_question_in_each_language_or_one_for_both(tmp_path, lib):
    _, page = page_of(tmp_path, [lib], question={"en": "Why so?", "ja": "なぜか。"})
    assert {"Why so?", "なぜか。"} <= set(re.findall(r"Why so\?|なぜか。", page.text))
    _, page = page_of(tmp_path, [lib], question="Why so?")
    assert page.text.count("Why so?") == 2


def test_limits_and_the_first_screen_stand_once_in_each_language(full):
    _, text, page = full
    assert text.count('class="decide"') == 2
    for lang in ("en", "ja"):
        assert page.text.count(Words(lang, "first")("limits")) == 1


def test_the_page_needs_no_matplotlib(tmp_path, lib, edge_ablations, node_ablations, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = write_page(tmp_path / "page.html", Results([lib], edge_ablations[:1], node_ablations[:1]))
    assert page.stat().st_size > 100_000


def test_the_largest_page_is_below_ten_megabytes(tmp_path):
    """Three graphs with more edges than fit, cards of more examples than fit: all limits reached at once."""
    names = [f"layer.{k}:in" for k in range(5)]
    graphs = [make_graph((200,) * 5, names, method=method) for method in ("lib", "pca", "neuron")]
    cards = make_cards(graphs[0], "table")
    for card in cards["cards"].values():
        card["top"] = card["top"] * 15
    file = write_page(tmp_path / "page.html", Results(graphs, cards=cards))
    data = json.loads(Reader(file.read_text(encoding="utf-8")).scripts[0])
    assert [len(g["edges"]["source"]) for g in data["graphs"]] == [20_000] * 3
    assert data["cards_cut"]["examples"] < 60
    assert 5e6 < file.stat().st_size < 10e6


def test_names_of_methods_are_in_the_language_of_the_page(tmp_path, lib):
    """Also in the charts, which are drawn once for both languages."""
    neuron = make_graph(tuple(s.k for s in lib.basis), method="neuron")
    text, _ = page_of(tmp_path, [lib, neuron])
    panels = re.findall('<div class="panel-chart">.*?</div>', text, flags=re.S)
    assert len(panels) == 4
    for panel in panels:
        japanese = re.sub('<span class="in-en" lang="en">.*?</span>', "", panel)
        assert "ニューロン" in japanese
        assert "Neurons" not in japanese
