"""The temperature that a model was given, against other ways to set its probabilities right.

Each way is fitted on the calibration split and judged on the holdout, beside the one that is shipped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from scipy.special import log_softmax, logit
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from tasks.ml.arrays import Bools, Floats, Ints
from tasks.ml.judging.evaluation import Figure
from tasks.ml.judging.measures import Sample, gap_by_bin
from tasks.ml.judging.resampling import interval, patient_weights

Method = Literal["uncalibrated", "platt", "isotonic"]
Curve = Callable[[Floats, Bools, Floats], Floats]  # fitted on (scores, hits), read at other scores

_SMALLEST: Final = float(np.finfo(np.float64).tiny)
_SURE: Final = 1e-12  # nothing is taken for surer: its log odds must stay finite


@dataclass(frozen=True)
class Calibration:
    """The calibration split: (reports, labels) probabilities as shipped, and (reports,) the truth."""

    probabilities: Floats
    truth: Ints


def recalibrated(calibration: Calibration, holdout: Floats, temperature: float) -> dict[Method, Floats]:
    """(reports, labels) of the holdout by each other way.

    Platt 1999, "Probabilistic outputs for support vector machines", with its smoothed targets; Zadrozny &
    Elkan 2002, "Transforming classifier scores into accurate multiclass probability estimates" (isotonic):
    both each label against the rest. Two labels need one curve. temperature: what the log odds were divided
    by to give the shipped probabilities.
    """
    fitted_on, asked = (_log_odds(each, temperature) for each in (calibration.probabilities, holdout))
    whole = np.exp(log_softmax(np.log(np.maximum(holdout, _SMALLEST)) * temperature, axis=1))
    return {
        "uncalibrated": whole,
        "platt": _by_label(_platt, fitted_on, calibration.truth, asked),
        "isotonic": _by_label(_isotonic, fitted_on, calibration.truth, asked),
    }


def compared(
    shipped: Sample, others: Mapping[Method, Floats], *, n_boot: int = 1000, seed: int
) -> dict[Method, list[Figure]]:
    """Of each way: ece and brier, and its own less the shipped one's, ece_difference and brier_difference.

    Intervals over patients, the same draws for all.
    """
    draws = list(patient_weights(shipped.patients, shipped.reports, n_boot, seed))
    ours = _errors(shipped, draws)
    return {
        method: _figures(_errors(replace(shipped, probabilities=theirs), draws), ours, shipped.reports)
        for method, theirs in others.items()
    }


def clearly_better(figures: Sequence[Figure]) -> bool:
    """Whether a way's calibration error and Brier score are lower than the shipped one's beyond doubt."""
    ends = {one.name: one.high for one in figures}
    return all(_below_zero(ends.get(name)) for name in ("ece_difference", "brier_difference"))


def _below_zero(high: float | None) -> bool:
    return high is not None and high < 0


def _log_odds(probabilities: Floats, temperature: float) -> Floats:
    """(reports, labels): of each label against the rest, as they were before the temperature."""
    before = np.exp(log_softmax(np.log(np.maximum(probabilities, _SMALLEST)) * temperature, axis=1))
    return np.asarray(logit(np.clip(before, _SURE, 1 - _SURE)))


def _by_label(fit: Curve, fitted_on: Floats, truth: Ints, asked: Floats) -> Floats:
    """(reports, labels), rows sum to 1: each label's own curve, or the second label's where there are two."""
    labels = asked.shape[1]
    if labels == 2:
        second = fit(fitted_on[:, 1], truth == 1, asked[:, 1])
        return np.stack([1 - second, second], axis=1)
    columns = [fit(fitted_on[:, at], truth == at, asked[:, at]) for at in range(labels)]
    # no curve may leave a report without any possible label
    found = np.maximum(np.stack(columns, axis=1), _SURE)
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _platt(scores: Floats, hits: Bools, asked: Floats) -> Floats:
    positives = int(hits.sum())
    target = np.where(hits, (positives + 1) / (positives + 2), 1 / (len(hits) - positives + 2))
    # a target between 0 and 1 is the report twice: as a hit with that weight, and as none with the rest
    model = LogisticRegression(C=np.inf, max_iter=1000)
    model.fit(
        np.concatenate([scores, scores])[:, None],
        np.repeat([True, False], len(scores)),
        sample_weight=np.concatenate([target, 1 - target]),
    )
    return np.asarray(model.predict_proba(asked[:, None])[:, 1])


def _isotonic(scores: Floats, hits: Bools, asked: Floats) -> Floats:
    curve = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip")
    return np.asarray(curve.fit(scores, hits.astype(np.float64)).predict(asked))


def _errors(given: Sample, draws: Sequence[Floats]) -> dict[str, Floats]:
    """ece and brier, (1 + draws,) each."""
    n_labels = given.probabilities.shape[1]
    half = 0.5 if n_labels == 2 else 1.0
    squared = ((given.probabilities - np.eye(n_labels)[given.truth]) ** 2).sum(axis=1) * half
    gaps, squares = given.per_patient(gap_by_bin(given)), given.per_patient(squared[:, None])
    reports = given.per_patient(np.ones((given.reports, 1)))[:, 0]
    return {
        "ece": np.concatenate([np.abs(w @ gaps).sum(axis=1) / (w @ reports) for w in draws]),
        "brier": np.concatenate([(w @ squares)[:, 0] / (w @ reports) for w in draws]),
    }


def _figures(theirs: Mapping[str, Floats], ours: Mapping[str, Floats], reports: int) -> list[Figure]:
    columns = dict(theirs) | {f"{name}_difference": theirs[name] - ours[name] for name in theirs}
    figures = []
    for name, column in columns.items():
        low, high = interval(column[1:]) or (None, None)
        figures.append(Figure(name, "all", float(column[0]), low, high, reports))
    return figures
