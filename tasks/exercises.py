"""Exercises of a classifier: as many as its settings say, with its own labels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tasks.ml.synthesis.exams import generator, training_rows
from tasks.ml.synthesis.exercises import can_be_set, exercises
from tasks.ml.windows import Ints
from tasks.settings import ClassifierSettings, Settings

A_REPORT_MAX = 1.25  # real specimens must not drown among those that never were


@dataclass(frozen=True, eq=False)
class Exercises:
    """(exercises,) texts, and the number of each one's label."""

    texts: list[str]
    labels_idx: Ints


def exercises_of(settings: Settings, asked: ClassifierSettings, reports: int) -> Exercises:
    """Beside so many reports, on the training rows that synthetic ones are written from; the same every time.

    Raises KeyError for a label of the exam that is none of the classifier's ("laudos synthesize" refuses it).
    """
    exam, count = asked.synthetic.exam, exercises_for(asked, reports)
    if not count:
        return Exercises([], np.array([], np.int64))
    rows = training_rows(generator(exam).rows(), asked.synthetic.reserved_share)
    given = list(exercises(exam, count=count, seed=settings.seed, rows=rows))
    place = {label: number for number, label in enumerate(asked.labels)}
    named = (asked.label_values.get(one.label, one.label) for one in given)
    return Exercises([one.text for one in given], np.array([place[label] for label in named]))


def exercises_for(asked: ClassifierSettings, reports: int) -> int:
    """As many as the settings ask for, or as so many reports bear."""
    return min(exercises_asked(asked), round(reports * A_REPORT_MAX))


def exercises_asked(asked: ClassifierSettings) -> int:
    """None but for synthetic reports of an exam whose findings may be mixed."""
    if "synthetic" not in asked.training_labels or not can_be_set(asked.synthetic.exam):
        return 0
    return asked.training.exercises
