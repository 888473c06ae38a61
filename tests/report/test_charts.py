import re
import xml.etree.ElementTree as ET

import pytest

from libasis.report.charts import MAX_PANELS, Scale, edge_curves, node_curves, spectra
from report.synthetic import make_edge_ablation, make_graph, make_node_ablation


def plots(panel):
    return ET.fromstring(f"<div>{panel.replace('<wbr>', '')}</div>").findall(".//svg[@class='chart']")


def test_scales_map_ends_to_ends_and_put_round_values_between():
    for kind, low, high in (("linear", -1.0, 3.0), ("log", 1e-5, 10.0), ("log1p", 0.0, 4000.0)):
        scale = Scale(kind, low, high, 40.0, 200.0)
        assert (scale(low), scale(high)) == pytest.approx((40.0, 200.0))
        ticks = scale.ticks()
        assert 2 <= len(ticks) <= 8
        assert all(low - 1e-9 <= tick <= high + 1e-9 for tick in ticks)
        assert [scale(t) for t in ticks] == sorted(scale(t) for t in ticks)


def test_a_panel_for_each_site_a_line_for_each_method(lib, pca):
    panels, total = spectra([lib, pca])
    assert len(panels) == total == 4
    for panel in panels:
        (plot,) = plots(panel)
        assert len(plot.findall("./svg/path")) == 2
    assert "65 / 65" in panels[0]
    assert "114 / 114" in panels[0]


def test_edge_curves_have_a_close_up_with_both_counts(lib, edge_ablations):
    panels, _ = edge_curves(edge_ablations, lib.sites)
    for panel in panels:
        _, close = plots(panel)
        marks = [m for kind in ("circle", "polygon") for m in close.iter(kind)]
        assert sorted(m.get("fill") == "#fff" for m in marks) == [False, False, True, True]
        assert close.find("./svg/rect") is not None
    assert "133 · 151" in re.sub("<[^>]*>", "", panels[0])


def test_curves_where_nothing_passes_or_nothing_is_allowed(lib):
    for drop in (0.0, 1e-12, 5.0):
        edge_curves([make_edge_ablation(lib, (1, 1, 1), (1, 1, 1), drop=drop)], lib.sites)
    panels, _ = edge_curves([make_edge_ablation(lib, (None,) * 3, (None,) * 3, higher=False)], lib.sites)
    assert "– · –" in re.sub("<[^>]*>", "", panels[0])


def test_panels_beyond_the_limit_are_counted():
    names = tuple(f"block.{k}:in" for k in range(30))
    panels, total = spectra([make_graph((2,) * 30, names)])
    assert (len(panels), total) == (MAX_PANELS, 30)


def test_charts_hold_no_words(lib, node_ablations):
    """One drawing serves both languages: only names of sites, numbers and names of methods are in it."""
    panels, _ = node_curves(node_ablations)
    words = {t.text for p in panels for plot in plots(p) for t in plot.iter("text")}
    assert all(re.fullmatch(r"[\d.,−-]+", word) for word in words)


def test_hostile_names_are_text():
    graph = make_graph((3, 2), ("<img src=x>", "b"))
    for panels, _ in (spectra([graph]), node_curves([make_node_ablation(graph)])):
        assert "<img" not in "".join(panels)
