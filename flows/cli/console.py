"""What the commands' words are printed with: a console, titles, tables, moments and durations."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.markup import escape
from rich.table import Table
from rich.text import Text

FILE_WIDTH = 200  # a file or a pipe has no width: lines are not broken there
GAP = 2  # between two columns
WORD_BROKEN = 8  # so much of a word stays in one piece as long as something else can give way


def console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)


def title(out: Console, text: str) -> None:
    out.print(f"[bold]{escape(text)}[/]")


def heading(out: Console, text: str) -> None:
    out.print(f"\n[bold]{escape(text)}[/]")


def table(header: Sequence[str], rows: Iterable[Sequence[str | Text]], words: int | None = None) -> Fitted:
    """Names in the first column, figures set to the right in the others, words again from column `words`."""
    return Fitted(header, [*rows], words)


@dataclass(frozen=True)
class Fitted:
    """A table that shortens nothing where the terminal is narrow: it breaks headers, then words, and an id or
    a figure last. A rich table would put an ellipsis instead, and half a number is a wrong one."""

    header: Sequence[str]
    rows: Sequence[Sequence[str | Text]]
    words: int | None

    def __rich_console__(self, out: Console, options: ConsoleOptions) -> RenderResult:
        made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, GAP, 0, 0))
        widths = self._widths(options.max_width - GAP * (len(self.header) - 1))
        for number, (name, width) in enumerate(zip(self.header, widths, strict=True)):
            justify: JustifyMethod = "right" if self._figures(number) else "left"
            made.add_column(escape(name), justify=justify, width=width, overflow="fold")
        for row in self.rows:
            # Text, not str: square brackets in a value are no markup
            made.add_row(*(cell if isinstance(cell, Text) else Text(cell) for cell in row))
        yield made

    def _figures(self, number: int) -> bool:
        return number > 0 and (self.words is None or number < self.words)

    def _widths(self, room: int) -> list[int]:
        """Always from the widest column, and from no column below what keeps whole what matters more."""
        columns = [[str(row[number]) for row in self.rows] for number in range(len(self.header))]
        names = [_longest_word([name]) for name in self.header]
        cells = [_longest_word(column) for column in columns]
        widths = [
            max(map(cell_len, (name, *column))) for name, column in zip(self.header, columns, strict=True)
        ]
        figures_whole = [
            least if number == 0 or self._figures(number) else min(least, WORD_BROKEN)
            for number, least in enumerate(cells)
        ]
        for least in ([*map(max, names, cells)], cells, figures_whole, [1] * len(widths)):
            while sum(widths) > room:
                spare = [number for number, width in enumerate(widths) if width > max(1, least[number])]
                if not spare:
                    break
                widths[max(spare, key=widths.__getitem__)] -= 1
        return widths


def _longest_word(texts: Iterable[str]) -> int:
    return max((cell_len(word) for text in texts for word in text.split()), default=0)


def moment(at: datetime | None, zone: ZoneInfo) -> str:
    return "-" if at is None else f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def lasts(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:,.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
