"""On paper: the first screen is page one, nothing that only works on a screen is printed, no figure is cut."""

import pytest

from report.browser.viewer import Viewer

MILLIMETRE, MARGINS = 96 / 25.4, (24, 22)
PAPERS = {"A4": (210, 297), "letter": (215.9, 279.4)}
LANGS = pytest.mark.parametrize("lang", ["en", "ja"])


@pytest.fixture(params=list(PAPERS))
def paper(request):
    """Width and height of what a page holds, in pixels."""
    return [int((side - margin) * MILLIMETRE) for side, margin in zip(PAPERS[request.param], MARGINS, strict=True)]


@pytest.fixture
def printed(browser, file, paper, lang):
    viewer = Viewer(browser, file, width=1280, height=900)
    viewer.page.check(f'input[name="lang"][value="{lang}"]', force=True)
    viewer.page.set_viewport_size({"width": paper[0], "height": paper[1]})
    viewer.page.emulate_media(media="print")
    viewer.rest()
    yield viewer
    viewer.close()


def box(viewer, selector):
    return viewer.page.locator(f"{selector}:visible").first.bounding_box()


@LANGS
def test_the_first_screen_fits_on_page_one_and_the_rest_starts_on_the_next(printed, paper):
    printed.page.evaluate("scrollTo(0, 0)")
    screen = box(printed, ".decide")
    assert screen["y"] + screen["height"] <= paper[1]
    assert screen["width"] <= paper[0]
    assert printed.page.locator(".decide:visible").evaluate("(s) => getComputedStyle(s).breakAfter") == "page"


@LANGS
def test_nothing_is_wider_than_the_paper_and_no_figure_higher(printed, paper):
    assert printed.page.evaluate("document.documentElement.scrollWidth") <= paper[0]
    figures = printed.page.evaluate(
        """[...document.querySelectorAll("figure")]
            .map((f) => [f.getBoundingClientRect().height, getComputedStyle(f).breakInside])
            .filter(([height]) => height > 0)"""
    )
    assert len(figures) > 3
    for height, inside in figures:
        assert height <= paper[1]
        assert inside == "avoid"


@LANGS
def test_controls_are_left_out_and_what_is_folded_is_printed(printed):
    for selector in ("nav", "#languages", ".toolbar", ".side", "button", "input"):
        assert printed.page.locator(f"{selector}:visible").count() == 0, selector
    record = printed.page.locator("#provenance details:visible").first
    assert record.evaluate("(d) => !d.open")
    assert record.locator("dl").first.bounding_box()["height"] > 0
