"""What changed at the source arrives once, in pages, whatever the order and the hour it was committed in."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

from sqlalchemy import func, select

from db.ledger import Counts
from db.reports import Content
from db.source_reader import SourceRow
from db.tables import report, report_version, run, run_batch, source
from tasks.intake.rows import row_of
from tasks.settings.settings import Settings
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row

HOUR = timedelta(hours=1)


def test_new_reports_are_taken_in_and_known_the_next_time(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f"{n}", now - n * HOUR, f"Laudo {n}") for n in range(1, 11)))
    assert desk.ingest(now) == Counts(read=10, new=10)
    again = desk.ingest(now)
    assert (again.new, again.updated, again.unchanged) == (0, 0, again.read)
    assert desk.texts() == {f"{n}": [f"Laudo {n}"] for n in range(1, 11)}


def test_what_carries_a_report_on_its_way_shows_only_its_id(now: datetime) -> None:
    read = SourceRow("L7", "Laudo secreto", now, "Maria", None, {"paaf": "B"})
    taken = row_of("his", read)
    content = Content("L7", taken.patient_key, taken.raw_sha, "Laudo secreto", 1, {}, None, now)
    for one in (read, taken, content):
        assert "L7" in repr(one)
        assert not any(word in repr(one) for word in ("secreto", "Maria", taken.patient_key))


def test_the_next_ingest_reads_behind_the_watermark_only_as_far_as_the_overlap(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f"{n}", now - n * 48 * HOUR) for n in range(10)))
    desk.ingest(now)
    # text dates are compared by the day, so SQLite may look back one day more
    assert desk.ingest(now) == Counts(read=1, unchanged=1)


def test_an_amended_report_becomes_the_next_version(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now - HOUR, "Primeira redação"), row("2", now - HOUR, "Outro laudo"))
    desk.ingest(now)
    hospital.change("1", texto="Segunda redação", atualizado_em=now)
    assert desk.ingest(now).updated == 1
    assert desk.texts() == {"1": ["Primeira redação", "Segunda redação"], "2": ["Outro laudo"]}


def test_changed_is_decided_on_the_raw_text_not_on_the_cleaned_one(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now - HOUR, "Laudo\x02 com controle"))
    desk.ingest(now)
    hospital.change("1", texto="Laudo com controle", atualizado_em=now)
    assert desk.ingest(now).updated == 1
    assert desk.texts() == {"1": ["Laudo com controle"] * 2}


def test_equal_timestamps_over_many_pages_lose_nothing(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(*(row(f"{n:02}", now - HOUR) for n in range(20)))
    assert desk.ingest(now) == Counts(read=20, new=20)


def test_ledger_batches_and_watermark_are_written_with_each_page(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f"{n}", now - (8 - n) * HOUR) for n in range(7)))
    desk.ingest(now)
    batches = desk.rows(select(run_batch.c.seq, run_batch.c.read).order_by(run_batch.c.seq))
    assert [seq for seq, _ in batches] == list(range(1, len(batches) + 1))
    assert sum(read for _, read in batches) == desk.rows(select(run.c.read))[0].read == 7
    assert len(batches) > 1
    assert desk.watermark() == now - 2 * HOUR
    assert desk.rows(select(source.c.last_key))[0].last_key == "6"


def test_a_date_in_the_future_is_taken_in_but_never_moves_the_watermark(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now - HOUR), row("2", datetime(2999, 1, 1, tzinfo=UTC)))
    assert desk.ingest(now).new == 2
    assert desk.watermark() == now - HOUR
    hospital.add(row("3", now))
    assert desk.ingest(now + HOUR).new == 1


def test_a_late_commit_within_the_overlap_is_caught(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    hospital.add(row("2", now - 5 * HOUR))
    assert desk.ingest(now + HOUR).new == 1


def test_a_late_commit_beyond_the_overlap_is_caught_by_the_full_comparison(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    hospital.add(row("2", now - 90 * HOUR))
    hospital.change("1", texto="Laudo alterado sem mudar a data")
    assert desk.ingest(now + HOUR).new == 0  # the control: the watermark alone loses it
    assert desk.ingest(now + HOUR, full=True) == Counts(read=2, new=1, unchanged=1)
    assert sorted(desk.texts()) == ["1", "2"]


def test_a_clock_that_jumped_back_at_the_source_loses_nothing(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    hospital.change("1", texto="Emendado com o relógio atrasado", atualizado_em=now - 96 * HOUR)
    desk.ingest(now)
    assert desk.watermark() == now
    assert desk.ingest(now, full=True).updated == 1
    assert desk.watermark() == now


def test_our_own_clock_jumping_back_moves_nothing_backwards(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    hospital.add(row("2", now))
    assert desk.ingest(now - 48 * HOUR).new == 1
    assert desk.watermark() == now


def test_a_deleted_report_is_marked_and_revived_when_it_comes_back(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(*(row(f"{n}", now - 90 * HOUR) for n in range(5)))
    desk.ingest(now)
    hospital.remove("2", "4")
    desk.ingest(now)
    assert desk.gone() == []  # only a full comparison can tell
    desk.ingest(now, full=True)
    assert desk.gone() == ["2", "4"]
    hospital.add(row("2", now))
    assert desk.ingest(now + HOUR).updated == 0
    assert desk.gone() == ["4"]
    hospital.add(row("4", now, "Voltou com outro texto"))
    assert desk.ingest(now + HOUR).updated == 1
    assert desk.gone() == []


def test_a_report_that_became_unreadable_is_not_taken_for_deleted(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now), row("2", now))
    desk.ingest(now)
    hospital.change("1", texto="")
    assert desk.ingest(now, full=True) == Counts(read=2, unchanged=1, quarantined=1)
    assert desk.gone() == []


def test_rows_without_a_date_are_read_every_time(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now), {"id": "2", "texto": "Sem data", "paciente": "p"})
    assert desk.ingest(now).new == 2
    hospital.change("2", texto="Sem data, mas emendado")
    assert desk.ingest(now).updated == 1


def test_without_a_date_column_every_run_compares_everything(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    plain = columns(hospital.url)
    del plain["updated_at"]
    desk.settings = configure(database=database_url, sources={"his": plain}, classifiers={"paaf": PAAF})
    hospital.add(*(row(f"{n}", now) for n in range(7)))
    assert desk.ingest(now) == Counts(read=7, new=7)
    hospital.change("3", texto="Emendado")
    hospital.remove("5")
    assert desk.ingest(now) == Counts(read=6, updated=1, unchanged=5)
    assert desk.gone() == ["5"]


def test_an_older_state_of_a_report_is_no_news(desk: Desk, hospital: Hospital, now: datetime) -> None:
    """A history table shows every state of a report again, each time we look."""
    hospital.add(row("1", now - 2 * HOUR, "Primeira redação"))
    desk.ingest(now)
    hospital.add(*(row(f"x{n}", now - 2 * HOUR) for n in range(4)), row("1", now, "Segunda redação"))
    desk.ingest(now)
    for _ in range(2):
        assert desk.ingest(now).updated == 0
    assert desk.texts()["1"] == ["Primeira redação", "Segunda redação"]


def test_two_sources_with_the_same_ids_stay_apart_but_share_their_patients(
    desk: Desk, hospital: Hospital, configure: Callable[..., Settings], database_url: str, now: datetime
) -> None:
    two = {"his": columns(hospital.url), "clinica": columns(hospital.url)}
    desk.settings = configure(database=database_url, sources=two, classifiers={"paaf": PAAF})
    hospital.add(row("1", now), row("2", now))
    assert desk.ingest(now).new == 2
    assert desk.ingest(now, "clinica").new == 2
    keys = desk.rows(select(report.c.patient_key, func.count()).group_by(report.c.patient_key))
    assert [count for _, count in keys] == [2, 2]


def test_patients_are_kept_as_a_sha_and_regrouped_when_the_source_corrects_them(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(row("1", now, paciente="Maria 123"), row("2", now, paciente=None), row("3", now))
    desk.ingest(now)
    before = {r.external_id: r.patient_key for r in desk.rows(select(report))}
    assert len(set(before.values())) == 3
    assert all(len(key) == 64 for key in before.values())
    hospital.change("1", paciente="p3")
    assert desk.ingest(now).unchanged == 3
    after = {r.external_id: r.patient_key for r in desk.rows(select(report))}
    assert after["1"] == after["3"] == before["3"]


def test_the_date_a_report_bears_is_kept_in_whichever_form(
    desk: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.add(
        row("1", now, data_laudo="2026-02-28"),
        row("2", now, data_laudo="28/02/2026"),
        row("3", now, data_laudo="ontem"),
    )
    desk.ingest(now)
    dates = [r.report_date for r in desk.rows(select(report_version).order_by(report_version.c.id))]
    assert dates == [date(2026, 2, 28), date(2026, 2, 28), None]


def test_an_erased_report_stays_erased(desk: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("1", now))
    desk.ingest(now)
    with desk.engine.begin() as c:
        c.execute(report.update().values(erased_at=now))
        c.execute(report_version.update().values(text=None))
    hospital.change("1", texto="Emendado depois", atualizado_em=now + HOUR)
    assert desk.ingest(now + HOUR, full=True) == Counts(read=1, unchanged=1)
    assert desk.texts() == {"1": [None]}


def test_an_empty_source_is_no_error(desk: Desk, now: datetime) -> None:
    assert desk.ingest(now) == desk.ingest(now, full=True) == Counts()
