"""A document of plain blocks, written as GitHub-flavoured Markdown and as one self-contained HTML page."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2


@dataclass(frozen=True)
class Paragraph:
    text: str
    strong: bool = False


@dataclass(frozen=True)
class Bullets:
    items: Sequence[str]


@dataclass(frozen=True)
class Table:
    """The first column holds names, the others figures, which are set to the right unless told otherwise."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: bool = False


@dataclass(frozen=True)
class Picture:
    png: bytes
    alt: str


Block = Heading | Paragraph | Bullets | Table | Picture

STYLE: Final = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, "Segoe UI", sans-serif; color: #22303c; max-width: 64rem; margin: 2rem auto;
       padding: 0 1.2rem; }
h1 { font-size: 1.7rem; margin-bottom: .4rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; color: #0f6a8c; }
table { border-collapse: collapse; font-size: .88rem; margin: .8rem 0; display: block; overflow-x: auto; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #d5dce2; text-align: left; vertical-align: top; }
th { background: #f2f5f7; } td.figure, th.figure { text-align: right; font-variant-numeric: tabular-nums; }
td.figure { white-space: nowrap; }
img { max-width: 100%; width: 466px; margin: .4rem .6rem .4rem 0; vertical-align: top;
      border: 1px solid #e6ebef; border-radius: 6px; }
p.strong { font-weight: 600; font-size: 1.05rem; } li { margin: .2rem 0; }
@media print { body { margin: 0; } h2 { break-after: avoid; } img, table { break-inside: avoid; } }
""".strip()


def as_markdown(blocks: Sequence[Block]) -> str:
    """GFM tables; pictures as data URIs, which Prefect's UI shows (it shows no inline SVG)."""
    return "\n\n".join(_markdown(block) for block in blocks) + "\n"


def as_html(blocks: Sequence[Block], title: str, language: str = "en") -> str:
    """A page that needs nothing beside it: no script, no font, no address."""
    body = "\n".join(_html(block) for block in blocks)
    return (
        f'<!doctype html>\n<html lang="{language}">\n<head>\n<meta charset="utf-8">\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n"
        f"<body>\n{body}\n</body>\n</html>\n"
    )


def _markdown(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"{'#' * level} {_escaped(text)}"
        case Paragraph(text, strong):
            return f"**{_escaped(text)}**" if strong else _escaped(text)
        case Bullets(items):
            return "\n".join(f"- {_escaped(item)}" for item in items)
        case Table(head, rows, words):
            rule = ["---"] + ["---" if words else "--:"] * (len(head) - 1)
            lines = [_row(head), f"| {' | '.join(rule)} |", *map(_row, rows)]
            return "\n".join(lines)
        case Picture(png, alt):
            return f"![{_escaped(alt)}]({_uri(png)})"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Labels are whatever a hospital calls them: none may become markup or break a table."""
    return re.sub(r"([\\`*\[\]|<>])", r"\\\1", " ".join(text.split()))


def _html(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{html.escape(text)}</h{level}>"
        case Paragraph(text, strong):
            return f"<p{' class=strong' if strong else ''}>{html.escape(text)}</p>"
        case Bullets(items):
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in items) + "</ul>"
        case Table(head, rows, words):
            kind = "" if words else ' class="figure"'
            lines = [_html_row(head, "th", kind), *(_html_row(row, "td", kind) for row in rows)]
            return "<table>\n" + "\n".join(lines) + "\n</table>"
        case Picture(png, alt):
            return f'<img src="{_uri(png)}" alt="{html.escape(alt, quote=True)}">'


def _html_row(cells: Sequence[str], tag: str, kind: str) -> str:
    first, *others = (html.escape(cell) for cell in cells)
    return (
        f"<tr><{tag}>{first}</{tag}>" + "".join(f"<{tag}{kind}>{cell}</{tag}>" for cell in others) + "</tr>"
    )


def _uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
