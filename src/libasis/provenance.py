"""Versions, for the record that every result carries."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import torch


def versions() -> dict[str, str]:
    """Versions of libasis, torch and Python."""
    try:
        own = version("libasis")
    except PackageNotFoundError:
        own = "unknown"
    return {"libasis": own, "torch": torch.__version__, "python": platform.python_version()}
