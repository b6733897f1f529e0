"""Whatever a source does to its rows, and its clock to their dates: nothing is missed, nothing invented."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, select

from db import backlog, offenders, snapshots
from db.engine import reading
from db.errors import LaudosError
from db.ledger import Counts
from db.tables import report, report_version
from tasks.intake import ingest
from tasks.intake.rows import patient_key
from tasks.ml.splits import split_of
from tasks.settings.settings import Settings
from tasks.training.training_set import freeze
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row

HOUR = timedelta(hours=1)
NEXT_YEAR = datetime(2027, 3, 2, tzinfo=UTC)


def waiting(desk: Desk) -> list[str]:
    """The backlog of a model that has answered nothing yet."""
    asked = backlog.waiting(0, None).subquery()
    named = select(report.c.external_id).join(report_version).join(asked, asked.c.id == report_version.c.id)
    return sorted(name for (name,) in desk.rows(named))


def taught(desk: Desk) -> dict[str, str]:
    """external id -> label of what a model would be taught now."""
    with reading(desk.engine) as c:
        found = snapshots.labelled(c, "paaf", ["source", "feedback"], None)
    return {one.external_id: one.label for one in found}


def test_a_text_that_changes_and_changes_back_is_three_versions(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    for hours, text in enumerate(("Primeira", "Segunda", "Primeira")):
        hospital.remove("1")
        hospital.add(row("1", now + hours * HOUR, text))
        desk.ingest(now + hours * HOUR)
    assert desk.texts() == {"1": ["Primeira", "Segunda", "Primeira"]}


def test_a_text_that_changes_and_changes_back_is_three_versions_without_a_date_too(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    plain = columns(hospital.url)
    del plain["updated_at"]
    desk.settings = configure(database=database_url, sources={"his": plain}, classifiers={"paaf": PAAF})
    hospital.add(row("1", now, "Primeira"))
    for text in ("Primeira", "Segunda", "Primeira"):
        hospital.change("1", texto=text)
        desk.ingest(now)
    assert desk.texts() == {"1": ["Primeira", "Segunda", "Primeira"]}


def test_a_source_that_went_back_in_time_is_followed_by_the_full_comparison(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    """Restored from its back-up, or changed back while its clock was slow: its one row is what counts."""
    hospital.add(row("1", now - 3 * HOUR, "Primeira"))
    desk.ingest(now)
    hospital.change("1", texto="Segunda", atualizado_em=now - HOUR)
    desk.ingest(now)
    hospital.change("1", texto="Primeira", atualizado_em=now - 2 * HOUR)
    assert desk.ingest(now).updated == 0  # page by page it cannot be told from a history
    assert desk.ingest(now, full=True).updated == 1
    assert desk.ingest(now, full=True).unchanged == 1
    assert desk.texts() == {"1": ["Primeira", "Segunda", "Primeira"]}


def test_clocks_that_ran_ahead_hide_nothing_once_they_are_right_again(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    """Both clocks stood a year ahead for one ingest: the watermark lies there, and never moves back."""
    hospital.add(row("1", NEXT_YEAR))
    desk.ingest(NEXT_YEAR + HOUR)
    assert desk.watermark() == NEXT_YEAR
    hospital.add(row("2", now))
    assert desk.ingest(now).new == 1
    assert desk.ingest(NEXT_YEAR + 2 * HOUR) == Counts(read=1, unchanged=1)  # time has caught up


def test_an_id_used_again_for_another_patient_takes_nothing_of_the_old_report_along(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, "Laudo de Maria", paciente="maria", resultado="M"))
    hospital.add(row("2", now, "Outro laudo de Ana", paciente="ana", resultado="B"))
    desk.ingest(now)
    hospital.change("1", texto="Laudo de Ana", paciente="ana", resultado=None, atualizado_em=now + HOUR)
    assert desk.ingest(now + HOUR).updated == 1
    assert desk.texts()["1"] == ["Laudo de Maria", "Laudo de Ana"]
    keys = dict(desk.rows(select(report.c.external_id, report.c.patient_key)))
    assert keys["1"] == keys["2"]
    assert desk.labels() == {"1/1": "maligno", "2/1": "benigno"}
    assert taught(desk) == {"2": "benigno"}  # what was said of Maria teaches nothing about Ana


def test_an_unknown_label_of_an_id_used_again_is_not_given_to_the_new_report(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="talvez"))
    desk.ingest(now)
    assert desk.quarantined() == [("1", "unknown_label")]
    hospital.change("1", texto="De outra paciente", resultado=None, atualizado_em=now + HOUR)
    desk.ingest(now + HOUR)
    assert desk.quarantined() == []  # a retry, once "talvez" is known, finds nothing to give


def test_a_patient_corrected_at_the_source_stands_in_one_split_of_the_next_training_set(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    names = [f"p{n}" for n in range(40)]
    by_split = {split_of(patient_key("his", None, name)): name for name in names}
    hospital.add(
        *(row(f"{n}", now, f"Laudo {n}", paciente=f"p{n}", resultado="BM"[n % 2]) for n in range(40))
    )
    desk.ingest(now)
    asked = desk.settings.classifier("paaf").model_copy(update={"training_labels": ["source"]})
    before = freeze(desk.engine, 1, "paaf", asked, now)
    hospital.change(by_split["train"][1:], paciente=by_split["holdout"])
    assert desk.ingest(now + HOUR).unchanged == 40
    (torn,) = (told for (told,) in desk.rows(offenders.patients_in_two_splits()))
    assert torn.startswith(f"{before}/")
    after = freeze(desk.engine, 1, "paaf", asked, now + HOUR)
    assert after != before
    # the old one stays as it was trained on; no model of it answers, so the doctor has nothing to say
    assert desk.rows(offenders.patients_in_two_splits()) == []


def test_a_report_gone_at_the_source_leaves_backlog_and_training_set_and_comes_back_to_both(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="M"), row("2", now, "Outro", resultado="B"))
    desk.ingest(now)
    hospital.remove("1")
    desk.ingest(now, full=True)
    assert desk.gone() == waiting_not(desk) == ["1"]
    assert taught(desk) == {"2": "benigno"}
    assert desk.labels() == {"1/1": "maligno", "2/1": "benigno"}  # a tombstone: nothing is thrown away
    hospital.add(row("1", now, resultado="M"))
    assert desk.ingest(now, full=True) == Counts(read=2, unchanged=2)
    assert waiting(desk) == ["1", "2"]
    assert taught(desk) == {"1": "maligno", "2": "benigno"}


def waiting_not(desk: Desk) -> list[str]:
    every = {name for (name,) in desk.rows(select(report.c.external_id))}
    return sorted(every - set(waiting(desk)))


def test_many_reports_gone_at_once_are_marked_a_part_at_a_time(
    desk: Desk, hospital: Hospital, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "GONE_A_TRANSACTION", 3)
    hospital.add(*(row(f"{n:02}", now) for n in range(30)))
    desk.ingest(now)
    gone = [f"{n:02}" for n in range(30) if n % 3]
    hospital.remove(*gone)
    desk.ingest(now, full=True)
    assert desk.gone() == gone


def sorts(c: Connection, statement: str, values: Any = ()) -> bool:
    """Whether SQLite would hold all that the statement finds in memory, to sort it."""
    plan = c.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    return any("TEMP B-TREE" in line[3] for line in plan)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_full_comparison_sorts_nothing_in_memory(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(*(row(f"{n}", now) for n in range(5)))
    desk.ingest(now)
    asked: list[tuple[str, Any]] = []
    event.listen(desk.engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    desk.ingest(now, full=True)
    found = [(sql, values) for sql, values in asked if sql.startswith("SELECT")]
    with reading(desk.engine) as c:
        assert [sql for sql, values in found if sorts(c, sql, values)] == []
        assert sorts(c, "SELECT id FROM report WHERE source_id = 1 ORDER BY id")  # it would be noticed
    assert any("deleted_at IS NULL" in sql for sql, _ in found)


def test_two_sources_know_nothing_of_what_the_other_lost_or_changed(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    other = Hospital(hospital.url, "clinica")
    two = {"his": columns(hospital.url), "clinica": columns(other.url, table="clinica")}
    desk.settings = configure(database=database_url, sources=two, classifiers={"paaf": PAAF})
    for one, name in ((hospital, "his"), (other, "clinica")):
        one.add(row("1", now, f"Um de {name}", resultado="M"), row("2", now, f"Dois de {name}"))
        assert desk.ingest(now, name).new == 2
    hospital.remove("1")
    hospital.change("2", texto="Emendado", resultado="B")
    assert desk.ingest(now, full=True) == Counts(read=1, updated=1)
    assert desk.ingest(now, "clinica", full=True) == Counts(read=2, unchanged=2)
    assert desk.gone() == ["1"]
    assert sorted(desk.labels()) == ["1/1", "2/2"]
    assert sorted(text for found in desk.texts().values() for text in found) == [
        "Dois de clinica", "Dois de his", "Emendado", "Um de clinica", "Um de his",
    ]  # fmt: skip
    other.engine.dispose()


def test_an_id_written_with_and_without_a_blank_on_two_pages_ends_no_comparison(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    asked = columns(hospital.url) | {"page_rows": 4}
    desk.settings = configure(database=database_url, sources={"his": asked}, classifiers={"paaf": PAAF})
    hospital.add(*(row(f" {number}", now) for number in range(10, 30)), row("20", now))
    assert desk.ingest(now, full=True).new == 20
    assert desk.gone() == []


def test_an_id_written_in_two_ways_is_a_conflict_and_grows_no_versions(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f" {n}", now, "Redação") for n in range(12, 17)), row("12", now, "Outra redação"))
    conflicts_alone(desk, now)


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_id_kept_as_a_number_and_as_text_is_a_conflict_and_grows_no_versions(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    with hospital.engine.begin() as c:
        c.exec_driver_sql("DROP TABLE laudos")
        c.exec_driver_sql("CREATE TABLE laudos (id, texto, atualizado_em, paciente, data_laudo, resultado)")
        for key in (12, 13, 14, 15, "10", "12"):
            values = (key, "Outra redação" if key == "12" else "Redação", str(now))
            c.exec_driver_sql("INSERT INTO laudos (id, texto, atualizado_em) VALUES (?, ?, ?)", values)
    conflicts_alone(desk, now)


def conflicts_alone(desk: Desk, now: datetime) -> None:
    """Every comparison of everything keeps the text that it met first, and the other waits."""
    for _ in range(3):
        desk.ingest(now, full=True)
        assert desk.texts()["12"] == ["Redação"]
        assert desk.quarantined() == [("12", "conflicting_content")]
        assert desk.gone() == []


def test_a_row_without_a_date_replaces_no_dated_text(desk: Desk, hospital: Hospital, now: datetime) -> None:
    """A history whose first state bears no date: it is read every hour, with the newer one or without."""
    hospital.add(row("1", None, "Redação antiga"), row("1", now, "Redação nova"))  # type: ignore[arg-type]
    hospital.add(row("2", now + 20 * HOUR))
    desk.ingest(now + 20 * HOUR, full=True)
    for hours in (21, 22):
        desk.ingest(now + hours * HOUR)
        assert desk.texts()["1"] == ["Redação nova"]
    hospital.remove("1")
    hospital.add(row("1", None, "Redação antiga"))  # type: ignore[arg-type]
    assert desk.ingest(now + 23 * HOUR).updated == 0
    # it stands alone now: that is what the source says
    assert desk.ingest(now + 24 * HOUR, full=True).updated == 1


@pytest.mark.parametrize("kind", ["TIMESTAMP", "TEXT"])
def test_a_watermark_in_year_1_stops_no_ingest(
    desk: Desk,
    hospital: Hospital,
    configure: Callable[..., Settings],
    database_url: str,
    now: datetime,
    kind: str,
) -> None:
    asked = columns(hospital.url, timezone="America/Sao_Paulo", updated_at="quando")
    desk.settings = configure(database=database_url, sources={"his": asked}, classifiers={"paaf": PAAF})
    hospital.add(row("1", now))
    with hospital.engine.begin() as c:
        c.exec_driver_sql(f"ALTER TABLE laudos ADD COLUMN quando {kind}")
        c.exec_driver_sql("UPDATE laudos SET quando = '0001-01-01 00:00:00'")
    desk.ingest(now)
    assert desk.watermark() is not None
    for full in (False, True):
        assert desk.ingest(now + HOUR, full=full) == Counts(read=1, unchanged=1)


def test_what_the_message_about_an_empty_source_advises_is_true(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    hospital.add(row("1", now, resultado="M"))
    desk.ingest(now)
    hospital.remove("1")
    with pytest.raises(
        LaudosError, match=r"take it out of laudos\.toml and let classifiers\.X\.sources name"
    ):
        desk.ingest(now, full=True)
    others = {"clinica": columns(hospital.url)}
    left: dict[bool, int] = {}
    for named in (False, True):
        paaf = {**PAAF, "sources": ["clinica"]} if named else PAAF
        asked = configure(database=database_url, sources=others, classifiers={"paaf": paaf}).classifier(
            "paaf"
        )
        with reading(desk.engine) as c:
            left[named] = backlog.count(c, 1, asked.sources)
            left[named] += len(snapshots.labelled(c, "paaf", ["source"], asked.sources))
    assert left == {False: 2, True: 0}
