"""What the source says of its reports is mirrored: late, corrected and withdrawn labels too."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import select

from db.ledger import Counts
from db.tables import label
from tests.ingest.conftest import Desk, Hospital, row


def test_a_late_label_is_taken_though_the_text_is_unchanged(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    assert desk.labels() == {}
    hospital.change("1", resultado="M", atualizado_em=now + timedelta(days=9))
    assert desk.ingest(now + timedelta(days=10)) == Counts(read=1, unchanged=1)
    assert desk.labels() == {"1/1": "maligno"}


def test_a_late_label_that_moved_no_date_is_found_by_the_full_comparison(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now - timedelta(days=9)), row("2", now))
    desk.ingest(now)
    hospital.change("1", resultado="B")
    desk.ingest(now)
    assert desk.labels() == {}
    desk.ingest(now, full=True)
    assert desk.labels() == {"1/1": "benigno"}


def test_a_corrected_label_replaces_and_a_withdrawn_one_goes(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="M"), row("2", now, resultado="M"))
    desk.ingest(now)
    hospital.change("1", resultado="benigno ")
    hospital.change("2", resultado=None)
    desk.ingest(now)
    assert desk.labels() == {"1/1": "benigno"}


def test_a_label_that_says_the_same_keeps_its_time(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, resultado="MALIGNO"))
    for hours in (0, 1):
        desk.ingest(now + timedelta(hours=hours))
    assert [r.at for r in desk.rows(select(label.c.at))] == [now]


def test_an_amended_report_carries_its_label_to_the_new_version(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="M"))
    desk.ingest(now)
    hospital.change("1", texto="Emendado", resultado="B")
    desk.ingest(now)
    assert desk.labels() == {"1/1": "maligno", "1/2": "benigno"}


def test_the_source_does_not_touch_what_people_said(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now, resultado="M"))
    desk.ingest(now)
    with desk.engine.begin() as c:
        version = c.scalar(select(label.c.report_version_id))
        said = {"report_version_id": version, "classifier": "paaf", "origin": "feedback", "actor": "ana"}
        c.execute(label.insert().values(value="benigno", at=now, **said))
    hospital.change("1", resultado=None)
    desk.ingest(now)
    assert [(r.origin, r.value) for r in desk.rows(select(label))] == [("feedback", "benigno")]
