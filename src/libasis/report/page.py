"""The page: one HTML file that opens by double click, without a network, in English and Japanese."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import OptionError
from ..files import write_text
from . import content
from .bundle import bundle
from .content import Results, said, section
from .decide import first_screen
from .markup import both, escape
from .words import LANGUAGES, texts

if TYPE_CHECKING:
    from ..ablation.results import EdgeAblation, NodeAblation
    from ..graphs.graph import InteractionGraph

STYLES = ("page.css", "workbench.css", "charts.css", "decide.css", "print.css")
SCRIPTS = (
    "dom", "words", "model", "state", "notes", "look", "place", "surface", "paint", "scene", "stage", "gestures",
    "search", "controls", "examples", "card", "groups", "exports", "table", "main",
)  # fmt: skip
"""The files of ``web/``, in the order in which they make one style sheet and one script."""


def write_page(
    path: str | Path,
    graphs: Sequence[InteractionGraph],
    *,
    lang: str = "en",
    node_ablations: Sequence[NodeAblation] = (),
    edge_ablations: Sequence[EdgeAblation] = (),
    title: str | Mapping[str, str] | None = None,
    question: str | Mapping[str, str] | None = None,
    cards: Any = None,
    communities: Any = None,
) -> Path:
    """Write one self-contained page that shows the graphs, to be explored, with all that was measured of them.

    The first graph leads: its sites order the tables, its features are listed, cards and communities are its own. An
    ablation belongs to the graph whose basis method its ``info["basis"]`` names. The same results give the same bytes.

    Args:
        path: the file to write; folders are made as needed.
        graphs: one graph per method, LIB first.
        lang: the language that the page opens in, ``"en"`` or ``"ja"``; it can be switched in the page.
        node_ablations: at most one per method.
        edge_ablations: at most one per method.
        title: the heading, or one for each language; None takes ours.
        question: the question that the page answers, or one for each language; None takes one that these results can
            answer.
        cards: feature cards of the first graph, or the same as plain data.
        communities: groups of features suggested for the first graph.

    Raises:
        OptionError: no graph, an unknown language, results that do not fit the graphs.
    """
    results = Results(graphs, node_ablations, edge_ablations, cards, communities, _per_language(question))
    return write_text(path, page_text(results, lang, title))


def notebook_frame(graph: InteractionGraph, height: int = 860) -> str:
    """The page of one graph as an iframe, for notebooks: with scripts and downloads, but an origin of its own."""
    page = html.escape(page_text(Results([graph])), quote=True)
    return (
        f'<iframe srcdoc="{page}" sandbox="allow-scripts allow-downloads" title="{escape(texts("en")["graph"])}" '
        f'width="100%" height="{height}" frameborder="0"></iframe>'
    )


def page_text(results: Results, lang: str = "en", title: str | Mapping[str, str] | None = None) -> str:
    """The page that `write_page` writes.

    Raises:
        OptionError: no graph, an unknown language, results that do not fit the graphs.
    """
    texts(lang)
    if not results.graphs:
        raise OptionError("The page got no graph; give at least one InteractionGraph.")
    titles = {key: text or texts(key)["title"] for key, text in _per_language(title).items()}
    results, data = bundle(results)
    data |= {"lang": lang, "title": titles}
    style, script = (
        "".join(web_file(name) for name in STYLES),
        '"use strict";\n' + "".join(web_file(f"{n}.js") for n in SCRIPTS),
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{strict_policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(titles[lang])}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f"{_header(titles, lang)}\n<main>{_main(results)}</main>\n"
        f'<script type="application/json" id="view-data">{safe_json(data)}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _per_language(text: str | Mapping[str, str] | None) -> dict[str, str | None]:
    """A text in each language: one for all, or its own, or another's where its own is missing."""
    given = dict.fromkeys(LANGUAGES, text) if isinstance(text, str) else text or {}
    first = next(iter(given.values()), None)
    return {lang: given.get(lang) or first for lang in LANGUAGES}


def web_file(name: str) -> str:
    """A style sheet or script of the page."""
    return files("libasis.report").joinpath("web", name).read_text(encoding="utf-8")


def strict_policy(style: str, script: str) -> str:
    """Only this style and this script, images out of the page itself, and nothing from anywhere else."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

    return (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; style-src 'sha256-{digest(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def safe_json(data: Mapping[str, Any]) -> str:
    """JSON that cannot leave its script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return "".join(f"\\u{ord(c):04x}" if 0xD800 <= ord(c) < 0xE000 else c for c in text)


def _header(titles: Mapping[str, str], lang: str) -> str:
    keys = ("graph", "tables", "curves", "features", "provenance")
    links = "".join(f'<li><a href="#{k}">{both(lambda la, k=k: escape(texts(la)[k]), "span")}</a></li>' for k in keys)
    choice = "".join(
        f'<label lang="{other}"><input type="radio" name="lang" value="{other}"{" checked" if other == lang else ""}>'
        f"<span>{escape(texts(other)['language'])}</span></label>"
        for other in LANGUAGES
    )
    return (
        f'<header><div class="top"><p class="kicker">{both(lambda la: escape(texts(la)["kicker"]), "span")}</p>'
        '<fieldset id="languages" class="switch" hidden><legend class="away">Language · 言語</legend>'
        f"{choice}</fieldset>"
        f"</div><h1>{both(lambda la: escape(titles[la]), 'span')}</h1>"
        f'<nav aria-label="{escape(texts(lang)["contents"])}"><ul>{links}</ul></nav></header>'
    )


def _first_screen(results: Results, lang: str) -> str:
    return first_screen(
        results.graphs,
        edge_ablations=results.edges,
        node_ablations=results.nodes,
        cards=results.cards,
        communities=results.communities,
        question=results.question.get(lang),
        lang=lang,
    )


def _main(results: Results) -> str:
    hint = said(lambda lang: content.graph_intro(results, lang))
    without = both(lambda lang: f"<p>{escape(texts(lang)['graph_no_script'])}</p>")
    bench = f'{hint}<noscript>{without}</noscript><div id="workbench"></div>'
    return "".join(
        [
            f'<div id="first">{both(lambda lang: _first_screen(results, lang))}</div>',
            section("graph", bench, kind="wide"),
            section("tables", said(lambda lang: content.ablation_tables(results, lang))),
            section("curves", "".join(content.curves(results))),
            section("features", said(lambda lang: content.features(results, lang))),
            section("provenance", said(lambda lang: content.provenance(results, lang))),
        ]
    )
