"""Reads the settings file, and says in one sentence what is wrong with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import did_you_mean, short
from . import toml
from .errors import ConfigError
from .settings import CALLS, LISTED, SECTIONS, TABLES, Config, PracticeSection

RENAMED = {
    "data.mask": "write mask in [trace]",
    **{f"{name}.{key}": f"write {key} in [trace]" for name in CALLS for key in ("dtype", "device")},
    "fit.relative_error": 'write moments = { rule = "auto", relative_error = ... }',
    "interactions.nodes": "it is n_steps now",
}
"""What to write now in place of keys of older versions."""


def read_config(path: str | Path, changes: Sequence[str] = ()) -> Config:
    """The settings of a file, with ``"section.key=value"`` changes of the command line applied.

    Raises:
        ConfigError: the file is missing or not TOML, a key is unknown or missing, or a value is not allowed.
    """
    settings = toml.override(toml.read(Path(path)), changes)
    changed = {change.partition("=")[0].replace(" ", "") for change in changes}
    return parse_config(settings, where=str(path), changed=changed)


def read_practice(path: Path | None, changes: Sequence[str] = ()) -> PracticeSection:
    """The section [practice] alone: it needs neither model nor data, nor a file.

    Raises:
        ConfigError: as `read_config`.
    """
    settings = toml.override({} if path is None else toml.read(path), changes)
    nowhere = {"source": "none"}
    changed = {change.partition("=")[0].replace(" ", "") for change in changes}
    where = "--set" if path is None else str(path)
    return parse_config({"model": nowhere, "data": nowhere, **settings}, where=where, changed=changed).practice


def parse_config(settings: dict[str, Any], *, where: str = "settings", changed: set[str] | None = None) -> Config:
    """Check settings against the schema.

    Raises:
        ConfigError: as `read_config`.
    """
    try:
        config = Config.model_validate(settings)
    except ValidationError as error:
        problems = sorted(error.errors(), key=lambda e: not _is_unknown(e))
        keys = _keys(problems[0]["loc"])
        origin = f"--set {'.'.join(keys)}" if ".".join(keys) in (changed or set()) else where
        raise ConfigError(_sentence(problems[0], keys, origin)) from None
    if config.fit.readout == "fisher" and config.fit.moments != "auto":
        raise ConfigError(
            f'{where}: fit.readout is "fisher", which has a rule of its own for importances, but fit.moments is '
            f"{_shown(settings['fit']['moments'])}; leave one of them out."
        )
    return config


def _keys(location: Sequence[str | int]) -> list[str]:
    """Section and key of an error's location; the rest is inside the value."""
    first = str(location[0])
    if first in LISTED and len(location) > 2:
        return [first, str(location[2])]
    return [first, str(location[1])] if first in SECTIONS and len(location) > 1 else [first]


def _is_unknown(problem: Any) -> bool:
    """Whether it is a key that there is not, outside of any value."""
    return problem["type"] == "extra_forbidden" and len(problem["loc"]) <= (3 if problem["loc"][0] in LISTED else 2)


def _sentence(problem: Any, keys: list[str], origin: str) -> str:
    if _is_unknown(problem):
        return _unknown(keys, origin)
    description = _field(keys).description
    if problem["type"] == "missing":
        named = f"the section [{keys[0]}]" if len(keys) == 1 else f"the key {'.'.join(keys)!r}"
        must = 'it must have the key "source"' if len(keys) == 1 else f"it must be {description}"
        return f"{origin} lacks {named}; {must}."
    value = problem["input"]
    shown = "a section" if isinstance(value, dict) and len(keys) == 1 else _shown(value)
    return f"{origin}: {'.'.join(keys)} is {shown}, but it must be {description}."


def _unknown(keys: list[str], origin: str) -> str:
    if now := RENAMED.get(".".join(keys)):
        return f"{origin} has the key {keys[1]!r} in [{keys[0]}], which there is no more: {now}."
    *section, key = keys
    allowed = list(Config.model_fields) if not section else list(TABLES[section[0]].model_fields)
    elsewhere = [f"{name}.{key}" for name, table in SECTIONS.items() if key in table.model_fields]
    hint = did_you_mean(key, allowed) or (f" (did you mean {elsewhere[0]!r}?)" if elsewhere else "")
    place = f"in [{section[0]}]" if section else "at the top level"
    return f"{origin} has the unknown key {short(key)} {place}{hint}; the keys allowed there are {', '.join(allowed)}."


def _shown(value: Any) -> str:
    """A value of the file, shortened."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:60]}... ({len(text)} characters)"


def _field(keys: list[str]) -> Any:
    table = Config if len(keys) == 1 else TABLES[keys[0]]
    return table.model_fields[keys[-1]]
