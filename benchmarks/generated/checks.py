"""What a generated report must pass: the findings survive, it is no copy, and it tells no planted secret."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tasks.ml.arrays import Ints
from tasks.ml.audit.near_duplicates import similar_pairs
from tasks.ml.audit.words import Words, plain
from tasks.ml.judging.baselines import tfidf
from tasks.ml.synthesis.chance import Stream, integer

CONFIDENCE = 0.8  # of a judge fitted on the training split, in the label of the report that was continued
COPIED_MAX = 0.5  # longest run of words shared with any training report, as a share of what was generated
CANARIES = 20

Hashes = NDArray[np.uint64]


@dataclass(frozen=True, eq=False)
class Sample:
    """`text` of a sample, the part of it that is `new`, and the `report` it was made from, by position."""

    text: str
    new: str
    report: int


@dataclass(frozen=True, eq=False)
class Sieved:
    kept: list[Sample]
    refused: Counter[str]  # by reason, the first that held


def sieve(
    samples: Sequence[Sample], texts: Sequence[str], labels_idx: Ints, canaries: Sequence[str], seed: int
) -> Sieved:
    """What may be taught. `texts` and `labels_idx` are the training split's; labels are 0 or more."""
    if not samples:
        return Sieved([], Counter())
    copies = Copies(texts)
    surely = faithful(samples, texts, labels_idx, seed)
    alike = near_duplicates([one.text for one in samples], texts)
    kept, refused = [], Counter[str]()
    for number, one in enumerate(samples):
        if any(secret in one.text for secret in canaries):
            refused["canary"] += 1
        elif copies.exceeds(one.new, COPIED_MAX):
            refused["copied"] += 1
        elif number in alike:
            refused["near_duplicate"] += 1
        elif not surely[number]:
            refused["unfaithful"] += 1
        else:
            kept.append(one)
    return Sieved(kept, refused)


def faithful(
    samples: Sequence[Sample], texts: Sequence[str], labels_idx: Ints, seed: int
) -> NDArray[np.bool_]:
    """(samples,): a judge of character n-grams is CONFIDENCE sure of the label of the report it came from."""
    classes = int(labels_idx.max()) + 1
    told = tfidf(texts, labels_idx, [one.text for one in samples], classes, "char_wb", seed)
    meant = labels_idx[[one.report for one in samples]]
    return np.asarray(told[np.arange(len(samples)), meant] >= CONFIDENCE)


def near_duplicates(samples: Sequence[str], texts: Sequence[str]) -> set[int]:
    """Positions of samples nearly the same as a training report or an earlier sample."""
    pairs = similar_pairs(Words.of([plain(text) for text in (*texts, *samples)]))
    return {second - len(texts) for _, second in pairs if second >= len(texts)}


def plant(texts: Sequence[str], seed: int, canaries: int = CANARIES) -> tuple[list[str], list[str]]:
    """The reports, some with a number of nine digits behind their last word, and those numbers.

    After Carlini et al. 2019, "The Secret Sharer": a model that says one has learnt a report by heart.
    """
    rng, told, secrets = Stream("canary", seed), list(texts), []
    for _ in range(min(canaries, len(told))):
        secret = str(integer(rng, 100_000_000, 999_999_999))
        at = integer(rng, 0, len(told) - 1)
        told[at] = f"{told[at].rstrip()} Registro {secret}."
        secrets.append(secret)
    return told, secrets


class Copies:
    """Finds runs of words of the training reports again: hashes of all runs of one length, made when asked.

    The hash of a run is the sum of its words' numbers by powers of an odd base, in 64 bits.
    """

    def __init__(self, texts: Sequence[str]) -> None:
        self._number: dict[str, int] = {}
        ids = []
        for text in texts:
            ids += [self._number.setdefault(word, len(self._number)) for word in _words(text)]
            ids.append(-1 - len(ids))  # between two reports: a number that no run has twice
        self._ids = np.asarray(ids, np.int64)
        self._runs = cache(self._runs_of)

    def exceeds(self, text: str, share: float) -> bool:
        """Whether a training report has a run of words in common that is more than this share of the text."""
        words = _words(text)
        ids = np.asarray([self._number.get(word, -(2**62) - n) for n, word in enumerate(words)], np.int64)
        size = math.floor(share * len(ids)) + 1
        if size > len(ids):
            return True
        known, asked = self._runs(size), _hashes(ids, size)
        return bool((np.searchsorted(known, asked) < np.searchsorted(known, asked, "right")).any())

    def _runs_of(self, size: int) -> Hashes:
        """Sorted."""
        return np.unique(_hashes(self._ids, size))


def _hashes(ids: NDArray[np.int64], size: int) -> Hashes:
    """(runs,) of `size` numbers each."""
    if len(ids) < size:
        return np.zeros(0, np.uint64)
    base = np.uint64(0x9E3779B97F4A7C15)
    inverse = np.uint64(pow(int(base), -1, 2**64))
    value = (ids.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
    value ^= value >> np.uint64(32)
    up = np.cumprod(np.r_[np.uint64(1), np.full(len(ids) - 1, base)], dtype=np.uint64)
    down = np.cumprod(np.r_[np.uint64(1), np.full(len(ids) - 1, inverse)], dtype=np.uint64)
    total = np.r_[np.uint64(0), np.cumsum(value * up, dtype=np.uint64)]
    return np.asarray((total[size:] - total[:-size]) * down[: len(ids) - size + 1])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", plain(text))  # capitals and accents are never generated
