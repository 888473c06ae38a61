"""The shell of a page: one HTML file that needs nothing else, and whose policy lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..files import write_text
from .markup import both, escape, word
from .results import Text, in_language
from .words import LANGUAGES, Words

MARK = '<meta name="generator" content="libasis">'
"""By which a page is known as ours, and may be replaced by another."""

_ESCAPED = re.compile("[<>&\u2028\u2029\ud800-\udfff]")


def document(
    lang: str,
    topic: str,
    title: Text,
    body: str,
    *,
    data: Mapping[str, Any],
    styles: Sequence[str],
    scripts: Sequence[str],
    links: Sequence[str] = (),
) -> str:
    """A whole page.

    Args:
        lang: the language that the page opens in; it can be switched.
        topic: of the page's words; they have its ``title``, its ``kicker`` and the links.
        title: the heading; None takes the topic's.
        body: the content.
        data: what the scripts read.
        styles: the files of ``web/`` that make the style sheet, in order.
        scripts: the files of ``web/`` that make the script, in order.
        links: ids of sections to list beneath the heading.

    Raises:
        OptionError: the language is unknown.
    """
    own = Words(lang, topic)
    titles = {one: in_language(title, one) or Words(one, topic)("title") for one in LANGUAGES}
    style = "".join(_web_file(f"{name}.css") for name in styles)
    script = '"use strict";\n' + "".join(_web_file(f"{name}.js") for name in scripts)
    listed = "".join(f'<li><a href="#{key}">{word(key, topic)}</a></li>' for key in links)
    contents = f'<nav aria-label="{escape(own("contents"))}"><ul>{listed}</ul></nav>' if links else ""
    choice = "".join(
        f'<label lang="{one}"><input type="radio" name="lang" value="{one}"{" checked" if one == lang else ""}>'
        f"<span>{escape(Words(one, topic)('language'))}</span></label>"
        for one in LANGUAGES
    )
    return (
        f'<!DOCTYPE html>\n<html lang="{lang}">\n<head>\n<meta charset="utf-8">\n{MARK}\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(style, script)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{escape(titles[lang])}</title>\n<style>{style}</style>\n</head>\n<body>\n"
        f'<header><div class="top"><p class="kicker">{word("kicker", topic)}</p>'
        '<fieldset id="languages" class="switch" hidden><legend class="away">Language · 言語</legend>'
        f"{choice}</fieldset>"
        f"</div><h1>{both(lambda words: escape(titles[words.lang]), topic, 'span')}</h1>{contents}</header>\n"
        f"<main>{body}</main>\n"
        f'<script type="application/json" id="view-data">{_json({**data, "lang": lang, "title": titles})}</script>\n'
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def section(key: str, topic: str, content: Callable[[Words], str | Iterable[str]] | str, *, kind: str = "") -> str:
    """A section under its heading in both languages; the key is also its anchor.

    Args:
        key: of the word of its heading.
        topic: of its words.
        content: HTML that serves both languages, or what makes it of each one's words.
        kind: a class of the style sheet.
    """
    made = content if isinstance(content, str) else both(content, topic)
    extra = f' class="{kind}"' if kind else ""
    head = f'<h2 id="{key}-title">{word(key, topic)}</h2>'
    return f'<section id="{key}"{extra} aria-labelledby="{key}-title">{head}{made}</section>'


def sections(topic: str, parts: Mapping[str, Callable[[Any, Words], str]], result: Any) -> str:
    """A section for each part of a page, made of a result in the words of both languages."""
    return "".join(section(key, topic, partial(make, result)) for key, make in parts.items())


def write_result(
    path: str | Path,
    topic: str,
    body: str,
    lang: str,
    *,
    title: Text = None,
    styles: Sequence[str] = (),
    links: Sequence[str] = (),
) -> Path:
    """Write the page of one result, where nothing has to be drawn by a script; ``styles`` are those beside the common.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    every = ("page", "workbench", *styles, "print")
    page = document(lang, topic, title, body, data={}, styles=every, scripts=("diff",), links=links)
    return write_text(path, page, MARK)


def _web_file(name: str) -> str:
    return files(__package__ or "").joinpath("web", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Only this style and this script, images out of the page itself, and nothing from anywhere else."""

    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")

    return (
        f"default-src 'none'; script-src 'sha256-{digest(script)}'; style-src 'sha256-{digest(style)}'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )


def _json(data: Mapping[str, Any]) -> str:
    """JSON that cannot leave its script element."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
