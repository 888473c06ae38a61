"""Formulas of names, numbers and + - * / ( ), read as such: nothing else is ever executed."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import OptionError, did_you_mean, short

OPERATIONS: dict[type, Any] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST = 2000


class Formula:
    """A formula over named numbers.

    Attributes:
        text: as it was written.
        names: in it, in their order.

    Raises:
        OptionError: it is none, or has anything but names, numbers, + - * / and brackets.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            if len(text) > LONGEST:
                raise SyntaxError
            self._tree = ast.parse(text.strip(), mode="eval").body
            self.names = tuple(dict.fromkeys(self._names(self._tree)))
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise OptionError(
                f"The formula {short(text)} is not read; write names and numbers with + - * / and brackets, such as "
                "years * (events * avoided * saving - running) - once."
            ) from None

    def _names(self, part: ast.AST) -> list[str]:
        if isinstance(part, ast.Name):
            return [part.id]
        if isinstance(part, ast.Constant) and type(part.value) in (int, float):
            return []
        if isinstance(part, ast.UnaryOp) and isinstance(part.op, (ast.USub, ast.UAdd)):
            return self._names(part.operand)
        if isinstance(part, ast.BinOp) and type(part.op) in OPERATIONS:
            return [*self._names(part.left), *self._names(part.right)]
        raise SyntaxError

    def __call__(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        """Its value, with an array (or a number) for each name.

        Raises:
            OptionError: a name has no value, or a result is not finite.
        """
        if missing := [name for name in self.names if name not in values]:
            raise OptionError(
                f"The formula needs {short(missing[0])}{did_you_mean(missing[0], values)}, which has no value; give it."
            )
        with np.errstate(all="ignore"):
            found = np.asarray(self._value(self._tree, values), dtype=np.float64)
        if not np.isfinite(found).all():
            raise OptionError(f"The formula {short(self.text)} divides by 0, or is too large, for some of the values.")
        return found

    def _value(self, part: Any, values: Mapping[str, np.ndarray]) -> Any:
        if isinstance(part, ast.Name):
            return values[part.id]
        if isinstance(part, ast.Constant):
            return np.float64(part.value)  # type: ignore[arg-type]
        if isinstance(part, ast.UnaryOp):
            inner = self._value(part.operand, values)
            return -inner if isinstance(part.op, ast.USub) else inner
        return OPERATIONS[type(part.op)](self._value(part.left, values), self._value(part.right, values))
