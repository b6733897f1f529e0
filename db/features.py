"""Vectors as an encoder saw each report version, so that a new head costs no encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, select, text

from db.among import among, chunks
from db.tables import as_stored, feature


@dataclass(frozen=True)
class Feature:
    """One report version's vector: float32, little-endian bytes. `sketch`: what is kept of its words.

    `stored_at`: None for one that is not stored yet.
    """

    report_version_id: int
    vector: bytes
    tokens_seen: int
    tokens_total: int
    sketch: bytes
    stored_at: datetime | None = field(default=None, compare=False)


def get(c: Connection, encoder_sha: str, report_version_ids: Sequence[int]) -> dict[int, Feature]:
    """The stored vectors by report version; versions without one are left out.

    One without a sketch was stored before there were any: its text must be read once more.
    """
    found: dict[int, Feature] = {}
    columns = (
        feature.c.report_version_id,
        feature.c.vector,
        feature.c.tokens_seen,
        feature.c.tokens_total,
        feature.c.sketch,
        feature.c.created_at,
    )
    ours = select(*columns).where(feature.c.encoder_sha == encoder_sha, feature.c.sketch.is_not(None))
    version_id = feature.c.report_version_id
    for some in chunks(report_version_ids):
        wanted = ours.where(among(c, version_id, some))
        if c.dialect.name == "postgresql":
            # by it PostgreSQL sees how little of a table that grew fast it must read; SQLite would read it
            wanted = wanted.where(version_id.between(min(some), max(some)))
        found.update((row.report_version_id, Feature(*row)) for row in c.execute(wanted))
    return found


# the vector beside a new sketch is the one that the answer was made from
_KNOWN = """
    ON CONFLICT (encoder_sha, report_version_id) DO UPDATE
    SET vector = excluded.vector, sketch = excluded.sketch
    WHERE feature.sketch IS NULL
    """
# as in db.predictions: one statement with arrays on PostgreSQL, plain tuples on SQLite
_UNNEST = text(
    """
    INSERT INTO feature (encoder_sha, report_version_id, vector, tokens_seen, tokens_total, sketch,
                         created_at)
    SELECT :encoder_sha, version_id, vector, seen, total, sketch, :created_at
    FROM unnest(CAST(:versions AS bigint[]), CAST(:vectors AS bytea[]), CAST(:seen AS integer[]),
                CAST(:total AS integer[]), CAST(:sketches AS bytea[]))
         AS read (version_id, vector, seen, total, sketch)
    """
    + _KNOWN
)
_VALUES = (
    """
    INSERT INTO feature (encoder_sha, report_version_id, vector, tokens_seen, tokens_total, sketch,
                         created_at)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    """
    + _KNOWN
)


def put(c: Connection, encoder_sha: str, features: Iterable[Feature], now: datetime) -> None:
    """Store vectors; one that is there already stays: the same encoder gives the same vector."""
    # in order: two workers that put the same vectors wait for one another, and not each for the other
    rows = sorted(features, key=lambda one: one.report_version_id)
    if not rows:
        return
    if c.dialect.name == "postgresql":
        columns = {
            "versions": [one.report_version_id for one in rows],
            "vectors": [one.vector for one in rows],
            "seen": [one.tokens_seen for one in rows],
            "total": [one.tokens_total for one in rows],
            "sketches": [one.sketch for one in rows],
        }
        c.execute(_UNNEST, {"encoder_sha": encoder_sha, "created_at": now, **columns})
        return
    at = as_stored(now, c.dialect)
    c.exec_driver_sql(
        _VALUES,
        [
            (
                encoder_sha,
                one.report_version_id,
                one.vector,
                one.tokens_seen,
                one.tokens_total,
                one.sketch,
                at,
            )
            for one in rows
        ],
    )
