"""A hypothesis is stated on the page, and what is saved is what libasis reads."""

import tomllib

import pytest

from libasis import Hypothesis

A, B = "blocks.0.ln2:in:0", "blocks.0.ln2:in:2"


@pytest.fixture
def viewer(open_page, file):
    return open_page(file, f"#/selected={A}&pinned={B}&pinned=output:2")


def stated(viewer, **fields):
    viewer.page.click(".hypothesis summary") if not viewer.page.locator(".hypothesis[open]").count() else None
    for name, value in fields.items():
        control = viewer.page.locator(f"#hypothesis-{name}")
        control.select_option(value) if name == "direction" else control.fill(value)
    viewer.page.click("#hypothesis-add")


def saved(viewer):
    with viewer.page.expect_download() as waiting:
        viewer.page.click("#hypothesis-save")
    assert waiting.value.suggested_filename == "hypotheses.toml"
    return tomllib.loads(waiting.value.path().read_text(encoding="utf-8"))["hypotheses"]


def test_what_is_saved_is_a_hypothesis(viewer):
    stated(viewer, name='A "and" B\\', direction="decrease", delta="0.02", group="target == 3")
    stated(viewer, name="", metric="output[2]", direction="any", delta="", group="")
    first, second = (Hypothesis(**one) for one in saved(viewer))
    assert (first.name, first.site, first.features) == ('A "and" B\\', "blocks.0.ln2:in", (0, 2))
    assert (first.direction, first.delta, first.group, first.metric) == ("decrease", 0.02, "target == 3", "accuracy")
    assert (second.metric, second.direction, second.delta, second.group) == ("output[2]", "any", None, None)


@pytest.mark.parametrize("wrong", ["0", "-1"])
def test_a_smallest_effect_is_above_zero(viewer, wrong):
    stated(viewer, delta=wrong)
    assert "above 0" in viewer.page.locator(".hypothesis [role=status]").inner_text()
    assert viewer.page.locator("#hypothesis-save").is_disabled()


def test_the_model_s_output_is_no_place_to_replace(open_page, file):
    viewer = open_page(file, "#/selected=output:2")
    assert viewer.page.locator(".hypothesis").count() == 0
