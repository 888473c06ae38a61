"""Labels, notes, modules and the view itself: kept in the address, in the browser and in a file."""

import json

import pytest

from libasis.graphs.labels import Label

A, B = "blocks.0.ln1:in:0", "blocks.0.ln2:in:0"


def write_label(viewer, key, label, note=""):
    viewer.click(key)
    viewer.page.fill("#label", label)
    viewer.page.fill("#note", note)
    viewer.press("Tab")


def test_a_label_goes_out_as_a_file_and_comes_back(viewer, open_page, file, graphs, tmp_path):
    write_label(viewer, B, "curve, left ‏עברית", 'says "yes"\n</script>')
    viewer.page.fill("#module", "curves")
    viewer.press("Tab")
    viewer.tab("groups")
    saved = viewer.saved(lambda: viewer.page.click("#export-labels"))
    plain = json.loads(saved)
    assert (plain["format"], plain["version"]) == ("libasis-labels", 1)
    path = tmp_path / "labels.json"
    path.write_bytes(saved)
    named = graphs[0].with_labels(path)
    assert named.labels == {**graphs[0].labels, B: Label("curve, left ‏עברית", 'says "yes"\n</script>')}
    assert named.modules == {**graphs[0].modules, B: "curves"}

    other = open_page(file)
    other.tab("groups")
    other.page.set_input_files("#import", path)
    other.page.wait_for_selector(".message:not([hidden])")
    assert "3 labels" in other.page.locator(".message").inner_text()
    assert "curves" in other.page.locator(".legend").inner_text()
    other.tab("groups")
    assert json.loads(other.saved(lambda: other.page.click("#export-labels"))) == plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "not JSON"),
        ('{"format": "other"}', "not a libasis label file"),
        ('{"format": "libasis-labels", "version": 1, "labels": {"nowhere:0": {"label": "x"}}}', "nowhere:0"),
        ('{"format": "libasis-labels", "version": 1, "modules": {"output:99": "x"}}', "output:99"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing(viewer, tmp_path, text, said):
    before = viewer.do("JSON.stringify(app.notes.toPlain())")
    path = tmp_path / "labels.json"
    path.write_text(text, encoding="utf-8")
    viewer.tab("groups")
    viewer.page.set_input_files("#import", path)
    viewer.page.wait_for_selector(".message:not([hidden])")
    assert said in viewer.page.locator(".message").inner_text()
    assert viewer.do("JSON.stringify(app.notes.toPlain())") == before


def test_this_browser_remembers_labels(viewer, open_page, file):
    write_label(viewer, B, "remembered")
    again = open_page(file, context=viewer.context)
    again.click(B)
    assert again.page.locator("#label").input_value() == "remembered"


def test_pinned_features_become_a_module(viewer):
    for key in (B, "unembed:in:0"):
        viewer.node(key).focus()
        viewer.press("p")
    viewer.tab("groups")
    viewer.page.fill("#new-module", "my circuit")
    viewer.press("Enter")
    assert viewer.do("app.notes.members('my circuit').map((v) => app.model.id(v))") == [B, "unembed:in:0"]
    viewer.page.click('[data-key="dissolve-my circuit"]')
    assert viewer.do("app.notes.members('my circuit').length") == 0


def test_the_address_brings_the_view_back(viewer, open_page, file):
    viewer.click(B)
    viewer.page.click('[data-key="pin"]')
    viewer.tab("view")
    viewer.slide("strength", 150)
    viewer.slide("most", 3)
    viewer.choose("order", "importance")
    viewer.choose("lang", "ja")
    viewer.page.mouse.move(*viewer.place("unembed:in:1"))
    viewer.page.mouse.wheel(0, -200)
    viewer.rest()
    viewer.page.wait_for_timeout(200)
    before = (viewer.counts, viewer.place(B, on_stage=True), viewer.do("({...state})"))
    address = viewer.do("location.hash")
    other = open_page(file, address)  # a context of its own: nothing is remembered but the address
    after = other.do("({...state})")
    assert other.counts == before[0]
    assert {k: v for k, v in after.items() if not isinstance(v, float)} == {
        k: v for k, v in before[2].items() if not isinstance(v, float)
    }
    assert all(after[k] == pytest.approx(before[2][k], rel=1e-4) for k in ("strength", "zoom", "x", "y"))
    assert other.place(B, on_stage=True) == pytest.approx(before[1], abs=2)
    assert other.do("document.documentElement.lang") == "ja"
    assert other.selected == B


@pytest.mark.parametrize(
    "address",
    [
        "#/graph=99&show=nonsense&order=__proto__&strength=x&zoom=NaN&selected=<img src=x>",
        "#finding",
        "#/%00&pinned=a&pinned=b",
    ],
)
def test_an_address_that_means_nothing_does_no_harm(open_page, file, address):
    viewer = open_page(file, address)
    assert viewer.counts[0] == 108


def test_links_within_the_page_keep_the_view(viewer):
    viewer.click(B)
    viewer.page.wait_for_timeout(200)
    address = viewer.do("location.hash")
    viewer.page.locator('nav a[href="#tables"]').click()
    viewer.page.wait_for_timeout(100)
    assert viewer.do("location.hash") == address != ""
    assert viewer.page.locator("#tables h2").bounding_box()["y"] < 900


def test_reset_keeps_pins_and_selection(viewer):
    viewer.click(B)
    viewer.page.click('[data-key="pin"]')
    viewer.tab("view")
    viewer.slide("importance", 300)
    assert viewer.counts[0] != 108
    viewer.page.click("#reset")
    viewer.rest()
    assert viewer.counts[0] == 108
    assert viewer.do("[state.selected, ...state.pinned]") == [B, B]
