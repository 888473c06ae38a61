import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg

from libasis.errors import LibasisError, OptionError
from libasis.report import FiguresError, draw_edge_curves, draw_graph, draw_node_curves, draw_spectra, to_svg
from libasis.report.canvas import fit_name
from libasis.report.numbers import percent, power_of_ten, quantity, score
from libasis.report.series import series_styles
from report.synthetic import make_edge_ablation, make_graph, make_node_ablation


def words_of(figure, lang="en"):
    return [t.text for t in ET.fromstring(to_svg(figure, lang=lang)).iter("{http://www.w3.org/2000/svg}text")]


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize("text", ["text", "paths"])
def test_every_figure_is_the_same_every_time(lib, pca, edge_ablations, node_ablations, lang, text):
    draws = [
        lambda: draw_graph(lib, lang=lang),
        lambda: draw_spectra([lib, pca], lang=lang),
        lambda: draw_edge_curves(edge_ablations, sites=lib.sites, lang=lang),
        lambda: draw_node_curves(node_ablations, lang=lang),
    ]
    for draw in draws:
        first, second = (to_svg(draw(), text=text, lang=lang) for _ in range(2))
        assert first == second
        assert "dc:date" not in first
        ET.fromstring(first)


def test_graph_says_what_is_hidden(lib):
    words = words_of(draw_graph(lib))
    assert {"30 of 65 features", "60 of 1,950 edges", "60 of 5,814 edges"} <= set(words)


def test_graph_with_masks_says_how_many_are_needed(lib):
    masks = make_edge_ablation(lib, (9, 8, 7), (9, 8, 7)).masks
    assert {"9 of 9 needed edges", "7 of 7 needed edges"} <= set(words_of(draw_graph(lib, masks=masks)))


def test_sign_is_shown_by_colour_and_by_dash():
    graph = make_graph((2, 1), ("a", "b"), edges=[torch.ones(1, 2).double()])
    object.__setattr__(graph, "signed", (torch.tensor([[1.0, -1.0]]),))
    edges = [a for a in draw_graph(graph).findobj(lambda a: (a.get_gid() or "").startswith("edge"))]
    looks = {a.get_label()[-2]: (a.get_edgecolor()[:3], a.get_linestyle()) for a in edges}
    assert looks["+"][0] != looks["−"][0]
    assert looks["+"][1] == "-"
    assert looks["−"][1] != "-"


def test_methods_differ_in_colour_line_and_marker():
    styles = series_styles(["lib", "pca", "neuron", "global", "mine", "lib"])
    for key in ("color", "linestyle", "marker"):
        assert len({str(s[key]) for s in styles}) == len(styles)


def test_labels_of_one_column_do_not_overlap():
    names = ("transformer.h.11.mlp:out", "transformer.h.11.attn.c_proj.with.a.very.long.path.indeed:out", "output")
    figure = draw_graph(make_graph((40, 40, 40), names))
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [t.get_window_extent(renderer) for t in figure.axes[0].texts if t.get_text()]
    clashes = [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)]
    assert not clashes
    assert all(box.x0 >= 0 and box.x1 <= figure.bbox.width for box in boxes)


def test_edge_curves_mark_both_counts(lib, edge_ablations):
    words = words_of(draw_edge_curves(edge_ablations, sites=lib.sites))
    assert {"LIB: 82, stable 127", "PCA: 114, stable 163", "needed: bisection", "needed: stable"} <= set(words)


def test_edge_curves_without_any_count_that_passes(lib):
    result = make_edge_ablation(
        lib, (None, 3, None), (None, None, None), metric="cross_entropy", higher=False, base=1.2
    )
    words = words_of(draw_edge_curves([result]))
    assert {"LIB: –, stable –", "cross-entropy"} <= set(words)


@pytest.mark.parametrize("drop", [0.0, 1e-12, 5.0])
def test_edge_curves_of_any_allowance(lib, drop):
    to_svg(draw_edge_curves([make_edge_ablation(lib, (1, 1, 1), (1, 1, 1), drop=drop)]))


def test_curves_of_different_metrics_are_refused(lib, edge_ablations):
    other = make_edge_ablation(lib, (1, 1, 1), (1, 1, 1), metric="mse")
    with pytest.raises(OptionError, match="metric"):
        draw_edge_curves([edge_ablations[0], other])


def test_nothing_to_draw_is_refused():
    with pytest.raises(OptionError, match="nothing to draw"):
        draw_node_curves([])


def test_spectra_of_zero_and_unsorted_importances():
    zero = make_graph((3, 2), ("a", "b"), importances=[torch.tensor([0.0, 5.0, 1.0]), torch.zeros(2)])
    figure = draw_spectra([zero])
    assert list(figure.axes[0].lines[0].get_ydata()) == pytest.approx([1.0, 0.2])
    to_svg(figure)


def test_panels_beyond_the_limit_are_counted():
    names = tuple(f"block.{k}:in" for k in range(30))
    words = words_of(draw_spectra([make_graph((2,) * 30, names)]))
    assert "The first 24 of 30 panels are drawn." in words


def test_hostile_and_odd_names_are_drawn():
    names = ("$\\alpha$", "a\x00b\ud800c", "<b>&amp;", "x" * 300)
    graph = make_graph((3, 3, 3, 3), names)
    for figure in (draw_graph(graph), draw_spectra([graph]), draw_node_curves([make_node_ablation(graph)])):
        assert any("$\\alpha$" in (t or "") for t in words_of(figure))


def test_the_users_settings_and_backend_are_not_touched(lib):
    import matplotlib

    before = dict(matplotlib.rcParams)
    with matplotlib.rc_context({"text.usetex": True, "font.size": 40, "svg.fonttype": "path"}):
        inside = dict(matplotlib.rcParams)
        svg = to_svg(draw_graph(lib))
        assert dict(matplotlib.rcParams) == inside
    assert svg == to_svg(draw_graph(lib))
    assert dict(matplotlib.rcParams) == before


def test_importing_the_package_does_not_import_matplotlib():
    result = run("import sys, libasis, libasis.report; assert 'matplotlib' not in sys.modules, 'imported'")
    assert result.returncode == 0, result.stderr


def test_drawing_does_not_import_pyplot():
    code = """
import sys; sys.path.insert(0, "tests")
from report.synthetic import make_graph
from libasis.report import draw_graph, to_svg
to_svg(draw_graph(make_graph((3, 3), ("a", "b"))))
assert "matplotlib.pyplot" not in sys.modules, "imported"
"""
    result = run(code)
    assert result.returncode == 0, result.stderr


def test_missing_matplotlib_is_one_sentence(lib, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(FiguresError, match=r"pip install 'libasis\[figures\]'") as caught:
        draw_graph(lib)
    assert isinstance(caught.value, LibasisError)


def test_fit_name():
    assert fit_name("output", 20) == "output"
    assert fit_name("transformer.h.11.mlp:out", 14) == "transformer.h.\n11.mlp:out"
    long = fit_name("a" * 200, 20).split("\n")
    assert len(long) == 2
    assert all(len(line) <= 20 for line in long)
    assert "…" in "".join(long)


def test_numbers_are_readable():
    assert [power_of_ten(v) for v in (0, 1, 1000, 1e4, 1e-3, 0.1)] == ["0", "1", "1,000", "10⁴", "10⁻³", "0.1"]
    assert [percent(v) for v in (0, 1e-9, 0.5, 0.9999, 1)] == ["0%", "< 0.1%", "50.0%", "> 99.9%", "100%"]
    assert [quantity(v) for v in (0, 18067.07, 4.083, 3e-9, 1e12)] == ["0", "18,067", "4.083", "3.000e−9", "1.000e12"]
    assert [score(0.99956, d) for d in (0.1, 0.001, 1e-6)] == ["1.00", "0.9996", "0.9995600"]
