"""Files of the view: pictures equal to the screen, data equal to what is drawn."""

import csv
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

B = "blocks.0.ln2:in:0"


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=float)


def difference(one, other):
    """Share of pixels that differ by more than a third of the range in some colour."""
    assert one.shape == other.shape
    return float((np.abs(one - other).max(axis=2) > 85).mean())


@pytest.fixture
def fine(open_page, file):
    """Two pixels of the screen for each of the page, as in the PNG; a feature is selected, so that some are dimmed."""
    viewer = open_page(file, f"#/selected={B}&pinned=output:2", ratio=2)
    viewer.page.mouse.move(2, 2)
    viewer.rest()
    return viewer


def screen(viewer):
    """The stage on whole pixels, as the files have it."""
    viewer.do(
        """(() => { const top = app.stageRoot.getBoundingClientRect().top;
        document.querySelector("main").style.paddingTop = `${Math.ceil(top) - top}px`; })()"""
    )
    viewer.rest()
    box = {key: round(value) for key, value in viewer.page.locator(".stage").bounding_box().items()}
    return pixels(viewer.page.screenshot(clip=box))


def test_the_png_is_what_the_screen_shows(fine):
    shown, saved = screen(fine), pixels(fine.saved_as("png"))
    assert difference(shown, saved) < 0.004
    fine.press("Escape")
    fine.page.click('[data-key="close"]')
    fine.rest()
    assert difference(screen(fine), saved) > 0.02  # the comparison would see another view


def test_the_svg_is_what_the_screen_shows(fine, open_page, tmp_path):
    shown, saved = screen(fine), fine.saved_as("svg")
    root = ET.fromstring(saved)
    size = int(root.get("width")), int(root.get("height"))
    path = tmp_path / "view.svg"
    path.write_bytes(saved)
    page = fine.context.new_page()
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.goto(path.as_uri())
    assert difference(shown, pixels(page.screenshot())) < 0.004


def test_the_svg_stands_alone_and_keeps_text_as_text(fine):
    root = ET.fromstring(fine.saved_as("svg"))
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert names <= {"svg", "title", "g", "path", "circle", "polygon", "text"}
    words = [element.text for element in root.iter() if element.tag.endswith("text")]
    assert any("偶数" in word for word in words)
    assert not [key for element in root.iter() for key in element.attrib if key.startswith("on") or "href" in key]


def test_json_and_csv_hold_what_is_drawn(viewer):
    viewer.slide("strength", 170)
    edges, _, features, hidden = viewer.counts
    plain = json.loads(viewer.saved_as("json"))
    rows = list(csv.DictReader(io.StringIO(viewer.saved_as("csv").decode())))
    assert len(plain["edges"]) == len(rows) == edges
    assert len(plain["nodes"]) == features
    assert plain["format"] == "libasis-graph-json"
    assert [{k: e[k] for k in ("source", "target")} for e in plain["edges"]] == [
        {k: r[k] for k in ("source", "target")} for r in rows
    ]
    assert sum(plain["info"]["hidden"].values()) == plain["info"]["edges_total"] - edges
    labels = {n["id"]: n["label"] for n in plain["nodes"] if n["label"]}
    assert labels.get("output:2", "偶数") == "偶数"
    assert hidden == plain["info"]["features_total"] - features


def test_the_attribution_graph_is_that_of_python(viewer, graphs, tmp_path):
    """With everything drawn the page saves what `to_attribution_json` writes, to the page's five digits."""
    viewer.slide("strength", 0)
    viewer.page.locator("#loners").check()
    viewer.rest()
    saved = json.loads(viewer.saved_as("attribution"))
    truth = json.loads(graphs[0].to_attribution_json(tmp_path / "graph.json").read_text(encoding="utf-8"))
    assert saved["metadata"].keys() == truth["metadata"].keys()
    assert saved["qParams"]["supernodes"] == truth["qParams"]["supernodes"]

    def links(plain):
        return {(e["source"], e["target"]): e["weight"] for e in plain["links"] if abs(e["weight"]) > 1e-12}

    assert links(saved) == pytest.approx(links(truth), rel=1e-4)
    named = {node["node_id"]: node for node in saved["nodes"]}
    for node in truth["nodes"]:
        ours = named.pop(node["node_id"])
        if not node["node_id"].startswith("3_"):  # there the cards name the outputs
            assert ours["clerp"] == node["clerp"]
        assert (ours["influence"] or 0) == pytest.approx(node["influence"] or 0, rel=1e-3)
        for key in node.keys() - {"clerp", "influence", "token_prob"}:
            assert ours[key] == node[key]
    assert not named
