"""The pages around one input in a real browser: nothing is blocked, nothing overflows, axe finds nothing serious."""

import pytest

from report.test_local_pages import PNG, contributions, counterfactuals, edges, sensitivity

PICTURE = {"kind": "image", "png": PNG, "width": 2, "height": 2}
RESULTS = {
    "contributions": lambda: contributions(3, PICTURE),
    "counterfactuals": counterfactuals,
    "sensitivity of tokens": sensitivity,
    "sensitivity of a picture": lambda: sensitivity(PICTURE, [(0, 0, 1, 1), (0, 1, 1, 1), (1, 0, 1, 1), (1, 1, 1, 1)]),
    "edges": edges,
}


@pytest.mark.parametrize("name", RESULTS)
def test_it_is_shown_as_it_should_be(browser, name, tmp_path):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    file, said = RESULTS[name]().to_html(tmp_path / "page.html"), []
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(file.as_uri())
    for lang in ("en", "ja"):
        page.locator(f'#languages input[value="{lang}"]').check(force=True)
        assert page.evaluate("document.documentElement.lang") == lang
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator(f"main .in-{lang}:visible").count() > 0
        assert page.locator(f"main .in-{'ja' if lang == 'en' else 'en'}:visible").count() == 0
        found = axe.run(page).response["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
    if "picture" in name or name == "contributions":
        assert page.locator("svg.l-picture:visible rect").count() > 0
    assert said == []
    page.close()
