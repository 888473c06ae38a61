"""The page: one HTML file that opens by double click, without a network, in English and Japanese."""

from __future__ import annotations

import html
from pathlib import Path

from ..arguments import typed
from ..errors import renamed
from ..files import check_file, write_text
from . import content
from .bundle import bundle
from .decide import first_screen
from .markup import both, escape
from .results import Results
from .shell import MARK, document, section
from .verification import claims
from .words import Words

STYLES = ("page", "workbench", "charts", "decide", "verification", "print")
SCRIPTS = (
    "dom", "words", "model", "state", "notes", "look", "place", "surface", "paint", "scene", "stage", "gestures",
    "search", "controls", "examples", "hypothesis", "card", "groups", "exports", "table", "main",
)  # fmt: skip
"""The files of ``web/``, in the order in which they make one style sheet and one script."""

MOVED = ("edge_ablations", "node_ablations", "cards", "communities", "title", "question")


@renamed(**{name: f"give it to libasis.report.Results({name}=...)" for name in MOVED})
@typed
def write_page(path: str | Path, results: Results, lang: str = "en") -> Path:
    """Write one self-contained page that shows results, to be explored. The same results give the same bytes.

    Args:
        path: the file to write; folders are made as needed.
        results: graphs, one for each basis, LIB first, and what was measured of them.
        lang: the language that the page opens in, ``"en"`` or ``"ja"``; it can be switched in the page.

    Raises:
        OptionError: an unknown language, or no results.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    check_file(path, MARK)
    return write_text(path, page_text(results, lang), MARK)


@typed
def notebook_frame(results: Results, height: int = 860) -> str:
    """The page as an iframe, for notebooks: with scripts and downloads, but an origin of its own."""
    page = html.escape(page_text(results), quote=True)
    return (
        f'<iframe srcdoc="{page}" sandbox="allow-scripts allow-downloads" '
        f'title="{escape(Words("en", "page")("graph"))}" width="100%" height="{height}" frameborder="0"></iframe>'
    )


def page_text(results: Results, lang: str = "en") -> str:
    """The page that `write_page` writes.

    Raises:
        OptionError: an unknown language, or no results.
    """
    hint = both(lambda words: content.graph_intro(results, words), "page")
    without = both(lambda words: f"<p>{escape(words('graph_no_script'))}</p>", "page")
    body = "".join(
        [
            f'<div id="first">{both(lambda words: first_screen(results, words), "first")}</div>',
            section("graph", "page", f'{hint}<noscript>{without}</noscript><div id="workbench"></div>', kind="wide"),
            section("tables", "page", lambda words: content.ablation_tables(results, words)),
            *([] if results.verification is None else [section("claims", "page", claims(results.verification))]),
            section("curves", "page", "".join(content.curves(results))),
            section("features", "page", lambda words: content.features(results, words)),
            section("provenance", "page", lambda words: content.provenance(results, words)),
        ]
    )
    tested = () if results.verification is None else ("claims",)
    links = ("graph", "tables", *tested, "curves", "features", "provenance")
    shown = {"data": bundle(results), "styles": STYLES, "scripts": SCRIPTS, "links": links}
    return document(lang, "page", results.title, body, **shown)
