"""The page as a reader sees and uses it."""

import json
import re
from pathlib import Path

READY = "html[data-ready=true] .node"
ARRIVED = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => requestAnimationFrame(done))))"
)
"""A frame is drawn after the events that wait for it, however slow the machine is."""


class Viewer:
    """One page in a browser context of its own, offline."""

    def __init__(self, browser, path, address="", *, width=1280, height=900, ratio=1, context=None, **options):
        self.context = context or browser.new_context(
            viewport={"width": width, "height": height},
            device_scale_factor=ratio,
            offline=True,
            reduced_motion="reduce",
            **options,
        )
        self.page = self.context.new_page()
        self.said, self.loaded = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.loaded.append(request.url))
        self.file = Path(path).as_uri()
        self.page.goto(self.file + address)
        self.page.wait_for_selector(READY, state="attached")
        self.page.locator(".toolbar").evaluate("(bar) => bar.scrollIntoView()")
        self.rest()

    def close(self):
        """Close; the console must have stayed silent and nothing else have been asked for."""
        self.context.close()
        assert self.said == []
        others = [url for url in self.loaded if not url.startswith((self.file, "blob:", "data:"))]
        assert others == []

    def rest(self):
        """Wait until what was pressed has arrived, the picture is drawn and the address written."""
        self.page.evaluate(ARRIVED)
        self.page.wait_for_timeout(200)

    def do(self, script):
        return self.page.evaluate(script)

    @property
    def counts(self):
        """Edges drawn, edges in all, features drawn, features hidden, as the page says."""
        text = self.page.locator(".counts").inner_text()
        return [int(n.replace(",", "")) for n in re.findall(r"[\d,]*\d", text)]

    def node(self, key):
        return self.page.locator(f'.node[data-key="{key}"]')

    def nodes(self):
        return {node.get_attribute("data-key") for node in self.page.locator(".node").all()}

    def place(self, key, *, on_stage=False):
        """The middle of a feature on the screen, or on the stage."""
        box = self.node(key).locator("circle, polygon").last.bounding_box()
        stage = self.page.locator(".stage").bounding_box() if on_stage else {"x": 0, "y": 0}
        return box["x"] + box["width"] / 2 - stage["x"], box["y"] + box["height"] / 2 - stage["y"]

    def hover(self, key):
        self.page.mouse.move(*self.place(key))
        self.page.wait_for_timeout(50)

    def click(self, key):
        self.page.mouse.click(*self.place(key))
        self.rest()

    def tab(self, name):
        self.page.click(f"#tab-{name}")

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
        self.rest()

    def choose(self, name, value):
        """Press a radio button."""
        self.page.locator(f'input[name="{name}"][value="{value}"]').check(force=True)
        self.rest()

    def slide(self, key, value):
        """Move a slider."""
        self.page.locator(f"#slide-{key}").fill(str(value))
        self.rest()

    def saved(self, press):
        """The bytes of the file that an action saves."""
        with self.page.expect_download() as download:
            press()
        return Path(download.value.path()).read_bytes()

    def saved_as(self, kind):
        def press():
            self.page.click(".menu summary")
            self.page.click(f"#export-{kind}")

        return self.saved(press)

    @property
    def selected(self):
        found = self.page.locator(".card .id")
        return found.inner_text() if found.count() else None

    @property
    def data(self):
        return json.loads(self.page.locator("#view-data").text_content())
