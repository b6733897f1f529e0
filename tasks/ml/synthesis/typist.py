"""How a report was typed: abbreviations, capitals, missing accents, a decimal point, a slip now and then."""

from __future__ import annotations

import re
import unicodedata

from tasks.ml.synthesis.chance import Rng, happens, integer
from tasks.ml.synthesis.language import Typing

_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_LONG_WORD = re.compile(r"[^\W\d_]{5,}")  # shorter ones become other words
_PAUSE = re.compile(r"[,.](?=\s)|\n+")
_SPOKEN = {",": " vírgula", ".": " ponto"}
_SPOKEN_SHARE = 0.3  # of the pauses of a dictated report


def typed(text: str, habits: Typing, rng: Rng) -> str:
    """The text as this report's author would have typed it; each habit comes with its own chance."""
    if happens(rng, habits.dictation):
        text = _PAUSE.sub(lambda sign: _spoken(sign[0], rng), text)
    if happens(rng, habits.abbreviations.chance):
        text = habits.abbreviations.pattern.sub(lambda word: habits.abbreviations.words[word[0]], text)
    if happens(rng, habits.decimal_point):
        text = _DECIMAL_COMMA.sub(".", text)
    if happens(rng, habits.typos.chance):
        text = _LONG_WORD.sub(lambda word: _slip(word[0], habits.typos.share_of_words, rng), text)
    if happens(rng, habits.no_accents):
        text = "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))
    if happens(rng, habits.upper_case):
        text = text.upper()
    return text


def _spoken(sign: str, rng: Rng) -> str:
    """Punctuation that the speaker said aloud and the recogniser wrote as a word."""
    return _SPOKEN.get(sign, f" parágrafo{sign}") if happens(rng, _SPOKEN_SHARE) else sign


def _slip(word: str, share: float, rng: Rng) -> str:
    """With this chance, two neighbouring letters inside the word change places or one is lost."""
    if not happens(rng, share):
        return word
    at = integer(rng, 1, len(word) - 3)
    swap = happens(rng, 0.5)
    return word[:at] + (word[at + 1] + word[at] if swap else word[at + 1]) + word[at + 2 :]
