"""Figures as sums over patients, so that a thousand weightings of patients cost one matrix product."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tasks.ml.arrays import Bools, Floats, Ints
from tasks.ml.errors import UnfitData
from tasks.ml.judging.ranking import ranked_areas

ECE_BINS: Final = 15  # equal width, as in Guo et al. 2017, "On Calibration of Modern Neural Networks" (ICML)

Columns = dict[tuple[str, str], Floats]  # (name, slice) -> (draws,), NaN where undefined


@dataclass(frozen=True)
class Sample:
    """Predictions beside the truth.

    probabilities: (reports, labels) float64, rows sum to 1; truth: (reports,) index of the true label;
    patient: (reports,) index of the patient, 0 .. patients - 1; patients: how many there are.
    """

    probabilities: Floats
    truth: Ints
    patient: Ints
    patients: int

    @classmethod
    def of(
        cls, probabilities: ArrayLike, labels_idx: ArrayLike, patients: Sequence[str], n_labels: int
    ) -> Sample:
        """Check what was handed in. Raises UnfitData where there is nothing to judge or shapes disagree."""
        probs = np.asarray(probabilities, dtype=np.float64)
        truth = np.asarray(labels_idx, dtype=np.int64)
        if len(truth) == 0:
            raise UnfitData("no report to judge a model on: the holdout is empty; label more patients")
        if probs.shape != (len(truth), n_labels) or len(patients) != len(truth):
            raise UnfitData(
                f"probabilities {probs.shape}, {len(truth)} labels and {len(patients)} patients do not fit "
                f"together; probabilities {(len(truth), n_labels)} were expected"
            )
        if not np.isfinite(probs).all() or np.abs(probs.sum(axis=1) - 1).max() > 1e-3:
            raise UnfitData("probabilities must be finite and sum to one a report")
        if truth.min() < 0 or truth.max() >= n_labels:
            raise UnfitData(f"label numbers must lie in 0..{n_labels - 1}")
        known, codes = np.unique(np.asarray(patients, dtype=str), return_inverse=True)
        return cls(probs, truth, codes.astype(np.int64), len(known))

    @property
    def reports(self) -> int:
        return len(self.truth)

    @property
    def said(self) -> Ints:
        """(reports,) the most probable label."""
        return np.asarray(np.argmax(self.probabilities, axis=1))

    def part(self, inside: Bools) -> Sample:
        """Some of the reports; patients keep their numbers, those without a report in it too."""
        return Sample(self.probabilities[inside], self.truth[inside], self.patient[inside], self.patients)

    def per_patient(self, values: Floats) -> Floats:
        """Sum (reports, k) values over each patient's reports: (patients, k)."""
        sums = np.zeros((self.patients, values.shape[1]))
        np.add.at(sums, self.patient, values)
        return sums

    def one_row_a_patient(self) -> Sample:
        """The mean probability of each patient whose reports agree on the label; others are left out."""
        votes = self.per_patient(np.eye(self.probabilities.shape[1])[self.truth])
        means = self.per_patient(self.probabilities) / votes.sum(axis=1, keepdims=True)
        agreed = np.flatnonzero((votes > 0).sum(axis=1) == 1)
        # the mean of k equal numbers is not that number to the last bit, and would rank beside its equals
        return Sample(means[agreed].round(12), np.argmax(votes, axis=1)[agreed], agreed, self.patients)


@dataclass(frozen=True)
class Shares:
    """Per label under each weighting, all (draws, labels), NaN where undefined."""

    accuracy: Floats  # (draws,)
    precision: Floats
    recall: Floats
    f1: Floats
    specificity: Floats

    @property
    def macro_precision(self) -> Floats:
        """(draws,) over labels that occur; one never named has precision 0, as in scikit-learn."""
        occurs = ~np.isnan(self.recall)
        return mean_defined(np.where(occurs, np.nan_to_num(self.precision), np.nan))

    @property
    def macro_f1(self) -> Floats:
        """(draws,) over labels that occur."""
        return mean_defined(self.f1)


@dataclass(frozen=True)
class Tally:
    """Per patient and label: reports that are it, are said to be it, and both. Each (patients, labels)."""

    true: Floats
    said: Floats
    both: Floats

    @classmethod
    def of(cls, given: Sample) -> Tally:
        one = np.eye(given.probabilities.shape[1])
        true, said = one[given.truth], one[given.said]
        return cls(given.per_patient(true), given.per_patient(said), given.per_patient(true * said))

    def shares(self, weights: Floats) -> Shares:
        """From (draws, patients) weights."""
        true, said, both = weights @ self.true, weights @ self.said, weights @ self.both
        total = true.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return Shares(
                accuracy=both.sum(axis=1) / total[:, 0],
                precision=both / said,
                recall=both / true,
                # a label that occurs and is never named has F1 = 0; one that does not occur has none
                f1=np.where(true > 0, 2 * both / (true + said), np.nan),
                specificity=(total - true - said + both) / (total - true),
            )


class ReportMeasures:
    """What is measured per report, under many weightings of patients at once."""

    def __init__(self, given: Sample, labels: Sequence[str], critical: int) -> None:
        self.given, self.labels, self.critical = given, labels, critical
        self.tally = Tally.of(given)
        half = 0.5 if len(labels) == 2 else 1.0  # two labels: the usual (p - y)^2 of one of them
        errors = ((given.probabilities - np.eye(len(labels))[given.truth]) ** 2).sum(axis=1) * half
        self.squared_error = given.per_patient(errors[:, None])
        self.gap = given.per_patient(gap_by_bin(given))

    def under(self, weights: Floats) -> Columns:
        """Every figure for each row of (draws, patients) weights."""
        shares = self.tally.shares(weights)
        total = weights @ self.tally.true.sum(axis=1)
        total = np.where(total > 0, total, np.nan)  # a slice of few patients may be drawn without any
        columns = {
            ("accuracy", "all"): shares.accuracy,
            ("precision_macro", "all"): shares.macro_precision,
            ("recall_macro", "all"): mean_defined(shares.recall),
            ("f1_macro", "all"): shares.macro_f1,
            ("sensitivity", "all"): shares.recall[:, self.critical],
            ("specificity", "all"): shares.specificity[:, self.critical],
            **_areas(self.given, self.labels, self.critical, weights, "_report"),
            ("brier", "all"): (weights @ self.squared_error)[:, 0] / total,
            ("ece", "all"): np.abs(weights @ self.gap).sum(axis=1) / total,
        }
        for index, label in enumerate(self.labels):
            columns["precision", f"label={label}"] = shares.precision[:, index]
            columns["recall", f"label={label}"] = shares.recall[:, index]
            columns["f1", f"label={label}"] = shares.f1[:, index]
        return columns


class PatientMeasures:
    """What is measured once a patient; `given` has one row a patient."""

    def __init__(self, given: Sample, labels: Sequence[str], critical: int) -> None:
        self.given, self.labels, self.critical = given, labels, critical
        self.tally = Tally.of(given)

    def under(self, weights: Floats) -> Columns:
        """Every figure for each row of (draws, patients) weights."""
        shares = self.tally.shares(weights)
        areas = _areas(self.given, self.labels, self.critical, weights, "_patient")
        return {
            ("accuracy_patient", "all"): shares.accuracy,
            ("sensitivity_patient", "all"): shares.recall[:, self.critical],
            ("specificity_patient", "all"): shares.specificity[:, self.critical],
            **{key: column for key, column in areas.items() if key[1] == "all"},
        }


class ReviewMeasures:
    """Which share of the reports goes to a person; to_person: (reports,)."""

    def __init__(self, given: Sample, to_person: Bools, critical: int, labels: Sequence[str]) -> None:
        self.given, self.labels, self.critical = given, labels, critical
        counted = np.stack([to_person, np.ones(given.reports)], axis=1).astype(np.float64)
        self.counts = given.per_patient(counted)  # (patients, 2): sent, and all

    def under(self, weights: Floats) -> Columns:
        """The share for each row of (draws, patients) weights."""
        sent, reports = (weights @ self.counts).T
        with np.errstate(invalid="ignore"):
            return {("review_share", "all"): sent / reports}


def confidence_bin(confidence: Floats) -> NDArray[np.intp]:
    """Which of ECE_BINS equal bins, each open below and closed above, a confidence falls into."""
    inner_edges = np.linspace(0, 1, ECE_BINS + 1)[1:-1]
    return np.searchsorted(inner_edges, confidence, side="left")


def mean_defined(columns: Floats) -> Floats:
    """The mean of each row over its defined entries; NaN where none is."""
    defined = ~np.isnan(columns)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(defined, columns, 0.0).sum(axis=1) / defined.sum(axis=1))


def _areas(given: Sample, labels: Sequence[str], critical: int, weights: Floats, suffix: str) -> Columns:
    """AUROC and AUPRC: of the critical label where there are two, else each label against the rest."""
    of_reports = weights[:, given.patient]
    asked = [critical] if len(labels) == 2 else range(len(labels))
    pairs = [ranked_areas(given.probabilities[:, k], given.truth == k, of_reports) for k in asked]
    areas: Columns = {}
    for name, columns in zip(("auroc", "auprc"), zip(*pairs, strict=True), strict=True):
        areas[f"{name}{suffix}", "all"] = mean_defined(np.stack(columns, axis=1))
        if len(labels) > 2:
            for label, column in zip(labels, columns, strict=True):
                areas[f"{name}{suffix}", f"label={label}"] = column
    return areas


def gap_by_bin(given: Sample) -> Floats:
    """(reports, bins): right (1 or 0) minus confidence, in the bin its confidence falls into."""
    confidence = given.probabilities.max(axis=1)
    gaps = np.zeros((given.reports, ECE_BINS))
    gaps[np.arange(given.reports), confidence_bin(confidence)] = (given.said == given.truth) - confidence
    return gaps
