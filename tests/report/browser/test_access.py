"""For every reader: keys alone, a screen reader, both languages, no script, and text that means harm."""

import dataclasses
import re

import pytest

from libasis import Communities, Label
from libasis.report import Results, write_page
from libasis.report.words import LANGUAGES
from report.decide.cards import make_cards
from report.synthetic import make_edge_ablation, make_graph

EVIL = "</script><img src=x onerror=alert(1)>\"'&lt;"
RTL = "‮נסיון עברית"


def test_everything_can_be_done_with_keys(viewer):
    viewer.page.locator("#search").focus()
    viewer.page.keyboard.type("unembed:in:0")
    viewer.press("Enter")
    assert viewer.selected == "unembed:in:0"
    assert viewer.do("document.activeElement.dataset.key") == "unembed:in:0"
    viewer.press("ArrowRight")
    target = viewer.do("document.activeElement.dataset.key")
    assert target.startswith("output:")
    viewer.press("ArrowLeft", "ArrowDown", "p")
    pinned = viewer.do("state.pinned")
    assert pinned == [viewer.do("document.activeElement.dataset.key")]
    viewer.press("Enter")
    assert viewer.selected == pinned[0]
    viewer.press("Backspace")
    assert viewer.selected == "unembed:in:0"
    viewer.press("+")
    assert viewer.do("state.zoom") == pytest.approx(1.4)
    viewer.press("0", "Escape")
    assert (viewer.do("state.zoom"), viewer.selected) == (0, None)
    viewer.tab("view")
    viewer.press("ArrowLeft")
    assert viewer.page.locator("#panel-groups").is_visible()


def test_the_tab_key_enters_the_graph_once_and_leaves_it(viewer):
    stops = viewer.do("document.querySelectorAll('.nodes [tabindex=\"0\"]').length")
    assert stops == 1
    viewer.page.locator(".menu summary").focus()
    viewer.press("Tab")
    assert viewer.do("document.activeElement.closest('.nodes') !== null")
    viewer.press("Tab")
    assert viewer.do("document.activeElement.closest('.nodes') === null")


def test_focus_is_seen(viewer):
    viewer.page.locator("#search").focus()
    viewer.page.keyboard.type("unembed:in:0")
    viewer.press("Enter")
    shape = viewer.page.locator(".node:focus-visible > circle").last
    assert shape.evaluate("(node) => getComputedStyle(node).strokeWidth") == "4px"


@pytest.mark.parametrize("lang", ["en", "ja"])
def test_axe_finds_nothing_serious(open_page, file, lang):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    viewer = open_page(file, f"#/lang={lang}&selected=blocks.0.ln2:in:0")
    viewer.page.click(".as-table > summary")
    viewer.page.click(".why summary")
    for tab in ("feature", "view", "groups"):
        viewer.tab(tab)
        changed = None if tab == "feature" else ".side"  # the rest of the page is as it was
        found = axe.run(viewer.page, context=changed).response["violations"]
        serious = [(v["id"], v["nodes"][0]["html"][:200]) for v in found if v["impact"] in ("serious", "critical")]
        assert serious == []


def visible_words(viewer):
    return viewer.page.locator("body").inner_text()


def test_one_switch_changes_every_word(viewer):
    viewer.click("blocks.0.ln2:in:0")
    viewer.page.mouse.move(2, 2)
    english = visible_words(viewer)
    assert not re.search("[ぁ-んァ-ヶ]", english.replace("日本語", ""))
    viewer.choose("lang", "ja")
    japanese = visible_words(viewer)
    assert viewer.page.title() == "テスト"
    assert "undefined" not in english + japanese
    english_words, japanese_words = (set(LANGUAGES[lang]["graph"].values()) for lang in ("en", "ja"))
    left = english_words - japanese_words
    for tab in ("view", "feature", "groups"):
        viewer.tab(tab)
        assert not left & {line.strip() for line in visible_words(viewer).split("\n")}
    viewer.tab("feature")
    viewer.choose("lang", "en")
    assert visible_words(viewer) == english


def test_without_script_the_tables_are_there(browser, file):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto(file.as_uri())
    text = page.locator("body").inner_text()
    context.close()
    assert "The graph needs JavaScript" in text
    assert "Interactions needed, section by section" in text
    assert "相互作用" not in text


def test_text_that_means_harm_is_only_text(open_page, tmp_path):
    names = (EVIL, RTL, "x" * 300, "output")
    graph = make_graph((5, 4, 3, 2), names, method=EVIL)
    labels = {f"{RTL}:0": Label(EVIL, EVIL), f"{EVIL}:0": Label("x" * 1000), f"{EVIL}:1": Label(RTL)}
    graph = dataclasses.replace(graph, labels=labels, modules={f"{EVIL}:0": EVIL, f"{EVIL}:1": "__proto__"})
    cards = make_cards(graph, "text", outputs=(EVIL, RTL))
    for card in cards["cards"].values():
        card["suggestions"][0]["value"] = EVIL
        card["top"][0] |= {
            "target": EVIL,
            "content": {"kind": "text", "tokens": [EVIL, RTL], "values": [1, -1], "at": 0},
        }
    results = Results([graph], [make_edge_ablation(graph, (9, 8, 6), (9, 8, 6))], cards=cards, title=EVIL)
    file = write_page(tmp_path / "evil.html", results)
    viewer = open_page(file)
    for tab in ("groups", "view"):
        viewer.tab(tab)
    viewer.page.fill("#search", EVIL)
    viewer.page.locator(".results button").first.click()
    viewer.rest()
    viewer.page.click(".card .suggestions button")
    viewer.page.click(".as-table > summary")
    viewer.rest()
    assert viewer.page.locator("#label").input_value() == f"class {EVIL}"
    assert EVIL in visible_words(viewer)
    assert viewer.page.locator("img[src=x]").count() == 0
    assert viewer.do("Object.prototype.carry === undefined && document.scripts.length === 2")
    width = viewer.do("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert width <= 0  # nothing long pushes the page sideways
    assert EVIL in viewer.saved_as("svg").decode().replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def test_in_a_notebook_it_lives_in_a_frame_of_its_own(browser, graphs, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(f"<!DOCTYPE html><meta charset=utf-8><body>{graphs[0]._repr_html_()}</body>", encoding="utf-8")
    context = browser.new_context(viewport={"width": 1100, "height": 900}, offline=True, reduced_motion="reduce")
    page, said = context.new_page(), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(path.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator(".node").first.wait_for()
    frame.locator("#search").fill("unembed:in:0")
    frame.locator(".results button").first.click()
    frame.locator("#label").fill("kept nowhere")
    frame.locator("#note").focus()
    assert "does not keep labels" in frame.locator(".message").inner_text()
    context.close()
    assert said == []


def test_a_graph_alone_says_what_is_missing(open_page, tmp_path):
    graph = make_graph((6, 5), ("a", "output"))
    viewer = open_page(graph.to_html(tmp_path / "alone.html"))
    assert "was not measured" in viewer.page.locator(".controls").inner_text()
    viewer.tab("groups")
    assert "No groups were suggested" in viewer.page.locator(".groups").inner_text()
    viewer.click("a:0")
    assert "No feature cards were given" in viewer.page.locator(".card").inner_text()
    one = open_page(make_graph((4,), ("only",)).to_html(tmp_path / "one.html"), "#/loners=true")
    assert one.counts == [0, 0, 4, 0]


def test_groups_that_chance_gives_are_not_offered(open_page, tmp_path):
    graph = make_graph((6, 5), ("a", "output"))
    groups = Communities({"a:0": 0}, [1.0], 1.0, False)
    viewer = open_page(graph.to_html(tmp_path / "chance.html", communities=groups), "#/suggested=true")
    viewer.tab("groups")
    assert "beyond what chance gives" in viewer.page.locator(".groups").inner_text()
    assert viewer.page.locator('[data-key="suggested"]').count() == 0
