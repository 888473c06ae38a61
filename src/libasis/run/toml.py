"""Settings as TOML: reading, overriding from the command line, writing."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from .errors import ConfigError


def template() -> str:
    """The commented settings that ``libasis init`` writes."""
    return resources.files("libasis.run").joinpath("init.toml").read_text(encoding="utf-8")


def read(path: Path) -> dict[str, Any]:
    """The tables of a TOML file.

    Raises:
        ConfigError: there is no such file, or it is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(
            f"There is no settings file {str(path)!r}; write one to start from with: libasis init {path}"
        ) from None
    except OSError as error:
        raise ConfigError(f"The settings file {str(path)!r} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"The settings file {str(path)!r} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        reason = str(error)
        raise ConfigError(f"{path} is not valid TOML: {reason[:1].lower()}{reason[1:]}.") from error


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
            raise ConfigError(f"--set {change!r} is not of the form section.key=value, for instance fit.method=pca.")
        table = out
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {change!r} goes through {section!r}, which is a key and no section.")
        table[name] = parse_value(text.strip())
    return out


def parse_value(text: str) -> Any:
    """A TOML value, or the text itself where it is none: ``64``, ``true``, ``["a"]``, ``pca``."""
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
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
