"""What goes wrong with reports on their way into a hospital's table; the demo has a few of each.

Some of it can be repaired, the rest must wait for a person; see DESIGN's catalogue of bad input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape

from db.hospital import HospitalRow

Damage = Callable[[HospitalRow], HospitalRow]


@dataclass(frozen=True)
class Mishap:
    name: str
    rows: int
    damage: Damage


def _text(change: Callable[[str], str | bytes | None]) -> Damage:
    return lambda row: replace(row, texto=change(str(row.texto)))


def _as_rtf(text: str) -> str:
    signs = {"\n": r"\par ", "\\": r"\\", "{": r"\{", "}": r"\}"}
    body = "".join(signs.get(sign, sign if ord(sign) < 128 else f"\\'{ord(sign):02x}") for sign in text)
    return r"{\rtf1\ansi\ansicpg1252\deff0{\fonttbl{\f0 Arial;}}\f0\fs20 " + body + "}"


def _as_html(text: str) -> str:
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in text.splitlines())
    return f"<html><head><style>p {{ margin: 0 }}</style></head><body>{paragraphs}</body></html>"


def _inside_out(text: str) -> str:
    """UTF-8 that someone read as Latin-1."""
    return text.encode().decode("latin-1")


def _with_invisible_marks(text: str) -> str:
    return "\u202a" + text.replace(" ", "\u200b ", 12) + "\u202c\ufeff"


def _from_the_future(row: HospitalRow) -> HospitalRow:
    return replace(row, data_laudo="2093-01-07", atualizado_em="2093-01-07 08:00:00")


_PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n<< /Type /Catalog >>\nendobj\n%%EOF"

MISHAPS = (
    # to be repaired
    Mishap("nul_bytes", 3, _text(lambda text: text.replace(". ", ".\0 ", 3))),
    Mishap("mojibake", 4, _text(_inside_out)),
    Mishap("latin1_bytes", 4, _text(lambda text: text.encode("latin-1", "replace"))),
    Mishap("utf16_bytes", 2, _text(lambda text: text.encode("utf-16"))),
    Mishap("rtf", 3, _text(_as_rtf)),
    Mishap("html", 3, _text(_as_html)),
    Mishap("hl7_escapes", 3, _text(lambda text: text.replace("&", "\\T\\").replace("\n", "\\.br\\"))),
    Mishap("invisible_marks", 3, _text(_with_invisible_marks)),
    # for a person
    Mishap("no_id", 3, lambda row: replace(row, id=None)),
    Mishap("empty", 3, _text(lambda _: "")),
    Mishap("null_text", 2, _text(lambda _: None)),
    Mishap("no_letters", 3, _text(lambda _: "--- 12/10 ... *** 000 ---")),
    Mishap("pdf_bytes", 3, _text(lambda _: _PDF)),
    Mishap("too_long", 1, _text(lambda text: (text + "\n") * (1_100_000 // len(text)))),
    Mishap("future_date", 3, _from_the_future),
    Mishap("unknown_label", 4, lambda row: replace(row, resultado="INCONCLUSIVO")),
    Mishap("same_id_twice", 3, _text(lambda text: text + "\nEm tempo: lâminas revistas.")),
)
