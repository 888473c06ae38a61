"""Looking at the graph: what is drawn, what is lit, what is selected, and what the counts say."""

import json
import re
from dataclasses import replace
from itertools import pairwise

import pytest

from libasis.basis.ties import Tie
from report.browser.expected import Expected
from report.decide.cards import make_cards
from report.synthetic import make_edge_ablation, make_graph

A, B = "blocks.0.ln1:in:0", "blocks.0.ln2:in:0"


@pytest.fixture
def expected(viewer):
    return Expected(viewer.data["graphs"][0])


def drawn_ids(viewer):
    """Features drawn, those in collapsed modules included."""
    return set(viewer.do("drawnNodes(app).map((node) => node.id)"))


def test_it_opens_with_the_needed_edges_and_says_what_is_hidden(viewer, expected):
    edges = expected.drawn()
    total = sum(section["total"] for section in expected.plain["sections"])
    linked = expected.linked(edges)
    assert (
        viewer.counts
        == [len(edges), total, len(linked), len(expected.ids) - len(linked)]
        == [108, 329, *viewer.counts[2:]]
    )
    assert viewer.nodes() == linked
    viewer.page.click(".why summary")
    assert f"{total - 108} edges: weaker" in viewer.page.locator(".why").inner_text()


def test_pointing_lights_the_neighbourhood(viewer, expected):
    edges = expected.drawn()
    viewer.hover(B)
    neighbours = expected.near(B, 1, edges)
    faded = {key for key in viewer.nodes() if viewer.node(key).get_attribute("opacity")}
    assert faded == viewer.nodes() - neighbours
    assert float(viewer.do("app.stage.base.style.opacity")) < 0.5
    assert viewer.do("app.stage.lit.links.length") == sum(B in edge for edge in edges)
    assert B in viewer.page.locator(".tip").inner_text()
    viewer.page.mouse.move(5, 5)
    assert not [key for key in viewer.nodes() if viewer.node(key).get_attribute("opacity")]
    assert viewer.page.locator(".tip").is_hidden()


def test_pointing_at_a_line_names_it(viewer):
    x, y = viewer.do(
        """(() => { const link = app.stage.scene.placed.links.at(-1); const c = curveOf(link, app.stage.scene.view);
        const x = c[0] + 0.3 * (c[6] - c[0]); const box = app.stageRoot.getBoundingClientRect();
        return [box.left + x, box.top + heightAt(c, x)]; })()"""
    )
    viewer.page.mouse.move(x, y)
    link = viewer.do("(({a, b}) => [app.model.id(a.v), app.model.id(b.v)])(app.stage.hovered)")
    text = viewer.page.locator(".tip").inner_text()
    assert all(key in text for key in link)
    assert ("raises" in text) != ("lowers" in text)


def test_a_selected_feature_lists_its_edges_sorted_and_can_be_walked(viewer, expected):
    viewer.click(B)
    assert viewer.selected == B
    for name, end, sign in (
        ("In, raise it", 3, 1),
        ("In, lower it", 3, -1),
        ("Out, raised by it", 2, 1),
        ("Out, lowered by it", 2, -1),
    ):
        section = viewer.page.get_by_role("region", name=name)
        more = section.get_by_role("button", name="Show all")
        if more.count():
            more.click()
        edges = [e for e in expected.edges if e[end] == B and e[5] * sign > 0]
        strengths = sorted((e[4] for e in edges), reverse=True)
        shown = [
            float(text.replace(",", "").replace("−", "-")) for text in section.locator(".amount").all_inner_texts()
        ]
        assert shown == pytest.approx(strengths, rel=1e-3)
    first = viewer.page.locator(".edge-lists .step").first
    there = first.locator("bdi").inner_text()
    first.click()
    viewer.rest()
    assert viewer.selected != B
    assert there in viewer.page.locator(".card").inner_text() or there.split(" ")[0] in viewer.selected
    viewer.page.get_by_role("button", name="Back").click()
    assert viewer.selected == B


def test_a_click_on_nothing_selects_nothing(viewer):
    viewer.click(B)
    box = viewer.page.locator(".stage").bounding_box()
    viewer.page.mouse.click(box["x"] + 4, box["y"] + box["height"] / 2)
    viewer.rest()
    assert viewer.selected is None


def test_pinned_features_alone(viewer, expected):
    pinned = {A, B, "unembed:in:0"}
    for key in pinned:
        viewer.click(key)
        viewer.page.click('[data-key="pin"]')
    viewer.tab("view")
    viewer.choose("focus", "pinned")
    edges = expected.drawn(inside=pinned)
    assert viewer.nodes() == pinned
    assert viewer.counts[0] == len(edges) > 0


def test_numbers_in_the_address_are_kept_within_reason(viewer):
    state = viewer.page.evaluate("readAddress('#/focus=near&hops=1e15&most=1e15&graph=-3').state")
    assert (state["hops"], state["most"], state["graph"]) == (9, 1e6, 0)
    state = viewer.page.evaluate("readAddress('#/hops=-2&most=-1').state")
    assert (state["hops"], state["most"]) == (1, 0)


@pytest.mark.parametrize("hops", [1, 2])
def test_features_near_the_selected_one(viewer, expected, hops):
    viewer.click("blocks.0.ln2:in:4")
    viewer.tab("view")
    viewer.choose("focus", "near")
    viewer.page.locator("#hops").fill(str(hops))
    viewer.press("Tab")
    near = expected.near("blocks.0.ln2:in:4", hops, expected.drawn())
    assert viewer.nodes() == near
    assert viewer.counts[0] == len(expected.drawn(inside=near))


def test_paths_from_one_feature_to_another(viewer, expected):
    viewer.tab("view")
    viewer.choose("focus", "paths")
    assert "Name both ends" in viewer.page.locator(".controls").inner_text()
    for field, key in (("from", A), ("to", "output:1")):
        viewer.page.locator(f"#path-{field}").fill(key)
        viewer.press("Tab")
    on_path = expected.between(A, "output:1", expected.drawn())
    assert 2 < len(on_path) < len(viewer.data["graphs"][0]["nodes"]["index"])
    assert viewer.nodes() == on_path


@pytest.mark.parametrize("place", [120, 190])
def test_the_strength_slider(viewer, expected, place):
    decades = viewer.do("app.model.decades")
    viewer.slide("strength", place)
    edges = expected.drawn(strength=10 ** (place / 100 - decades))
    assert viewer.counts[0] == len(edges)
    assert 0 < len(edges) < len(expected.edges)
    assert viewer.page.locator('input[name="show"][value="strength"]').is_checked()


def test_the_strongest_into_each_feature(viewer, expected):
    viewer.choose("show", "strength")
    viewer.slide("strength", 0)
    viewer.slide("most", 2)
    edges = expected.drawn(strength=0, most=2)
    assert viewer.counts[0] == len(edges) == 2 * (11 + 9 + 6)


def test_the_importance_slider(viewer, expected):
    viewer.slide("importance", 250)
    edges = expected.drawn(importance=10 ** (250 / 100 - 4))
    assert viewer.counts[0] == len(edges) < 108
    viewer.page.click(".why summary")
    assert "below the least importance" in viewer.page.locator(".why").inner_text()


def test_features_without_an_edge_can_be_drawn(viewer, expected):
    viewer.page.locator("#loners").check()
    viewer.rest()
    assert viewer.nodes() == set(expected.ids)
    assert viewer.counts[3] == 0


def test_marks_stand_where_the_ablation_found_its_threshold(viewer, expected):
    sections = expected.plain["sections"]
    fractions = {s["needed"]["stable"]["weakest"] / s["top"] for s in sections}
    decades, width = viewer.do("app.model.decades"), viewer.page.locator(".marks").bounding_box()["width"]
    left = viewer.page.locator(".marks").bounding_box()["x"]
    for mark in viewer.page.locator(".mark").all():
        fraction = float(mark.get_attribute("data-fraction"))
        assert min(abs(fraction / f - 1) for f in fractions) < 1e-6
        box = mark.bounding_box()
        place = (box["x"] + box["width"] / 2 - left) / width
        assert 10 ** (decades * (place - 1)) == pytest.approx(fraction, rel=0.05)
    mark = viewer.page.locator(".mark").first
    fraction = float(mark.get_attribute("data-fraction"))
    mark.click()
    viewer.rest()
    assert viewer.counts[0] == len(expected.drawn(strength=fraction * (1 - 1e-9)))


@pytest.mark.parametrize(
    ("typed", "key"),
    [("even odd", "unembed:in:3"), ("output:5", "output:5"), ("偶数", "output:2"), ("seen by EYE", "unembed:in:3")],
)
def test_search_finds_labels_notes_and_ids(viewer, typed, key):
    viewer.page.fill("#search", typed)
    viewer.page.locator(".results button").first.click()
    viewer.rest()
    assert viewer.selected == key
    assert key in viewer.nodes()


def test_search_reaches_what_is_not_drawn_and_finds_modules(viewer, expected):
    hidden = next(key for key in expected.ids if key not in viewer.nodes())
    viewer.page.fill("#search", hidden)
    assert "not drawn now" in viewer.page.locator(".results").inner_text()
    viewer.press("Enter")
    assert viewer.selected == hidden
    assert hidden in viewer.nodes()
    viewer.page.fill("#search", "carry")
    assert viewer.page.locator(".results li").count() == 3
    viewer.page.fill("#search", "no such thing")
    assert "Nothing found" in viewer.page.locator(".search").inner_text()


@pytest.mark.parametrize("order", ["importance", "index"])
def test_features_of_a_column_in_another_order(viewer, expected, order):
    viewer.tab("view")
    viewer.choose("order", order)
    column = [key for key in viewer.nodes() if key.startswith("blocks.0.ln2")]
    heights = sorted(column, key=lambda key: viewer.place(key)[1])
    by = {"importance": lambda key: -expected.importance[key], "index": lambda key: int(key.rpartition(":")[2])}[order]
    assert heights == sorted(column, key=by)


def test_a_collapsed_module_stands_for_its_features(viewer, expected):
    before = viewer.counts
    viewer.tab("groups")
    viewer.page.click('[data-key="collapse-carry"]')
    viewer.rest()
    assert viewer.counts == before
    members = {A, "blocks.0.ln1:in:1"}
    assert not viewer.nodes() & members
    assert "0 carry" in viewer.nodes()
    links = viewer.do(
        "app.stage.scene.linksOf.get(app.stage.scene.byKey.get('0 carry')).map((l) => [l.b.key, l.strength])"
    )
    sums = {}
    drawn = set(expected.drawn())
    for _, _, a, b, strength, _ in expected.edges:
        if a in members and (a, b) in drawn:
            sums[b] = sums.get(b, 0) + strength
    sums["1 carry"] = sums.pop(B)
    assert dict(links) == pytest.approx(sums)
    viewer.click("0 carry")
    assert members <= viewer.nodes()


def test_suggested_groups_are_shown_first_and_taken_over_only_then(viewer):
    viewer.tab("groups")
    viewer.page.click('[data-key="suggested"]')
    viewer.rest()
    assert "Nothing is taken over" in viewer.page.locator(".groups").inner_text()
    assert viewer.do("app.notes.toPlain().modules['blocks.0.ln1:in:3']") is None
    viewer.page.click('[data-key="accept-1"]')
    viewer.rest()
    modules = viewer.do("app.notes.toPlain().modules")
    assert modules["blocks.0.ln1:in:3"] == "Group 2"
    assert modules["blocks.0.ln1:in:0"] == "carry"
    assert "Group 2" in viewer.page.locator(".legend").inner_text()


def test_another_basis_is_a_graph_of_its_own(viewer):
    viewer.choose("graph", "1")
    plain = viewer.data["graphs"][1]
    edges = Expected(plain).drawn()
    assert viewer.counts[:2] == [len(edges), sum(s["total"] for s in plain["sections"])]
    viewer.click("blocks.0.ln2:in:11")
    assert viewer.selected == "blocks.0.ln2:in:11"
    assert "No feature cards were given" in viewer.page.locator(".card").inner_text()


def test_zoom_keeps_the_point_under_the_pointer(viewer):
    x, y = viewer.place(B)
    far = viewer.place("output:0")
    viewer.page.mouse.move(x, y)
    for _ in range(4):
        viewer.page.mouse.wheel(0, -120)
    viewer.rest()
    assert viewer.place(B) == pytest.approx((x, y), abs=1.5)
    assert viewer.do("app.stage.scene.view.zoom / app.stage.scene.fit.zoom") == pytest.approx(
        2 ** (480 * 0.0025), rel=0.01
    )
    viewer.page.click("#fit")
    viewer.rest()
    assert viewer.place("output:0") == pytest.approx(far, abs=0.5)


def test_dragging_moves_the_picture_and_selects_nothing(viewer):
    x, y = viewer.place(B)
    viewer.page.mouse.move(x + 30, y + 30)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x + 80, y + 10, steps=4)
    viewer.page.mouse.up()
    viewer.rest()
    assert viewer.place(B) == pytest.approx((x + 50, y - 20), abs=1.5)
    assert viewer.selected is None


def test_two_fingers_zoom(open_page, file):
    viewer = open_page(file, has_touch=True)
    touch = viewer.context.new_cdp_session(viewer.page)
    box = viewer.page.locator(".stage").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def fingers(kind, *places):
        points = [{"x": px, "y": py, "id": k} for k, (px, py) in enumerate(places)]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    fingers("touchStart", (x - 40, y), (x + 40, y))
    for spread in (50, 60, 80):
        fingers("touchMove", (x - spread, y), (x + spread, y))
    fingers("touchEnd")
    viewer.rest()
    assert viewer.do("state.zoom") == pytest.approx(2, rel=0.1)


def test_the_card_shows_what_was_measured(viewer):
    viewer.click(B)
    text = re.sub("[\u2068\u2069]", "", viewer.page.locator(".card").inner_text())
    for part in (
        "passes its control",
        "association only",
        "by intervention",
        "class 7",
        "AUC",
        "pixel (3, 4)",
        "0.3141",
    ):
        assert part in text
    assert viewer.page.locator(".card .tokens .at").first.inner_text().strip() == "cat"
    viewer.page.click(".card .suggestions button")
    viewer.rest()
    assert viewer.page.locator("#label").input_value() == "class 7"


@pytest.mark.parametrize(
    ("statistic", "effect", "low"), [("AUC", 0.03, True), ("AUC", 0.9, False), ("correlation", -0.8, True)]
)
def test_a_suggestion_that_speaks_of_low_values_says_so(open_page, tmp_path, statistic, effect, low):
    graph = make_graph((3, 2), ("a", "output"))
    cards = make_cards(graph, "number")
    cards["cards"]["a:0"]["suggestions"][0] |= {"statistic": statistic, "effect": effect}
    viewer = open_page(graph.to_html(tmp_path / "low.html", cards=cards), "#/selected=a:0")
    assert ("low end" in viewer.page.locator(".suggestions").inner_text()) == low


def test_tables_give_the_same(viewer, expected):
    viewer.page.click(".as-table > summary")
    viewer.rest()
    edges = expected.drawn()
    rows = viewer.page.locator(".tables table").nth(1).locator("tbody tr")
    assert rows.count() == min(100, len(edges))
    strongest = max((e for e in expected.edges if e[0] == 0), key=lambda e: e[4])
    assert rows.first.inner_text().split()[:2] == [strongest[2], strongest[3]]
    viewer.page.click('[data-key="later-edges"]')
    assert rows.count() == len(edges) - 100


def test_counts_are_those_of_the_graph(viewer, graphs, needed):
    """The data of the page are the graph's, not only consistent with themselves."""
    data = viewer.data["graphs"][0]
    for section, edges, mask in zip(data["sections"], graphs[0].edges, needed.masks.values(), strict=True):
        assert section["total"] == edges.numel()
        assert section["needed"]["required"]["count"] == int(mask.sum())
        assert section["needed"]["required"]["weakest"] == pytest.approx(float(edges[mask].min()), rel=1e-4)
    assert json.loads(json.dumps(data)) == data


def test_needed_edges_that_the_page_cannot_hold_are_counted(open_page, tmp_path):
    """More edges than a page has room for: what was needed and is not there is said."""
    graph = make_graph((150, 140), ("a", "output"))
    needed = make_edge_ablation(graph, (20_020,), (20_030,))
    viewer = open_page(graph.to_html(tmp_path / "cut.html", edge_ablation=needed))
    assert viewer.counts[:2] == [20_000, 150 * 140]
    viewer.page.click(".why summary")
    text = viewer.page.locator(".why").inner_text()
    assert "30 of the needed edges are not in this page" in text
    assert f"{150 * 140 - 20_000:,} edges: not in this page" in text


def test_names_of_many_sites_tell_them_apart(open_page, tmp_path):
    names = [*(f"transformer.h.{k}.mlp:out" for k in range(12)), "output"]
    viewer = open_page(make_graph((4,) * 13, names).to_html(tmp_path / "many.html"), width=900)
    heads = [t for t in viewer.page.locator(".nodes > text").all_text_contents() if "…" in t]
    assert len(heads) == len(set(heads)) == 12


PLACES = """() => [...document.querySelectorAll(".nodes text, .nodes circle")].map((one) => [one.textContent,
    one.getBoundingClientRect()]).map(([text, at]) => [text, at.left, at.right, at.top, at.bottom])"""


def test_a_language_models_columns_have_heads_that_can_be_read(open_page, tmp_path):
    """Of columns too near each other some are named, by what tells them apart, and no number covers a feature."""
    kinds = ("input_layernorm", "post_attention_layernorm")
    names = [f"model.layers.{i}.{kind}:in" for i in range(30) for kind in kinds] + ["model.norm:in"]
    viewer = open_page(make_graph((5,) * 61, names).to_html(tmp_path / "p.html"))
    viewer.page.click(".why summary")
    assert "Names of sites: 1 in " in viewer.page.locator(".why").inner_text()
    for zooms in (0, 4, 3):
        for _ in range(zooms):
            viewer.page.click("#zoom_in")
            viewer.rest()
        places = viewer.do(PLACES)
        heads = sorted((one for one in places if "…" in one[0]), key=lambda one: one[1])
        assert len(heads) >= 5
        assert [t for t, *_ in heads if not re.match(r"…\d+\.(input|post)", t.strip("\u2068\u2069"))] == []
        assert [(a[0], b[0], a[2] - b[1]) for a, b in pairwise(heads) if a[2] > b[1] + 1] == []
        dots = [one[1:] for one in places if one[0] == ""]
        for text, left, right, top, bottom in places:
            middle = (top + bottom) / 2
            assert not text.isdigit() or not any(l < right and r > left and t < middle < b for l, r, t, b in dots)
    assert "Names of sites" not in viewer.page.locator(".why").inner_text()


@pytest.mark.parametrize(("lang", "words"), [("en", "Features 0 to 2 of this site"), ("ja", "特徴 0 から 2")])
def test_features_that_are_not_determined_alone_are_marked(open_page, tmp_path, lang, words):
    graph = make_graph((5, 4, 3, 2))
    tied = replace(graph.basis[0], ties=(Tie(0, 2, "equal"),))
    graph = replace(graph, basis=replace(graph.basis, sites=(tied, *graph.basis.sites[1:])))
    viewer = open_page(graph.to_html(tmp_path / "tied.html", lang))
    name = "blocks.0.ln1:in"
    assert "≈" in viewer.node(f"{name}:1").get_attribute("aria-label")
    assert "≈" not in viewer.node(f"{name}:3").get_attribute("aria-label")
    viewer.click(f"{name}:1")
    assert words in viewer.page.locator(".card").inner_text()
    assert f"{name}:0" in viewer.page.locator(".decide li:visible", has_text="≈").inner_text()
    viewer.click(f"{name}:3")
    assert viewer.selected == f"{name}:3"
    assert "≈" not in viewer.page.locator(".card").inner_text()
