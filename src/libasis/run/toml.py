"""Settings as TOML: reading, overriding from the command line, writing."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from ..errors import did_you_mean, short
from ..files import read_bytes
from .errors import ConfigError

LARGEST = 2**18
"""Bytes of a settings file."""


def template() -> str:
    """The commented settings that ``libasis init`` writes."""
    return resources.files("libasis.run").joinpath("init.toml").read_text(encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    if not os.path.lexists(path):
        near = did_you_mean(path.name, (p.name for p in path.parent.glob("*.toml")))
        raise ConfigError(
            f"There is no settings file {short(path, 200)}{near}; write one to start from with: libasis init {path}"
        )
    data = read_bytes(path, LARGEST, refusal=ConfigError)
    try:
        return _parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"The settings file {str(path)!r} is not UTF-8 text.") from error
    except ValueError as error:
        reason = str(error)
        raise ConfigError(f"{path} is not valid TOML: {reason[:1].lower()}{reason[1:]}.") from error


def _parse(text: str) -> dict[str, Any]:
    """What the TOML says.

    Raises:
        ValueError: it is none, or of a size that no settings have.
    """
    if any(line.count(".") > 1000 for line in text.splitlines()):  # the time of dotted keys grows with the square
        raise ValueError("a line has more than 1,000 dots")
    if long := re.search(r"[0-9_]{400}", text):
        raise ValueError(f"it holds a number that starts with {long[0][:20]} and has hundreds of digits")
    try:
        found = tomllib.loads(text)
        _check(found)
        return found
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check(value: Any) -> None:
    """Whole numbers of TOML have 64 bits; names and paths have no null character."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("it holds a whole number of more than 64 bits")
    if isinstance(value, str) and "\0" in value:
        raise ValueError(f"the text {short(value)} holds a null character")
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check(part)


def override(settings: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """The settings with each ``"section.key=value"`` applied; the originals stay as they are.

    Raises:
        ConfigError: a change has no ``=`` or its key goes through something that is no section.
    """
    out: dict[str, Any] = {k: dict(v) if isinstance(v, Mapping) else v for k, v in settings.items()}
    for change in changes:
        key, equals, text = change.partition("=")
        *sections, name = [part.strip() for part in key.split(".")]
        if not equals or not name or not all(sections):
            raise ConfigError(
                f"--set {short(change)} is not of the form section.key=value, for instance fit.method=pca."
            )
        table = out
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(
                    f"--set {short(change)} goes through {short(section)}, which is a key and no section."
                )
        table[name] = parse_value(text.strip())
    return out


def parse_value(text: str) -> Any:
    """A TOML value, or the text itself where it is none: ``64``, ``true``, ``["a"]``, ``pca``."""
    try:
        parsed = _parse(f"value = {text}")
    except ValueError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def write(settings: Mapping[str, Any]) -> str:
    """TOML text of top-level values and one level of sections."""
    lines = [f"{key} = {_value(value)}" for key, value in settings.items() if not isinstance(value, Mapping)]
    for section, table in settings.items():
        if isinstance(table, Mapping):
            lines += ["", f"[{section}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_value(key)} = {_value(item)}" for key, item in value.items()) + "}"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
