"""Vectors as an encoder saw each report version, so that a new head costs no encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select
from sqlalchemy.dialects import postgresql, sqlite

from db.among import among, chunks
from db.tables import feature


@dataclass(frozen=True)
class Feature:
    """One report version's vector: float32, little-endian bytes."""

    report_version_id: int
    vector: bytes
    tokens_seen: int
    tokens_total: int


def get(c: Connection, encoder_sha: str, report_version_ids: Sequence[int]) -> dict[int, Feature]:
    """The stored vectors by report version; versions without one are left out."""
    found: dict[int, Feature] = {}
    columns = (feature.c.report_version_id, feature.c.vector, feature.c.tokens_seen, feature.c.tokens_total)
    ours = select(*columns).where(feature.c.encoder_sha == encoder_sha)
    for some in chunks(report_version_ids):
        rows = c.execute(ours.where(among(c, feature.c.report_version_id, some)))
        found.update((row.report_version_id, Feature(*row)) for row in rows)
    return found


def put(c: Connection, encoder_sha: str, features: Iterable[Feature], now: datetime) -> None:
    """Store vectors; one that is there already stays: the same encoder gives the same vector."""
    rows = [
        {
            "encoder_sha": encoder_sha,
            "report_version_id": one.report_version_id,
            "vector": one.vector,
            "tokens_seen": one.tokens_seen,
            "tokens_total": one.tokens_total,
            "created_at": now,
        }
        for one in features
    ]
    if not rows:
        return
    insert: Any = postgresql.insert if c.dialect.name == "postgresql" else sqlite.insert
    c.execute(insert(feature).on_conflict_do_nothing(), rows)
