"""Which samples a hypothesis speaks of, and which of them belong together."""

from __future__ import annotations

import ast
import hashlib
import operator
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cut import Record, Traced
from ..errors import BatchError, OptionError, short
from ..intervene.metrics import IGNORED
from ..intervene.scores import BySample
from ..measure import Accumulator, Records, measure
from ..numerics.means import Range

Units = Iterable[Hashable] | Callable[[Any, Any], Any] | str | None
Groups = Mapping[str, Any]

_COMPARE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
    ast.GtE: operator.ge, ast.In: lambda a, b: np.isin(a, b), ast.NotIn: lambda a, b: ~np.isin(a, b),
}  # fmt: skip
_HELP = (
    'write a condition on target, prediction or input[COLUMN], such as "target == 3" or "input[2] > 0.5 and target in '
    '[1, 7]", or the name of a group that is given in groups'
)


class Condition:
    """A condition on samples, read without running anything: comparisons, ``and``, ``or``, ``not``.

    Raises:
        OptionError: it is none.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            self._tree = ast.parse(text.strip(), mode="eval").body
            self._of(self._tree, lambda _: np.zeros(1))
        except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
            raise OptionError(f"The group {short(text)} is no condition and no known group; {_HELP}.") from None
        if not isinstance(self._tree, (ast.Compare, ast.BoolOp, ast.UnaryOp)):
            raise OptionError(f"The group {short(text)} is no condition and no known group; {_HELP}.")

    def __call__(self, record: Record) -> np.ndarray:
        """Which samples of a batch fulfil it, bool ``[batch]``."""
        return np.asarray(self._of(self._tree, lambda node: column(record, node)), dtype=bool)

    def _of(self, node: ast.expr, read: Callable[[str], np.ndarray]) -> Any:
        if isinstance(node, ast.BoolOp):
            join = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
            return join.reduce([self._of(part, read) for part in node.values])
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return np.logical_not(self._of(node.operand, read))
        if isinstance(node, ast.Compare):
            sides = [_value(part, read) for part in (node.left, *node.comparators)]
            pairs = zip(node.ops, sides[:-1], sides[1:], strict=True)
            return np.logical_and.reduce(
                [_COMPARE[type(op)](a, b) for op, a, b in pairs if type(op) in _COMPARE or _no()]
            )
        return _no()


def _value(node: ast.expr, read: Callable[[str], np.ndarray]) -> Any:
    if isinstance(node, (ast.Name, ast.Subscript)):
        return read(ast.unparse(node))
    found = ast.literal_eval(node)
    listed = found if isinstance(found, (list, tuple)) else [found]
    if not all(isinstance(one, (int, float)) for one in listed):
        _no()
    return found


def _no() -> Any:
    raise ValueError


def column(record: Record, name: str) -> np.ndarray:
    """One number for each sample of a batch: ``target``, ``prediction`` or ``input[3]``.

    Raises:
        OptionError: the batch has no such numbers.
    """
    what, _, rest = name.partition("[")
    found: Any = None
    if what == "target":
        found = record.targets
    elif what == "prediction" and not rest:
        found = record.output
        found = found.argmax(-1) if isinstance(found, Tensor) and found.shape[-1] > 1 else None
    elif what == "input":
        inputs = [*record.batch.args, *record.batch.kwargs.values()]
        found = next((x for x in inputs if isinstance(x, Tensor) and x.ndim), None)
    if rest and isinstance(found, Tensor) and found.ndim == 2:
        number = rest[:-1]
        found = found[:, int(number)] if number.isdecimal() and int(number) < found.shape[1] else None
    if not isinstance(found, (Tensor, np.ndarray)) or found.ndim != 1 or len(found) != record.size:
        raise OptionError(
            f"The data have no one number for each sample that is {short(name)}; use target, prediction or "
            "input[COLUMN], or give a list with one entry for each sample."
        )
    return found.detach().cpu().numpy() if isinstance(found, Tensor) else found


class Membership(Accumulator["Membership"]):
    """Which group each sample is in, and its unit, as far as that is read off the batches.

    Args:
        units: see `verify`.
        names: the groups that hypotheses name.
        groups: those that the user gave.

    Attributes:
        classes: the lowest and the highest class among targets that are whole numbers.
    """

    sums = ("rows", "classes")

    def __init__(self, units: Units, names: Iterable[str | None], groups: Groups | None) -> None:
        given = dict(groups or {})
        self._units = units
        self._tests: dict[str, Any] = {n: given[n] if n in given else Condition(n) for n in names if n is not None}
        self._read = [name for name, test in self._tests.items() if callable(test)]
        self.rows, self.classes = BySample(), Range()

    def add(self, record: Record) -> None:
        """See `Accumulator`."""
        columns = [_inside(self._tests[name], record, name) for name in self._read]
        if isinstance(self._units, str) or callable(self._units):
            columns.append(_labels(self._units, record))
        if columns:
            self.rows.add(record.numbers, torch.from_numpy(np.stack(columns, 1).astype(np.float64)))
        classes = record.targets
        if isinstance(classes, Tensor) and not classes.is_floating_point() and not classes.is_complex():
            self.classes.add(classes[classes != IGNORED].reshape(-1, 1))

    def finish(self) -> Membership:
        """See `Accumulator`."""
        self._table = self.rows.table()[1].numpy()
        return self

    @property
    def one_class(self) -> int | None:
        """The class of all targets, where there is only one."""
        low, high = self.classes.low.reshape(-1), self.classes.high.reshape(-1)
        return int(low[0]) if float(low[0]) == float(high[0]) else None

    def units(self, records: Records) -> list[Hashable] | None:
        """One label for each sample, in the order of the data; None where samples are independent.

        Raises:
            OptionError: there are not as many as samples, or the data come in no order of their own.
        """
        if self._units is None:
            return None
        if isinstance(self._units, str) or callable(self._units):
            return self._table[:, -1].tolist()
        return listed(self._units, records, "units")

    def mask(self, name: str | None, records: Records) -> np.ndarray:
        """Whether each sample is in a group, bool ``[n]``."""
        if name is None:
            return np.ones(records.samples, dtype=bool)
        if name in self._read:
            return self._table[:, self._read.index(name)] != 0
        found = listed(self._tests[name], records, f"The group {name!r}")
        if not all(one in (0, 1) for one in found):
            raise OptionError(f"The group {name!r} has entries other than True and False; give one for each sample.")
        return np.array(found, dtype=bool)


def units_in(traced: Traced, batches: Iterable[Any], units: Callable[[Any, Any], Any] | str) -> list[Hashable]:
    """The unit of each sample of some data, by a function or a column.

    Raises:
        OptionError: the data have no such column, or the function does not give one label for each sample.
    """
    records = Records.of(traced, batches, 1, progress=False)
    return measure(records, Membership(units, [], None), "units").units(records) or []


def _inside(test: Any, record: Record, name: str) -> np.ndarray:
    found = test(record) if isinstance(test, Condition) else _called(test, record, f"The group {name!r}")
    return np.asarray(found, dtype=bool)


def _labels(units: Any, record: Record) -> np.ndarray:
    """A number for the unit of each sample of a batch."""
    if isinstance(units, str):
        return column(record, units)
    digests = [hashlib.blake2b(repr(one).encode(), digest_size=6) for one in _called(units, record, "units")]
    return np.array([int.from_bytes(one.digest(), "little") for one in digests])


def _called(function: Callable[..., Any], record: Record, what: str) -> list[Any]:
    """What a user's function of inputs and targets says of each sample of a batch."""
    inputs = [*record.batch.args, *record.batch.kwargs.values()]
    found = function(inputs[0] if len(inputs) == 1 else tuple(inputs), record.targets)
    found = _plain(found, what)
    if len(found) != record.size:
        raise OptionError(f"{what} gave {len(found)} entries for a batch of {record.size}; give one for each sample.")
    return found


def _plain(given: Any, what: str) -> list[Any]:
    """Entries as a list.

    Raises:
        OptionError: there are none.
    """
    try:
        return list(given.tolist() if isinstance(given, (Tensor, np.ndarray)) else given)
    except (TypeError, RuntimeError, NotImplementedError):
        raise OptionError(f"{what} is of type {type(given).__name__}; give one entry for each sample.") from None


def listed(given: Any, records: Records, what: str) -> list[Any]:
    """Entries that the user listed in the order of the data.

    Raises:
        OptionError: there are not as many as samples.
        BatchError: the data come in no order of their own.
    """
    found = _plain(given, what)
    if len(found) != records.samples:
        raise OptionError(
            f"{what} has {len(found)} entries, but the data have {records.samples} samples; give one for each sample, "
            "in the order of the data."
        )
    sampler = getattr(records.batches, "sampler", None)
    if isinstance(sampler, torch.utils.data.Sampler) and not isinstance(sampler, torch.utils.data.SequentialSampler):
        raise BatchError(
            f"{what} lists the samples in their order, but this DataLoader draws them in another one; give one without "
            "shuffle, or a function of (inputs, targets)."
        )
    return found
