"""The two groups of rows that are compared: read in whatever form they come, and refused in one sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..data import FileBatches, check_reiterable, first_inputs, read_batches, structure_of_example
from ..data.batches import check_dense
from ..errors import BatchError, OptionError, did_you_mean, short
from ..types import Plain
from .sentences import finding, say

LEAST = 10
"""Rows of each group."""
LABELS = 8
"""Labels that a note names."""
GRID, COLOURS = 7, (1, 3)
"""Patches along each side of an image, and numbers of its channels."""


@dataclass(frozen=True, eq=False)
class Groups:
    """Two groups of samples of one shape, as rows ``[n, values]``.

    Attributes:
        normal: rows of the normal group.
        anomalous: rows of the other.
        names: of the inputs: a column of a table, or a patch of an image.
        parts: the values that make each input, int64.
        shape: of one sample, as the model takes it.
        targets: of each group, or None.
        findings: what the reader should know of how they were read.
        boxes: of images where each input lies: first row, first column, rows and columns.
    """

    normal: Tensor
    anomalous: Tensor
    names: list[str]
    parts: list[Tensor]
    shape: tuple[int, ...]
    targets: tuple[Tensor | None, Tensor | None]
    findings: tuple[Plain, ...] = ()
    boxes: tuple[list[int], ...] = ()

    @property
    def image(self) -> bool:
        """Whether an input is a patch, with many values."""
        return bool(self.boxes)


@dataclass(frozen=True, eq=False)
class _Read:
    rows: Tensor
    names: list[str] | None
    targets: Tensor | None


def read_groups(
    model: nn.Module,
    normal: Any,
    anomalous: Any,
    columns: Sequence[str] | None,
    image_shape: Sequence[int] | None = None,
) -> Groups:
    """Both groups.

    Args:
        model: decides whether a pair is (inputs, targets).
        normal: an array, tensor or DataFrame ``[n, columns]`` (images ``[n, ..., height, width]``), or batches.
        anomalous: the same.
        columns: names of the columns of arrays; of DataFrames and files those to take, in the model's order.
        image_shape: of images that are given as flat numbers.

    Raises:
        BatchError: a group is empty, not numeric, not finite, or of another shape than the other.
        OptionError: names that are not there, or not as many as columns.
    """
    columns = None if columns is None else [str(name) for name in columns]
    one, two = _read(model, normal, "normal", columns), _read(model, anomalous, "anomalous", columns)
    notes = [*filled(normal), *filled(anomalous), *_taken(anomalous)]
    findings = [note for i, note in enumerate(notes) if note not in notes[:i]]  # of one file once
    if one.names and two.names and one.names != two.names:
        two = _aligned(one.names, two)
        findings.append(finding("order"))
    shape, other = tuple(one.rows.shape[1:]), tuple(two.rows.shape[1:])
    if shape != other:
        raise BatchError(
            f"normal has samples of the shape {list(shape)} and anomalous of {list(other)}; give the same columns in "
            "both."
        )
    rows, targets = (one.rows.flatten(1), two.rows.flatten(1)), (one.targets, two.targets)
    looks = shape if image_shape is None else _shape_of_image(image_shape, shape)
    names = one.names or two.names or columns
    if len(looks) == 1:
        return Groups(*rows, *_columns(shape, names), shape, targets, tuple(findings))
    if names and image_shape is None:
        raise OptionError(f"columns is given, but a sample has the shape {list(shape)}; columns name values of rows.")
    patches, parts, boxes = _patches(looks)
    return Groups(*rows, patches, parts, shape, targets, tuple(findings), boxes)


def read_rows(model: nn.Module, given: Any, columns: Sequence[str] | None) -> tuple[Tensor, list[str], Tensor | None]:
    """Rows ``[n, columns]`` of one kind, names of the columns, and targets if there are any.

    Raises:
        BatchError: they are no rows of finite numbers.
        OptionError: names that are not there, or not as many as columns.
    """
    found = _read(model, given, "the data", None if columns is None else [str(name) for name in columns], 1)
    if found.rows.ndim != 2:
        raise BatchError(f"The data have samples of the shape {list(found.rows.shape[1:])}; give rows [n, columns].")
    names, _ = _columns(tuple(found.rows.shape[1:]), found.names or columns)
    return found.rows, names, found.targets


def filled(given: Any) -> list[Plain]:
    """That empty cells of a table were filled in, as a finding, where they were."""
    if not isinstance(given, FileBatches) or given.filled is None:
        return []
    names = f"{given.filled.named()}; {given.filled.source}"
    return [finding("filled", impute=given.filled.way, names=names)]


def _taken(given: Any) -> list[Plain]:
    """That rows of several labels were put together, as a finding, where they were."""
    labels = Counter(given.labels if isinstance(given, FileBatches) else None)
    if len(labels) < 2:
        return []
    shown = [f"{short(label)} {count:,}" for label, count in labels.most_common(LABELS)]
    more = f" (+{len(labels) - LABELS})" if len(labels) > LABELS else ""
    return [finding("taken", labels=", ".join(shown) + more)]


def _read(model: nn.Module, given: Any, which: str, columns: Sequence[str] | None, least: int = LEAST) -> _Read:
    names, targets = None, None
    if hasattr(given, "columns") and hasattr(given, "to_numpy"):  # a DataFrame of any library
        names, given = _of_frame(given, which, columns)
    if isinstance(given, Tensor | np.ndarray):
        rows = _tensor(given, which)
    else:
        if isinstance(given, FileBatches):
            names = given.columns
        rows, targets = _of_batches(model, given, which)
        if names and columns and list(columns) != names:
            missing = [name for name in columns if name not in names]
            _refuse_missing(missing, names, which)
            rows, names = rows[:, [names.index(name) for name in columns]], list(columns)
    if rows.ndim < 2:
        raise BatchError(f"{which} has the shape {list(rows.shape)}; give a row for each sample, [n, columns].")
    if len(rows) < least:
        raise BatchError(
            f"{which} has {len(rows)} rows; a comparison needs at least {LEAST} of each group, and 100 for a verdict "
            "that can be relied on: give a longer stretch of data."
        )
    _check_finite(rows, names, which)
    return _Read(rows, names, targets)


def _of_frame(given: Any, which: str, columns: Sequence[str] | None) -> tuple[list[str], np.ndarray]:
    names = [str(name) for name in given.columns]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise BatchError(f"{which} has two columns called {short(twice[0])}; rename one of them.")
    if columns is not None:
        _refuse_missing([name for name in columns if name not in names], names, which)
        given, names = given.iloc[:, [names.index(name) for name in columns]], list(columns)
    for name, place in zip(names, range(len(names)), strict=True):
        column = given.iloc[:, place]
        if getattr(column.dtype, "kind", "O") not in "fiub":
            example = next((cell for cell in column if not isinstance(cell, int | float)), "")
            raise BatchError(
                f"{which}: column {short(name)} holds {short(example)}, which is no number; turn it into numbers or "
                "leave it out (columns)."
            )
    return names, given.to_numpy(np.float64)


def _refuse_missing(missing: list[str], names: list[str], which: str) -> None:
    if missing:
        raise OptionError(
            f"columns names {short(missing[0])}{did_you_mean(missing[0], names)}, which {which} does not have; it has "
            f"{', '.join(map(short, names[:8]))}{' and more' if len(names) > 8 else ''}."
        )


def _tensor(given: Tensor | np.ndarray, which: str) -> Tensor:
    if isinstance(given, np.ndarray):
        if given.dtype.kind not in "fiub":
            raise BatchError(f"{which} is an array of {given.dtype}, not of numbers; turn text into numbers first.")
        given = torch.from_numpy(np.require(given, requirements=["C", "W"]))  # "W": a copy where it is read-only
    if given.is_complex():
        raise BatchError(f"{which} holds complex numbers; give real ones.")
    check_dense(given, which)
    return given.detach().cpu().double()


def _of_batches(model: nn.Module, given: Any, which: str) -> tuple[Tensor, Tensor | None]:
    try:
        check_reiterable(given)
        structure = structure_of_example(first_inputs(model, given))
    except BatchError as error:
        raise BatchError(f"{which}: {error}") from error
    if structure.kind == "dict" or len(structure.keys) > 1:
        raise BatchError(f"{which} has {structure} for inputs; a diagnosis needs one tensor, with a row each sample.")
    batches = list(read_batches(given, structure))
    targets = [batch.targets for batch in batches]
    rows = torch.cat([_tensor(batch.args[0], which) for batch in batches])
    if not all(isinstance(target, Tensor) and target.ndim for target in targets):
        return rows, None
    known = torch.cat(targets)
    if len(known) != len(rows):
        raise BatchError(f"{which} has {len(known)} targets for {len(rows)} samples; give one for each.")
    return rows, known


def _check_finite(rows: Tensor, names: Sequence[str] | None, which: str) -> None:
    bad = ~rows.isfinite()
    if bool(bad.any()):
        at = bad.nonzero()[0].tolist()
        column = short(names[at[1]]) if names and len(at) == 2 else str(at[1])
        count = int(bad.sum())
        raise BatchError(
            f"{which}: {count:,} {'cell is' if count == 1 else 'cells are'} empty or infinite (the first in row "
            f"{at[0] + 1}, column {column}); fill them in as in training, or leave these rows or columns out."
        )


def _aligned(names: list[str], other: _Read) -> _Read:
    held = other.names or []
    missing = [name for name in names if name not in held] or [name for name in held if name not in names]
    if missing:
        lacks = "anomalous" if missing[0] in names else "normal"
        raise BatchError(
            f"{lacks} has no column {short(missing[0])}, which the other group has; give the same columns."
        )
    return _Read(other.rows[:, [held.index(name) for name in names]], names, other.targets)


def _columns(shape: tuple[int, ...], names: Sequence[str] | None) -> tuple[list[str], list[Tensor]]:
    """Names and values of the columns."""
    names = [str(name) for name in names] if names else [f"column {i}" for i in range(shape[0])]
    if len(names) != shape[0]:
        raise OptionError(f"columns has {len(names)} names, but the rows have {shape[0]} values; name all of them.")
    return names, list(torch.arange(shape[0])[:, None])


def _shape_of_image(given: Sequence[int], shape: tuple[int, ...]) -> tuple[int, ...]:
    if len(given) < 2 or math.prod(given) != math.prod(shape):
        raise OptionError(
            f"image_shape is {list(given)}, but a sample has the shape {list(shape)}; give [height, width] or "
            "[channels, height, width] with as many numbers."
        )
    return tuple(given)


def _patches(shape: tuple[int, ...]) -> tuple[list[str], list[Tensor], tuple[list[int], ...]]:
    """Names, values and boxes of the patches of an image, over all its channels, which come first or last."""
    places = torch.arange(math.prod(shape)).reshape(shape)
    if len(shape) == 3 and shape[2] in COLOURS and shape[0] not in COLOURS:
        places = places.movedim(2, 0)
    rows, across = (_spans(size) for size in places.shape[-2:])
    both = [(a, b) for a in rows for b in across]
    names = [say("patch", top=a.start, bottom=a.stop - 1, left=b.start, right=b.stop - 1) for a, b in both]
    boxes = tuple([a.start, b.start, a.stop - a.start, b.stop - b.start] for a, b in both)
    return names, [places[..., a, b].flatten() for a, b in both], boxes


def _spans(size: int) -> list[slice]:
    edges = np.unique(np.linspace(0, size, min(GRID, size) + 1).round().astype(int)).tolist()
    return [slice(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def spread(rows: Tensor) -> Tensor:
    """The standard deviation of each column, 0 where it is the rounding of a column that never changes."""
    deviation = rows.std(0)
    return deviation * (deviation > 1e-9 * rows.mean(0).abs())


def standardised(groups: Groups, by: Tensor | None = None) -> Groups:
    """Both groups in standard deviations of the normal rows, or of others, from their mean."""
    by = groups.normal if by is None else by
    mean, deviation = by.mean(0), spread(by)
    deviation = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return replace(groups, normal=(groups.normal - mean) / deviation, anomalous=(groups.anomalous - mean) / deviation)


def of_units(units: Any, groups: Groups) -> tuple[list[Any], list[Any]] | None:
    """The unit of each row of both groups.

    Args:
        units: None; a pair (of the normal rows, of the anomalous ones); or one for each row, normal ones first, or of
            the anomalous rows alone (the normal rows are then independent).
        groups: the rows.

    Raises:
        OptionError: there are not as many as rows.
    """
    if units is None:
        return None
    n, m = len(groups.normal), len(groups.anomalous)
    if isinstance(units, tuple) and len(units) == 2 and not any(isinstance(one, str | int) for one in units):
        pair = tuple(_listed(one) for one in units)
    else:
        listed = _listed(units)
        pair = (listed[:n], listed[n:]) if len(listed) == n + m else (list(range(n)), listed)
    if (len(pair[0]), len(pair[1])) != (n, m):
        raise OptionError(
            f"units has {len(pair[0])} and {len(pair[1])} entries for {n} normal and {m} anomalous rows; give a pair "
            "(units of the normal rows, units of the anomalous rows)."
        )
    return pair[0], pair[1]


def _listed(units: Iterable[Any]) -> list[Any]:
    try:
        return units.tolist() if isinstance(units, np.ndarray | Tensor) else list(units)
    except (RuntimeError, NotImplementedError, TypeError, KeyError):
        kind = type(units).__name__
        raise OptionError(f"units is of type {kind}, of which no list can be made; give one id for each row.") from None
