"""What the site adds to the pages: formulas as MathML, pages from outside the folder, links to files as text."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from inspect import isclass, isfunction
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from markdown.preprocessors import Preprocessor
from mkdocs.structure.files import File, Files

import libasis

ROOT = Path(__file__).parents[2]
FROM_OUTSIDE = {
    "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md", "security.md": "SECURITY.md",
    "readme.ja.md": "README.ja.md",
}  # fmt: skip
BROKEN = re.compile(r"(?<=[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef])\n *(?=[\u3000-\u30ff\u4e00-\u9fff\uff00-\uffef])")
"""An end of a line within Japanese, which would be shown as a space."""
PAGES = ROOT / "build" / "gallery"
"""Live pages, made by ``make site`` before the site is built."""


class _Formula(InlineProcessor):
    """``:math:`x^2``` as in docstrings, or ``$`x^2`$``."""

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Any, int, int]:  # noqa: N802 - named by Markdown
        return ElementTree.fromstring(_mathml(m.group(1))), m.start(0), m.end(0)


class _Displayed(Preprocessor):
    """``.. math:: x^2`` on a line of its own, with the lines that follow until an empty one."""

    def run(self, lines: list[str]) -> list[str]:
        out: list[str] = []
        waiting: list[str] | None = None
        for line in [*lines, ""]:
            if waiting is not None and not line.strip():
                out += ["", f":math:`{' '.join(waiting)}`", "", ""]
                waiting = None
            elif waiting is not None:
                waiting.append(line.strip())
            elif line.strip().startswith(".. math::"):
                waiting = [line.strip().removeprefix(".. math::").strip()]
            else:
                out.append(line)
        return out[:-1]


class Formulas(Extension):
    """Formulas of docstrings and pages."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802 - named by Markdown
        """See `Extension`."""
        md.preprocessors.register(_Displayed(md), "displayed", 35)
        md.inlinePatterns.register(_Formula(r":math:`([^`]+)`", md), "formula", 195)


def _mathml(formula: str) -> str:
    return convert(re.sub(r"\s+", " ", formula)).replace(' xmlns="http://www.w3.org/1998/Math/MathML"', "")


def on_config(config: Any) -> Any:
    """Formulas in all pages, those of docstrings too."""
    config.markdown_extensions.append(Formulas())
    return config


def _reference(title: str, said: str, wanted: Callable[[Any], bool]) -> str:
    """A page of all public names of a kind, each by the place where it is defined."""
    found = [value for name in libasis.__all__ if wanted(value := getattr(libasis, name))]
    entries = [f"::: {value.__module__}.{value.__qualname__}\n" for value in found]
    return "\n".join([f"# {title}\n\n{said}\n", *entries])


def on_files(files: Files, config: Any) -> Files:
    """Pages that stand outside the folder, and those of the public names."""
    pages = {
        "verbs": _reference(
            "The verbs", "Every call gives plain data back and leaves the model as it was.", isfunction
        ),
        "results": _reference(
            "Types", "Results can be saved (`save`), read again (`libasis.load`) and turned into tables.", isclass
        ),
    }
    for name, content in pages.items():
        files.append(File.generated(config, f"api/{name}.md", content=content))
    for name, source in FROM_OUTSIDE.items():
        files.append(File.generated(config, name, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links between pages; what the site does not have is named and not linked."""
    names = {source: name for name, source in FROM_OUTSIDE.items()} | {"README.md": "index.md"}
    up = "../" * page.file.src_uri.count("/")

    def lead(found: re.Match[str]) -> str:
        text, target, anchor = found.group(1), found.group(2), found.group(3) or ""
        if "://" in target or target.startswith("mailto:"):
            return found.group(0)
        if page.file.src_uri in FROM_OUTSIDE:
            path = (ROOT / target).resolve()
        else:
            path = (ROOT / "docs" / page.file.src_uri).parent.joinpath(target).resolve()
        docs = ROOT / "docs"
        if path.name in names and path.parent == ROOT:
            return f"[{text}]({up}{names[path.name]}{anchor})"
        if (
            path.is_file()
            and path.is_relative_to(docs)
            and (path.suffix in (".md", ".ipynb", ".csv") or path.parent.name == "images")
        ):
            return f"[{text}]({up}{path.relative_to(docs).as_posix()}{anchor})"
        if (docs / page.file.src_uri).parent.joinpath(target).suffix == ".html":
            return found.group(0)
        return text if found.group(0)[0] != "!" else ""

    pieces = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    pieces[::2] = [
        re.sub(r"\[([^\]\[]*(?:\[[^\]]*\][^\]\[]*)?)\]\(([^)#\s]+)(#[^)\s]*)?\)", lead, p) for p in pieces[::2]
    ]
    if page.file.src_uri.endswith(".ja.md"):
        pieces[::2] = [BROKEN.sub("", p) for p in pieces[::2]]
    return "".join(pieces)


def on_post_build(config: Any) -> None:
    """The live pages beside the site."""
    if PAGES.is_dir():
        for page in PAGES.glob("*/report.html"):
            place = Path(config.site_dir) / "gallery" / page.parent.name
            place.mkdir(parents=True, exist_ok=True)
            shutil.copy(page, place)
