"""Make the pictures of docs/report.md from a report, with Chromium; run it again whenever the page looks different.

    libasis demo digits --out build/digits --force
    python docs/screenshots.py build/digits/report.html

It needs `pip install playwright pillow`, Chromium (on the path, or named in LIBASIS_CHROMIUM) and pdftoppm of poppler.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome")
COLOURS, MOST, CARD = 96, 300_000, 1530
"""Colours of a picture, bytes that it may have, and the height of what is shown of a card."""


def main(report: Path) -> None:
    """Take every picture of the report."""
    chromium = os.environ.get("LIBASIS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as folder:
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_page(viewport={"width": 1200, "height": 860}, reduced_motion="reduce")
        page.goto(report.resolve().as_uri())
        page.wait_for_selector(".node", state="attached")
        page.wait_for_timeout(500)
        first_screen(page, "first", Path(folder))
        graph(page, Path(folder))
        card(page, Path(folder))
        paper(page, Path(folder))
        page.check('input[name="lang"][value="ja"]', force=True)
        page.wait_for_timeout(500)
        first_screen(page, "ja", Path(folder))
        browser.close()


def first_screen(page: Page, name: str, folder: Path) -> None:
    """The head of the page and the first screen, in the language that the page is in."""
    bottom = page.locator("#first").bounding_box()
    page.evaluate("scrollTo(0, 0)")
    clip = {"x": 0, "y": 0, "width": 1200, "height": bottom["y"] + bottom["height"] + 30}
    page.screenshot(path=folder / "shot.png", full_page=True, clip=clip)
    keep(folder / "shot.png", name)


def graph(page: Page, folder: Path) -> None:
    """The graph with its panel of settings."""
    page.locator("#workbench").screenshot(path=folder / "shot.png")
    keep(folder / "shot.png", "graph")


def card(page: Page, folder: Path) -> None:
    """The card of the first feature of the first screen, in a panel as high as it."""
    key = page.locator(".d-feature code").first.inner_text()
    page.locator("#workbench").scroll_into_view_if_needed()
    dot = page.locator(f'.node[data-key="{key}"] circle').last.bounding_box()
    page.mouse.click(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    page.wait_for_timeout(500)
    stage = page.locator(".stage")
    hidden = page.locator(".panel:visible").evaluate("(panel) => panel.scrollHeight - panel.clientHeight")
    stage.evaluate("(stage, more) => { stage.style.height = `${stage.clientHeight + more}px` }", hidden)
    page.wait_for_timeout(300)
    page.locator("#workbench .side").screenshot(path=folder / "shot.png")
    stage.evaluate("(stage) => { stage.style.height = '' }")
    keep(folder / "shot.png", "card", CARD)


def paper(page: Page, folder: Path) -> None:
    """The first printed page, on A4."""
    page.pdf(path=folder / "report.pdf", format="A4", prefer_css_page_size=False)
    command = ["pdftoppm", "-png", "-r", "110", "-f", "1", "-l", "1", "-singlefile", folder / "report.pdf"]
    subprocess.run([*command, folder / "shot"], check=True)
    keep(folder / "shot.png", "print")


def keep(shot: Path, name: str, height: int | None = None) -> None:
    """Put a picture, or its upper part, beside the others, with few colours."""
    target = IMAGES / f"report-{name}.png"
    with Image.open(shot) as image:
        shown = image.crop((0, 0, image.width, min(image.height, height or image.height)))
        shown.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(target, optimize=True)
    size = target.stat().st_size
    print(f"{target}: {shown.width} x {shown.height}, {size:,} bytes")
    if size > MOST:
        sys.exit(f"{target} has more than {MOST:,} bytes.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
