"""How results are shown: the report says it here for each kind, so that a result need not know the report."""

from __future__ import annotations

from functools import singledispatch
from pathlib import Path
from typing import Any

from .errors import OptionError


@singledispatch
def write_page(result: object, path: str | Path, lang: str = "en", **options: Any) -> Path:
    """Write a self-contained page of a result.

    Raises:
        OptionError: there is no page for results of this kind.
    """
    raise OptionError(
        f"There is no page for a {type(result).__name__}; write its numbers with to_dataframe or save it."
    )


@singledispatch
def frame(result: object) -> str:
    """The page of a result as an iframe, for notebooks.

    Raises:
        OptionError: there is no page for results of this kind.
    """
    raise OptionError(f"There is no page for a {type(result).__name__}; print it.")
