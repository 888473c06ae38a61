"""The page of a large graph in a real Chromium, in software rendering: first picture, frames while zooming, redraw.

The graph is synthetic, and every edge of it is drawn. Times are those of the browser's own clock; a frame is the time
between two animation frames while the wheel turns. Needs playwright and Chromium (``LIBASIS_CHROMIUM`` names another).
Run: python benchmarks/viewer.py [--edges 5000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from playwright.sync_api import sync_playwright

from libasis.basis import Basis, SiteBasis
from libasis.graphs import InteractionGraph
from libasis.report import Results, write_page
from libasis.report.view import graph_view

FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
SITES = 6

FRAMES = """async (steps) => {
  const stage = document.querySelector(".stage");
  const box = stage.getBoundingClientRect();
  const frames = [];
  let last = performance.now();
  for (let k = 0; k < steps; k++) {
    const at = { clientX: box.left + box.width * 0.6, clientY: box.top + box.height * 0.4 };
    const wheel = { ...at, deltaY: k % 20 < 10 ? -60 : 40, bubbles: true, cancelable: true };
    stage.dispatchEvent(new WheelEvent("wheel", wheel));
    await new Promise((resolve) => requestAnimationFrame(resolve));
    const now = performance.now();
    frames.push(now - last);
    last = now;
  }
  return frames;
}"""

REDRAW = """async () => {
  const times = [];
  for (let k = 0; k < 5; k++) {
    await new Promise((resolve) => requestAnimationFrame(resolve));
    const start = performance.now();
    app.stage.draw();
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    times.push(performance.now() - start);
  }
  return times;
}"""


def graph_of(edges):
    """Six sites; so many edges in all, spread over the five sections, with strengths over six powers of ten."""
    k = max(8, round((2 * edges / (SITES - 1)) ** 0.5))
    random = torch.Generator().manual_seed(0)
    each = edges // (SITES - 1)
    strengths, signed = [], []
    for _ in range(SITES - 1):
        matrix = torch.zeros(k * k, dtype=torch.float64)
        places = torch.randperm(k * k, generator=random)[:each]
        matrix[places] = 10 ** (-6 * torch.rand(each, generator=random, dtype=torch.float64))
        strengths.append(matrix.view(k, k))
        signed.append((matrix * (torch.rand(k * k, generator=random) - 0.5).sign()).view(k, k))
    eye, values = torch.eye(k).double(), torch.logspace(2, -4, k).double()
    sites = tuple(SiteBasis(f"layer.{n}:in", torch.zeros(k).double(), eye, eye, values, values) for n in range(SITES))
    return InteractionGraph(Basis(sites, "lib"), tuple(strengths), tuple(signed))


def measure(page, file):
    """Load the page and zoom; milliseconds."""
    start = time.perf_counter()
    page.goto(file.as_uri() + "#/show=strength&strength=0")
    page.wait_for_selector("html[data-ready=true] .node", state="attached")
    painted = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    page.evaluate(painted)
    first = 1000 * (time.perf_counter() - start)
    page.locator(".toolbar").evaluate("(bar) => bar.scrollIntoView({ behavior: 'instant' })")
    page.wait_for_timeout(500)
    frames = page.evaluate(FRAMES, 60)[2:]
    page.wait_for_timeout(400)
    return first, frames, page.evaluate(REDRAW), page.locator(".counts").inner_text()


def main():
    """Write the page, open it, print what it took."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--edges", type=int, default=5000)
    options = parser.parse_args()
    graph = graph_of(options.edges)
    start = time.process_time()
    graph_view(graph)
    view = 1000 * (time.process_time() - start)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = write_page(Path(folder) / "page.html", Results([graph]))
        path = os.environ.get("LIBASIS_CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        first, frames, redraws, counts = measure(page, file)
        size = file.stat().st_size / 1e6
        browser.close()
    print(counts)
    print(f"page {size:.1f} MB; view data with layout {view:.0f} ms of one core")
    print(f"first picture {first:.0f} ms after the file is opened")
    slow = sorted(frames)[int(0.95 * len(frames))]
    print(f"frames while zooming: median {statistics.median(frames):.0f} ms, 95th percentile {slow:.0f} ms")
    print(f"drawing everything anew and showing it: median {statistics.median(redraws):.0f} ms")


if __name__ == "__main__":
    main()
