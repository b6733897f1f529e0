"""Evidence for predictions: places in the cleaned text and scores, written when somebody asks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, delete, select

from db.engine import insert_into
from db.tables import evidence


@dataclass(frozen=True)
class Place:
    """Characters `begins` up to `ends`, the latter left out, and the score of what stands there."""

    begins: int
    ends: int
    score: float


def of(c: Connection, model_id: int, version_id: int, method: str) -> list[Place]:
    """What was computed in this way, in the order of the text; empty where nobody asked yet."""
    query = (
        select(evidence.c.begins, evidence.c.ends, evidence.c.score)
        .where(
            evidence.c.model_id == model_id,
            evidence.c.report_version_id == version_id,
            evidence.c.method == method,
        )
        .order_by(evidence.c.begins)
    )
    return [Place(*row) for row in c.execute(query)]


def put(
    c: Connection, model_id: int, version_id: int, method: str, places: Sequence[Place], now: datetime
) -> None:
    """Write a prediction's evidence in the place of what another method left.

    Two who ask at once write the same: the second one's rows are left out.
    """
    of_it = (evidence.c.model_id == model_id, evidence.c.report_version_id == version_id)
    c.execute(delete(evidence).where(*of_it, evidence.c.method != method))
    if not places:
        return
    rows = [
        {
            "model_id": model_id,
            "report_version_id": version_id,
            "begins": one.begins,
            "ends": one.ends,
            "score": one.score,
            "method": method,
            "at": now,
        }
        for one in places
    ]
    c.execute(insert_into(c, evidence).on_conflict_do_nothing(), rows)
