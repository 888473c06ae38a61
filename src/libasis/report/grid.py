"""Places of the panels of a figure, in points: set by hand, so that they do not depend on the fonts of a machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .canvas import GREY, WIDTH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEFT, RIGHT, BETWEEN, MAIN, SMALL, TICKS = 48.0, 8.0, 32.0, 150.0, 84.0, 20.0


class Grid:
    """Rows of panels under one another, each with room for its title, perhaps with a close-up beneath."""

    def __init__(
        self, columns: int, panels: int, *, close_up: bool, lines: int, legend: int, note: bool, keys: int
    ) -> None:
        self.columns, self.panels, self.close_up = columns, panels, close_up
        self.width = self.panel_width(columns)
        self.pad = 4 + 10.4 * keys
        self.head = self.pad + 6 + 12.0 * lines
        self.top = 16.0 if note else 0.0
        self.cell = self.head + MAIN + TICKS + (SMALL + TICKS if close_up else 0) + 6
        self.height = self.top + -(-panels // columns) * self.cell + 16 + (10 + 13 * legend if legend else 0)

    @staticmethod
    def panel_width(columns: int) -> float:
        """Points across one panel."""
        return (WIDTH - LEFT - RIGHT - (columns - 1) * BETWEEN) / columns

    @classmethod
    def room(cls, columns: int) -> int:
        """Characters of a title that fit above a panel."""
        return int(cls.panel_width(columns) / 5.4)

    def axes(self, figure: Figure, k: int) -> tuple[Axes, Axes | None]:
        """The k-th panel and its close-up."""
        row, column = divmod(k, self.columns)
        x = LEFT + column * (self.width + BETWEEN)
        top = self.height - self.top - row * self.cell - self.head

        def place(bottom: float, height: float) -> tuple[float, float, float, float]:
            return (x / WIDTH, bottom / self.height, self.width / WIDTH, height / self.height)

        main = figure.add_axes(place(top - MAIN, MAIN))
        if not self.close_up:
            return main, None
        return main, figure.add_axes(place(top - MAIN - TICKS - SMALL, SMALL))

    def label(self, axes: tuple[Axes, Axes | None], k: int, labels: tuple[str, str], close_up: str) -> None:
        """Name the axes: x beneath the lowest panel of a column, y beside the first of a row."""
        main, small = axes
        if k + self.columns >= self.panels:
            (small or main).set_xlabel(labels[0])
        if k % self.columns == 0:
            main.set_ylabel(labels[1], rotation_mode="anchor")
            if small is not None:
                small.set_ylabel(close_up, rotation_mode="anchor", color=GREY)
        elif small is not None:
            small.tick_params(labelleft=False)
