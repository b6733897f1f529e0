"""Whether acting on a model's answers does more good than acting on every report, or on none.

A threshold t says what a missed critical report weighs beside a false alarm: (1 - t) / t false alarms are
worth one that is caught. Net benefit is the share caught less the share of false alarms at that weight, a
report (Vickers & Elkin 2006, "Decision curve analysis", Medical Decision Making 26:565). Acting on none has
net benefit 0; the critical label stands against all the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tasks.ml.arrays import Floats
from tasks.ml.judging.evaluation import Figure
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.resampling import interval, patient_weights

# one missed report weighs as much as 49, 19, 9, 4, 2.3 and 1 false alarms
THRESHOLDS: Final = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)


def net_benefits(
    given: Sample, critical: int, thresholds: Sequence[float], weights: Floats
) -> tuple[Floats, Floats]:
    """Of the model, and of acting on every report, under (draws, patients) weights: (draws, thresholds)."""
    caught = given.truth == critical
    score = given.probabilities[:, critical]
    price = np.array([threshold / (1 - threshold) for threshold in thresholds])
    worth = np.where(caught[:, None], 1.0, -price)  # (reports, thresholds) of acting on a report
    acted = score[:, None] >= np.asarray(thresholds)
    reports = weights @ given.per_patient(np.ones((given.reports, 1)))
    model, every = (weights @ given.per_patient(each) / reports for each in (worth * acted, worth))
    return model, every


def net_benefit_figures(given: Sample, critical: int, *, n_boot: int = 1000, seed: int) -> list[Figure]:
    """At each of THRESHOLDS, slice "threshold=0.05": `net_benefit` of the model, `net_benefit_every` of
    acting on every report, and `net_benefit_gain`, by how much the model is better than the better of acting
    on every report and on none. Intervals over patients.
    """
    blocks = [
        net_benefits(given, critical, THRESHOLDS, weights)
        for weights in patient_weights(given.patients, given.reports, n_boot, seed)
    ]
    model, every = (np.concatenate(columns) for columns in zip(*blocks, strict=True))
    # the better of the two as measured, the same one in every draw: the best of each would favour chance
    gain = model - np.where(every[0] > 0, every, 0.0)
    figures = []
    for at, threshold in enumerate(THRESHOLDS):
        named = {"net_benefit": model, "net_benefit_every": every, "net_benefit_gain": gain}
        for name, columns in named.items():
            low, high = interval(columns[1:, at]) or (None, None)
            figures.append(
                Figure(name, f"threshold={threshold:g}", float(columns[0, at]), low, high, given.reports)
            )
    return figures
