"""Where results find their pages: the room that draws a page registers it here, below all rooms."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

from .errors import OptionError


@singledispatch
def write_page(result: Any, path: str | Path, lang: str = "en", **options: Any) -> Path:
    """Write a self-contained page that shows a result.

    ``write_page.register(Kind)`` says how for a class of results.

    Raises:
        OptionError: there is no page for results of this class.
    """
    raise _none(result)


@singledispatch
def frame(result: Any) -> str:
    """The page as an HTML frame inside a notebook; ``frame.register(Kind)`` says how for a class of results.

    Raises:
        OptionError: there is no page for results of this class.
    """
    raise _none(result)


def _none(result: Any) -> OptionError:
    return OptionError(
        f"There is no page for a result of type {type(result).__name__}; import libasis.report, which draws graphs and "
        "their differences."
    )
