"""What a model must be measured against: the cheap answers, fitted on the training split only."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tasks.ml.arrays import Floats, Ints
from tasks.ml.errors import UnfitData

TRIVIAL: Final = ("majority", "keyword_rule")  # what a model must beat to be worth anything

Measurements = Mapping[str, Sequence[float]]


def baselines(
    train_texts: Sequence[str],
    train_labels_idx: ArrayLike,
    holdout_texts: Sequence[str],
    labels: Sequence[str],
    keywords: Mapping[str, Sequence[str]],
    *,
    measurements: Measurements | None = None,
    train_patients: Sequence[str] = (),
    holdout_patients: Sequence[str] = (),
    seed: int,
) -> dict[str, Floats]:
    """Probabilities (holdout reports, labels) of each baseline, by name.

    majority: the label shares of the training split; keyword_rule: which label's words a report holds;
    tfidf_word and tfidf_char: logistic regression on word pairs and on character 2-5-grams; measurements:
    logistic regression on the patient's measurements, left out unless every holdout patient has some.
    Raises UnfitData where the training split holds fewer than two labels.
    """
    truth = np.asarray(train_labels_idx, dtype=np.int64)
    if len(np.unique(truth)) < 2:
        raise UnfitData("the training split holds reports of one label only; two at least are needed")
    shares = np.bincount(truth, minlength=len(labels)) / len(truth)
    scored = {
        "majority": np.tile(shares, (len(holdout_texts), 1)),
        "keyword_rule": keyword_rule(holdout_texts, labels, keywords, shares),
        "tfidf_word": tfidf(train_texts, truth, holdout_texts, len(labels), "word", seed),
        "tfidf_char": tfidf(train_texts, truth, holdout_texts, len(labels), "char_wb", seed),
    }
    if measurements and holdout_patients and all(patient in measurements for patient in holdout_patients):
        scored["measurements"] = _from_measurements(
            measurements, train_patients, truth, holdout_patients, len(labels), seed
        )
    return scored


def keyword_rule(
    texts: Sequence[str], labels: Sequence[str], keywords: Mapping[str, Sequence[str]], shares: Floats
) -> Floats:
    """(texts, labels): each label's distinct keywords found, plus `shares` (labels,) as one vote in all.

    A label without keywords is looked for by its own words. Case and accents do not count, a keyword is
    found as whole words, and negation is not understood: that is the point of the comparison.
    """
    sought = [[_plain(word) for word in keywords.get(label) or _plain(label).split()] for label in labels]
    votes = np.tile(shares, (len(texts), 1))
    for row, text in enumerate(texts):
        padded = f" {_plain(text)} "
        for column, words in enumerate(sought):
            votes[row, column] += sum(f" {word} " in padded for word in set(words))
    return np.asarray(votes / votes.sum(axis=1, keepdims=True))


def _plain(text: str) -> str:
    """Lower-case words without accents, single spaces between."""
    bare = "".join(mark for mark in unicodedata.normalize("NFD", text) if not unicodedata.combining(mark))
    return " ".join(re.findall(r"[^\W_]+", bare.casefold()))


def tfidf(
    train_texts: Sequence[str], truth: Ints, texts: Sequence[str], n_labels: int, analyzer: str, seed: int
) -> Floats:
    """(texts, labels): logistic regression on TF-IDF of words and pairs, or of 2 to 5 letters ("char_wb")."""
    ngrams = (1, 2) if analyzer == "word" else (2, 5)
    rare = 2 if len(train_texts) >= 20 else 1  # a handful of reports may share no word pair at all
    vectorizer = TfidfVectorizer(
        analyzer=analyzer, ngram_range=ngrams, min_df=rare, sublinear_tf=True, max_features=100_000
    )
    try:
        seen = vectorizer.fit_transform(train_texts)
    except ValueError:
        raise UnfitData("the training reports hold no words to learn from") from None
    return _logistic(seen, truth, vectorizer.transform(texts), n_labels, C=10.0, seed=seed)


def _from_measurements(
    measurements: Measurements,
    train_patients: Sequence[str],
    truth: Ints,
    holdout_patients: Sequence[str],
    n_labels: int,
    seed: int,
) -> Floats:
    """One row a training patient, however many reports were written from it."""
    label_of = {p: label for p, label in zip(train_patients, truth, strict=True) if p in measurements}
    rows = np.array([measurements[patient] for patient in label_of], dtype=np.float64)
    asked = np.array([measurements[patient] for patient in holdout_patients], dtype=np.float64)
    scaler = StandardScaler().fit(rows)
    known = np.array(list(label_of.values()))
    return _logistic(scaler.transform(rows), known, scaler.transform(asked), n_labels, C=1.0, seed=seed)


def _logistic(rows: Any, truth: Ints, asked: Any, n_labels: int, *, C: float, seed: int) -> Floats:
    """(asked, labels); a label that training never showed has probability 0."""
    balanced = "balanced" if C > 1 else None
    model = LogisticRegression(C=C, class_weight=balanced, max_iter=1000, random_state=seed).fit(rows, truth)
    probabilities = np.zeros((asked.shape[0], n_labels))
    probabilities[:, model.classes_] = model.predict_proba(asked)
    return probabilities
