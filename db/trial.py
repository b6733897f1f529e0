"""A hospital made for torture: one table of reports, and a diary of all that ever stood in it.

The diary is what a check holds our tables against: it knows each content, whether it can be read,
and that it once stood there, whatever laudos makes of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    select,
    update,
)

from db.engine import open_engine, reading, writing
from db.quarantine import BESIDE_A_REPORT
from db.sources import Turn
from db.tables import Instant, quarantine, report, report_version, run, run_batch, score_chunk, source

_metadata = MetaData()
# no key and no constraint: that is how such tables are found
_laudos = Table(
    "laudos",
    _metadata,
    Column("id", Text),
    Column("texto", Text),
    Column("atualizado_em", Instant),
    Column("paciente", Text),
    Column("data_laudo", Text),
    Column("resultado", Text),
    Column("sao", Boolean),  # whether it can be taken in; laudos does not look here
    Index("laudos_atualizado_em", "atualizado_em", "id"),
    Index("laudos_id", "id"),
)
_diary = Table("diario", _metadata, Column("id", Text), Column("sha", String(64)), Column("sao", Boolean))


@dataclass(frozen=True)
class TrialRow:
    """A row as it stands at the hospital. `sound`: it can be taken in."""

    id: str | None
    text: str | None = field(repr=False)
    updated_at: datetime | None
    patient: str | None = None
    date: str | None = None
    label: str | None = None
    sound: bool = True


@dataclass(frozen=True)
class Standing:
    """A row that stands at the hospital, by its content's sha."""

    id: str | None
    sha: str
    updated_at: datetime | None
    sound: bool


@dataclass(frozen=True)
class Hospital:
    """The source of a scratch world."""

    url: str
    engine: Engine

    @classmethod
    def create(cls, url: str) -> Hospital:
        """Its tables, in a database that has none."""
        hospital = cls.open(url)
        with writing(hospital.engine) as c:
            _metadata.create_all(c)
        return hospital

    @classmethod
    def open(cls, url: str, sessions: int = 5) -> Hospital:
        """As another process sees it, with so many sessions at once."""
        return cls(url, open_engine(url, sessions))

    def put(self, rows: Iterable[TrialRow]) -> None:
        """New rows, in a transaction of their own."""
        with writing(self.engine) as c:
            put(c, list(rows))

    def amend(self, external_id: str, text: str | None, at: datetime, *, sound: bool = True) -> None:
        """Another content for every row of that id."""
        with writing(self.engine) as c:
            c.execute(
                update(_laudos)
                .where(_laudos.c.id == external_id)
                .values(texto=text, atualizado_em=at, sao=sound)
            )
            c.execute(insert(_diary).values(id=external_id, sha=sha_of(text), sao=sound))

    def remove(self, external_ids: Sequence[str]) -> None:
        """The rows of these ids are gone; the diary remembers them."""
        with writing(self.engine) as c:
            c.execute(delete(_laudos).where(_laudos.c.id.in_(external_ids)))

    def standing(self) -> list[Standing]:
        """Every row that stands there now."""
        query = select(_laudos.c.id, _laudos.c.texto, _laudos.c.atualizado_em, _laudos.c.sao)
        with reading(self.engine) as c:
            return [Standing(one, sha_of(text), at, sound) for one, text, at, sound in c.execute(query)]

    def ever(self) -> set[tuple[str, str]]:
        """(id, sha) of all that ever stood there; an id that is missing is empty."""
        with reading(self.engine) as c:
            return {(row.id or "", row.sha) for row in c.execute(select(_diary.c.id, _diary.c.sha))}


def put(c: Connection, rows: Sequence[TrialRow]) -> None:
    """New rows, in a transaction that the caller may keep open for as long as it likes."""
    c.execute(
        insert(_laudos),
        [
            {
                "id": row.id,
                "texto": row.text,
                "atualizado_em": row.updated_at,
                "paciente": row.patient,
                "data_laudo": row.date,
                "resultado": row.label,
                "sao": row.sound,
            }
            for row in rows
        ],
    )
    c.execute(insert(_diary), [{"id": row.id, "sha": sha_of(row.text), "sao": row.sound} for row in rows])


def sha_of(text: str | None) -> str:
    """What laudos must say of a content, worked out without it."""
    return hashlib.sha256((text or "").encode("utf-8", "surrogatepass")).hexdigest()


@contextmanager
def locked(engine: Engine) -> Iterator[None]:
    """Another program at work in our database: within, nobody else writes reports or predictions.

    SQLite's one write lock with something written under it, which ends every older reading transaction's
    right to write; PostgreSQL's two tables, closed to all writers.
    """
    with writing(engine) as c:
        if c.dialect.name == "sqlite":
            c.exec_driver_sql("CREATE TABLE IF NOT EXISTS another_programs (n INTEGER)")
            c.exec_driver_sql("INSERT INTO another_programs VALUES (1)")
        else:
            # no transaction of ours may be idle for so long, but this is another program's
            c.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
            c.exec_driver_sql("LOCK TABLE report, prediction IN EXCLUSIVE MODE")
        yield


@dataclass(frozen=True)
class TakenIn:
    """What laudos says of a source, by external id: current sha of what stands, and all versions' shas."""

    current: dict[str, str]  # of reports that are not gone
    gone: set[str]
    versions: dict[str, list[str]]  # in order
    waiting: set[tuple[str, str]]  # (external id, sha) in quarantine, for want of something better
    quarantined: set[tuple[str, str]]  # the same, whatever became of it
    counted_new: int
    counted_updated: int
    runs_ended_early: list[int]  # before they began


def taken_in(c: Connection, source_name: str) -> TakenIn:
    """What our tables hold of a source."""
    of = report.c.source_id == select(source.c.id).where(source.c.name == source_name).scalar_subquery()
    rows = c.execute(
        select(
            report.c.external_id,
            report.c.deleted_at,
            report.c.current_version,
            report_version.c.version,
            report_version.c.raw_sha,
        )
        .join(report_version, report_version.c.report_id == report.c.id)
        .where(of)
        .order_by(report.c.id, report_version.c.version)
    ).all()
    refused = c.execute(
        select(quarantine.c.external_id, quarantine.c.raw_sha, quarantine.c.state)
        .join(source, source.c.id == quarantine.c.source_id)
        .where(source.c.name == source_name, quarantine.c.reason.not_in(BESIDE_A_REPORT))
    ).all()
    versions: dict[str, list[str]] = {}
    for row in rows:
        versions.setdefault(row.external_id, []).append(row.raw_sha)
    counted = c.execute(
        select(func.coalesce(func.sum(run_batch.c.new), 0), func.coalesce(func.sum(run_batch.c.updated), 0))
        .join(source, source.c.id == run_batch.c.source_id)
        .where(source.c.name == source_name)
    ).one()
    return TakenIn(
        current={
            row.external_id: row.raw_sha
            for row in rows
            if row.version == row.current_version and row.deleted_at is None
        },
        gone={row.external_id for row in rows if row.deleted_at is not None},
        versions=versions,
        waiting={(row.external_id, row.raw_sha) for row in refused if row.state == "waiting"},
        quarantined={(row.external_id, row.raw_sha) for row in refused},
        counted_new=int(counted[0]),
        counted_updated=int(counted[1]),
        runs_ended_early=list(c.scalars(select(run.c.id).where(run.c.ended_at < run.c.started_at))),
    )


def begin_again(c: Connection, turn: Turn) -> Turn:
    """The turn as if nobody had taken it over since."""
    fence = c.execute(select(source.c.fence).where(source.c.id == turn.source_id)).scalar_one()
    return replace(turn, fence=fence)


def taken_over(c: Connection, job_id: int) -> int:
    """Chunks of a job that were claimed more than once."""
    query = select(func.count()).where(score_chunk.c.job_id == job_id, score_chunk.c.fence > 1)
    return int(c.execute(query).scalar_one())
