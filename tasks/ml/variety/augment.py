"""Augmentation: in every epoch the training reports read a little differently.

Random deletion, exchange and noise after Wei and Zou 2019, "EDA: Easy Data Augmentation Techniques", with the
clause in place of the word. Only ever given the training split: a section is mixed in from nowhere else.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from tasks.ml.arrays import Ints
from tasks.ml.reading.sections import Section, clauses, joined, sections
from tasks.ml.synthesis.chance import Rng, Stream, happens, integer, pick, shuffled
from tasks.ml.variety.synonyms import shipped

Way = Literal["clauses", "synonyms", "noise", "sections"]
WAYS: tuple[Way, ...] = get_args(Way)

DROPPED_MAX = 0.5  # of the clauses of a section
WORDS_EXCHANGED = 0.5
WORDS_WITH_A_SLIP = 0.06
ACCENTS_LOST = 0.2  # of the reports that noise touches

_LONG_WORD = re.compile(r"[^\W\d_]{5,}")  # shorter ones become other words, and "não" and "sem" are short
_OCR = {"rn": "m", "m": "rn", "l": "1", "o": "0", "c": "e", "e": "c", "cl": "d", "i": "l"}


@dataclass(frozen=True)
class Augmentation:
    """The share of the reports that each way changes in an epoch."""

    clauses: float = 0.0
    synonyms: float = 0.0
    noise: float = 0.0
    sections: float = 0.0

    @classmethod
    def of(cls, ways: Sequence[Way]) -> Augmentation:
        """The named ways at the share they are shipped with."""
        shares: dict[Way, float] = {"clauses": 0.5, "synonyms": 0.5, "noise": 0.3, "sections": 0.5}
        return cls(**{way: shares[way] for way in ways})

    @property
    def is_off(self) -> bool:
        return not (self.clauses or self.synonyms or self.noise or self.sections)


@dataclass(frozen=True, eq=False)
class Course:
    """What one training reads: a copy of all reports for each epoch, to be passed `passes` times.

    `report` (texts,) says which of the reports each text is a copy of.
    """

    texts: list[str]
    report: Ints
    passes: float


def course(texts: Sequence[str], how: Augmentation, seed: int, epochs: float) -> Course:
    """As many steps of training as `epochs` over the reports themselves would be."""
    if not texts or how.is_off:
        return Course(list(texts), np.arange(len(texts)), epochs)
    copies = math.ceil(epochs)
    told = [text for epoch in range(copies) for text in augmented(texts, how, seed, epoch)]
    return Course(told, np.tile(np.arange(len(texts)), copies), epochs / copies)


def augmented(texts: Sequence[str], how: Augmentation, seed: int, epoch: int) -> list[str]:
    """These reports as one epoch reads them; the same for the same texts, seed and epoch."""
    # what a report says of its patient may come from any other of these, whatever that one's label is
    donors = [_context(text) for text in texts] if how.sections else []
    donors = [one for one in donors if one]
    return [
        _changed(text, how, donors, Stream("augment", seed, epoch, number))
        for number, text in enumerate(texts)
    ]


def _changed(text: str, how: Augmentation, donors: Sequence[Sequence[Section]], rng: Rng) -> str:
    # drawn whether it is on or not: what one way does never depends on the others
    mix, move, exchange, slip = (happens(rng, share) for share in _shares(how))
    if mix and donors:
        text = mixed(text, pick(rng, donors))
    if move:
        text = moved(text, rng)
    if exchange:
        text = shipped().exchanged(text, WORDS_EXCHANGED, rng)
    return misspelt(text, rng) if slip else text


def _shares(how: Augmentation) -> tuple[float, ...]:
    return how.sections, how.clauses, how.synonyms, how.noise


def mixed(text: str, donor: Sequence[Section]) -> str:
    """The sections that say nothing of the findings give way to the donor's, in the places they had.

    Where the donor has fewer, the places left over go; a report without such sections stays as it is.
    """
    told, used = [], 0
    for section in sections(text):
        if section.kind == "context":
            if used < len(donor):
                told.append(donor[used].text + (section.gap or "\n"))
            used += 1
        else:
            told.append(section.text + section.gap)
    return "".join(told).rstrip() + text[len(text.rstrip()) :]


def moved(text: str, rng: Rng, dropped_max: float = DROPPED_MAX) -> str:
    """Findings in any order, some left out: never more than this share of a section's, and never all."""
    told = []
    for section in sections(text):
        body = section.text
        if section.kind == "findings":
            found, between = clauses(body)
            if found:
                most = int(len(found) * dropped_max)
                kept = shuffled(rng, found)[: max(1, len(found) - integer(rng, 0, most))]
                body = joined(kept, between)
        told.append(body + section.gap)
    return "".join(told)


def misspelt(text: str, rng: Rng) -> str:
    """Letters that changed places, were lost or misread; now and then no accents at all."""
    text = _LONG_WORD.sub(lambda word: _slipped(word[0], rng), text)
    if happens(rng, ACCENTS_LOST):
        text = "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))
    return text


def _slipped(word: str, rng: Rng) -> str:
    if not happens(rng, WORDS_WITH_A_SLIP):
        return word
    at, kind = integer(rng, 1, len(word) - 3), integer(rng, 0, 2)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    places = [(n, seen) for n in range(1, len(word)) for seen in _OCR if word.startswith(seen, n)]
    if not places:
        return word
    at, seen = pick(rng, places)
    return word[:at] + _OCR[seen] + word[at + len(seen) :]


def _context(text: str) -> list[Section]:
    return [section for section in sections(text) if section.kind == "context"]
