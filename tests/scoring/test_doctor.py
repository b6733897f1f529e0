"""Doctor says nothing of a sound database, and names whatever promise is broken: each is broken once here."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

from db import audit
from db.engine import writing
from db.tables import audit as audit_table
from db.tables import (
    champion,
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
)
from tasks.classify import cut_backlog, score
from tasks.doctor import doctor, examine
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
    findings = examine(sound.settings)
    assert len(findings) >= 16
    assert all(finding.ok for finding in findings), [finding for finding in findings if not finding.ok]


Break = Callable[[Any, Hospital], Any]


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


def _unpromoted(c: Any, _: Hospital) -> None:
    c.execute(delete(promotion))


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
        "chunks_wrote_what_they_say done_jobs_left_nothing",
        lambda c, _: c.execute(delete(prediction).where(prediction.c.report_version_id == 4)),
    ),
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
        "champion_is_last_promotion",
        lambda c, _: c.execute(update(champion).values(epoch=2)),
    ),
    "a champion nobody promoted": ("champion_is_last_promotion", _unpromoted),
    "a champion taken away": ("champion_is_last_promotion", lambda c, _: c.execute(delete(champion))),
    "a patient in two splits": ("patients_in_one_split", _two_splits),
    "an altered audit row": (
        "audit_chain",
        lambda c, _: c.execute(update(audit_table).where(audit_table.c.id == 2).values(actor="nobody")),
    ),
    "an audit row taken out": (
        "audit_chain",
        lambda c, _: c.execute(delete(audit_table).where(audit_table.c.id == 2)),
    ),
}


@pytest.mark.parametrize("damage", BREAKS)
def test_doctor_tells(sound: Hospital, damage: str) -> None:
    expected, break_it = BREAKS[damage]
    with writing(sound.engine) as c:
        break_it(c, sound)
    assert broken(sound) == set(expected.split())
    assert all(finding.advice for finding in doctor(sound.settings))


def test_doctor_tells_of_a_ledger_that_does_not_balance(sound: Hospital, unchecked: Any) -> None:
    unchecked.execute(update(run).where(run.c.id == 1).values(new=11))
    unchecked.execute(update(run_batch).values(new=11))
    unchecked.commit()
    assert broken(sound) == {"ledger_balances", "batch_ledger_balances", "versions_in_the_ledger"}


def test_doctor_tells_of_an_altered_and_of_a_forgotten_model_folder(sound: Hospital) -> None:
    folder = sound.folder_of(1)
    shutil.copytree(folder, folder.with_name("forgotten"))
    (folder / "config.json").write_text("{}")
    findings = {finding.name.split(" ")[0]: finding for finding in doctor(sound.settings)}
    assert set(findings) == {"champion_as_published", "no_orphan_folders"}
    assert "config.json was altered" in findings["champion_as_published"].found
    assert "laudos models rollback" in findings["champion_as_published"].advice
    assert findings["no_orphan_folders"].found.endswith("achado/forgotten")


def test_many_offenders_are_counted_and_a_few_named(sound: Hospital) -> None:
    with writing(sound.engine) as c:
        c.execute(update(report).values(current_version=7))
    (finding, *_) = [one for one in doctor(sound.settings) if one.name == "current_version_is_last"]
    assert finding.found == "report 1, 2, 3, 4, 5 and 7 more"
