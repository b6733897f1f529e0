"""What lies in quarantine can be seen, tried again once the rules or settings changed, and dismissed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select

from db import lock
from db.errors import Busy, NothingToWorkOn
from db.ledger import Counts
from db.tables import audit, quarantine
from tasks import intake
from tasks.ml import cleaning
from tasks.quarantine import dismiss_quarantine, list_quarantine, retry_quarantine, show_quarantine
from tasks.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row


@pytest.fixture
def waiting(desk: Desk, hospital: Hospital, now: datetime) -> Desk:
    hospital.add(row("1", now, "--- 12 ---", resultado="M"), row("2", now, resultado="indet"), row("3", now))
    desk.ingest(now)
    return desk


def test_the_list_holds_no_content_and_one_row_shows_it(waiting: Desk) -> None:
    listed = list_quarantine(waiting.settings, "his")
    assert [(one.external_id, one.reason) for one in listed] == [("1", "no_letters"), ("2", "unknown_label")]
    assert "--- 12 ---" not in repr(listed)
    assert show_quarantine(waiting.settings, listed[0].id).content["text"] == "--- 12 ---"
    assert list_quarantine(waiting.settings, "another") == []


def test_a_retry_with_the_same_rules_changes_nothing(waiting: Desk) -> None:
    summary = retry_quarantine(waiting.settings)
    assert (summary.rows, summary.labels_taken) == (Counts(read=1, quarantined=1), 0)
    assert waiting.quarantined() == [("1", "no_letters"), ("2", "unknown_label")]


def test_a_retry_takes_in_what_the_rules_of_today_can_read(
    waiting: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_all = cleaning.Cleaned("doze")
    monkeypatch.setattr(intake, "clean", lambda raw: read_all)
    summary = retry_quarantine(waiting.settings, "his")
    assert summary.rows == Counts(read=1, new=1)
    assert waiting.texts()["1"] == ["doze"]
    assert waiting.labels() == {"1/1": "maligno"}
    assert waiting.quarantined() == [("2", "unknown_label")]


def test_a_retry_takes_a_label_that_the_settings_have_learnt(
    waiting: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str
) -> None:
    wiser = {**PAAF, "label_values": {"indet": "benigno"}}
    settings = configure(
        database=database_url, sources={"his": columns(hospital.url)}, classifiers={"paaf": wiser}
    )
    assert retry_quarantine(settings).labels_taken == 1
    assert waiting.labels() == {"2/1": "benigno"}
    assert waiting.quarantined() == [("1", "no_letters")]


def test_a_row_whose_source_was_mended_is_resolved_by_itself(
    waiting: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.change("1", texto="Agora com letras", resultado=None)
    assert waiting.ingest(now).new == 1
    assert waiting.quarantined("resolved") == [("1", "no_letters")]


def test_a_row_that_is_broken_in_another_way_by_now_waits_once(
    waiting: Desk, hospital: Hospital, now: datetime
) -> None:
    """Else a retry could take in a content that its source has long replaced."""
    hospital.change("1", texto="")
    waiting.ingest(now)
    assert waiting.quarantined() == [("1", "empty"), ("2", "unknown_label")]
    hospital.change("1", texto="--- 12 ---")
    waiting.ingest(now)
    assert waiting.quarantined() == [("1", "no_letters"), ("2", "unknown_label")]


def test_a_dismissed_row_stays_dismissed_and_the_audit_knows_by_whom(waiting: Desk, now: datetime) -> None:
    number = list_quarantine(waiting.settings)[0].id
    dismissed = dismiss_quarantine(waiting.settings, number, "linha de teste")
    assert (dismissed.state, dismissed.closed_because) == ("dismissed", "linha de teste")
    waiting.ingest(now)
    assert waiting.quarantined("dismissed") == [("1", "no_letters")]
    assert [(r.action, r.subject) for r in waiting.rows(select(audit))] == [
        ("dismiss", f"quarantine {number}")
    ]
    with pytest.raises(NothingToWorkOn, match="laudos quarantine list"):
        dismiss_quarantine(waiting.settings, number, "outra vez")


def test_an_unknown_number_is_told(waiting: Desk) -> None:
    with pytest.raises(NothingToWorkOn, match="no row 999"):
        show_quarantine(waiting.settings, 999)


def test_text_with_lone_surrogates_can_be_printed(waiting: Desk) -> None:
    with waiting.engine.begin() as c:
        c.execute(quarantine.update().values(payload=b'{"text": "a\\ud800"}'))
    number = list_quarantine(waiting.settings)[0].id
    assert show_quarantine(waiting.settings, number).content == {"text": "a\\ud800"}


def test_a_retry_waits_for_no_ingest(waiting: Desk) -> None:
    with lock.exclusive(waiting.engine, "ingest"), pytest.raises(Busy, match="ingest"):
        retry_quarantine(waiting.settings)
