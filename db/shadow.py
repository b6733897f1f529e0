"""What a challenger would have said beside the champion, kept apart from every prediction that counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, case, func, select

from db.candidates import Candidate
from db.engine import insert_into
from db.predictions import MODELS_DECISION, Scored
from db.reports import CURRENT, PRESENT
from db.tables import prediction, report, report_version, shadow_prediction


@dataclass(frozen=True)
class Beside:
    """A challenger's answers beside the champion's on the same reports, counted.

    `same_label` of `reports`; `to_person`: what the champion answers and the challenger leaves to a person,
    `from_person` the other way round. `patients`: whose reports they are.
    """

    reports: int = 0
    patients: int = 0
    same_label: int = 0
    to_person: int = 0
    from_person: int = 0


def due(c: Connection, one: Candidate, *, after: int, limit: int) -> dict[int, str]:
    """Version id -> text of what the champion answered since and the challenger has not scored.

    Present reports in their current version only, beyond a version id, the oldest first.
    """
    scored = select(shadow_prediction.c.report_version_id).where(
        shadow_prediction.c.candidate_id == one.id,
        shadow_prediction.c.report_version_id == prediction.c.report_version_id,
    )
    query = (
        select(report_version.c.id, report_version.c.text)
        .join(prediction, prediction.c.report_version_id == report_version.c.id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(
            prediction.c.model_id == one.champion_id,
            prediction.c.at >= one.since,
            CURRENT,
            report_version.c.text.is_not(None),
            PRESENT,
            report_version.c.id > after,
            ~scored.exists(),
        )
        .order_by(report_version.c.id)
        .limit(limit)
    )
    return {row.id: row.text for row in c.execute(query)}


def put(c: Connection, candidate_id: int, scored: Sequence[Scored], now: datetime) -> int:
    """Write answers, each once whoever else is at it; how many were given."""
    rows = [
        {
            "candidate_id": candidate_id,
            "report_version_id": one.report_version_id,
            "label": one.label,
            "probabilities": one.probabilities,
            "decision": one.decision,
            "at": now,
        }
        # in order: two that put the same wait for one another, and not each for the other
        for one in sorted(scored, key=lambda one: one.report_version_id)
    ]
    if rows:
        c.execute(insert_into(c, shadow_prediction).on_conflict_do_nothing(), rows)
    return len(rows)


def beside(c: Connection, one: Candidate) -> Beside:
    """How the challenger's answers stand beside those of the champion it was held against."""

    def counted(condition: Any) -> Any:
        return func.coalesce(func.sum(case((condition, 1), else_=0)), 0)

    theirs, ours = prediction.c, shadow_prediction.c
    query = (
        select(
            func.count(),
            func.count(report.c.patient_key.distinct()),
            counted(theirs.label == ours.label),
            counted((MODELS_DECISION == "auto") & (ours.decision == "review")),
            counted((MODELS_DECISION == "review") & (ours.decision == "auto")),
        )
        .select_from(shadow_prediction)
        .join(
            prediction,
            (theirs.report_version_id == ours.report_version_id) & (theirs.model_id == one.champion_id),
        )
        .join(report_version, report_version.c.id == ours.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(ours.candidate_id == one.id)
    )
    return Beside(*c.execute(query).one())
