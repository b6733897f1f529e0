"""Cytology of the breast (PAAF), from the Wisconsin Diagnostic Breast Cancer table.

WDBC (Street, Wolberg, Mangasarian 1993) holds 30 measurements of cell nuclei of 569 fine-needle
aspirates: no reports. What is written from it shows that a pipeline works, not that it cures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tasks.ml.synthesis.exams import Row
from tasks.ml.synthesis.grammar import load
from tasks.ml.synthesis.observer import PercentileObserver
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.synthesis.writer import ReportWriter

GRAMMAR = Path(__file__).parent / "data" / "paaf"
LABELS = ("maligno", "benigno")  # in the order of scikit-learn's target: 0, 1


class Paaf:
    def __init__(self, grammar_folder: Path = GRAMMAR) -> None:
        from sklearn.datasets import load_breast_cancer  # a second to import, which --help need not pay

        self._table = load_breast_cancer()
        self.columns = tuple(str(name) for name in self._table.feature_names)
        self.grammar = load(grammar_folder, self.columns)

    def rows(self) -> list[Row]:
        """All 569 rows; the label is biopsy's, benigno or maligno."""
        return [
            Row(f"wdbc-{number}", LABELS[target], tuple(float(value) for value in values))
            for number, (values, target) in enumerate(zip(self._table.data, self._table.target, strict=True))
        ]

    def fit(self, train_rows: Sequence[Row], wording: Wording = EVERYTHING) -> ReportWriter:
        """Percentiles of each column on these rows."""
        train = [row.measurements for row in train_rows]
        return ReportWriter(self.grammar, PercentileObserver(self.grammar.exam, self.columns, train), wording)


def generator() -> Paaf:
    return Paaf()
