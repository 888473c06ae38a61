"""What the pages of results for who decides have in common: the finding with its picture, what to be careful about."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from .markup import escape, paragraph
from .results import Text
from .shell import sections, write_result
from .words import LANGUAGES, Words


def write_decision(  # noqa: PLR0913 - which page, of what
    path: str | Path, topic: str, parts: Mapping[str, Callable[[Any, Words], str]], result: Any, lang: str, title: Text
) -> Path:
    """Write the page of a result, a section for each part, in the looks of pages for who decides.

    Raises:
        OptionError: the language is unknown.
        StoreError: there is a file that is no page of libasis, or the page cannot be written.
    """
    return write_result(
        path, topic, sections(topic, parts, result), lang, title=title, styles=("decide", "verification")
    )


def titled(topic: str, key: str) -> dict[str, str]:
    """The title of one of a topic's pages, by language."""
    return {lang: Words(lang, topic)(f"title_{key}") for lang in LANGUAGES}


def plain(value: float) -> str:
    """A number that was given, as short as it is."""
    return f"{value:,.6g}".replace("-", "−")


def share(value: float) -> str:
    """A share that was given, in percent."""
    return f"{100 * value:.3g}%"


def finding(claim: str, lines: Iterable[str], picture: str, note: str, beneath: str = "") -> str:
    """The claim, the sentences under it, and a picture with its note."""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    figure = f"<figure>{picture}<figcaption>{escape(note)}</figcaption></figure>" if picture else ""
    small = f'<p class="d-note">{escape(beneath)}</p>' if beneath else ""
    told = f'<div class="d-finding"><p class="d-claim">{escape(claim)}</p><ul>{listed}</ul>{small}</div>'
    return f'<div class="decide">{told}{figure}</div>'


def cared(lines: Iterable[str]) -> str:
    """A list of what to be careful about."""
    listed = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="decide"><div class="d-limits"><ul>{listed}</ul></div></div>'


def details(lines: Iterable[str]) -> str:
    """Small print."""
    return "".join(paragraph(line, "note") for line in lines if line)
