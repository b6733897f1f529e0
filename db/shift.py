"""Whether a job's reports are still like those that calibrated the model: decided once, for all its chunks.

    due -> alike | shifted | untested        by the worker that comes first; the others wait for it

As with chunks, a lease keeps two workers from the same work, and a worker that died over it is found by
counting: the second try is made in a process of its own (tasks/scoring/shift_apart.py), and there is no
third, so that a report that kills whatever reads it holds up no night.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, and_, func, or_, select, update

from db import backlog
from db.reports import CURRENT, PRESENT
from db.snapshots import taught_patients
from db.tables import (
    feature,
    prediction,
    report,
    report_version,
    score_chunk,
    score_job,
    shift_test,
    snapshot_item,
    source,
)

TRIES_MAX = 2

State = Literal["alike", "shifted", "untested"]
Because = Literal["off", "few_calibration", "few_reports", "failed", "killed"]


@dataclass(frozen=True)
class Verdict:
    """What was decided of a job's reports, and on what; see the table for each field."""

    state: State
    because: Because | None = None
    calibration_patients: int | None = None
    patients: int | None = None
    earlier_patients: int | None = None
    seen_in: Literal["vectors", "words"] | None = None
    auroc: float | None = None
    p_value: float | None = None
    level: float | None = None


@dataclass(frozen=True)
class Told:
    """A verdict with the job that it was of."""

    job_id: int
    classifier: str
    verdict: Verdict


UNTESTED = Verdict("untested", "off")  # a job that was cut before there were tests

_VERDICT = [shift_test.c[name] for name in Verdict.__dataclass_fields__]


def verdict_of(c: Connection, job_id: int) -> Verdict | None:
    """None while it is due. A job cut before there were tests was not tested."""
    row = c.execute(select(*_VERDICT).where(shift_test.c.job_id == job_id)).one_or_none()
    if row is None:
        return UNTESTED
    return None if row.state == "due" else Verdict(*row)


def tester_of(c: Connection, job_id: int) -> str | None:
    """Who holds the lease."""
    return c.scalar(select(shift_test.c.leased_by).where(shift_test.c.job_id == job_id))


def claim(
    c: Connection, job_id: int, worker: str, lease: timedelta, now: datetime, *, gone: Collection[str] = ()
) -> int:
    """Lease a test that is due and nobody is at; the number of the try, from 1, or 0 where there is none.

    `now` is `lease_clock`'s. `gone`: workers that are known to be dead. Where too many died over it, it ends
    as untested.
    """
    due = (shift_test.c.job_id == job_id, shift_test.c.state == "due")
    row = c.execute(select(shift_test).where(*due).with_for_update()).one_or_none()
    if row is None:
        return 0
    is_free = row.leased_by is None or row.leased_by in gone or row.leased_until < now
    # as with chunks: of a clock that jumped back, or of other settings, and no death
    is_ahead = not is_free and row.leased_until > now + 2 * lease
    if not (is_free or is_ahead):
        return 0
    if row.tries >= TRIES_MAX and not is_ahead:
        end(c, job_id, Verdict("untested", "killed"), now)
        return 0
    tries = int(row.tries) + (not is_ahead)
    mine = {"leased_by": worker, "leased_until": now + lease, "tries": tries}
    c.execute(update(shift_test).where(*due).values(mine))
    return tries


def renew(c: Connection, job_id: int, worker: str, lease: timedelta, now: datetime) -> None:
    """Say that the worker still lives; nothing where it lost the test."""
    mine = (shift_test.c.job_id == job_id, shift_test.c.leased_by == worker)
    c.execute(update(shift_test).where(*mine).values(leased_until=now + lease))


def give_back(c: Connection, job_id: int, worker: str) -> None:
    """Let another begin anew, and count no try: who gives back did not die."""
    mine = (shift_test.c.job_id == job_id, shift_test.c.state == "due", shift_test.c.leased_by == worker)
    free = {"leased_by": None, "leased_until": None, "tries": shift_test.c.tries - 1}
    c.execute(update(shift_test).where(*mine).values(free))


def left(c: Connection, job_id: int, worker: str) -> None:
    """Let another begin at once, as after a lease that ran out: the worker is known to be gone."""
    mine = (shift_test.c.job_id == job_id, shift_test.c.state == "due", shift_test.c.leased_by == worker)
    c.execute(update(shift_test).where(*mine).values(leased_by=None, leased_until=None))


def record(c: Connection, job_id: int, worker: str, verdict: Verdict, now: datetime) -> None:
    """Decide for all chunks; nothing where the worker lost the test to another meanwhile."""
    if tester_of(c, job_id) == worker:
        end(c, job_id, verdict, now)


def end(c: Connection, job_id: int, verdict: Verdict, now: datetime) -> None:
    """Decide, whoever holds the lease; nothing where it was decided before."""
    due = (shift_test.c.job_id == job_id, shift_test.c.state == "due")
    decided = {**asdict(verdict), "leased_by": None, "leased_until": None, "at": now}
    c.execute(update(shift_test).where(*due).values(decided))


def since(c: Connection, moment: datetime) -> list[Told]:
    """Of every job that was decided or answered in since, by job: one may take several nights."""
    answered = select(score_chunk.c.job_id).where(score_chunk.c.done_at >= moment)
    query = (
        select(score_job.c.id, score_job.c.classifier, *_VERDICT)
        .outerjoin(shift_test, shift_test.c.job_id == score_job.c.id)
        .where(
            or_(shift_test.c.at >= moment, score_job.c.id.in_(answered)),
            or_(shift_test.c.state.is_(None), shift_test.c.state != "due"),
        )
        .order_by(score_job.c.id)
    )
    rows = c.execute(query)
    return [Told(row[0], row[1], UNTESTED if row[2] is None else Verdict(*row[2:])) for row in rows]


def calibration(c: Connection, snapshot_id: int) -> list[tuple[int, str, str]]:
    """(report version, patient, label) of the calibration reports whose text is still there."""
    query = (
        select(report_version.c.id, report.c.patient_key, snapshot_item.c.label)
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(
            snapshot_item.c.snapshot_id == snapshot_id,
            snapshot_item.c.split == "calibration",
            report_version.c.text.is_not(None),
        )
        .order_by(report_version.c.id)
    )
    return [(row[0], row[1], row[2]) for row in c.execute(query)]


def waiting(
    c: Connection, classifier: str, model_id: int, sources: Sequence[str] | None, most: int
) -> list[tuple[int, str]]:
    """(report version, patient) of so many reports that wait for the model, evenly from all over them.

    Patients that taught or calibrated a model of the classifier are left out: they are no news to it.
    """
    columns = (report_version.c.id, report.c.patient_key)
    waits = (
        backlog.waiting(model_id, sources)
        .with_only_columns(*columns)
        .where(report.c.patient_key.not_in(taught_patients(classifier)))
        .subquery()
    )
    place, count = func.row_number().over(order_by=waits.c.id), func.count().over()
    numbered = select(waits, place.label("place"), count.label("count")).subquery()
    # the first of each stretch, of which there are `most`
    stretch, before = ((numbered.c.place - step) * most // numbered.c.count for step in (1, 2))
    first = (numbered.c.place == 1) | (stretch > before)
    query = select(numbered.c.id, numbered.c.patient_key).where(first).order_by(numbered.c.id)
    return [(row[0], row[1]) for row in c.execute(query)]


def earlier(
    c: Connection,
    classifier: str,
    model_id: int,
    encoder_sha: str,
    sources: Sequence[str] | None,
    since: datetime,
    most: int,
    *,
    by_student: str,
) -> list[tuple[int, str]]:
    """(report version, patient) of the last reports that were answered since, with a stored vector.

    Those that a student answered have none, and `by_student` in their back end. Without them only what no
    student was sure of would be left, which is another population.
    """
    stored = and_(feature.c.report_version_id == report_version.c.id, feature.c.encoder_sha == encoder_sha)
    query = (
        select(report_version.c.id, report.c.patient_key)
        .join(prediction, prediction.c.report_version_id == report_version.c.id)
        .outerjoin(feature, stored)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .where(
            prediction.c.model_id == model_id,
            prediction.c.at >= since,
            or_(feature.c.sketch.is_not(None), prediction.c.backend.contains(by_student, autoescape=True)),
            CURRENT,
            PRESENT,
            report.c.patient_key.not_in(taught_patients(classifier)),
        )
        .order_by(report_version.c.id.desc())
        .limit(most)
    )
    if sources is not None:
        query = query.where(source.c.name.in_(list(sources)))
    return [(row[0], row[1]) for row in c.execute(query)]
