"""What the checks stand on, computed once for a corpus and only where a check asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.preprocessing import normalize

from tasks.ml.arrays import Bools, Floats
from tasks.ml.audit.chance import Chance
from tasks.ml.audit.corpus import Corpus, Units
from tasks.ml.audit.family import Family, Nulls, of_phrases
from tasks.ml.audit.measured import given_measurements, out_of_fold, outright
from tasks.ml.audit.words import Counted, Words, is_number, plain, with_slips

RARE_SHARE, RARE_REPORTS = 0.003, 8  # of the reports that must hold a phrase, and at least so many


@dataclass(frozen=True)
class Ground:
    corpus: Corpus

    @cached_property
    def plain_texts(self) -> list[str]:
        return [plain(text) for text in self.corpus.texts]

    @cached_property
    def words(self) -> Words:
        return Words.of(self.plain_texts)

    @cached_property
    def spoken(self) -> frozenset[str] | None:
        """Words that findings are told in, mistyped ones included; None where nobody knows."""
        known = self.corpus.findings_words
        return None if known is None else with_slips(known)

    def apart(self, words: Sequence[str]) -> Bools:
        """(words,) of which one can say that no finding is told in them. Numbers stand in findings too."""
        spoken = self.spoken
        if spoken is None:
            return np.zeros(len(words), dtype=bool)
        return np.array([not is_number(word) and word not in spoken for word in words], dtype=bool)

    @cached_property
    def units(self) -> Units:
        return Units.of(self.corpus)

    @cached_property
    def _given(self) -> tuple[Chance, Floats] | None:
        measurements = self.corpus.measurements
        if measurements is None:
            return None
        return given_measurements(self.units, np.array([measurements[key] for key in self.units.keys]))

    @cached_property
    def nulls(self) -> Nulls:
        return Nulls(self.units, self._given[0] if self._given else None, outright(self.units))

    @property
    def probability(self) -> Floats | None:
        """(units, labels): P(label | measurements), each from other units' measurements."""
        return self._given[1] if self._given else None

    @property
    def least(self) -> int:
        """Reports that must hold a phrase, and as many that must not, before it is looked at."""
        reports = len(self.corpus.texts)
        return max(RARE_REPORTS, round(RARE_SHARE * reports)) if reports >= 10 * RARE_REPORTS else 2

    @cached_property
    def single_words(self) -> Counted:
        return self.words.single(self.least)

    @cached_property
    def word_family(self) -> Family:
        return of_phrases(self.single_words, self.units, self.apart(self.single_words.phrases))

    @cached_property
    def text_scores(self) -> Floats:
        """(units, labels): P(label) by all words of a unit's reports, each from other units' reports."""
        weighted = normalize(TfidfTransformer().fit_transform(self.word_family.values))
        return out_of_fold(weighted, self.units.truth, len(self.units.labels), C=10.0, folds=5)
