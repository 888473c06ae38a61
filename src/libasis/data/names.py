"""Names that a file must have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import SourceError, did_you_mean, short


def check_known(columns: Sequence[str], target: str | None, known: Any, has: str) -> None:
    """Refuse names of columns and a target that a file does not have.

    Raises:
        SourceError: names the first, and what there is.
    """
    check_named("columns", columns, known, has)
    check_named("target", [] if target is None else [target], known, has)


def check_named(option: str, names: Sequence[str], known: Any, has: str) -> None:
    """Refuse names given in an option that a file does not have.

    Raises:
        SourceError: names the first, and what there is.
    """
    for name in names:
        if name not in known:
            raise SourceError(f"{option} names {short(name)}{did_you_mean(name, known)}, but {has} {listed(known)}.")


def listed(names: Any) -> str:
    """Names in a row, the first twenty of them."""
    shown = [short(name) for name in names]
    return ", ".join(shown[:20]) + (f" and {len(shown) - 20} more" if len(shown) > 20 else "")
