"""What an auditor is given about one model from the database: ids, labels, figures, entries; no text."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection, select

from db.tables import audit, metric, snapshot_item


def items_of(c: Connection, snapshot_id: int) -> list[dict[str, Any]]:
    """Every report version of a training set, by its number: label, origin and split."""
    columns = [column for column in snapshot_item.c if column.name != "snapshot_id"]
    query = select(*columns).where(snapshot_item.c.snapshot_id == snapshot_id)
    return _plain(c, query.order_by(snapshot_item.c.report_version_id))


def metrics_of(c: Connection, model_id: int) -> list[dict[str, Any]]:
    """Every figure ever measured of a model or of a baseline beside it, in the order of measuring."""
    return _plain(c, select(metric).where(metric.c.model_id == model_id).order_by(metric.c.id))


def audit_of(c: Connection, subjects: Collection[str]) -> list[dict[str, Any]]:
    """The audit's entries about these, each with its shas, in the order of the chain."""
    return _plain(c, select(audit).where(audit.c.subject.in_(list(subjects))).order_by(audit.c.id))


def last_sha(c: Connection) -> str | None:
    """The end of the audit's chain; None where nothing was recorded."""
    found: str | None = c.scalar(select(audit.c.sha).order_by(audit.c.id.desc()).limit(1))
    return found


def _plain(c: Connection, query: Any) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in c.execute(query)]
