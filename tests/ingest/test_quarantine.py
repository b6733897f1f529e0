"""What lies in quarantine can be seen, tried again once the rules or settings changed, and dismissed."""

from __future__ import annotations

import csv
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from db import lock
from db.errors import Busy, ConfigurationError, NothingToWorkOn
from db.ledger import Counts
from db.tables import audit, quarantine
from flows.cli.quarantine import app
from tasks.intake import intake
from tasks.intake.quarantine import (
    dismiss_group,
    dismiss_quarantine,
    export_quarantine,
    group_of,
    list_quarantine,
    show_quarantine,
)
from tasks.intake.quarantine_retry import retry_quarantine
from tasks.ml.reading import cleaning
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row


@pytest.fixture
def waiting(desk: Desk, hospital: Hospital, now: datetime) -> Desk:
    hospital.add(row("1", now, "--- 12 ---", resultado="M"), row("2", now, resultado="indet"), row("3", now))
    desk.ingest(now)
    return desk


def test_the_list_holds_no_content_and_one_row_shows_it(waiting: Desk) -> None:
    found = list_quarantine(waiting.settings, "his")
    listed = found.rows
    assert [(one.external_id, one.reason) for one in listed] == [("1", "no_letters"), ("2", "unknown_label")]
    assert "--- 12 ---" not in repr(listed)
    assert [(one.source, one.reason, one.rows) for one in found.groups] == [
        ("his", "no_letters", 1),
        ("his", "unknown_label", 1),
    ]
    told = show_quarantine(waiting.settings, listed[0].id)
    assert (told.content, told.text_characters) == (None, 10)
    assert "no letters" in told.meaning
    assert "at the source" in told.next
    shown = show_quarantine(waiting.settings, listed[0].id, text=True).content
    assert shown is not None
    assert shown["text"] == "--- 12 ---"


def test_a_list_is_bounded_and_says_how_many_there_are(waiting: Desk) -> None:
    first = list_quarantine(waiting.settings, limit=1)
    assert (first.waiting, len(first.rows), len(first.groups)) == (2, 1, 2)
    only = list_quarantine(waiting.settings, reason="unknown_label")
    assert (only.waiting, [one.external_id for one in only.rows]) == (1, ["2"])


def test_a_mistyped_source_or_reason_is_told(waiting: Desk, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'his'"):
        list_quarantine(waiting.settings, "hiss")
    for asked in (list_quarantine, retry_quarantine):
        with pytest.raises(ConfigurationError, match="did you mean 'no_letters'"):
            asked(waiting.settings, reason="no_leters")
    with pytest.raises(NothingToWorkOn, match="no file was written"):
        export_quarantine(waiting.settings, tmp_path / "ids.csv", reason="pdf")


def test_the_export_holds_ids_and_reasons_and_no_text(waiting: Desk, tmp_path: Path) -> None:
    written = export_quarantine(waiting.settings, tmp_path / "ids.csv")
    with written.file.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert written.rows == 2
    assert [(row["source"], row["external_id"], row["reason"]) for row in rows] == [
        ("his", "1", "no_letters"),
        ("his", "2", "unknown_label"),
    ]
    assert set(rows[0]) == {
        "row",
        "source",
        "external_id",
        "reason",
        "classifier",
        "times_read",
        "first_seen",
    }
    assert "--- 12 ---" not in written.file.read_text()


def test_a_retry_of_one_reason_leaves_the_others(
    waiting: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str
) -> None:
    wiser = {**PAAF, "label_values": {"indet": "benigno"}}
    settings = configure(
        database=database_url, sources={"his": columns(hospital.url)}, classifiers={"paaf": wiser}
    )
    done = retry_quarantine(settings, reason="no_letters")
    assert (done.rows, done.labels_taken, done.still_waiting) == (Counts(read=1, quarantined=1), 0, 1)
    assert waiting.labels() == {}
    done = retry_quarantine(settings, reason="unknown_label")
    assert (done.rows, done.labels_taken, done.still_waiting) == (Counts(), 1, 0)
    with pytest.raises(ConfigurationError, match="let the source hold one text"):
        retry_quarantine(settings, reason="conflicting_content")
    with pytest.raises(ConfigurationError, match="not_text cannot be tried again here: repair it at the s"):
        retry_quarantine(settings, reason="not_text")


def test_all_of_one_reason_are_dismissed_at_once_and_what_came_in_since_waits(
    waiting: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("4", now, "--- 13 ---"), row("5", now, "--- 14 ---"))
    waiting.ingest(now)
    group = group_of(waiting.settings, "his", "no_letters")
    assert group.rows == 3
    hospital.add(row("6", now, "--- 15 ---"))
    waiting.ingest(now)
    done = dismiss_group(waiting.settings, group, "test rows of the vendor")
    assert (done.rows, done.still_waiting) == (3, 2)
    assert waiting.quarantined() == [("2", "unknown_label"), ("6", "no_letters")]
    assert waiting.quarantined("dismissed") == [(one, "no_letters") for one in "145"]
    (recorded,) = waiting.rows(select(audit.c.subject, audit.c.detail))
    assert (recorded.subject, recorded.detail["rows"]) == ("quarantine of his", 3)
    with pytest.raises(NothingToWorkOn, match="nothing of 'his' waits because of pdf"):
        group_of(waiting.settings, "his", "pdf")


@pytest.fixture
def ask(waiting: Desk) -> Callable[..., Any]:
    """The command, typed with `said` at the keyboard."""
    runner = CliRunner()
    return lambda *words, said="": runner.invoke(app, list(words), input=said)


def test_dismissing_many_asks_first_and_says_how_many(waiting: Desk, ask: Callable[..., Any]) -> None:
    words = ("dismiss", "--source", "his", "--reason", "no_letters", "--because", "test")
    refused = ask(*words, said="n\n")
    assert (refused.exit_code, "Close 1 rows of his for good (no_letters)?" in refused.output) == (1, True)
    assert waiting.quarantined("dismissed") == []
    assert "1 rows were closed for good; 1 wait in quarantine." in ask(*words, said="y\n").output
    assert ask(*words, "--yes").exception is not None
    assert ask("dismiss", "--reason", "no_letters", "--because", "x").exit_code == 2
    assert ask("dismiss", "7", "--reason", "no_letters", "--because", "x").exit_code == 2


def test_text_is_shown_on_a_terminal_only_and_only_when_asked(
    waiting: Desk, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    number = str(list_quarantine(waiting.settings).rows[0].id)
    told = ask("show", number).output
    assert "no_letters" in told
    assert "--- 12 ---" not in told
    refused = ask("show", number, "--text")
    assert (refused.exit_code, "--- 12 ---" in refused.output) == (2, False)
    monkeypatch.setattr("flows.cli.quarantine.on_a_terminal", lambda: True)
    assert "--- 12 ---" in ask("show", number, "--text").output
    assert ask("show", number, "--text", "--json").exit_code == 2


def test_the_commands_say_how_many_and_what_next(ask: Callable[..., Any], tmp_path: Path) -> None:
    listed = ask("list", "--limit", "1").output
    for told in ("2 rows wait", "no_letters", "repair it at the source", "and 1 more: --limit", "export"):
        assert told in listed
    tried = ask("retry").output
    assert "1 rows were tried again: 0 were taken in" in tried
    assert "2 rows wait still" in tried
    assert "rows: 2" in ask("export", "--out", str(tmp_path / "ids.csv")).output


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


def test_a_retry_takes_in_nothing_that_is_no_text(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    kind, value = (
        ("JSONB", """'{"laudo": "maligno"}'""") if "postgresql" in database_url else ("INTEGER", "12")
    )
    hospital.add(row("1", now))
    with hospital.engine.begin() as c:
        c.exec_driver_sql(f"ALTER TABLE laudos ADD COLUMN outro {kind}")
        c.exec_driver_sql(f"UPDATE laudos SET outro = {value}")
    asked = {"his": columns(hospital.url, text="outro")}
    desk.settings = configure(database=database_url, sources=asked, classifiers={"paaf": PAAF})
    desk.ingest(now)
    assert desk.quarantined() == [("1", "not_text")]
    assert retry_quarantine(desk.settings).rows == Counts()
    assert desk.texts() == {}
    assert desk.quarantined() == [("1", "not_text")]


def test_a_retry_closes_no_row_that_it_did_not_read(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now - timedelta(hours=1), "Redação antiga"), row("1", now, "---"))
    desk.ingest(now)
    both = [("1", "conflicting_content"), ("1", "no_letters")]
    assert desk.quarantined() == both
    retry_quarantine(desk.settings)
    assert desk.quarantined() == both
    assert desk.quarantined("resolved") == []


def test_a_retry_takes_in_a_row_that_lost_its_date(
    desk: Desk, hospital: Hospital, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    hospital.change("1", texto="---", atualizado_em=None)
    desk.ingest(now, full=True)
    assert desk.quarantined() == [("1", "no_letters")]
    monkeypatch.setattr(intake, "clean", lambda raw: cleaning.Cleaned("doze"))
    assert retry_quarantine(desk.settings).rows == Counts(read=1, updated=1)


def test_a_retry_passes_over_labels_that_the_settings_no_longer_name(
    waiting: Desk,
    hospital: Hospital,
    configure: Callable[..., Settings],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unlabelled = {"his": columns(hospital.url, labels={})}
    settings = configure(database=database_url, sources=unlabelled, classifiers={"paaf": PAAF})
    monkeypatch.setattr(intake, "clean", lambda raw: cleaning.Cleaned("doze"))
    assert retry_quarantine(settings, reason="no_letters").rows == Counts(read=1, new=1)
    assert waiting.labels() == {}


@pytest.mark.parametrize("broken", [None, "9" * 600], ids=["no_id", "unfit_id"])
def test_a_row_that_has_its_id_by_now_waits_until_it_is_dismissed_as_its_advice_says(
    desk: Desk, hospital: Hospital, now: datetime, broken: str | None
) -> None:
    hospital.add({**row("x", now), "id": broken})
    desk.ingest(now)
    hospital.add(row("1", now))
    with hospital.engine.begin() as c:
        c.execute(hospital.table.delete().where(hospital.table.c.id.is_distinct_from("1")))
    desk.ingest(now, full=True)
    (entry,) = list_quarantine(desk.settings).rows
    assert (
        show_quarantine(desk.settings, entry.id).next
        == "give the row an id at the source, then dismiss it here"
    )
    dismiss_quarantine(desk.settings, entry.id, "it has one")
    assert desk.quarantined() == []


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
    number = list_quarantine(waiting.settings).rows[0].id
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


def test_a_number_that_no_row_can_bear_is_told(waiting: Desk, ask: Callable[..., Any]) -> None:
    for words in (("show",), ("dismiss", "--because", "x")):
        refused = ask(*words, str(2**63))
        assert (refused.exit_code, "there is no such number" in refused.output) == (2, True)


def test_nothing_is_dismissed_without_a_reason(waiting: Desk) -> None:
    number = list_quarantine(waiting.settings).rows[0].id
    with pytest.raises(ConfigurationError, match="say why"):
        dismiss_quarantine(waiting.settings, number, " ")
    with pytest.raises(ConfigurationError, match="say why"):
        dismiss_group(waiting.settings, group_of(waiting.settings, "his", "no_letters"), "")
    assert waiting.quarantined("dismissed") == []


def test_text_with_lone_surrogates_can_be_printed(waiting: Desk) -> None:
    with waiting.engine.begin() as c:
        c.execute(quarantine.update().values(payload=b'{"text": "a\\ud800"}'))
    number = list_quarantine(waiting.settings).rows[0].id
    assert show_quarantine(waiting.settings, number, text=True).content == {"text": "a\\ud800"}


def test_a_retry_waits_for_no_ingest(waiting: Desk) -> None:
    with lock.exclusive(waiting.engine, "ingest"), pytest.raises(Busy, match="ingest"):
        retry_quarantine(waiting.settings)
