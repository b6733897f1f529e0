"""What is erased on request is gone from rows, free pages and files, and no ingest brings it back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, select, update

from db import doctor, lock
from db.engine import reading, writing
from db.errors import Busy, ConfigurationError
from db.ledger import Counts
from db.tables import (
    audit,
    feature,
    patient_group,
    quarantine,
    report,
    report_version,
    run,
)
from tasks import erase as steps
from tasks.doctor import doctor as examine
from tasks.erase import Erasure, Request, erase, lift, look
from tasks.repair import repair
from tests.ingest.conftest import Desk, Hospital, row

HOUR = timedelta(hours=1)
CANARY = "Xilofonista zarolho"
OLDER = "Oboísta estrábico"
WHY = "request 17/2026"


def silent(_line: str) -> None:
    pass


def go(desk: Desk, *reports: str, patients: tuple[str, ...] = ()) -> Erasure:
    return erase(desk.settings, Request("his" if reports else None, reports, patients), "dpo", WHY, silent)


def sound(desk: Desk) -> None:
    with reading(desk.engine) as c:
        assert [one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())] == []
        assert doctor.broken_audit(c) is None


@pytest.fixture
def full(desk: Desk, hospital: Hospital, now: datetime) -> Desk:
    """Three reports, one of them amended and with a label that is none; a fourth lies in quarantine alone."""
    hospital.add(
        row("1", now, f"{CANARY} um", resultado="M"),
        row("2", now, "Outro laudo", resultado="B"),
        row("3", now, f"{CANARY} três", paciente="p1"),
        row("4", now, "--- 12 ---", paciente="p1"),
    )
    desk.ingest(now)
    hospital.change("1", texto=f"{CANARY} dois", resultado="indet", atualizado_em=now + HOUR)
    desk.ingest(now + HOUR)
    assert desk.quarantined() == [("1", "unknown_label"), ("4", "no_letters")]
    with writing(desk.engine) as c:
        for version in c.scalars(select(report_version.c.id)).all():
            c.execute(
                insert(feature).values(
                    encoder_sha="e" * 64, report_version_id=version, vector=b"1234", sketch=b"12",
                    tokens_seen=1, tokens_total=1, created_at=now,
                )
            )  # fmt: skip
            c.execute(insert(patient_group).values(report_version_id=version, sex="female"))
    return desk


def test_of_an_erased_report_a_tombstone_stays_and_no_other_report_is_touched(full: Desk) -> None:
    done = go(full, "1")
    assert (done.held.reports, done.held.versions, done.held.vectors, done.held.labels) == (1, 2, 2, 1)
    assert (done.held.quarantined, done.finished, done.left) == (1, True, [])
    assert full.texts() == {"1": [None, None], "2": ["Outro laudo"], "3": [f"{CANARY} três"]}
    assert full.labels() == {"2/1": "benigno"}
    assert full.quarantined() == [("4", "no_letters")]
    versions = full.rows(select(report_version).order_by(report_version.c.id))
    (gone,) = full.rows(select(report).where(report.c.external_id == "1"))
    assert gone.erased_at is not None
    assert gone.patient_key == f"erased {gone.id}"
    emptied = [one for one in versions if one.report_id == gone.id]
    assert {(one.raw_sha, one.source_updated_at) for one in emptied} == {("0" * 64, None)}
    for table in (feature, patient_group):
        assert len(full.rows(select(table))) == 2
    sound(full)


def test_a_patients_reports_go_wherever_they_are_by_the_hospitals_own_id(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    done = go(full, patients=("p1", "p999"))
    assert (done.held.reports, done.held.quarantined, done.barred) == (2, 2, 1)
    assert (done.unknown_reports, done.unknown_patients) == ([], [2])
    assert full.texts() == {"1": [None, None], "2": ["Outro laudo"], "3": [None]}
    keys = full.rows(select(report.c.patient_key).where(report.c.current_version > 0).distinct())
    assert len(keys) == 2, "reports of one patient still share a key"
    assert full.quarantined() == []
    sound(full)
    # what lay in quarantine alone was never taken in: it stays out, too
    assert full.ingest(now + 2 * HOUR, full=True) == Counts(read=4, unchanged=4)
    assert full.quarantined() == []
    sound(full)


def test_a_full_comparison_finds_an_erased_report_neither_changed_nor_lost_night_after_night(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    go(full, "1", "4")
    for night in (1, 2):
        later = now + timedelta(days=night)
        assert full.ingest(later, full=True) == Counts(read=4, unchanged=4)
        assert full.gone() == []
        sound(full)
    hospital.remove("1")
    assert full.ingest(now + timedelta(days=3), full=True) == Counts(read=3, unchanged=3)
    assert full.gone() == ["1"]
    sound(full)


def test_new_text_two_texts_and_an_unreadable_text_of_an_erased_report_all_stay_outside(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    go(full, "1")
    for texts in ((f"{CANARY} emendado",), (f"{CANARY} um", f"{CANARY} outro"), ("--- 12 ---",)):
        hospital.remove("1")
        hospital.add(*(row("1", now + 2 * HOUR, text, resultado="M") for text in texts))
        hospital.remove("4")
        assert full.ingest(now + 2 * HOUR, full=True).new == 0
        assert full.texts()["1"] == [None, None]
        assert full.labels() == {"2/1": "benigno"}
        assert full.rows(select(quarantine).where(quarantine.c.external_id == "1")) == []
        sound(full)


def test_without_the_erasure_the_same_rows_would_come_in(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    hospital.remove("1")
    hospital.add(*(row("1", now + 2 * HOUR, text) for text in (f"{CANARY} um", f"{CANARY} outro")))
    full.ingest(now + 2 * HOUR, full=True)
    assert ("1", "conflicting_content") in full.quarantined()


def test_a_lifted_report_comes_in_again_as_a_new_version(
    full: Desk, hospital: Hospital, now: datetime
) -> None:
    go(full, "1", "4")
    hospital.change("4", texto="Agora legível", atualizado_em=now + 2 * HOUR)
    assert lift(full.settings, Request("his", ("1", "2", "4")), "dpo", WHY) == 2
    assert full.ingest(now + 2 * HOUR, full=True) == Counts(read=4, new=1, updated=1, unchanged=2)
    assert full.texts()["1"] == [None, None, f"{CANARY} dois"]
    assert full.texts()["4"] == ["Agora legível"]
    keys = dict(full.rows(select(report.c.external_id, report.c.patient_key)))
    assert keys["1"] == keys["3"] == keys["4"], "they are the patient's again"
    sound(full)


def test_a_look_changes_nothing_and_tells_what_would_go(full: Desk) -> None:
    before = full.rows(select(report_version.c.text))
    found = look(full.settings, Request("his", ("1", "77"), ("p1",)))
    assert (found.run_id, found.held.reports, found.held.versions, found.barred) == (None, 2, 3, 1)
    assert found.unknown_reports == [2]
    assert full.rows(select(report_version.c.text)) == before
    assert full.rows(select(run).where(run.c.kind == "erase")) == []


def test_the_audit_holds_counts_and_the_reason_and_nobody_is_named(full: Desk) -> None:
    go(full, "1", patients=("p1",))
    begun, ended = full.rows(select(audit).order_by(audit.c.id))
    assert (begun.actor, begun.action, begun.detail["because"]) == ("dpo", "erased", WHY)
    assert (ended.action, ended.subject) == ("erasure_finished", begun.subject)
    counts = {name: value for name, value in begun.detail.items() if name != "because"}
    assert all(isinstance(value, int) for value in counts.values())
    assert "p1" not in json.dumps(counts)
    assert "p1" not in repr(Request("his", (), ("p1",)))


def test_nobody_is_erased_while_an_ingest_is_under_way_or_from_a_source_nobody_knows(full: Desk) -> None:
    with lock.exclusive(full.engine, "ingest"), pytest.raises(Busy, match="ingest"):
        go(full, "1")
    with pytest.raises(ConfigurationError, match="'hiss'"):
        erase(full.settings, Request("hiss", ("1",)), "dpo", WHY, silent)
    with pytest.raises(ConfigurationError, match="say why"):
        erase(full.settings, Request("his", ("1",)), "dpo", " ", silent)
    assert full.texts()["1"] == [f"{CANARY} um", f"{CANARY} dois"]


def test_what_comes_back_by_another_way_is_found_by_the_doctor(full: Desk) -> None:
    go(full, "1")
    with writing(full.engine) as c:
        c.execute(update(report_version).where(report_version.c.id == 1).values(text="de um back-up"))
        broken = [one.name for one in doctor.INVARIANTS if doctor.violations(c, one.query())]
    assert broken == ["erased_leave_nothing"]
    assert go(full, "1").held.erased_before == 1
    sound(full)


# ------------------------------------------------------------------ bytes


def bytes_of(desk: Desk) -> bytes:
    path = Path(str(desk.engine.url.database))
    return b"".join(one.read_bytes() for one in sorted(path.parent.glob(f"{path.name}*")) if one.is_file())


def leave_in_free_space(desk: Desk) -> None:
    """A copy of a text as SQLite leaves it where a page was split or a row moved."""
    with closing(sqlite3.connect(str(desk.engine.url.database))) as c:
        c.execute("PRAGMA secure_delete = OFF")
        c.execute("CREATE TABLE moved AS SELECT ?", [OLDER * 1000])
        c.execute("DROP TABLE moved")
        c.commit()
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert OLDER.encode() in bytes_of(desk)


@pytest.fixture
def on_sqlite(full: Desk) -> Desk:
    if full.engine.dialect.name != "sqlite":
        pytest.skip("its files are the server's")
    return full


def test_no_byte_of_an_erased_text_stays_in_the_file_or_beside_it(on_sqlite: Desk) -> None:
    path = Path(str(on_sqlite.engine.url.database))
    copied = path.with_name(f"{path.name}.0009-20260101T000000.000000Z.backup")
    copied.write_bytes(bytes_of(on_sqlite))
    leave_in_free_space(on_sqlite)
    go(on_sqlite, "1", "3")
    assert OLDER.encode() not in bytes_of(on_sqlite), "what pages that were freed long ago still held"
    assert not copied.exists(), "what an upgrade left beside it holds it, too"
    assert CANARY.encode() not in bytes_of(on_sqlite)
    assert b"Outro laudo" in bytes_of(on_sqlite), "the search is blind"


def test_a_plain_update_would_leave_the_bytes(on_sqlite: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("9", now + 2 * HOUR, f"{CANARY} " * 60))
    on_sqlite.ingest(now + 2 * HOUR)
    with writing(on_sqlite.engine) as c:
        c.exec_driver_sql("PRAGMA secure_delete = OFF")  # as most builds of SQLite have it
        c.execute(update(report_version).values(text=None))
    assert on_sqlite.texts()["1"] == [None, None]
    assert CANARY.encode() in bytes_of(on_sqlite)
    with closing(sqlite3.connect(str(on_sqlite.engine.url.database))) as c:
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert CANARY.encode() in bytes_of(on_sqlite), "nor is it the -wal alone"


def test_a_reader_that_keeps_old_pages_is_told_and_the_rest_is_done_by_a_repair(
    on_sqlite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.wiping.SQLITE_BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(str(on_sqlite.engine.url.database), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM report_version").fetchone()
        with pytest.raises(Busy, match="their bytes are not"):
            go(on_sqlite, "1", "3")
    assert on_sqlite.texts()["1"] == [None, None]
    assert "erasures_finished" in {one.name for one in examine(on_sqlite.settings)}
    assert repair(on_sqlite.engine, on_sqlite.settings, "dpo", silent) == 1
    assert CANARY.encode() not in bytes_of(on_sqlite)
    assert "erasures_finished" not in {one.name for one in examine(on_sqlite.settings)}


@pytest.mark.parametrize("again", ["the command", "a repair"])
def test_a_kill_between_rows_and_files_is_made_good_by_either(
    full: Desk, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    folder = full.settings.folder / "pretraining" / "paaf" / "0123"
    (folder / "tokens").mkdir(parents=True)
    with monkeypatch.context() as patched:
        patched.setattr(steps, "finish", kill)
        with pytest.raises(Killed):
            go(full, "1")
    assert folder.exists()
    assert {one.name for one in examine(full.settings)} >= {"erasures_finished"}
    if again == "a repair":
        repair(full.engine, full.settings, "dpo", silent)
    else:
        assert go(full, "1").finished
    assert not folder.exists()
    assert "erasures_finished" not in {one.name for one in examine(full.settings)}


def test_files_of_a_training_under_way_are_left_and_the_erasure_says_so(full: Desk) -> None:
    folder = full.settings.folder / "pretraining" / "paaf" / "0123"
    folder.mkdir(parents=True)
    with lock.exclusive(full.engine, "model"):
        done = go(full, "1")
    assert (done.finished, folder.exists()) == (False, True)
    assert "doctor --repair" in done.left[0]
    assert repair(full.engine, full.settings, "dpo", silent) == 1
    assert not folder.exists()


def test_a_pre_training_that_never_read_it_is_left_alone(full: Desk) -> None:
    folder = full.settings.folder / "pretraining" / "paaf"
    versions = dict(
        full.rows(select(report.c.external_id, report_version.c.id).join_from(report, report_version))
    )
    for name in ("2", "3"):
        (folder / name).mkdir(parents=True)
        (folder / name / "corpus.json").write_text(json.dumps({"taught": [versions[name]], "exam": []}))
    go(full, "3")
    assert sorted(one.name for one in folder.iterdir()) == ["2"]
