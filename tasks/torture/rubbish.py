"""What careless programs leave in a table of reports: texts, ids, moments and labels that are none.

Everything comes out of a seeded generator, so that the shipped command needs nothing that only tests
have.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

MOMENT = "2026-03-02 12:00:00"
HUGE = 2  # texts of more than a million characters: two show what two hundred would
ODD_MOMENT_SHARE = 0.05

_SENTENCES = (
    "Punção aspirativa de nódulo sólido à direita.",
    "Células ductais em grupos coesos, núcleos regulares, cromatina fina.",
    "Fundo hemorrágico com macrófagos espumosos; não há sinais de malignidade.",
    "Conclusão: “benigno” – revisão em 6 meses, ½ ampola.",
)


@dataclass(frozen=True)
class Rubbish:
    """A row to be put somewhere. `as_text`: its bytes are called text, which SQLite believes."""

    kind: str
    id: object
    text: object = field(repr=False)
    updated_at: object = MOMENT
    date: object = "02/03/2026"
    label: object = "benigno"
    as_text: bool = False


def rubbish(rng: random.Random, rows: int) -> list[Rubbish]:
    """So many rows; each kind comes in its turn, and those with an odd moment come last."""
    makers = [*_TEXTS.items()] * 2 + [*_IDS.items()] + [*_LABELS.items()]
    made: list[Rubbish] = []
    while len(made) < rows:
        kind, make = makers[len(made) % len(makers)]
        made += make(kind, rng)
    odd = set(rng.sample(range(rows), int(rows * ODD_MOMENT_SHARE)))
    huge = set(rng.sample(sorted(set(range(rows)) - odd), HUGE))
    return [
        *(replace(made[n], kind="huge", text=_prose(rng) * 25_000, as_text=False) for n in sorted(huge)),
        *(made[n] for n in range(rows) if n not in odd | huge),
        *(replace(made[n], updated_at=rng.choice(MOMENTS), date=rng.choice(DATES)) for n in sorted(odd)),
    ]


def texts(rng: random.Random, how_many: int) -> list[object]:
    """Bad texts alone, those among them that no driver would take."""
    makers = [*_TEXTS.items()]
    made = [makers[n % len(makers)] for n in range(how_many)]
    return [row.text for kind, make in made for row in make(kind, rng)]


def _prose(rng: random.Random) -> str:
    """A report's worth, one of a kind."""
    return " ".join([f"Laudo {rng.getrandbits(48)}.", *rng.sample(_SENTENCES, rng.randint(1, 4))])


def _id(rng: random.Random) -> str:
    return f"g{rng.getrandbits(60):015x}"


def _sprinkle(rng: random.Random, marks: str, text: str) -> str:
    """The text with some of these marks in it, anywhere."""
    for _ in range(rng.randint(1, 5)):
        at = rng.randint(0, len(text))
        text = text[:at] + rng.choice(marks) + text[at:]
    return text


def _bytes(rng: random.Random) -> bytes:
    return rng.randbytes(rng.randint(1, 400))


Make = Callable[[str, random.Random], list[Rubbish]]


def _text(make: Callable[[random.Random], object], *, as_text: bool = False) -> Make:
    return lambda kind, rng: [Rubbish(kind, _id(rng), make(rng), as_text=as_text)]


_TEXTS: Mapping[str, Make] = {
    "sound": _text(_prose),
    "null text": _text(lambda rng: None),
    "empty": _text(lambda rng: rng.choice(("", " ", "\n\r\n\t", "\u00a0\u2003", "\ufeff", "\u200b\u200d"))),
    "letterless": _text(lambda rng: rng.choice(("--- 12/34 ---", "0", "....", "½ ¾ ²", "🩻🩺", "1,5 × 2,0"))),
    "a number": _text(lambda rng: rng.choice((rng.randint(-9, 10**12), rng.random(), float("inf")))),
    "mojibake": _text(lambda rng: _prose(rng).encode().decode("cp1252", "replace")),
    "mojibake twice": _text(lambda rng: _prose(rng).encode().decode("latin-1").encode().decode("latin-1")),
    "latin-1 marks": _text(lambda rng: _prose(rng).encode("cp1252", "replace").decode("latin-1")),
    "nul": _text(lambda rng: _sprinkle(rng, "\0", _prose(rng))),
    "controls": _text(lambda rng: _sprinkle(rng, "\x01\x07\x08\x1b\x7f\x85\x9f", _prose(rng))),
    "bidi": _text(lambda rng: _sprinkle(rng, "\u202e\u2066\u200f\u061c\u200b\u00ad", _prose(rng))),
    "decomposed": _text(lambda rng: _prose(rng).replace("ã", "a\u0303").replace("ç", "c\u0327")),
    "lone surrogate": _text(lambda rng: _sprinkle(rng, "\ud800\udc00\udfff\udbff", _prose(rng))),
    "many scripts": _text(lambda rng: "".join(chr(rng.randint(0x20, 0xD7FF)) for _ in range(200))),
    "noise": _text(lambda rng: "".join(chr(rng.randint(1, 0x9F)) for _ in range(200))),
    "html": _text(lambda rng: f"<div style='x'><p>{_prose(rng)}&nbsp;&oacute;&#233;<br/><b>fim"),
    "html, broken": _text(lambda rng: f"<p {_prose(rng)} <<< & &#xZZ; &#99999999; <!-- </p"),
    "html, deep": _text(lambda rng: "<div>" * rng.randint(50, 3000) + _prose(rng)),
    "rtf": _text(lambda rng: rf"{{\rtf1\ansi\b N\'f3dulo {rng.getrandbits(32)}\b0\par \u243?}}"),
    "rtf, broken": _text(lambda rng: r"{\rtf1\ansi {\fonttbl " + r"\'zz \bin9999 {" * rng.randint(1, 50)),
    "rtf, deep": _text(lambda rng: r"{\rtf1 " + "{" * rng.randint(50, 3000) + _prose(rng)),
    "hl7": _text(lambda rng: rf"MSH|^~\&|{rng.getrandbits(32)}\.br\OBX|1|TX|\T\ \X0D\ \Xzz\ \E\|N\S\dulo"),
    "xml": _text(lambda rng: f"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b '{_prose(rng)}'>]><a>&b;</a>"),
    "pdf as text": _text(lambda rng: f"%PDF-1.7 {rng.getrandbits(32)}"),
    "pdf": _text(lambda rng: b"%PDF-1.4\n" + _bytes(rng)),
    "word": _text(lambda rng: rng.choice((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")) + _bytes(rng)),
    "picture": _text(lambda rng: rng.choice((b"\x89PNG\r\n", b"\xff\xd8\xff", b"\x1f\x8b")) + _bytes(rng)),
    "bytes": _text(_bytes),
    "bytes called text": _text(_bytes, as_text=True),
    "utf-8 bytes": _text(lambda rng: _prose(rng).encode()),
    "utf-8 cut off": _text(lambda rng: _prose(rng).encode()[: rng.randint(30, 60)] + b"\xc3"),
    "utf-16 bytes": _text(lambda rng: _prose(rng).encode(rng.choice(("utf-16", "utf-16-le", "utf-16-be")))),
    "cp1252 bytes": _text(lambda rng: _prose(rng).encode("cp1252", "replace")),
    "cp1252 called text": _text(lambda rng: _prose(rng).encode("cp1252", "replace"), as_text=True),
    "surrogates as bytes": _text(lambda rng: _prose(rng).encode() + b"\xed\xa0\x80", as_text=True),
}


def _named(make: Callable[[random.Random], object]) -> Make:
    return lambda kind, rng: [Rubbish(kind, make(rng), _prose(rng))]


def _twins(kind: str, rng: random.Random) -> list[Rubbish]:
    """One id with two contents of one moment."""
    row = Rubbish(kind, _id(rng), _prose(rng))
    return [row, replace(row, text=_prose(rng))]


def _double(kind: str, rng: random.Random) -> list[Rubbish]:
    return [Rubbish(kind, _id(rng), _prose(rng))] * 2


def _successor(kind: str, rng: random.Random) -> list[Rubbish]:
    """One id with a later content: it counts, the earlier one waits."""
    row = Rubbish(kind, _id(rng), _prose(rng))
    return [row, replace(row, text=_prose(rng), updated_at="2026-03-02 13:00:00")]


_IDS: Mapping[str, Make] = {
    "null id": _named(lambda rng: None),
    "blank id": _named(lambda rng: rng.choice(("", " ", "\t\n"))),
    "huge id": _named(lambda rng: _id(rng) * 60),
    "id with nul": _named(lambda rng: f"{_id(rng)}\0x"),
    "padded id": _named(lambda rng: f"  {_id(rng)}   "),
    "numeric id": _named(lambda rng: rng.getrandbits(60)),
    "id as float": _named(lambda rng: float(rng.getrandbits(50))),
    "id not a number": _named(lambda rng: rng.choice((float("inf"), float("-inf"), rng.random()))),
    "id of bytes": _named(lambda rng: rng.randbytes(12)),
    "odd id": _named(lambda rng: rng.choice(("🩻", "'; DROP TABLE report; --", "../..", "%s")) + _id(rng)),
    "twins": _twins,
    "double": _double,
    "successor": _successor,
}


def _labelled(make: Callable[[random.Random], object]) -> Make:
    return lambda kind, rng: [Rubbish(kind, _id(rng), _prose(rng), label=make(rng))]


_LABELS: Mapping[str, Make] = {
    "unknown label": _labelled(lambda rng: rng.choice(("INDETERMINADO", "?", "benigno/maligno", "b"))),
    "no label": _labelled(lambda rng: rng.choice((None, "", "  "))),
    "huge label": _labelled(lambda rng: "benigno" * 100),
}

# a future, a past and nothing at all; what is no moment in any zone
MOMENTS = (
    None,
    "9999-12-31 23:59:59",
    "0001-01-01 00:00:00",
    "1899-12-30 00:00:00",
    "2099-01-01 00:00:00",
    "infinity",
    "-infinity",
    "0044-03-15 00:00:00 BC",
    "294000-01-01 00:00:00",
    "2026-02-30 12:00:00",
    "ontem",
    "",
    "2026-03-02T12:00:00.123456789Z",
    "2026-03-02 12:00:00+99:99",
)
DATES = (
    None,
    "",
    "31/02/2026",
    "0000-00-00",
    "ontem",
    "9999-12-31",
    "01/01/0001",
    "2026-03-02T25:00",
    "infinity",
)
