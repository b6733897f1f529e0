"""Every figure of a model on reports it has not seen, with a 95 % interval over patients.

What cannot be computed is None and keeps its count: a label without reports has no recall (n = 0), and a
figure that stands on fewer than about five patients has a value but no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from tasks.ml.arrays import Bools
from tasks.ml.judging.measures import PatientMeasures, ReportMeasures, ReviewMeasures, Sample
from tasks.ml.judging.resampling import interval, patient_weights, share_interval

SHARES: Final = frozenset({"accuracy", "precision", "recall", "sensitivity", "specificity", "review_share"})
Measures = ReportMeasures | PatientMeasures | ReviewMeasures


@dataclass(frozen=True)
class Figure:
    """One figure. `n` is what it stands on: reports, or patients for names ending in _patient."""

    name: str
    slice: str
    value: float | None
    low: float | None
    high: float | None
    n: int


def evaluate(
    probabilities: ArrayLike,
    labels_idx: ArrayLike,
    patients: Sequence[str],
    labels: Sequence[str],
    critical: str,
    *,
    n_boot: int = 1000,
    seed: int,
) -> list[Figure]:
    """All figures of one model (or baseline) on one holdout, intervals from `n_boot` draws of patients.

    probabilities: (reports, labels), columns in the order of `labels`; labels_idx: (reports,).

    Slice "all": accuracy; precision_macro, recall_macro and f1_macro over the labels that the holdout
    holds; sensitivity and specificity of the critical label; auroc_report and auprc_report (of the
    critical label where there are two, else the mean over labels, each against the rest); brier; ece; and
    accuracy_, sensitivity_, specificity_, auroc_ and auprc_patient on the mean probability of a patient.
    Slice "label=X": precision, recall, f1, and with three labels or more auroc_report and auprc_report.
    Slice "true=X said=Y": confusion, the counts other than 0.

    Raises UnfitData where there is nothing to judge or the input does not fit together.
    """
    given = Sample.of(probabilities, labels_idx, patients, len(labels))
    by_patient = given.one_row_a_patient()
    at = list(labels).index(critical)
    figures: list[Figure] = []
    for measures in (ReportMeasures(given, labels, at), PatientMeasures(by_patient, labels, at)):
        figures += with_intervals(measures, given, n_boot, seed)
    return figures + _confusion(given, labels)


def with_intervals(measures: Measures, given: Sample, n_boot: int, seed: int) -> list[Figure]:
    """Each figure of `measures`, with its interval under draws of the patients of `given`."""
    weightings = patient_weights(given.patients, given.reports, n_boot, seed)
    blocks = [measures.under(weights) for weights in weightings]
    figures = []
    for name, slice_ in blocks[0]:
        column = np.concatenate([block[name, slice_] for block in blocks])
        behind = _stands_on(measures, name.removesuffix("_patient"), slice_)
        n = int(behind.sum())
        if np.isnan(column[0]):
            figures.append(Figure(name, slice_, None, None, None, n))
            continue
        value, draws = float(column[0]), column[1:]
        if name.removesuffix("_patient") in SHARES:
            ends = share_interval(value, draws, len(np.unique(measures.given.patient[behind])))
        else:
            ends = interval(draws)
            if ends is not None and ends[0] == ends[1]:
                ends = None  # no draw differs: its spread is unknown, not zero
        low, high = ends or (None, None)
        figures.append(Figure(name, slice_, value, low, high, n))
    return figures


def _stands_on(measures: Measures, name: str, slice_: str) -> Bools:
    """Which reports (or patients) a figure is a share of; all of them where it is not a share."""
    given, labels = measures.given, list(measures.labels)
    asked = measures.critical if slice_ == "all" else labels.index(slice_.removeprefix("label="))
    if name in ("sensitivity", "recall"):
        return np.asarray(given.truth == asked)
    if name == "specificity":
        return np.asarray(given.truth != asked)
    return np.asarray(given.said == asked) if name == "precision" else np.ones(given.reports, dtype=bool)


def _confusion(given: Sample, labels: Sequence[str]) -> list[Figure]:
    pairs, counts = np.unique(np.stack([given.truth, given.said]), axis=1, return_counts=True)
    return [
        Figure("confusion", f"true={labels[t]} said={labels[s]}", float(count), None, None, given.reports)
        for (t, s), count in zip(pairs.T, counts, strict=True)
    ]
