"""Reports that wait for a person and bear no label yet: who could be asked for next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, exists

from db.quarantine import other_content_waits
from db.tables import champion, label, prediction, report, report_version, source
from db.view_queries import review_queue


@dataclass(frozen=True, slots=True)
class Waiting:
    """One report of the view review_queue, with the probability of every label."""

    report_version_id: int
    source: str
    external_id: str
    version: int
    patient_key: str
    label: str
    probabilities: dict[str, float]
    review_because: str | None


def unlabelled(c: Connection, classifier: str) -> list[Waiting]:
    """What waits of this classifier without a label of anybody, the longest wait first.

    Without what is out of date: its source no longer shows the text that a label would be about.
    """
    labelled = exists().where(
        label.c.report_version_id == report_version.c.id, label.c.classifier == champion.c.classifier
    )
    query: Select[Any] = (
        review_queue()
        .with_only_columns(
            report_version.c.id,
            source.c.name,
            report.c.external_id,
            report_version.c.version,
            report.c.patient_key,
            prediction.c.label,
            prediction.c.probabilities,
            prediction.c.review_because,
            maintain_column_froms=True,
        )
        .where(champion.c.classifier == classifier, ~labelled, ~other_content_waits())
    )
    return [Waiting(*row) for row in c.execute(query)]
