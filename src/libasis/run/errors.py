"""What can be wrong with what the user gave on the command line."""

from __future__ import annotations

from ..errors import LibasisError, OptionError, SourceError

__all__ = ["ConfigError", "MissingDataError", "RunError", "SourceError"]


class ConfigError(OptionError):
    """The settings file, or a ``--set`` on the command line, is wrong."""


class MissingDataError(SourceError):
    """Data that a factory reads from the user's own files are not there; `libasis compare` passes over them."""


class RunError(LibasisError):
    """The output folder does not hold what a command needs, or holds what it would overwrite."""
