"""What may be taken away, in small transactions: models nobody needs, vectors, texts of earlier versions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select, update

from db import candidates, scoring
from db.among import among
from db.tables import (
    candidate,
    champion,
    feature,
    model,
    report,
    report_version,
    score_job,
    snapshot,
    snapshot_item,
)

ROWS_A_BATCH = 2000


def in_use(c: Connection) -> set[int]:
    """Models that answer now, that an unfinished scoring job works with, or that wait for a decision."""
    jobs = select(score_job.c.model_id).where(score_job.c.state.in_(scoring.UNFINISHED))
    wait = select(candidate.c.model_id).where(candidate.c.state.in_(candidates.PENDING))
    return set(c.scalars(select(champion.c.model_id).union(jobs, wait)))


def remove_model(c: Connection, model_id: int) -> bool:
    """Mark a model as removed, its folder being about to go; False where it is in use by now.

    Its row is locked before anything is asked: a rollback to it at the same moment waits, and is refused.
    """
    c.execute(select(model.c.id).where(model.c.id == model_id).with_for_update())
    if model_id in in_use(c):
        return False
    marked = update(model).where(model.c.id == model_id, model.c.state != "removed").values(state="removed")
    return c.execute(marked).rowcount == 1


def finished_trainings(c: Connection) -> list[tuple[str, str]]:
    """(sha of the training set, sha of the configuration) of every model that can answer."""
    query = (
        select(snapshot.c.sha, model.c.config_sha)
        .join(snapshot, snapshot.c.id == model.c.snapshot_id)
        .where(model.c.state.in_(("ready", "retired")))
    )
    return [(row.sha, row.config_sha) for row in c.execute(query)]


def encoders(c: Connection) -> list[str]:
    """Every encoder that left vectors. Steps from one to the next: the table has a row a report."""
    found: list[str] = []
    while (after := c.scalar(_next_encoder(found[-1] if found else ""))) is not None:
        found.append(after)
    return found


def _next_encoder(last: str) -> Select[Any]:
    return select(func.min(feature.c.encoder_sha)).where(feature.c.encoder_sha > last)


def count_vectors(c: Connection, encoder_sha: str, before: datetime) -> int:
    old = (feature.c.encoder_sha == encoder_sha, feature.c.created_at < before)
    return int(c.scalar(select(func.count()).select_from(feature).where(*old)) or 0)


def drop_vectors(c: Connection, encoder_sha: str, before: datetime, after: int) -> list[int]:
    """Remove the next vectors of an encoder that were stored before; of which report versions."""
    old = (
        feature.c.encoder_sha == encoder_sha,
        feature.c.created_at < before,
        feature.c.report_version_id > after,
    )
    query = select(feature.c.report_version_id).where(*old).order_by(feature.c.report_version_id)
    ids = list(c.scalars(query.limit(ROWS_A_BATCH)))
    if ids:
        mine = feature.c.encoder_sha == encoder_sha
        c.execute(delete(feature).where(mine, among(c, feature.c.report_version_id, ids)))
    return ids


def superseded(before: datetime) -> Select[Any]:
    """Versions with a text that were followed by another before, and that no training set needs.

    Needed: by the training set of a model that is not removed, and by each classifier's latest.
    """
    latest = select(func.max(snapshot.c.id)).group_by(snapshot.c.classifier)
    kept = select(model.c.snapshot_id).where(model.c.state != "removed").union(latest)
    taught = select(snapshot_item.c.snapshot_id).where(
        snapshot_item.c.report_version_id == report_version.c.id, snapshot_item.c.snapshot_id.in_(kept)
    )
    later = report_version.alias()
    followed = select(later.c.id).where(
        later.c.report_id == report_version.c.report_id,
        later.c.version == report_version.c.version + 1,
        later.c.created_at < before,
    )
    return (
        select(report_version.c.id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(
            report_version.c.version < report.c.current_version,
            report_version.c.text.is_not(None),
            followed.exists(),
            ~taught.exists(),
        )
    )


def count_superseded(c: Connection, before: datetime) -> int:
    return int(c.scalar(select(func.count()).select_from(superseded(before).subquery())) or 0)


def forget_texts(c: Connection, before: datetime, after: int) -> Sequence[int]:
    """Empty the next texts of `superseded`; of which versions. Hash, date, vectors and predictions stay."""
    query = superseded(before).where(report_version.c.id > after).order_by(report_version.c.id)
    ids = list(c.scalars(query.limit(ROWS_A_BATCH)))
    if ids:
        c.execute(update(report_version).where(among(c, report_version.c.id, ids)).values(text=None))
        # hashes of its words would let a guess at them be tried
        c.execute(update(feature).where(among(c, feature.c.report_version_id, ids)).values(sketch=None))
    return ids
