"""The page of a plan in a real browser: both languages, no sideways scrolling, nothing that stops a screen reader."""

import pytest

from libasis.practice import ABMetric, ab_design, practice_plan, value


@pytest.fixture
def page(browser, tmp_path):
    design = ab_design(ABMetric("scrap rate of line 3", baseline=0.04, effect=0.01, better="lower"), traffic=480)
    worth = value({"events": (100, 250), "avoided": (0.2, 0.7), "saving": 1200}, unit="EUR")
    made = practice_plan([design, worth], change="Limit of the valve", rows_per_day=480, events_per_day=0.5)
    context = browser.new_context(viewport={"width": 360, "height": 700}, offline=True)
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(made.to_html(tmp_path / "plan.html").as_uri())
    yield opened
    context.close()
    assert said == []


def test_one_language_is_shown_at_a_time(page):
    for lang, shown, hidden in (("ja", "段階的な展開", "Roll-out"), ("en", "Roll-out", "段階的な展開")):
        page.locator(f'input[name="lang"][value="{lang}"]').check(force=True)
        text = page.inner_text("main")
        assert shown in text
        assert hidden not in text


def test_it_fits_a_telephone_and_axe_finds_nothing_serious(page):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    found = axe.run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
