"""What keeps a sound database in good order: silent workers, left-over vectors, clocks, damage.

None of it is a broken promise yet; all of it wants somebody's care, and `laudos doctor` names it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, cast, func, literal, or_, select, text, union_all
from sqlalchemy.types import String

from db.offenders import ids
from db.tables import champion, feature, metadata, model, prediction, run, score_chunk, score_job

# longer than any transaction of ours: whoever holds a lock for so long has to be looked at
PATIENCE_S = 60
_SHOWN = 5


def prepare(c: Connection) -> None:
    """Let this transaction fail with a clear message where another holds a table for a minute.

    PostgreSQL would wait for ever; SQLite's wait is bounded for every connection of ours.
    """
    if c.dialect.name == "postgresql":
        # compiling the larger queries took longer than running them: 1.6 s of 1.7 at 100,000 reports
        c.execute(text("SET LOCAL jit = off"))
        c.execute(text(f"SET LOCAL lock_timeout = {int(PATIENCE_S * 1000)}"))


def holders(c: Connection) -> list[str]:
    """Other sessions of PostgreSQL that hold a table or view of this schema, the oldest transaction first."""
    query = (
        "SELECT DISTINCT pid, usename, application_name, state, xact_start FROM pg_locks "
        "JOIN pg_stat_activity USING (pid) JOIN pg_class ON pg_class.oid = relation "
        "WHERE relkind IN ('r', 'v') AND granted AND pid <> pg_backend_pid() "
        "AND datname = current_database() AND relnamespace = CAST(current_schema() AS regnamespace) "
        "ORDER BY xact_start, pid"
    )
    # what PostgreSQL keeps from this user, it leaves null: state and start of another's session
    return [
        f"session {row.pid} of {row.usename} ({', '.join(filter(None, (row.application_name, row.state)))})"
        + (f" since {row.xact_start:%Y-%m-%d %H:%M:%S %Z}" if row.xact_start else "")
        for row in c.execute(text(query))
    ]


def takes_writing(c: Connection) -> bool:
    """Whether PostgreSQL takes writing from this user; no standby does."""
    return bool(c.scalar(text("SHOW transaction_read_only")) == "off")


def expired_leases(now: datetime) -> Select[Any]:
    """Chunks of open jobs whose worker has been silent for longer than its lease."""
    return (
        select(ids(score_chunk.c.job_id, score_chunk.c.seq))
        .join(score_job, score_job.c.id == score_chunk.c.job_id)
        .where(score_job.c.state == "open", score_chunk.c.state == "leased", score_chunk.c.leased_until < now)
    )


def finished_but_open(c: Connection) -> list[int]:
    """Open scoring jobs whose chunks are all done."""
    left = select(score_chunk.c.seq).where(
        score_chunk.c.job_id == score_job.c.id, score_chunk.c.state != "done"
    )
    query = select(score_job.c.id).where(score_job.c.state == "open", ~left.exists())
    return list(c.scalars(query.order_by(score_job.c.id)))


def champions_that_may_not_answer() -> Select[Any]:
    """Champions whose model is marked as altered, retired or removed."""
    return (
        select(champion.c.classifier)
        .join(model, model.c.id == champion.c.model_id)
        .where(model.c.state != "ready")
    )


def encoders_without_a_model(before: datetime) -> Select[Any]:
    """Encoders that left vectors before a moment and belong to no model."""
    known = select(model.c.id).where(model.c.encoder_sha == feature.c.encoder_sha)
    left = select(feature.c.encoder_sha).where(feature.c.created_at < before, ~known.exists())
    return select(func.substr(left.distinct().subquery().c.encoder_sha, 1, 12))


def moments_ahead(latest: datetime) -> Select[Any]:
    """Runs and predictions that bear a moment which has not come yet."""
    runs = select((literal("run ") + cast(run.c.id, String)).label("id")).where(
        or_(run.c.started_at > latest, run.c.ended_at > latest)
    )
    answers = select(
        literal("prediction ") + ids(prediction.c.model_id, prediction.c.report_version_id)
    ).where(prediction.c.at > latest)
    both = union_all(runs, answers).subquery()
    return select(both.c.id)


def damage(c: Connection) -> list[str]:
    """What is wrong with the database itself, in words without content; empty = nothing."""
    return list(_damage_sqlite(c) if c.dialect.name == "sqlite" else _damage_postgresql(c))


def _damage_sqlite(c: Connection) -> Iterator[str]:
    told = c.exec_driver_sql(f"PRAGMA quick_check({_SHOWN})").scalars().all()
    yield from (line for line in told if line != "ok")
    dangling = Counter((row[0], row[2]) for row in c.exec_driver_sql("PRAGMA foreign_key_check"))
    for (table, parent), rows in sorted(dangling.items()):
        yield f"{rows:,} rows of {table} refer to no row of {parent}"


def _damage_postgresql(c: Connection) -> Iterator[str]:
    """Constraints that are missing or were never checked, and indexes that a build left unusable."""
    query = (
        "SELECT conname, convalidated FROM pg_constraint "
        "WHERE connamespace = CAST(current_schema() AS regnamespace)"
    )
    checked = {row.conname: row.convalidated for row in c.execute(text(query))}
    named = c.dialect.identifier_preparer.format_constraint
    for table in metadata.sorted_tables:
        names = sorted(str(named(one)) for one in table.constraints)
        yield from (f"{table.name} has lost its constraint {name}" for name in names if name not in checked)
    yield from (f"constraint {name} was never checked" for name, valid in checked.items() if not valid)
    query = (
        "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
        "WHERE relnamespace = CAST(current_schema() AS regnamespace) AND NOT (indisvalid AND indisready)"
    )
    yield from (f"index {name} is not usable; REINDEX it" for name in c.scalars(text(query)))
