"""Whether a report is written like those that taught: another language, exam or a garbled text is not.

A text is taken as its pairs of neighbouring words, each word cut to its first letters and every number
alike, so that endings and measures matter little and the order of words matters much. Its score is the
share of its pairs that no two training patients' reports hold. The calibration split tells how high the
score of an ordinary report may be: a conformal limit (Laxhammar & Falkman 2010, "Conformal prediction for
distribution-independent anomaly detection in streaming vessel data"; Bates, Candes, Lei, Romano & Sesia 2023,
"Testing for outliers with conformal p-values", Annals of Statistics 51:149). Above it the network's
probabilities mean nothing, however sure they look, and a person reads the report.

Pairs are kept as 32-bit hashes, in a model folder and beside a stored vector: no word can be read off
them. Of a long report only the pairs with the smallest hashes are kept, a sample that is the same for the
same text (Broder 1997, "On the resemblance and containment of documents").
"""

from __future__ import annotations

import math
import re
import unicodedata
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from tasks.ml.arrays import Bools, Floats
from tasks.ml.errors import BrokenArtifact, UnfitData
from tasks.ml.network.conformal import Thresholds

FILE = "familiarity.safetensors"
LETTERS = 5  # of a word: an ending more or less is no other word
SKETCH_PAIRS = 128  # of a report are kept; few reports have more
PAIRS_MIN = 24  # a shorter text is judged as if the rest of so many were foreign: too little to judge by
PATIENTS_MIN = 2  # a pair that one patient's reports hold says nothing about how others write
ERROR = 0.02  # the share of ordinary reports that may be called unfamiliar
# However alike the calibration reports are: half of the pairs of honest reports from an institution that
# taught nothing are new, and of another exam's reports or of shuffled words more than this
LIMIT_MIN = 0.55

BULK_CHARACTERS = 2_000_000
WORD_CHARACTERS = 40  # no word is longer, and what is remembered of each stays small
_NO_LETTER = re.compile(r"[\W_]+")
_NOTHING = -1

Pairs = NDArray[np.uint32]


@dataclass(frozen=True)
class Limit:
    """The highest score of an ordinary report; `error` of them may lie above, by `reports` calibrated."""

    score: float
    error: float
    reports: int

    def explain(self) -> str:
        """One sentence."""
        return (
            f"goes to a person whatever the model finds: a report of whose pairs of words more than "
            f"{self.score:.1%} never stood in reports of {PATIENTS_MIN} training patients (at least "
            f"{PAIRS_MIN} pairs are counted); at most {self.error:.1%} of ordinary reports "
            f"(from {self.reports} calibration reports)"
        )


def explained(labels: Sequence[str], thresholds: Thresholds, limit: Limit | None) -> list[str]:
    """Who goes to a person: a sentence a label, what cannot be promised included, and one for any label."""
    if limit is None:
        unlike = "it was made before laudos told whether a report is like the training reports: retrain"
        return [*thresholds.explain(labels), unlike]
    return [*thresholds.explain(labels), f"any label: {limit.explain()}"]


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the training reports looked like: `known` (pairs,) ascending hashes, and the limit."""

    known: Pairs
    limit: Limit

    def unfamiliar(self, sketches: Sequence[bytes]) -> Bools:
        """(reports,) whether a person must look, by each report's sketch."""
        return np.asarray(scores(self.known, sketches) > self.limit.score)

    def save(self, folder: Path) -> None:
        """The pairs; the limit stands in laudos.json."""
        save_file({"known": self.known}, folder / FILE)

    @classmethod
    def load(cls, folder: Path, limit: Limit) -> Familiarity:
        """Raises BrokenArtifact."""
        try:
            known: Pairs = load_file(folder / FILE)["known"]
        except (OSError, KeyError, SafetensorError):
            raise BrokenArtifact(
                f"{folder / FILE} is missing or cannot be read; restore it, or retrain"
            ) from None
        return cls(known, limit)


def known_pairs(texts: Sequence[str], patients: Sequence[str]) -> Pairs:
    """The pairs in texts of PATIENTS_MIN patients at least, ascending: give the training split only."""
    number = {patient: place for place, patient in enumerate(dict.fromkeys(patients))}
    keyed = [
        (pairs.astype(np.uint64) << np.uint64(32)) | np.uint64(number[patient])
        for pairs, patient in zip(_pairs_of(texts), patients, strict=True)
    ]
    held = np.unique(np.concatenate(keyed)) if keyed else np.zeros(0, np.uint64)
    pairs, holders = np.unique(held >> np.uint64(32), return_counts=True)
    return np.asarray(pairs[holders >= PATIENTS_MIN], np.uint32)


def fit_limit(known: Pairs, sketches: Sequence[bytes]) -> Limit:
    """From the calibration split's sketches; too few of them promise less, and the limit says how much.

    Raises UnfitData without any.
    """
    if not sketches:
        raise UnfitData("no calibration report to tell how new an ordinary report's words may be")
    found, reports = np.sort(scores(known, sketches)), len(sketches)
    # the + 1 is the new report itself, as in conformal.py
    rank = min(reports, math.ceil(round((reports + 1) * (1 - ERROR), 9)))
    return Limit(max(LIMIT_MIN, float(found[rank - 1])), max(ERROR, 1 / (reports + 1)), reports)


def scores(known: Pairs, sketches: Sequence[bytes]) -> Floats:
    """(reports,) 0 to 1: the share of a report's pairs that are not known; 1 for an empty text."""
    sizes = np.array([len(sketch) // 4 for sketch in sketches], np.int64)
    pairs = np.frombuffer(b"".join(sketches), "<u4")
    places = np.searchsorted(known, pairs)
    is_known = np.zeros(len(pairs), np.bool_)
    within = places < len(known)
    is_known[within] = known[places[within]] == pairs[within]
    owners = np.repeat(np.arange(len(sizes)), sizes)
    hits = np.bincount(owners[is_known], minlength=len(sizes))
    return np.asarray(1 - hits / np.maximum(sizes, PAIRS_MIN))


def sketches_of(texts: Sequence[str]) -> list[bytes]:
    """What is kept of each text: the SKETCH_PAIRS smallest hashes of its pairs, uint32, little-endian."""
    return [pairs[:SKETCH_PAIRS].astype("<u4").tobytes() for pairs in _pairs_of(texts)]


def _pairs_of(texts: Sequence[str]) -> Iterator[Pairs]:
    """Each text's distinct pairs as ascending hashes, computed for many texts at once."""
    bulk: list[list[int]] = []
    characters = 0
    for text in texts:
        hashes = (_hash_of(word[:WORD_CHARACTERS]) for word in text.split())
        bulk.append([word for word in hashes if word != _NOTHING])
        characters += len(text)
        if characters >= BULK_CHARACTERS:
            yield from _paired(bulk)
            bulk, characters = [], 0
    yield from _paired(bulk)


def _paired(bulk: list[list[int]]) -> Iterator[Pairs]:
    words = np.array([word for text in bulk for word in text], np.uint64)
    owners = np.repeat(np.arange(len(bulk), dtype=np.uint64), [len(text) for text in bulk])
    mixed = _mixed(words[:-1], words[1:])
    owner = owners[:-1]
    within = owner == owners[1:]  # no pair reaches from one text into the next
    keyed = np.unique((owner[within] << np.uint64(32)) | mixed[within])
    ends = np.searchsorted(keyed >> np.uint64(32), np.arange(1, len(bulk), dtype=np.uint64))
    for part in np.split(keyed & np.uint64(0xFFFFFFFF), ends) if bulk else ():
        yield part.astype(np.uint32)


def _mixed(first: NDArray[np.uint64], second: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """32 bits that depend on both words and their order (the multipliers are splitmix64's)."""
    found = first * np.uint64(0x9E3779B97F4A7C15) + second
    found = (found ^ (found >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(found >> np.uint64(32))


@lru_cache(maxsize=1 << 16)
def _hash_of(word: str) -> int:
    """The same for words that differ in case, accents, signs or what follows their first letters."""
    bare = unicodedata.normalize("NFKD", word.lower())
    letters = _NO_LETTER.sub("", "".join(letter for letter in bare if not unicodedata.combining(letter)))
    if not letters:
        return _NOTHING
    return 0 if letters[0].isdecimal() else zlib.crc32(letters[:LETTERS].encode("utf-8", "surrogatepass"))
