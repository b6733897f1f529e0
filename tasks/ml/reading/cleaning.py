"""A report's text as it stood at its source, made fit to read and to store; every repair is counted.

Nothing is dropped in silence: what cannot be read raises Unreadable with a fixed word, for the
quarantine. The same input gives the same text; raise CLEANING_REVISION when that changes.
"""

from __future__ import annotations

import codecs
import hashlib
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from tasks.ml.errors import Unreadable
from tasks.ml.reading import decoding, markup

CLEANING_REVISION = 2
CHARACTERS_MAX = 1_000_000
# markup may be many times as long as its text, but not without end
RAW_MAX = 16_000_000

_NEWLINES = re.compile(r"\r\n?|[\x0b\x0c\u2028\u2029]")
_CONTROLS = re.compile(r"[\x01-\x08\x0e-\x1f\x7f-\x9f]")
# zero-width marks, soft hyphens, and what turns the direction of reading (Trojan Source, CVE-2021-42574)
_INVISIBLE = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
_WIDE_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")
# begins with what is sought, so that the search leaps from one line's end to the next
_UNTIDY = re.compile(r"\n(?:(?<=[ \t]\n)|(?<=\n\n\n))")
_GAPS = re.compile(r"\n{3,}")
# beyond plain ASCII and the letters of Western Europe: only then is a closer look needed
_ODD = re.compile("[^\t\n -~\u00a1-\u00ac\u00ae-\u00ff]")
_LETTER = re.compile(r"[^\W\d_]")
# in Latin-1: what no rule here touches (no sign of markup or escapes), and what only mojibake makes suspect
_PLAIN = bytes({*b"\t\n", *range(0x20, 0x7F), *range(0xC0, 0x100)} - {*b"<&\\"})
_SIGNS = bytes({*range(0xA1, 0xC0)} - {0xAD})


@dataclass(frozen=True, slots=True)
class Cleaned:
    """`text` holds letters, no NUL, no lone surrogate; `repairs` counts by name what was mended."""

    text: str
    repairs: dict[str, int] = field(default_factory=dict)


def clean(raw: object) -> Cleaned:
    """The text of a report as read from a database: str or bytes.

    Raises Unreadable: no_text, empty, no_letters, not_text, too_long, pdf or binary.
    """
    repairs: dict[str, int] = {}
    if isinstance(raw, str) and _is_plain(raw):
        text = raw
    else:
        text, repairs = _mended(raw)
    if len(text) > CHARACTERS_MAX:
        raise Unreadable("too_long", characters=len(text))
    if _UNTIDY.search(text):
        text = "\n".join(line.rstrip(" \t") for line in text.split("\n"))
        text = _GAPS.sub("\n\n", text)
    text = text.strip()
    if not text:
        raise Unreadable("empty")
    if not _LETTER.search(text):
        raise Unreadable("no_letters")
    return Cleaned(text, repairs)


def raw_sha(raw: object) -> str:
    """sha256, in hex, of a value as it stood at its source; nothing at all counts as the empty text."""
    if isinstance(raw, (bytes, bytearray, memoryview)):
        return hashlib.sha256(raw).hexdigest()
    return hashlib.sha256(_utf8("" if raw is None else str(raw))).hexdigest()


def _utf8(text: str) -> bytes:
    """As `str.encode`, but the bytes stay with the text: whoever writes it to a database finds them there."""
    try:
        return codecs.readbuffer_encode(text)[0]
    except UnicodeEncodeError:  # lone surrogates
        return text.encode("utf-8", "surrogatepass")


def _characters(raw: object, repairs: Counter[str]) -> str:
    if raw is None:
        raise Unreadable("no_text")
    if isinstance(raw, (bytearray, memoryview)):
        raw = bytes(raw)
    if not isinstance(raw, (str, bytes)):
        raise Unreadable("not_text")
    if len(raw) > RAW_MAX:
        raise Unreadable("too_long", characters=len(raw))
    if isinstance(raw, bytes):
        return decoding.decode(raw, repairs)
    if raw.lstrip("\ufeff \t\r\n").startswith("%PDF-"):
        raise Unreadable("pdf")
    return raw


def _is_plain(text: str) -> bool:
    """Whether nothing needs mending, told by a table look-up: so it is with most reports."""
    try:
        data = text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    unusual = data.translate(None, _PLAIN)
    if unusual.translate(None, _SIGNS):
        return False
    for sign in set(unusual):
        if _behind_letter(data, sign):
            return False
    return not text.lstrip().startswith("%PDF-")


def _behind_letter(data: bytes, sign: int) -> bool:
    """Whether the sign stands behind an accented letter anywhere, as in mojibake (and hardly elsewhere)."""
    at = data.find(sign, 1)
    while at > 0 and data[at - 1] < 0xC0:
        at = data.find(sign, at + 1)
    return at > 0


def _mended(raw: object) -> tuple[str, dict[str, int]]:
    """Whole characters, without markup and without what nobody can see; and what was mended."""
    repairs: Counter[str] = Counter()
    text = markup.plain(_characters(raw, repairs), repairs)
    if len(text) > CHARACTERS_MAX:
        raise Unreadable("too_long", characters=len(text))
    text = text.replace("\r\n", "\n")
    odd = _ODD.search(text)
    if odd:
        text = decoding.mend_surrogates(text, repairs)
    text = decoding.mend_mojibake(text, repairs)
    if odd or repairs["mojibake"]:
        text = _without_oddities(text, repairs)
    return text, {name: count for name, count in sorted(repairs.items()) if count}


def _without_oddities(text: str, repairs: Counter[str]) -> str:
    text = decoding.mend_c1(text, repairs)
    text = _NEWLINES.sub("\n", text)
    repairs["nul"] += text.count("\0")
    text, controls = _CONTROLS.subn("", text.replace("\0", ""))
    if controls > 0.1 * (len(text) + controls):
        raise Unreadable("binary", controls=controls)
    repairs["controls"] += controls
    text, repairs["invisible"] = _INVISIBLE.subn("", text)
    if not unicodedata.is_normalized("NFC", text):
        text = unicodedata.normalize("NFC", text)
        repairs["composed"] += 1
    return _WIDE_SPACES.sub(" ", text)
