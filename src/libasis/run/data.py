"""Data sources: from what the settings name to re-iterable batches for training and for testing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..data.batches import check_reiterable
from .errors import SourceError
from .objects import call_factory

if TYPE_CHECKING:
    from .config import Config, DataSection

TEST_FRACTION = 0.25
ARRAYS = (".npz", ".safetensors")
TABLES = (".csv", ".parquet")
TEXTS = (".txt", ".jsonl")
FILES = (*ARRAYS, *TABLES, *TEXTS)
USES = {
    **dict.fromkeys(ARRAYS + TABLES, ("columns", "target")),
    **dict.fromkeys(TEXTS, ("sequence_length", "max_sequences")),
    "factory": ("arguments",),
}


@dataclass(frozen=True, eq=False)
class FileBatches:
    """Rows of tensors in memory, in batches; can be read any number of times.

    Attributes:
        inputs: a tensor, or tensors by the name of the model's input; first dimension the samples.
        targets: one per sample, or None.
        batch_size: samples in each batch but the last.
        scale: what inputs of bytes are divided by, as they are turned to float32 batch by batch.
        columns: names of the inputs' columns, where they have any.
        classes: names of the targets, where they have any.
    """

    inputs: Tensor | dict[str, Tensor]
    targets: Tensor | None
    batch_size: int = 256
    scale: float | None = None
    columns: list[str] | None = None
    classes: list[str] | None = None

    @property
    def rows(self) -> int:
        """Number of samples."""
        return len(self.inputs if isinstance(self.inputs, Tensor) else next(iter(self.inputs.values())))

    def __len__(self) -> int:
        return -(-self.rows // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        for start in range(0, self.rows, self.batch_size):
            part = slice(start, start + self.batch_size)
            inputs = self._inputs(part)
            yield inputs if self.targets is None else (inputs, self.targets[part])

    def example(self) -> Any:
        """The inputs of the first batch."""
        return self._inputs(slice(0, self.batch_size))

    def take(self, rows: Tensor) -> FileBatches:
        """These rows only."""
        inputs = {k: v[rows] for k, v in self.inputs.items()} if isinstance(self.inputs, dict) else self.inputs[rows]
        return replace(self, inputs=inputs, targets=None if self.targets is None else self.targets[rows])

    def _inputs(self, part: slice) -> Any:
        if isinstance(self.inputs, dict):
            return {name: tensor[part] for name, tensor in self.inputs.items()}
        inputs = self.inputs[part]
        return inputs if self.scale is None else inputs.to(torch.float32) / self.scale


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
        test = open_source(section.test_source, config, "data.test_source")
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
    used = {key for source in sources for key in USES.get(_kind(source), ())}
    for key in sorted({key for keys in USES.values() for key in keys} - used):
        if getattr(section, key) != type(section).model_fields[key].default:
            raise SourceError(f"data.{key} is given, but {' and '.join(map(repr, sources))} cannot use it; remove it.")


def _kind(source: str) -> str:
    """``"folder"``, the suffix of a file, or ``"factory"``."""
    path = Path(source)
    if path.is_dir():
        return "folder"
    return "factory" if ":" in source and path.suffix.lower() not in FILES else path.suffix.lower()


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
    count = round(data.rows * fraction)
    if not 0 < count < data.rows:
        raise SourceError(
            f"{section.source} has {data.rows} samples, of which data.test_fraction = {fraction} would "
            f"hold out {count}; give more data, or set data.test_fraction or data.test_source."
        )
    order = torch.randperm(data.rows, generator=torch.Generator().manual_seed(section.seed))
    test, train = order[:count].sort().values, order[count:].sort().values
    return Data(data.take(train), data.take(test), held_out=True)


def open_source(source: str, config: Config, key: str) -> Any:
    """Batches of one source; `FileBatches` for files and folders.

    Raises:
        SourceError: as `open_data`.
    """
    path, kind = Path(source), _kind(source)
    if kind not in ("folder", *FILES):
        if kind == "factory":
            return _from_factory(source, key, config.data.arguments)
        raise SourceError(
            f'{key} is {source!r}; it must be "package.module:factory", a folder of images, or a file that ends in '
            f"{', '.join(FILES)}."
        )
    if not path.exists():
        raise SourceError(f"{key} is {source!r}, but there is no such file in {Path.cwd()}.")
    return replace(_open_file(path, kind, config), batch_size=config.data.batch_size)


def _open_file(path: Path, kind: str, config: Config) -> FileBatches:
    section = config.data
    if kind in TEXTS:
        from .text import open_text

        return open_text(path, config)
    if kind == "folder":
        from .images import open_images

        return open_images(path)
    from . import tables

    return tables.open_arrays(path, section) if kind in ARRAYS else tables.open_table(path, section)


def _from_factory(source: str, key: str, arguments: Mapping[str, Any]) -> Any:
    batches = call_factory(source, key, arguments)
    for part in train_and_test(batches) or (batches,):
        check_reiterable(part)
    return batches
