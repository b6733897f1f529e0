"""From what a database hands over to characters: three encodings, stray bytes, and mojibake undone.

Everything here repairs only what can be proved: a decoding that accepts every byte, a round trip
that is strict. What cannot be proved stays as it came.
"""

from __future__ import annotations

import re
from collections import Counter

from tasks.ml.errors import Unreadable

# bytes that Windows-1252 leaves undefined are read as Latin-1's control characters, as browsers do
_CP1252 = {
    byte: bytes([byte]).decode("cp1252") for byte in range(0x80, 0xA0) if byte not in b"\x81\x8d\x8f\x90\x9d"
}
_TO_C1 = {ord(character): byte for byte, character in _CP1252.items()}
_C1 = re.compile("[\x80-\x9f]")
_SURROGATES = re.compile("[\ud800-\udfff]")
# what UTF-8 read as Windows-1252 looks like: a lead byte and at least one continuation byte
_MOJIBAKE = re.compile(
    "[\u00c2-\u00f4]"
    "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
)
# what a repair may bring to light: Portuguese letters, signs and typographic marks, no other script
_PLAUSIBLE = re.compile(
    r"[\x00-\u00ff\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
    r"\u2010-\u203a\u20ac\u2122\u2190-\u22ff\ufb00-\ufb06\ufeff]*"
)
_DOUBLY = 3  # exports of exports have been seen mangled three times over


def decode(raw: bytes, repairs: Counter[str]) -> str:
    """Bytes as text: UTF-16 by its mark or its NULs, else UTF-8 if strict, else Windows-1252."""
    if raw[:1024].lstrip().startswith(b"%PDF-"):
        raise Unreadable("pdf")
    if raw.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"\x89PNG", b"\xff\xd8\xff", b"\x1f\x8b")):
        raise Unreadable("binary")  # a zipped or old Word file, a picture, an archive
    for encoding in _candidates(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        repairs[f"bytes_{encoding.removesuffix('-sig')}"] += 1
        return text
    repairs["bytes_windows_1252"] += 1
    return raw.decode("latin-1").translate(_CP1252)


def mend_surrogates(text: str, repairs: Counter[str]) -> str:
    """Halves of pairs joined, bytes that SQLite let through read as Windows-1252, the rest U+FFFD."""
    if not _SURROGATES.search(text):
        return text
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")

    def mended(found: re.Match[str]) -> str:
        code = ord(found[0])
        stray_byte = 0xDC80 <= code <= 0xDCFF  # Python's surrogateescape
        repairs["stray_bytes" if stray_byte else "lone_surrogates"] += 1
        return chr(code - 0xDC00).translate(_CP1252) if stray_byte else "\ufffd"

    return _SURROGATES.sub(mended, joined)


def mend_mojibake(text: str, repairs: Counter[str]) -> str:
    """UTF-8 once read as Windows-1252, line by line, where the way back is strict for the whole line."""
    if not _MOJIBAKE.search(text):
        return text
    return "\n".join(_mended_line(line, repairs) for line in text.split("\n"))


def mend_c1(text: str, repairs: Counter[str]) -> str:
    """Windows-1252 quotes and dashes that were read as Latin-1's control characters."""
    if not _C1.search(text):
        return text
    mended = text.translate(_CP1252)
    repairs["windows_1252_marks"] += len(_C1.findall(text)) - len(_C1.findall(mended))
    return mended


def _candidates(raw: bytes) -> list[str]:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return ["utf-16", "utf-8"]
    head = raw[:2000]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) // 5 and even < odd // 4:
        return ["utf-16-le", "utf-8-sig"]
    if even > len(head) // 5 and odd < even // 4:
        return ["utf-16-be", "utf-8-sig"]
    return ["utf-8-sig"]


def _mended_line(line: str, repairs: Counter[str]) -> str:
    for _ in range(_DOUBLY):
        if not _MOJIBAKE.search(line):
            break
        try:
            better = line.translate(_TO_C1).encode("latin-1").decode("utf-8")
        except UnicodeError:
            break
        if not _PLAUSIBLE.fullmatch(better):
            break
        repairs["mojibake"] += len(line) - len(better)
        line = better
    return line
