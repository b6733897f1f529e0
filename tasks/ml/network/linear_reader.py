"""What tokens, pairs of them and runs of letters say, beside what the network says.

A network learns what a sentence means from the sentences it was shown, and is at a loss in wording that it
never read; a linear reader knows no sentence, but its errors are others. What both find is added (a
logarithmic opinion pool: Genest & Zidek 1986, "Combining probability distributions", Statistical Science
1:114; a network beside a linear reader: Cheng et al. 2016, "Wide & deep learning for recommender systems").
How far each is trusted is read off the calibration split.

It is logistic regression on TF-IDF: of the tokens that the network reads anyway and of pairs of neighbours,
and of runs of letters within words, which other words of the same stem share. What stands in the reports of
fewer than PATIENTS_MIN training patients takes no part: it says little about other patients, and a model's
folder must not hold what a single report says.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array, hstack, vstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tasks.ml.arrays import Bools, Ints
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.calibration import as_rows, calibrated_log_loss, must_teach
from tasks.ml.reading.occurrences import Occurring, Read, letters_in, tokens_in
from tasks.ml.reading.vocabulary import PATIENTS_MIN

FILE = "linear_reader.safetensors"
CODES_MAX = 100_000  # of each kind, those of the most patients
STRENGTHS = (0.1, 1.0, 10.0)  # C of the logistic regression
BULK_CHARACTERS = 500_000


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """All of one kind that takes part."""

    codes: Ints  # (codes,) ascending
    rarity: NDArray[np.float32]  # (codes,) inverse document frequency

    def tfidf(self, found: Occurring, texts: int) -> csr_array:
        """(texts, codes): 1 + log of the count, times the rarity, each text of length 1."""
        place, there = self._places(found.codes)
        held, counts = np.unique(found.texts[there] * self._many + place[there], return_counts=True)
        of_text, place = np.divmod(held, self._many)
        values = (1 + np.log(counts)) * self.rarity[place]
        length = np.sqrt(np.bincount(of_text, values**2, minlength=texts))
        values = (values / length[of_text]).astype(np.float32)
        where = of_text.astype(np.int32), place.astype(np.int32)
        return csr_array((values, where), shape=(texts, len(self.codes)))

    def spread(self, found: Occurring, weight: NDArray[np.float32], units: int) -> NDArray[np.float32]:
        """(units, labels): what each token or character of a text adds to tfidf @ weight; of a pair, half."""
        place, there = self._places(found.codes)
        place, at, width = place[there], found.at[there], found.width[there]
        count = np.bincount(place, minlength=len(self.codes))
        value = self.tfidf(found, 1).toarray()[0, place] / count[place] / width
        given, told = value[:, None] * weight[place], np.zeros((units, weight.shape[1]), np.float32)
        for more in range(int(width.max(initial=0))):
            np.add.at(told, at[width > more] + more, given[width > more])
        return told

    @property
    def _many(self) -> int:
        return max(1, len(self.codes))

    def _places(self, codes: Ints) -> tuple[Ints, Bools]:
        """Where each stands here, and whether it does."""
        place = np.minimum(np.searchsorted(self.codes, codes), self._many - 1)
        there = self.codes[place] == codes if len(self.codes) else np.zeros(len(codes), np.bool_)
        return place, there


@dataclass(frozen=True, eq=False)
class LinearReader:
    """Of one classifier, beside a network with one tokenizer."""

    tokens: Vocabulary  # and pairs
    letters: Vocabulary  # runs of them
    weight: NDArray[np.float32]  # (codes of both, labels)
    bias: NDArray[np.float32]  # (labels,)

    @property
    def sha(self) -> str:
        """sha256 of all that its answers depend on."""
        sha = hashlib.sha256()
        for name, numbers in sorted(self._arrays().items()):
            sha.update(f"{name}{numbers.shape}".encode())
            sha.update(numbers.data)
        return sha.hexdigest()

    def logits(self, read: Read) -> NDArray[np.float32]:
        """(texts, labels) of whole texts; the bias alone for a text of which nothing is known."""
        return np.asarray(_tfidf(read, self.tokens, self.letters) @ self.weight + self.bias, np.float32)

    def spread(self, read: Read) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """What each token of all windows, and each character, adds to the logits of the only text.

        (tokens, labels) and (characters, labels).
        """
        tokens, letters = np.split(self.weight, [len(self.tokens.codes)])
        return (
            self.tokens.spread(tokens_in(read), tokens, int(read.windows.lengths.sum())),
            self.letters.spread(letters_in(read), letters, len(read.texts[0])),
        )

    def save(self, folder: Path) -> None:
        save_file(self._arrays(), folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> LinearReader:
        """Raises BrokenArtifact."""
        try:
            held = load_file(folder / FILE)
            tokens, letters = (
                Vocabulary(held[f"{kind}_codes"], held[f"{kind}_rarity"]) for kind in ("token", "letter")
            )
            return cls(tokens, letters, held["weight"], held["bias"])
        except (OSError, KeyError, SafetensorError):
            raise BrokenArtifact(
                f"{folder / FILE} is missing or cannot be read; restore it, or retrain"
            ) from None

    def _arrays(self) -> dict[str, NDArray[Any]]:
        kinds = {"token": self.tokens, "letter": self.letters}
        codes = {f"{kind}_codes": one.codes for kind, one in kinds.items()}
        rarity = {f"{kind}_rarity": one.rarity for kind, one in kinds.items()}
        return {**codes, **rarity, "weight": self.weight, "bias": self.bias}


def fit_linear_reader(
    taught: Read,
    patients: Sequence[str],
    labels_idx: Ints,
    calibration: Read,
    calibration_idx: Ints,
    n_labels: int,
) -> LinearReader:
    """From the training split, one patient and label a text; C is the one that reads the calibration best.

    However sure it then is: how far it is trusted is fitted afterwards. Raises UnfitData for a label without
    example.
    """
    must_teach(labels_idx, n_labels, calibration_idx)
    kinds = _vocabularies(taught, patients)
    if not any(len(kind.codes) for kind in kinds):  # patients have nothing in common
        nothing = np.zeros((0, n_labels), np.float32)
        return LinearReader(*kinds, nothing, np.zeros(n_labels, np.float32))
    seen, held = (_tfidf(read, *kinds) for read in (taught, calibration))
    fits = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the calibration loss tells
            model.fit(seen, labels_idx)
        weight, bias = as_rows(model.coef_, model.intercept_)
        fits.append((calibrated_log_loss(held @ weight.T + bias, calibration_idx), weight, bias))
    _, weight, bias = min(fits, key=lambda fit: fit[0])
    return LinearReader(*kinds, np.ascontiguousarray(weight.T, np.float32), bias.astype(np.float32))


def _vocabularies(taught: Read, patients: Sequence[str]) -> tuple[Vocabulary, Vocabulary]:
    """Tokens and pairs, and runs of letters: each of the most patients, PATIENTS_MIN at least."""
    number = {patient: place for place, patient in enumerate(dict.fromkeys(patients))}
    of_text = np.array([number[patient] for patient in patients], np.int64)
    tokens, letters = _Holders(len(number)), _Holders(len(number))
    for bulk in _bulks(taught.texts, of_text):
        read = taught.only(bulk)
        tokens.count(tokens_in(read), of_text[bulk])
        letters.count(letters_in(read), of_text[bulk])
    return tokens.vocabulary(len(patients)), letters.vocabulary(len(patients))


class _Holders:
    """How many patients, and texts, hold each code."""

    def __init__(self, patients: int) -> None:
        self.patients = patients
        self.codes, self.by_patients, self.by_texts = np.zeros((3, 0), np.int64)

    def count(self, found: Occurring, of_text: Ints) -> None:
        """`of_text`: the patient of each text; none of them is counted in two calls."""
        known, place = np.unique(found.codes, return_inverse=True)
        place, texts = np.divmod(np.unique(place * len(of_text) + found.texts), len(of_text))
        held = np.unique(place * self.patients + of_text[texts]) // self.patients
        self.codes, where = np.unique(np.concatenate([self.codes, known]), return_inverse=True)
        self.by_patients = _added(where, self.by_patients, held, len(known))
        self.by_texts = _added(where, self.by_texts, place, len(known))

    def vocabulary(self, texts: int) -> Vocabulary:
        """Rarity is 1 + log of all texts over those that hold it, both plus one (as scikit-learn has it)."""
        most = np.lexsort((self.codes, -self.by_patients))[:CODES_MAX]
        kept = np.sort(most[self.by_patients[most] >= PATIENTS_MIN])
        rarity = 1 + np.log((1 + texts) / (1 + self.by_texts[kept]))
        return Vocabulary(self.codes[kept], rarity.astype(np.float32))


def _added(where: Ints, before: Ints, found: Ints, known: int) -> Ints:
    """Counts of codes so far, and of the places among `known` that were found; `where` each is counted."""
    return np.bincount(where, np.append(before, np.bincount(found, minlength=known))).astype(np.int64)


def _tfidf(read: Read, tokens: Vocabulary, letters: Vocabulary) -> csr_array:
    """(texts, codes of both)."""
    parts = [
        hstack([tokens.tfidf(tokens_in(some), len(bulk)), letters.tfidf(letters_in(some), len(bulk))])
        for bulk in _bulks(read.texts, np.arange(len(read.texts)))
        for some in [read.only(bulk)]
    ]
    nothing = csr_array((0, len(tokens.codes) + len(letters.codes)), dtype=np.float32)
    return vstack([nothing, *parts], format="csr")


def _bulks(texts: Sequence[str], together: Ints) -> Iterator[Ints]:
    """Numbers of texts, some BULK_CHARACTERS at a time; those with one number in `together` stay so."""
    order = np.argsort(together, kind="stable")
    bulk = np.cumsum([len(texts[place]) for place in order]) // BULK_CHARACTERS
    _, begin, group = np.unique(together[order], return_index=True, return_inverse=True)
    ends = np.flatnonzero(np.diff(bulk[begin[group]], append=-1)) + 1
    for begins, end in pairwise([0, *ends.tolist()]):
        yield order[begins:end]
