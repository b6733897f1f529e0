"""Texts as numbered words: which word, or pair of neighbours, stands in which report."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from tasks.ml.arrays import Bools, Ints

# any number of more than one digit: numbers have checks of their own, but a digit may stand for a label
NUMBER = "#"

_MARKS = re.compile("[\u0300-\u036f]")
_WORD = re.compile(r"[^\W\d_]+|\d+(?:[.,]\d+)*")
_LONG = 5  # letters of a word in which a slip is looked for


def plain(text: str) -> str:
    """Small letters without accents."""
    return _MARKS.sub("", unicodedata.normalize("NFD", text)).casefold()


def words_of(plain_text: str) -> list[str]:
    return [NUMBER if len(word) > 1 and word[0].isdigit() else word for word in _WORD.findall(plain_text)]


def is_number(word: str) -> bool:
    return word == NUMBER or word.isdigit()


@dataclass(frozen=True)
class Counted:
    """Phrases and where they stand: (reports, phrases), 0 or 1."""

    phrases: tuple[str, ...]
    presence: csr_matrix

    @property
    def reports(self) -> Ints:
        """(phrases,) how many reports hold each."""
        return np.asarray(self.presence.sum(axis=0)).ravel().astype(np.int64)


@dataclass(frozen=True)
class Words:
    """Every word of every report, in order, as its number in `vocabulary`."""

    vocabulary: tuple[str, ...]
    ids: Ints  # (words,)
    report: Ints  # (words,) which report it stands in
    reports: int

    @classmethod
    def of(cls, plain_texts: Sequence[str]) -> Words:
        number: dict[str, int] = {}
        ids: list[int] = []
        lengths = []
        for text in plain_texts:
            found = words_of(text)
            ids += [number.setdefault(word, len(number)) for word in found]
            lengths.append(len(found))
        report = np.repeat(np.arange(len(plain_texts)), lengths)
        return cls(tuple(number), np.array(ids, dtype=np.int64), report, len(plain_texts))

    def single(self, least: int) -> Counted:
        """Words that at least so many reports hold, and at least so many do not; numbers left out."""
        kept = ~self.where(self.chosen(map(is_number, self.vocabulary)))
        codes, presence = _presence(self.ids[kept], self.report[kept], self.reports, least)
        return Counted(tuple(self.vocabulary[code] for code in codes), presence)

    def pairs(self, least: int) -> Counted:
        """Neighbouring words, likewise."""
        neighbours = np.flatnonzero(self.report[1:] == self.report[:-1])
        joined = self.ids[neighbours] * len(self.vocabulary) + self.ids[neighbours + 1]
        codes, presence = _presence(joined, self.report[neighbours], self.reports, least)
        first, second = np.divmod(codes, len(self.vocabulary))
        names = [f"{self.vocabulary[a]} {self.vocabulary[b]}" for a, b in zip(first, second, strict=True)]
        return Counted(tuple(names), presence)

    def where(self, chosen: Bools) -> Bools:
        """(words,) whether each is one of the vocabulary's chosen entries."""
        return np.asarray(chosen[self.ids])

    def chosen(self, wanted: Iterable[bool]) -> Bools:
        return np.fromiter(wanted, dtype=bool, count=len(self.vocabulary))

    def holds(self, places: Bools) -> Bools:
        """(reports,) whether any of its words is marked."""
        return np.bincount(self.report[places], minlength=self.reports) > 0


def with_slips(words: Iterable[str]) -> frozenset[str]:
    """The words and what a slip of the keyboard makes of them: a letter lost, or two changing places."""
    known = set(words)
    for word in tuple(known):
        if len(word) >= _LONG:
            for at in range(1, len(word) - 1):
                known.add(word[:at] + word[at + 1 :])
                known.add(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    return frozenset(known)


def _presence(codes: Ints, report: Ints, reports: int, least: int) -> tuple[Ints, csr_matrix]:
    known, numbered = np.unique(codes, return_inverse=True)
    once = np.unique(numbered * reports + report)  # each phrase once a report
    phrase, where = np.divmod(once, reports)
    held = np.bincount(phrase, minlength=len(known))
    kept = (held >= least) & (held <= reports - least)
    renumbered = np.cumsum(kept) - 1
    inside = kept[phrase]
    shape = (reports, int(kept.sum()))
    presence = csr_matrix(
        (np.ones(int(inside.sum())), (where[inside], renumbered[phrase[inside]])), shape=shape
    )
    return known[kept], presence
