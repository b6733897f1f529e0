"""A model's figures on parts of a holdout, small parts marked as small and never hidden.

All slices are measured under the same draws of patients, whole patients at a time: a patient may have
reports in several slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from tasks.ml.arrays import Bools
from tasks.ml.judging.evaluation import Figure, with_intervals
from tasks.ml.judging.measures import ReportMeasures, ReviewMeasures, Sample
from tasks.ml.judging.slice_fields import Field

# a slice of fewer is marked: a share of 30 patients has an interval of up to 36 points, and the sensitivity
# of 10 one of up to 60 (Wilson)
SMALL_PATIENTS: Final = 30
SMALL_CRITICAL: Final = 10
SHOWN: Final = frozenset(
    ("accuracy", "f1_macro", "sensitivity", "specificity", "auroc_report", "brier", "ece")
)


def slice_figures(
    given: Sample,
    fields: Sequence[Field],
    labels: Sequence[str],
    critical: str,
    to_person: Bools,
    *,
    n_boot: int = 1000,
    seed: int,
) -> list[Figure]:
    """Figures of every slice "field=value"; of "all" only what `evaluate` does not tell.

    to_person: (reports,) which go to a person. A slice has `patients`; `critical_patients`, those with a
    report of the critical label; `small`, 1 where they are fewer than SMALL_PATIENTS or SMALL_CRITICAL; the
    figures of SHOWN; and `review_share`.
    """
    at = list(labels).index(critical)
    review = with_intervals(ReviewMeasures(given, to_person, at, labels), given, n_boot, seed)
    return [
        *_size(given, at, "all"),
        *review,
    ] + [
        figure
        for field in fields
        for value in sorted({value for value in field.values if value is not None})
        for figure in _of_slice(
            given,
            np.array([one == value for one in field.values]),
            f"{field.name}={value}",
            labels,
            at,
            to_person,
            n_boot,
            seed,
        )
    ]


def _of_slice(
    given: Sample,
    inside: Bools,
    name: str,
    labels: Sequence[str],
    at: int,
    to_person: Bools,
    n_boot: int,
    seed: int,
) -> list[Figure]:
    part = given.part(inside)
    measures = (ReportMeasures(part, labels, at), ReviewMeasures(part, to_person[inside], at, labels))
    measured = [
        Figure(one.name, name, one.value, one.low, one.high, one.n)
        for each in measures
        for one in with_intervals(each, given, n_boot, seed)
        if one.slice == "all" and (one.name in SHOWN or one.name == "review_share")
    ]
    return [*_size(part, at, name), *measured]


def is_small(part: Sample, at: int) -> bool:
    """Whether it holds too few patients, or too few with a report of the critical label, to be judged."""
    critical = len(np.unique(part.patient[part.truth == at]))
    return len(np.unique(part.patient)) < SMALL_PATIENTS or critical < SMALL_CRITICAL


def _size(part: Sample, at: int, name: str) -> list[Figure]:
    """How many patients a slice has, how many of them with a report of the critical label, whether few."""
    patients = len(np.unique(part.patient))
    critical = len(np.unique(part.patient[part.truth == at]))
    return [
        Figure("patients", name, float(patients), None, None, part.reports),
        Figure("critical_patients", name, float(critical), None, None, int((part.truth == at).sum())),
        Figure("small", name, float(is_small(part, at)), None, None, patients),
    ]
