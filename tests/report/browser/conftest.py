"""A real Chromium that opens the page from a file, with the network switched off."""

import os
import shutil

import pytest

from libasis import Communities, Label
from libasis.report import Results, write_page
from report.browser.viewer import Viewer
from report.decide.cards import ablation, make_cards
from report.synthetic import make_edge_ablation, make_graph, make_node_ablation

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
]
NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
SIZES = (16, 11, 9, 6)


@pytest.fixture(scope="session")
def chromium():
    """Where Chromium is; on a developer's machine without one these tests are skipped, elsewhere they fail."""
    path = os.environ.get("LIBASIS_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        reason = "No Chromium: run tests/report/browser/install.sh, or name one in LIBASIS_CHROMIUM."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    return path


@pytest.fixture(scope="session")
def browser(chromium):
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def graphs():
    """LIB with labels and modules, beside PCA."""
    lib = make_graph(SIZES)
    lib.labels.update({"unembed:in:3": Label("even or odd", "seen by eye"), "output:2": Label("偶数")})
    lib.modules.update({"blocks.0.ln1:in:0": "carry", "blocks.0.ln1:in:1": "carry", "blocks.0.ln2:in:0": "carry"})
    return [lib, make_graph((14, 12, 9, 6), method="pca")]


@pytest.fixture(scope="session")
def needed(graphs):
    return make_edge_ablation(graphs[0], (40, 30, 20), (50, 33, 25))


@pytest.fixture(scope="session")
def file(graphs, needed, tmp_path_factory):
    """The page with everything that it can show."""
    tested = {"blocks.0.ln2:in:0": ablation(), "unembed:in:1": ablation(-0.001, passed=False)}
    groups = {f"{s.name}:{i}": i % 2 for s in graphs[0].basis for i in range(s.k) if i < 8}
    results = Results(
        graphs,
        edge_ablations=[needed, make_edge_ablation(graphs[1], (40, 30, 20), (50, 33, 25))],
        node_ablations=[make_node_ablation(graphs[0])],
        cards=make_cards(graphs[0], "text", ablations=tested, outputs=[f"class {i}" for i in range(6)]),
        communities=Communities(groups, [0.9, 0.6], 0.9, True, {"resolution": 1.0}),
        title={"en": "A test", "ja": "テスト"},
    )
    return write_page(tmp_path_factory.mktemp("page") / "report.html", results)


@pytest.fixture
def open_page(browser):
    """Opens a page; at the end nothing may have been said on the console and nothing loaded but the page."""
    viewers = []

    def opened(path, address="", **options):
        viewers.append(Viewer(browser, path, address, **options))
        return viewers[-1]

    yield opened
    for viewer in viewers:
        viewer.close()


@pytest.fixture
def viewer(open_page, file):
    return open_page(file)
