"""What single tokens and pairs of neighbours say, beside what the network says.

A network learns what a sentence means from the sentences it was shown, and is at a loss in wording that it
never read; a linear reader of tokens and pairs knows no sentence, but its errors are others. What both find
is added (a logarithmic opinion pool: Genest & Zidek 1986, "Combining probability distributions", Statistical
Science 1:114; a network beside a linear reader: Cheng et al. 2016, "Wide & deep learning for recommender
systems"). How far each is trusted is read off the calibration split.

The linear reader is logistic regression on TF-IDF of the tokens that the network reads anyway. A token or a
pair that stands in the reports of fewer than PATIENTS_MIN training patients takes no part: it says little
about other patients, and a model's folder must not hold what a single report says.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_array, vstack
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from tasks.ml.calibration import as_rows, calibrated_log_loss, must_teach
from tasks.ml.errors import BrokenArtifact
from tasks.ml.vocabulary import PATIENTS_MIN
from tasks.ml.windows import Ints, Windows

FILE = "token_pairs.safetensors"
CODES_MAX = 100_000  # tokens and pairs, those of the most patients
STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C of the logistic regression
BULK_TEXTS = 1000
_FIRST = 20  # a pair's code is its first token, from this bit on, and its second; no vocabulary has 2**20

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TokenPairs:
    """The linear reader of one classifier, for the tokens of one tokenizer."""

    codes: Ints  # (codes,) ascending: tokens and pairs that it knows
    rarity: NDArray[np.float32]  # (codes,) inverse document frequency
    weight: NDArray[np.float32]  # (codes, labels)
    bias: NDArray[np.float32]  # (labels,)

    @property
    def labels(self) -> int:
        return len(self.bias)

    @property
    def sha(self) -> str:
        """sha256 of all that its answers depend on."""
        sha = hashlib.sha256()
        for name, numbers in sorted(self._arrays().items()):
            sha.update(f"{name}{numbers.shape}".encode())
            sha.update(numbers.data)
        return sha.hexdigest()

    def logits(self, windows: Windows) -> NDArray[np.float32]:
        """(texts, labels) of whole texts; the bias alone for a text of which nothing is known."""
        told = _tfidf(windows, self.codes, self.rarity) @ self.weight + self.bias
        return np.asarray(told, np.float32)

    def by_token(self, windows: Windows) -> NDArray[np.float32]:
        """(tokens of all windows, labels) what each adds to `logits` of its text; of a pair, half each."""
        found = _occurring(windows)
        place, there = _places(found.codes, self.codes)
        texts, place, at, width = found.texts[there], place[there], found.at[there], found.width[there]
        _, same, count = np.unique(texts * len(self.codes) + place, return_inverse=True, return_counts=True)
        value = _tfidf(windows, self.codes, self.rarity)[texts, place] / count[same] / width
        given = value[:, None] * self.weight[place]
        told = np.zeros((int(windows.lengths.sum()), self.labels), np.float32)
        np.add.at(told, at, given)
        np.add.at(told, at[width == 2] + 1, given[width == 2])
        return told

    def save(self, folder: Path) -> None:
        save_file(self._arrays(), folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> TokenPairs:
        """Raises BrokenArtifact."""
        try:
            return cls(**load_file(folder / FILE))
        except (OSError, TypeError, SafetensorError):
            raise BrokenArtifact(
                f"{folder / FILE} is missing or cannot be read; restore it, or retrain"
            ) from None

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {"codes": self.codes, "rarity": self.rarity, "weight": self.weight, "bias": self.bias}


def fit_token_pairs(
    windows: Windows,
    patients: Sequence[str],
    labels_idx: Ints,
    calibration: Windows,
    calibration_idx: Ints,
    n_labels: int,
) -> TokenPairs:
    """From the training split, one patient and label a text; C is the one that reads the calibration best.

    However sure it then is: how far it is trusted is fitted afterwards. Raises UnfitData for a label without
    example.
    """
    must_teach(labels_idx, n_labels, calibration_idx)
    codes, rarity = _vocabulary(windows, patients)
    if not len(codes):  # patients have nothing in common
        return TokenPairs(codes, rarity, np.zeros((0, n_labels), np.float32), np.zeros(n_labels, np.float32))
    seen, held = (_tfidf(one, codes, rarity) for one in (windows, calibration))
    fits = []
    for strength in STRENGTHS:
        model = LogisticRegression(C=strength, max_iter=500)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # the calibration loss tells
            model.fit(seen, labels_idx)
        weight, bias = as_rows(model.coef_, model.intercept_)
        fits.append((calibrated_log_loss(held @ weight.T + bias, calibration_idx), weight, bias))
    _, weight, bias = min(fits, key=lambda fit: fit[0])
    return TokenPairs(codes, rarity, np.ascontiguousarray(weight.T, np.float32), bias.astype(np.float32))


def _vocabulary(windows: Windows, patients: Sequence[str]) -> tuple[Ints, NDArray[np.float32]]:
    """The codes of the most patients, PATIENTS_MIN at least, ascending; and how rare each is.

    1 + log of all texts over those that hold it, both counted once more (as scikit-learn has it).
    """
    number = {patient: place for place, patient in enumerate(dict.fromkeys(patients))}
    of_text = np.array([number[patient] for patient in patients], np.int64)
    codes, by_patients, by_texts = np.zeros((3, 0), np.int64)
    for bulk in _bulks(of_text):
        found = _occurring(_of_texts(windows, bulk))
        known, place = np.unique(found.codes, return_inverse=True)
        place, texts = np.divmod(np.unique(place * len(bulk) + found.texts), len(bulk))
        held = np.unique(place * len(number) + of_text[bulk[texts]])
        # no patient is in two bulks, so that holders add up
        every = np.concatenate([codes, known])
        codes, where = np.unique(every, return_inverse=True)
        more = [np.bincount(held // len(number), minlength=len(known)), np.bincount(place)]
        by_patients, by_texts = (
            np.bincount(where, np.concatenate([before, added])).astype(np.int64)
            for before, added in zip((by_patients, by_texts), more, strict=True)
        )
    most = np.lexsort((codes, -by_patients))[:CODES_MAX]
    kept = np.sort(most[by_patients[most] >= PATIENTS_MIN])
    rarity = 1 + np.log((1 + len(patients)) / (1 + by_texts[kept]))
    return codes[kept], rarity.astype(np.float32)


def _bulks(of_text: Ints) -> Iterator[Ints]:
    """Numbers of texts, some BULK_TEXTS at a time and all of a patient's together. of_text: its patient."""
    order = np.argsort(of_text, kind="stable")
    begins = np.searchsorted(of_text[order], np.unique(of_text[order][::BULK_TEXTS]))
    for begin, end in pairwise([*begins.tolist(), len(order)]):
        yield order[begin:end]


def _of_texts(windows: Windows, texts: Ints) -> Windows:
    """The windows of these texts alone, in this order."""
    ends = np.cumsum(windows.per_text)
    mine = [range(ends[text] - windows.per_text[text], ends[text]) for text in texts]
    return Windows(
        [windows.ids[at] for some in mine for at in some],
        np.repeat(np.arange(len(texts)), [len(some) for some in mine]),
        windows.tokens_seen[texts],
        windows.tokens_total[texts],
    )


def _tfidf(windows: Windows, codes: Ints, rarity: NDArray[np.float32]) -> csr_array:
    """(texts, codes): 1 + log of the count, times the rarity, each text of length 1."""
    every = np.arange(len(windows.tokens_total))
    parts = [every[start : start + BULK_TEXTS] for start in range(0, max(1, len(every)), BULK_TEXTS)]
    return vstack([_tfidf_of(_of_texts(windows, part), codes, rarity) for part in parts], format="csr")


def _tfidf_of(windows: Windows, codes: Ints, rarity: NDArray[np.float32]) -> csr_array:
    found, shape = _occurring(windows), (len(windows.tokens_total), len(codes))
    place, there = _places(found.codes, codes)
    held, counts = np.unique(found.texts[there] * max(1, len(codes)) + place[there], return_counts=True)
    texts, place = np.divmod(held, max(1, len(codes)))
    values = (1 + np.log(counts)) * rarity[place]
    length = np.sqrt(np.bincount(texts, values**2, minlength=len(windows.tokens_total)))
    return csr_array(((values / length[texts]).astype(np.float32), (texts, place)), shape=shape)


def _places(found: Ints, codes: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Where each stands among `codes`, and whether it does."""
    place = np.minimum(np.searchsorted(codes, found), max(0, len(codes) - 1))
    return place, codes[place] == found if len(codes) else np.zeros(len(found), np.bool_)


class _Occurring(NamedTuple):
    """Every token, then every pair of neighbours in one window: (occurrences,) each."""

    codes: Ints
    texts: Ints
    at: Ints  # number of its first token among those of all windows
    width: Ints  # 1 or 2 tokens


def _occurring(windows: Windows) -> _Occurring:
    ids = np.concatenate([np.zeros(0, np.int64), *windows.ids])
    window = np.repeat(np.arange(len(windows.ids)), windows.lengths)
    pairs = np.flatnonzero(window[1:] == window[:-1])
    at = np.concatenate([np.arange(len(ids)), pairs])
    return _Occurring(
        codes=np.concatenate([ids, ((ids[pairs] + 1) << _FIRST) | ids[pairs + 1]]),
        texts=windows.owner[window[at]],
        at=at,
        width=np.repeat([1, 2], [len(ids), len(pairs)]),
    )
