"""What was measured of a model, as rows of the table `metric`, and back."""

from __future__ import annotations

from collections.abc import Iterable

from db.metrics import Metric
from tasks.ml.judging.evaluation import Figure


def metrics_of(subject: str, population: str, figures: Iterable[Figure]) -> list[Metric]:
    """A row a figure. `subject`: the model, or a baseline beside it."""
    return [
        Metric(subject, population, one.slice, one.name, one.value, one.low, one.high, one.n)
        for one in figures
    ]


def figures_of(subject: str, rows: Iterable[Metric]) -> list[Figure]:
    """Those of one subject."""
    return [
        Figure(row.name, row.slice, row.value, row.low, row.high, row.n)
        for row in rows
        if row.subject == subject
    ]
