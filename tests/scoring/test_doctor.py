"""Doctor says nothing of a sound database, and names whatever promise is broken: each is broken once here."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from db import audit, backlog
from db.engine import open_engine, writing
from db.errors import DatabaseFailure
from db.tables import audit as audit_table
from db.tables import (
    champion,
    feature,
    model,
    prediction,
    promotion,
    report,
    report_version,
    run,
    run_batch,
    score_chunk,
    score_job,
    snapshot,
    snapshot_item,
    source,
)
from tasks.database import open_database
from tasks.ml.network.artifact import MANIFEST
from tasks.scoring.classify import cut_backlog, score
from tasks.upkeep.doctor import checkup, doctor, examine
from tests.scoring.hospital import CLASSIFIER, Hospital


@pytest.fixture
def sound(both: Hospital) -> Hospital:
    """Twelve scored reports in three chunks, an audit of three rows, a training set of two items."""
    both.receive(12)
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    score.fn(job_id)
    with writing(both.engine) as c:
        for number in range(3):
            audit.record(
                c, actor="test", action="looked", subject=f"row {number}", detail={"n": number}, now=both.now
            )
        snapshot_id = c.scalar(select(snapshot.c.id))
        c.execute(update(snapshot).values(reports=2))
        for version, split in ((1, "train"), (2, "holdout")):
            item = {"snapshot_id": snapshot_id, "report_version_id": version, "label": "maligno"}
            c.execute(insert(snapshot_item).values(**item, origin="source", split=split))
    return both


@pytest.fixture
def unchecked(both: Hospital) -> Iterator[Any]:
    """A connection on which the database's own checks are off: the damage they would have prevented."""
    with writing(both.engine) as c:
        if c.dialect.name == "sqlite":
            c.execute(text("PRAGMA ignore_check_constraints = ON"))
        else:
            for table in (run, run_batch):
                c.execute(text(f"ALTER TABLE {table.name} DROP CONSTRAINT ck_{table.name}_balances"))
        yield c


def broken(hospital: Hospital) -> set[str]:
    return {finding.name.split(" ")[0] for finding in doctor(hospital.settings)}


def test_a_sound_database_has_every_promise_kept(sound: Hospital) -> None:
    findings = examine(sound.engine, sound.settings)
    assert len(findings) >= 16
    assert all(finding.ok for finding in findings), [finding for finding in findings if not finding.ok]


Break = Callable[[Any, Hospital], Any]


def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def _two_splits(c: Any, _: Hospital) -> None:
    key = select(report.c.patient_key).where(report.c.id == 1).scalar_subquery()
    c.execute(update(report).where(report.c.id == 2).values(patient_key=key))


def _second_open_job(c: Any, hospital: Hospital) -> None:
    for _ in range(2):
        job = {"classifier": CLASSIFIER, "model_id": 1, "reports": 1, "run_id": 1, "created_at": hospital.now}
        job_id = c.execute(insert(score_job).values(job).returning(score_job.c.id)).scalar_one()
        ends = {"first_version_id": 99, "last_version_id": 99, "reports": 1}
        c.execute(insert(score_chunk).values(job_id=job_id, seq=1, **ends))


def _expired(c: Any, hospital: Hospital) -> None:
    long_ago = hospital.now - timedelta(days=9)
    c.execute(update(score_job).values(state="open"))
    c.execute(delete(prediction).where(prediction.c.chunk_seq == 1))
    leased = {"state": "leased", "leased_until": long_ago, "leased_by": "gone:1", "written": None}
    c.execute(update(score_chunk).where(score_chunk.c.seq == 1).values(leased))


def _lost(c: Any, _: Hospital) -> None:
    c.execute(delete(prediction).where(prediction.c.report_version_id == 4))
    c.execute(update(score_chunk).where(score_chunk.c.first_version_id == 1).values(written=3))


def _unpromoted(c: Any, _: Hospital) -> None:
    c.execute(delete(promotion))


def _another_encoder(c: Any, when: datetime) -> None:
    row = {"encoder_sha": "f" * 64, "report_version_id": 1, "vector": b"1234", "created_at": when}
    c.execute(insert(feature).values(**row, tokens_seen=1, tokens_total=1))


BREAKS: dict[str, tuple[str, Break]] = {
    "a run's counts": ("batches_add_up", lambda c, _: c.execute(update(run_batch).values(read=13, new=13))),
    "a version taken out": (
        "versions_without_gaps current_version_is_last versions_in_the_ledger",
        lambda c, _: c.execute(update(report_version).where(report_version.c.id == 12).values(version=2)),
    ),
    "a current version that is not there": (
        "current_version_is_last",
        lambda c, _: c.execute(update(report).where(report.c.id == 3).values(current_version=2)),
    ),
    "a stale lease's prediction": (
        "predictions_under_their_lease",
        lambda c, _: c.execute(update(prediction).where(prediction.c.report_version_id == 4).values(fence=0)),
    ),
    "a prediction that was deleted": (
        "chunks_wrote_what_they_say",
        lambda c, _: c.execute(delete(prediction).where(prediction.c.report_version_id == 4)),
    ),
    "a report that a job went over and lost": ("done_jobs_left_nothing", _lost),
    "a job ended before its chunks": (
        "jobs_end_with_their_chunks predictions_under_their_lease",
        lambda c, _: c.execute(update(score_chunk).where(score_chunk.c.seq == 2).values(state="open")),
    ),
    "a job left open": (
        "jobs_end_with_their_chunks",
        lambda c, _: c.execute(update(score_job).values(state="open")),
    ),
    "two chunks over one report": (
        "chunks_do_not_overlap",
        lambda c, _: c.execute(update(score_chunk).where(score_chunk.c.seq == 3).values(first_version_id=8)),
    ),
    "two jobs at once": ("one_open_job", _second_open_job),
    "a worker that died": ("no_expired_leases", _expired),
    "a champion set by hand": (
        "champion_is_last_promotion pointer_names_champion",
        lambda c, _: c.execute(update(champion).values(epoch=2)),
    ),
    "a champion nobody promoted": ("champion_is_last_promotion", _unpromoted),
    "a champion taken away": ("champion_is_last_promotion", lambda c, _: c.execute(delete(champion))),
    "a patient in two splits": ("patients_in_one_split", _two_splits),
    "a training set that lost a report": (
        "training_sets_whole",
        lambda c, _: c.execute(delete(snapshot_item).where(snapshot_item.c.report_version_id == 2)),
    ),
    "a vector cut short": (
        "vectors_fit_their_encoder",
        lambda c, _: c.execute(
            update(feature).where(feature.c.report_version_id == 3).values(vector=b"1234")
        ),
    ),
    "vectors of nobody's encoder": ("vectors_have_a_model", lambda c, h: _another_encoder(c, h.now)),
    "a champion marked as altered": (
        "champions_may_answer",
        lambda c, _: c.execute(update(model).values(state="tainted")),
    ),
    "a run whose process is gone": (
        "running_runs_live",
        lambda c, _: c.execute(update(run).where(run.c.id == 1).values(state="running", ended_at=None)),
    ),
    "a run from the future": (
        "nothing_from_the_future",
        lambda c, _: c.execute(update(run).where(run.c.id == 1).values(ended_at=tomorrow())),
    ),
    "a prediction from the future": (
        "nothing_from_the_future",
        lambda c, _: c.execute(
            update(prediction).where(prediction.c.report_version_id == 1).values(at=tomorrow())
        ),
    ),
    "an altered audit row": (
        "audit_chain",
        lambda c, _: c.execute(update(audit_table).where(audit_table.c.id == 2).values(actor="nobody")),
    ),
    "an audit row taken out": (
        "audit_chain",
        lambda c, _: c.execute(delete(audit_table).where(audit_table.c.id == 2)),
    ),
}


def test_doctor_tells_whatever_is_broken(sound: Hospital) -> None:
    """Each promise is broken in a transaction of its own, which is taken back."""
    for damage, (expected, break_it) in BREAKS.items():
        with sound.engine.connect() as c, c.begin() as undone:
            break_it(c, sound)
            found = [one for one in checkup(c, sound.settings) if not one.ok]
            undone.rollback()
        assert {one.name.split(" ")[0] for one in found} == set(expected.split()), damage
        assert all(one.advice for one in found), damage
    assert broken(sound) == set()


def test_doctor_tells_of_a_ledger_that_does_not_balance(sound: Hospital, unchecked: Any) -> None:
    unchecked.execute(update(run).where(run.c.id == 1).values(new=11))
    unchecked.execute(update(run_batch).values(new=11))
    unchecked.commit()
    # a check that is gone or does not hold is itself found
    assert broken(sound) == {
        "ledger_balances",
        "batch_ledger_balances",
        "versions_in_the_ledger",
        "database_undamaged",
    }


def test_doctor_tells_of_an_altered_champion_and_of_the_others_whose_manifest_is_not_theirs(
    sound: Hospital,
) -> None:
    second, third = sound.crown(head=1), sound.crown(head=2)
    assert broken(sound) == set()
    (sound.folder_of(third) / "config.json").write_text("{}")
    (sound.folder_of(second) / MANIFEST).write_text("{}")
    shutil.rmtree(sound.folder_of(1))
    findings = {finding.name.split(" ")[0]: finding for finding in doctor(sound.settings)}
    assert set(findings) == {"champion_as_published", "models_as_published"}
    assert "config.json was altered" in findings["champion_as_published"].found
    assert "laudos models rollback" in findings["champion_as_published"].advice
    assert f"model {second} (the manifest in" in findings["models_as_published"].found
    assert "1 (" in findings["models_as_published"].found
    assert {finding.kind for finding in findings.values()} == {"invariant"}


def test_what_was_not_in_the_backlog_when_a_job_was_cut_is_the_next_jobs(both: Hospital) -> None:
    """A report that is back at its source, and one that a retry let out of the quarantine."""
    both.receive(8)
    both.crown()
    both.change("L2", deleted_at=both.now)
    with writing(both.engine) as c:
        backlog.give_up(c, CLASSIFIER, [5], 1, both.now)
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    assert score.fn(job_id).written == 6
    both.change("L2", deleted_at=None)
    with writing(both.engine) as c:
        assert backlog.try_again(c, c.scalar(select(source.c.id)), datetime.now(UTC)) == 1
        waiting = backlog.waiting(1, None).with_only_columns(report_version.c.id)
        assert sorted(c.scalars(waiting)) == [3, 5]
    assert doctor(both.settings) == []


def test_dangling_references_are_found_by_the_database_itself(sound: Hospital) -> None:
    if sound.engine.dialect.name == "sqlite":
        with sqlite3.connect(str(sound.engine.url.database)) as careless:
            careless.execute("DELETE FROM report_version WHERE id = 12")
        expected = "1 rows of prediction refer to no row of report_version"
    else:
        with sound.engine.begin() as c:
            c.exec_driver_sql("ALTER TABLE prediction DROP CONSTRAINT fk_prediction_report_version_id")
            c.exec_driver_sql(
                "ALTER TABLE feature DROP CONSTRAINT fk_feature_report_version_id, "
                "ADD CONSTRAINT fk_feature_report_version_id FOREIGN KEY (report_version_id) "
                "REFERENCES report_version (id) NOT VALID"
            )
        expected = "prediction has lost its constraint fk_prediction_report_version_id"
    (finding,) = [one for one in doctor(sound.settings) if one.name == "database_undamaged"]
    assert expected in finding.found
    if sound.engine.dialect.name == "postgresql":
        assert "constraint fk_feature_report_version_id was never checked" in finding.found


def test_a_database_that_another_program_holds_is_told_in_one_line(
    sound: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.house.PATIENCE_S", 0.1)
    monkeypatch.setattr("db.engine.SQLITE_BUSY_TIMEOUT_S", 0.1)
    engine = open_engine(sound.settings.database)
    with open_engine(sound.settings.database).connect() as other:
        if engine.dialect.name == "sqlite":
            # a writer alone keeps no reader out: only a program that wants the file for itself
            sound.engine.dispose()
            open_database(sound.settings).dispose()
            other.exec_driver_sql("PRAGMA locking_mode = EXCLUSIVE")
            other.exec_driver_sql("DELETE FROM metric")
        else:
            other.exec_driver_sql("LOCK TABLE report_version IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(DatabaseFailure, match=r"another (program|session) holds the lock"):
            examine(engine, sound.settings)
    engine.dispose()


def test_many_offenders_are_counted_and_a_few_named(sound: Hospital) -> None:
    with writing(sound.engine) as c:
        c.execute(update(report).values(current_version=7))
    (finding, *_) = [one for one in doctor(sound.settings) if one.name == "current_version_is_last"]
    assert finding.found == "report 1, 2, 3, 4, 5 and 7 more"
