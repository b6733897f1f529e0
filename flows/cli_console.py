"""What the commands' words are printed with: a console, titles, tables, moments and durations."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.table import Table

FILE_WIDTH = 200  # a file or a pipe has no width: lines are not broken there


def console() -> Console:
    return Console(highlight=False, width=None if sys.stdout.isatty() else FILE_WIDTH)


def title(out: Console, text: str) -> None:
    out.print(f"[bold]{escape(text)}[/]")


def heading(out: Console, text: str) -> None:
    out.print(f"\n[bold]{escape(text)}[/]")


def table(header: Sequence[str], rows: Iterable[Sequence[str]], words: int | None = None) -> Table:
    """Names in the first column, figures set to the right in the others, words again from column `words`."""
    made = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for number, name in enumerate(header):
        figures = number > 0 and (words is None or number < words)
        made.add_column(name, justify="right" if figures else "left", no_wrap=number > 0 and words is None)
    for row in rows:
        made.add_row(*map(escape, row))
    return made


def moment(at: datetime | None, zone: ZoneInfo) -> str:
    return "-" if at is None else f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def lasts(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:,.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"
