"""Where a report draws its conclusion: from a heading that says so up to the next heading that is known.

The headings are data (headings.yaml). A model takes those that it was trained with along in its
laudos.json: windows that were cut by others would be other windows.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

from tasks.ml.reading.sections import folded, known_headings

METHOD = "conclusions-1"  # raise the number when the same headings find other sections

# what may stand before a heading on its line: "3. ", "- ", "** "
_MARKUP = re.compile(r"[\W\d_]*")
_SENTENCE_ENDS = tuple(".;:!?)")


@dataclass(frozen=True)
class ConclusionHeadings:
    """What begins a conclusion and, beside those, what ends it: small letters without accents."""

    begin: tuple[str, ...]
    end: tuple[str, ...]


@cache
def shipped() -> ConclusionHeadings:
    """The headings that laudos comes with."""
    known = known_headings()
    ends = (*known.context, *known.findings, *known.closing)
    return ConclusionHeadings(
        *(tuple(sorted({folded(one) for one in some})) for some in (known.conclusion, ends))
    )


def conclusions(text: str, headings: ConclusionHeadings) -> list[tuple[int, int]]:
    """First and last character (the latter left out) of each section that concludes, its heading among them.

    A heading stands at the beginning of a line, alone on it or before a colon or a dash; or inside a line,
    before a colon, all in capitals or with one behind a sentence: many systems take the line ends away.
    """
    level = text.translate(_LEVELLED)
    marks = [
        (found.start("words"), found["words"])
        for found in _pattern(headings).finditer(level)
        if _is_heading(text, found)
    ]
    edges = [*(start for start, _ in marks[1:]), len(text)][: len(marks)]
    begin = frozenset(headings.begin)
    return [
        (start, start + len(text[start:edge].rstrip()))
        for (start, words), edge in zip(marks, edges, strict=True)
        if " ".join(words.split()) in begin
    ]


@cache
def _pattern(headings: ConclusionHeadings) -> re.Pattern[str]:
    known = sorted({*headings.begin, *headings.end}, key=lambda words: (-len(words), words))
    either = "|".join(r"[ \t]+".join(map(re.escape, words.split())) for words in known)
    return re.compile(rf"(?<!\w)(?P<words>{either})\.?[ \t]*(?P<sign>:|[-–—](?=\s)|$)", re.MULTILINE)


def _is_heading(text: str, found: re.Match[str]) -> bool:
    start = found.start("words")
    before = text[text.rfind("\n", 0, start) + 1 : start]
    if _MARKUP.fullmatch(before):
        return True
    words = text[start : found.end("words")]
    if found["sign"] != ":":
        return False
    said = before.rstrip()
    return words.isupper() or (words[0].isupper() and said != before and said.endswith(_SENTENCE_ENDS))


class _Levelled(dict[int, str]):
    """For str.translate: each letter small and without its accent, each sign in its place."""

    def __missing__(self, code: int) -> str:
        plain = unicodedata.normalize("NFD", chr(code))[0].casefold()
        self[code] = plain if len(plain) == 1 else chr(code)
        return self[code]


_LEVELLED = _Levelled()
