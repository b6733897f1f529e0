"""What the ledger counts is what was written, whoever wrote it; a version that went missing is found."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select

from db import doctor, offenders
from db.engine import reading, writing
from db.tables import report_version, run
from tasks.intake.quarantine_retry import retry_quarantine
from tests.ingest.conftest import Desk, Hospital, row

HOUR = timedelta(hours=1)


def runs_that_differ(desk: Desk) -> list[int]:
    return [number for (number,) in desk.rows(offenders.runs_unlike_their_versions())]


def test_every_kind_of_intake_enters_what_it_wrote(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(*(row(f"{n}", now - n * HOUR) for n in range(8)), row("x", now, ""))
    desk.ingest(now)
    hospital.change("3", texto="Emendado", atualizado_em=now)
    hospital.change("x", texto="Legível agora", atualizado_em=now)
    desk.ingest(now + HOUR)
    hospital.change("4", texto="Emendado sem mudar a data")
    desk.ingest(now + HOUR, full=True)
    retry_quarantine(desk.settings)
    written = desk.rows(select(func.sum(run.c.new), func.sum(run.c.updated)))
    assert written == [(9, 2)]
    with reading(desk.engine) as c:
        assert not [one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())]


def test_a_version_removed_by_hand_is_found(desk: Desk, hospital: Hospital, now: datetime) -> None:
    """The last version of a report leaves no gap: only the ledger remembers it."""
    hospital.add(row("1", now), row("2", now))
    desk.ingest(now)
    hospital.change("2", texto="Emendado", atualizado_em=now + HOUR)
    desk.ingest(now + HOUR)
    assert runs_that_differ(desk) == []
    with writing(desk.engine) as c:
        c.execute(delete(report_version).where(report_version.c.version == 2))
    assert runs_that_differ(desk) == [2]
