"""Data sources: from what the settings name to re-iterable batches for training and for testing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..data import FileBatches, check_reiterable, column_names, read
from ..data.files import OPTIONS, SUFFIXES, TABLES, TEXTS, kind_of
from ..data.separated import Written
from ..errors import SourceError, short
from ..files import missing
from .models import open_tokenizer
from .objects import call_factory

if TYPE_CHECKING:
    from .settings import Config, DataSection

TEST_FRACTION = 0.25
NAMED, WRITTEN = ("target", "time", "unit"), ("separator", "encoding", "decimal")
USES = {**OPTIONS, "factory": ("arguments",)}


@dataclass(frozen=True)
class Data:
    """What was opened.

    Attributes:
        train: batches on which the basis and the interactions are measured.
        test: batches on which the ablations are measured.
        held_out: whether ``test`` is other data than ``train``.
    """

    train: Any
    test: Any
    held_out: bool


def open_data(config: Config) -> Data:
    """The data of the settings.

    A factory ``"package.module:name"`` returns batches (a list or DataLoader of inputs or of pairs ``(inputs,
    targets)``), or a tuple of two such lists or DataLoaders, which are then ``(train, test)``. A file or folder is
    split at random by ``test_fraction`` (0.25) and ``seed`` unless ``test_source`` names other data.

    Raises:
        SourceError: there are no such data, or they cannot be used.
    """
    section = config.data
    _check_options(section)
    opened = open_source(section.source, config, "data.source")
    pair = train_and_test(opened)
    if section.test_source is not None:
        if pair:
            raise SourceError(
                f"data.source is {section.source!r}, which returns training and test data; remove data.test_source."
            )
        test = open_source(section.test_source, config, "data.test_source", like=opened)
        if train_and_test(test):
            raise SourceError(f"data.test_source is {section.test_source!r}, which returns two data sets; return one.")
        return Data(opened, test, held_out=True)
    if pair:
        return Data(*pair, held_out=True)
    if isinstance(opened, FileBatches):
        return _split(opened, section)
    if section.test_fraction:
        raise SourceError(
            "data.test_fraction splits files only; let the factory return a tuple (train, test), or name the test data "
            "in data.test_source."
        )
    return Data(opened, opened, held_out=False)


def _check_options(section: DataSection) -> None:
    """No option may be given that no source uses."""
    sources = [source for source in (section.source, section.test_source) if source is not None]
    used = {key for source in sources for key in USES.get(_kind(source) or "", ())}
    fields = type(section).model_fields
    for key in sorted({key for keys in USES.values() for key in keys} & set(fields) - used):
        if getattr(section, key) != fields[key].default:
            raise SourceError(f"data.{key} is given, but {' and '.join(map(repr, sources))} cannot use it; remove it.")


def _kind(source: str) -> str | None:
    """``"folder"``, the suffix of a file, ``"factory"``, or None."""
    return kind_of(source) or ("factory" if ":" in source else None)


def train_and_test(opened: Any) -> tuple[Any, Any] | None:
    """A tuple of two lists or loaders; a tuple inside it is a batch, so that it would be a tuple of batches."""
    if isinstance(opened, tuple) and len(opened) == 2:
        single = (Tensor, Mapping, tuple, str)
        return opened if all(hasattr(p, "__iter__") and not isinstance(p, single) for p in opened) else None
    return None


def _split(data: FileBatches, section: DataSection) -> Data:
    fraction = TEST_FRACTION if section.test_fraction is None else section.test_fraction
    if fraction == 0:
        return Data(data, data, held_out=False)
    try:
        return Data(*data.split(fraction, section.seed), held_out=True)
    except SourceError as error:
        reason = str(error).rstrip(".")
        raise SourceError(f"data.source is {section.source!r}: {reason}, or set data.test_source.") from None


def open_source(source: str, config: Config, key: str, like: Any = None, *, group: bool = False) -> Any:
    """Batches of one source; `FileBatches` for files and folders.

    Args:
        source: as the settings name it.
        config: the settings.
        key: of the setting.
        like: data whose columns a table must have; they are taken by name, in the order that they have there.
        group: whether it need not have the target and other columns that are no inputs.

    Raises:
        SourceError: as `open_data`.
    """
    kind = _kind(source)
    if kind == "factory":
        return _from_factory(source, key, config.data.arguments)
    if kind is None:
        raise SourceError(
            f'{key} is {short(source, 200)}; it must be "package.module:factory", a folder of images, or a file that '
            f"ends in {', '.join(SUFFIXES)}."
        )
    if not os.path.exists(source):
        raise SourceError(f"{key} is {missing(source)}")
    options = config.data.model_dump(include=set(OPTIONS[kind]))
    if kind in TABLES and getattr(like, "columns", None):
        options["columns"] = like.columns
        if group:
            there = column_names(Path(source), Written(*(options.get(name) for name in WRITTEN)))
            options = {key: value for key, value in options.items() if key not in NAMED or value in there}
            options["exclude"] = None
            options["classes"] = options["classes"] if options.get("target") is not None else None
    if kind in TEXTS:
        options["tokenizer"] = open_tokenizer(config.model.source, f"Reading {source}")
    batches = read(source, batch_size=config.data.batch_size, **options)
    for remark in batches.remarks:
        print(f"{source} {remark}.", file=sys.stderr)
    return batches


def _from_factory(source: str, key: str, arguments: Mapping[str, Any]) -> Any:
    batches = call_factory(source, key, arguments)
    for part in train_and_test(batches) or (batches,):
        check_reiterable(part)
    return batches
