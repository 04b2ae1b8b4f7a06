"""Text and tables that run down pages of A4, drawn by matplotlib; a full page begins the next."""

from __future__ import annotations

import re
from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from cordgap.report.style import GREY, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE_MM = (210.0, 297.0)
MARGIN_MM = 15.0
WIDTH_MM = PAGE_MM[0] - 2 * MARGIN_MM
# Where the text of a page begins, below its head, and ends, above its foot.
TOP_MM, BOTTOM_MM = 15.0, PAGE_MM[1] - MARGIN_MM - 9.0
_MM_PER_POINT = 25.4 / 72
# Mean width of a character of DejaVu Sans, and the height of a line, as a share of the font size.
_CHARACTER, _LINE = 0.545, 1.32
# A number stays on the line of its unit.
_UNIT = re.compile(r"(\d) (mm|cc|Gy|%)")


def new_page() -> Figure:
    """Return an empty page."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    page = Figure(figsize=(PAGE_MM[0] / 25.4, PAGE_MM[1] / 25.4))
    FigureCanvasAgg(page)
    return page


def frame(page: Figure, head: str, foot: str, number: tuple[int, int]) -> None:
    """Write head, foot and number (this page, of so many) on a page that is filled."""
    column = Column(page, MARGIN_MM, WIDTH_MM, 8.0)
    column.text(label(head, 110), 7.5, color=GREY)
    column.y = PAGE_MM[1] - MARGIN_MM - 5.0
    column.text(foot, 7.0, color=GREY)
    page.text(
        1 - MARGIN_MM / PAGE_MM[0], 8.0 / PAGE_MM[1], f"page {number[0]} of {number[1]}",
        fontsize=7.0, color=GREY, ha="right", va="bottom",
    )  # fmt: skip


def place_axes(page: Figure, left: float, top: float, width: float, height: float) -> Any:
    """Add axes to a page, measured in mm from its upper left corner."""
    w, h = PAGE_MM
    return page.add_axes((left / w, 1 - (top + height) / h, width / w, height / h))


class Column:
    """Text that runs down a column of a page.

    Parameters
    ----------
    page : Figure
    left_mm, width_mm, top_mm : float
    pages : list of Figure, optional
        Where new pages are added when this one is full; without it what does not fit is left out,
        and a line says so.
    """

    def __init__(
        self,
        page: Figure,
        left_mm: float,
        width_mm: float,
        top_mm: float,
        *,
        pages: list[Figure] | None = None,
    ) -> None:
        self.page, self.left, self.width, self.y = page, left_mm, width_mm, top_mm
        self.pages = pages

    def has_room(self, lines: int = 1, size: float = 8.0) -> bool:
        """Whether so many lines fit on this page."""
        return self.y + lines * size * _LINE * _MM_PER_POINT <= BOTTOM_MM

    def turn(self, lines: int = 1, size: float = 8.0) -> bool:
        """Begin a new page if so many lines do not fit; False where there can be none."""
        if self.has_room(lines, size):
            return True
        if self.pages is None:
            return False
        self.page = new_page()
        self.pages.append(self.page)
        self.y = TOP_MM
        return True

    def gap(self, mm: float) -> None:
        """Leave room."""
        self.y += mm

    def text(self, text: str, size: float = 8.0, **style: Any) -> None:
        """Write text, wrapped to the column; line ends in it are kept."""
        most = int(self.width / (_CHARACTER * size * _MM_PER_POINT))
        if style.get("weight") == "bold":
            most = int(most * 0.9)
        for paragraph in text.splitlines() or [""]:
            for line in wrap(_UNIT.sub("\\1\N{NO-BREAK SPACE}\\2", paragraph), most) or [""]:
                self.turn(1, size)
                self._put(self.left, line, size, style)
                self.y += size * _LINE * _MM_PER_POINT

    def heading(self, text: str) -> None:
        """Write a heading, together with the lines that follow it."""
        self.turn(5, 9.5)
        self.gap(2.5)
        self.text(text, 9.5, weight="bold")
        self.gap(0.8)

    def bullets(self, lines: Sequence[str], size: float) -> None:
        """Write a list; what does not fit on a page without a next one is counted."""
        for number, line in enumerate(lines):
            if not self.turn(3, size):
                left = len(lines) - number
                self.text(f"and {left} more: see report.html", size, style="italic", color=GREY)
                return
            self.text(f"•  {line}", size)

    def table(
        self,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        widths: Sequence[float],
        size: float = 7.5,
    ) -> None:
        """Rows of cells; ``widths`` are shares of the column, a cell wraps within its own.

        The head stands again on each new page.
        """
        self._row(head, widths, size, {"weight": "bold"})
        self._rule()
        for number, row in enumerate(rows):
            cells = self._cells(row, widths, size)
            if not self.has_room(max(len(c) for c in cells) + 1, size):
                if not self.turn(max(len(c) for c in cells) + 1, size):
                    left = len(rows) - number
                    self.text(f"and {left} more: see report.html", size, style="italic", color=GREY)
                    return
                self._row(head, widths, size, {"weight": "bold"})
                self._rule()
            self._row(row, widths, size, {})

    def _cells(self, row: Sequence[str], widths: Sequence[float], size: float) -> list[list[str]]:
        return [
            wrap(cell, max(3, int(share * self.width / (0.57 * size * _MM_PER_POINT)) - 1))
            for cell, share in zip(row, widths, strict=True)
        ]

    def _row(
        self, row: Sequence[str], widths: Sequence[float], size: float, style: dict[str, Any]
    ) -> None:
        step = size * _LINE * _MM_PER_POINT
        cells = self._cells(row, widths, size)
        x = self.left
        for cell, share in zip(cells, widths, strict=True):
            for i, line in enumerate(cell):
                self._put(x, line, size, style, down=i * step)
            x += share * self.width
        self.y += (max(len(c) for c in cells) or 1) * step + 0.5

    def _rule(self) -> None:
        self.line(self.left, self.left + self.width, self.y + 0.1, GREY)
        self.y += 0.8

    def line(self, left_mm: float, right_mm: float, down_mm: float, colour: str) -> None:
        """Draw a horizontal line."""
        from matplotlib.lines import Line2D

        y = 1 - down_mm / PAGE_MM[1]
        x = [left_mm / PAGE_MM[0], right_mm / PAGE_MM[0]]
        self.page.add_artist(Line2D(x, [y, y], color=colour, lw=0.6))

    def _put(
        self, left_mm: float, line: str, size: float, style: dict[str, Any], down: float = 0.0
    ) -> None:
        self.page.text(
            left_mm / PAGE_MM[0], 1 - (self.y + down) / PAGE_MM[1], label(line, 200),
            fontsize=size, va="top", ha="left", **style,
        )  # fmt: skip
