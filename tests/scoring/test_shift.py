"""A job of another population: no sure answer without a person, decided once, on record, and said."""

from __future__ import annotations

import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pytest
from sqlalchemy import delete, func, select

from db import predictions, scoring, shift
from db.engine import reading, writing
from db.shift import Because, Told, Verdict
from db.tables import feature, prediction, shift_test
from db.views import VIEWS
from tasks.inspection.verify import verify_prediction
from tasks.night import alarms
from tasks.night.monitor import look_back
from tasks.night.tonight import tonight
from tasks.scoring import classify, shift_apart
from tasks.scoring import shift as tested
from tasks.scoring.claims import work_on
from tasks.scoring.scorer import ScoreSummary, load_scorer
from tasks.scoring.workers import worker_name
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, WORDS, Hospital

PATIENTS = 44
OTHERS = WORDS[-3:]  # known words all of them, and none of the rest
LEASE = timedelta(minutes=1)


def calibrated(hospital: Hospital) -> int:
    """A champion whose calibration reports are answered."""
    hospital.receive(PATIENTS)
    model_id = hospital.crown()
    hospital.calibrate(model_id)
    work_on(hospital.engine, hospital.settings, hospital.cut(model_id))
    return model_id


def asking(hospital: Hospital, **scoring: Any) -> Settings:
    asked = hospital.settings.scoring.model_copy(update=scoring)
    return hospital.settings.model_copy(update={"scoring": asked})


def answer(hospital: Hospital, model_id: int, **scoring: Any) -> tuple[ScoreSummary, Verdict | None, int]:
    """A night: what was scored, what was decided of it, and the job."""
    job = hospital.cut(model_id)
    told = work_on(hospital.engine, asking(hospital, **scoring), job)
    with reading(hospital.engine) as c:
        return told, shift.verdict_of(c, job.id), job.id


def decisions(hospital: Hospital, job_id: int) -> Counter[tuple[str, str | None]]:
    query = select(prediction.c.decision, prediction.c.review_because).where(prediction.c.job_id == job_id)
    with reading(hospital.engine) as c:
        return Counter(map(tuple, c.execute(query)))


def page_of(hospital: Hospital) -> tuple[list[str], str]:
    with reading(hospital.engine) as c:
        night = look_back(c, hospital.settings, datetime.now(UTC) + timedelta(seconds=1))
    return list(night.alarms), tonight(night)


def test_a_night_of_another_population_goes_to_a_person_and_an_alike_one_does_not(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tested, "FILLED_TO", PATIENTS)
    model_id = calibrated(both)
    both.receive(PATIENTS)
    told, found, job_id = answer(both, model_id)
    assert found is not None
    assert (found.state, found.calibration_patients, found.patients) == ("alike", PATIENTS, PATIENTS)
    assert (told.review, decisions(both, job_id)) == (0, {("auto", None): PATIENTS})
    both.receive(PATIENTS, words=OTHERS)
    told, found, job_id = answer(both, model_id)
    assert found is not None
    assert (found.state, found.patients, found.earlier_patients) == ("shifted", PATIENTS, 0)
    assert found.p_value is not None
    assert found.p_value < 1e-4
    assert (told.written, told.review) == (PATIENTS, PATIENTS)
    assert decisions(both, job_id) == {("review", "shifted"): PATIENTS}
    assert doctor(both.settings) == []
    alarms, page = page_of(both)
    assert [one.split(" are unlike")[0] for one in alarms if "unlike" in one] == [
        f"{CLASSIFIER}: the reports of job {job_id}"
    ]
    assert "**another population**" in page
    with writing(both.engine) as c:  # a job of several nights, decided in the first
        c.execute(shift_test.update().values(at=both.now - timedelta(days=999)))
    assert any("unlike" in one for one in page_of(both)[0])


def test_a_job_of_before_there_were_tests_is_told_as_not_tested(both: Hospital) -> None:
    model_id = calibrated(both)
    both.receive(5)
    job = both.cut(model_id)
    with writing(both.engine) as c:
        c.execute(delete(shift_test))
    assert work_on(both.engine, both.settings, job).review == 0
    assert f"of job {job.id}: whether they are another population was **not tested**" in page_of(both)[1]


def test_of_several_jobs_the_worst_is_told() -> None:
    found = [Verdict("untested", "failed"), Verdict("alike"), Verdict("untested", "few_reports")]
    told = list(alarms.shifts([Told(number, CLASSIFIER, one) for number, one in enumerate(found)]))
    assert len(told) == 1
    assert "job 0 could not be tested" in told[0]


def test_switched_off_the_same_night_is_answered_and_the_page_says_that_nothing_was_tested(
    hospital: Hospital,
) -> None:
    model_id = calibrated(hospital)
    hospital.receive(PATIENTS, words=OTHERS)
    _, found, job_id = answer(hospital, model_id, shift_level=0.0)
    assert found == Verdict("untested", "off")
    assert decisions(hospital, job_id) == {("auto", None): PATIENTS}
    assert "**not tested** (`scoring.shift_level` is 0" in page_of(hospital)[1]


def test_what_was_withheld_is_verified_and_shows_in_the_queue_with_its_reason(both: Hospital) -> None:
    model_id = calibrated(both)
    both.receive(PATIENTS, words=OTHERS)
    _, _, job_id = answer(both, model_id)
    (queue,) = (view for view in VIEWS if view.name == "review_queue")
    with reading(both.engine) as c:
        asked = select(prediction.c.report_version_id).where(prediction.c.job_id == job_id)
        version = c.scalars(asked.limit(1)).one()
        reasons = Counter(row.review_because for row in c.execute(queue.query))
        own = {one.decision for one in predictions.sample(c, model_id, both.now - timedelta(days=999), 500)}
    assert reasons == {"shifted": PATIENTS}
    assert own == {"auto"}, "what a student is held against is what the model decided"
    again = verify_prediction(both.settings, f"{model_id}:{version}")
    assert (again.same, again.trace.shift) == (True, "shifted")
    with writing(both.engine) as c:  # and were the job's verdict another, it would not be the same
        c.execute(shift_test.update().values(state="alike"))
    assert not verify_prediction(both.settings, f"{model_id}:{version}").same


def test_one_worker_decides_for_all_and_what_it_read_is_not_read_again(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(both)
    both.receive(PATIENTS, words=OTHERS)
    judged: list[int] = []
    compare = tested.compare
    monkeypatch.setattr(tested, "compare", lambda *given: judged.append(1) or compare(*given))
    job = both.cut(model_id)
    ways = (False, False, True)  # one reads what others died over
    scorers = [load_scorer(both.engine, both.settings, job, alone=alone) for alone in ways]
    assert [one.shifted for one in scorers] == [True] * 3
    assert len(judged) == 1
    read_by = func.max(feature.c.created_at)
    with reading(both.engine) as c:
        before = c.scalar(select(read_by))
    told = work_on(both.engine, both.settings, job)
    assert (told.encoded, told.from_features) == (PATIENTS, 0), "what the test read was read for the job"
    with reading(both.engine) as c:
        assert c.scalar(select(read_by)) == before, "it was read twice"
    again, _, _ = answer(both, both.crown(head=1))
    assert (again.encoded, again.from_features) == (0, 2 * PATIENTS)


class AnHourAhead(datetime):
    """The clock of a machine that is not the database's."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:
        return datetime.now(tz) + timedelta(hours=1)


def test_what_it_read_counts_as_encoded_whatever_the_clock_of_who_cut_the_job_says(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Vectors and job bear moments of one clock."""
    calibrated(both)
    both.receive(PATIENTS)
    monkeypatch.setattr(classify, "datetime", AnHourAhead)
    job_id = classify.cut_backlog.fn(both.run("classify"), CLASSIFIER)
    assert job_id is not None
    with reading(both.engine) as c:
        job = scoring.get(c, job_id)
    assert job is not None
    told = work_on(both.engine, both.settings, job)
    assert (told.encoded, told.from_features) == (PATIENTS, 0)


def test_a_small_job_is_tested_with_what_was_answered_before_it_and_without_that_it_is_not(
    both: Hospital,
) -> None:
    model_id = calibrated(both)
    both.receive(5)
    _, found, job_id = answer(both, model_id)
    assert found is not None
    assert (found.state, found.because, found.patients) == ("untested", "few_reports", 5)
    assert decisions(both, job_id) == {("auto", None): 5}
    assert f"**not tested** (5 patients beside {PATIENTS}" in page_of(both)[1]
    both.receive(PATIENTS)
    answer(both, model_id)
    both.receive(5)
    _, found, _ = answer(both, model_id)
    assert found is not None
    assert (found.state, found.patients, found.earlier_patients) == ("alike", 10 + PATIENTS, 5 + PATIENTS)


def test_without_calibration_patients_nothing_is_tested_and_no_report_is_read_for_it(
    hospital: Hospital,
) -> None:
    hospital.receive(PATIENTS)
    told, found, _ = answer(hospital, hospital.crown())
    assert found == Verdict("untested", "few_calibration", 0, level=1e-4)
    assert (told.encoded, told.from_features) == (PATIENTS, 0)


def test_a_test_that_was_interrupted_is_begun_anew_and_counts_no_try(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    hospital.receive(PATIENTS, words=OTHERS)
    job = hospital.cut(model_id)

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(tested, "compare", interrupted)
        for _ in range(shift.TRIES_MAX + 1):
            with pytest.raises(KeyboardInterrupt):
                work_on(hospital.engine, hospital.settings, job)
    assert work_on(hospital.engine, hospital.settings, job).review == PATIENTS


def test_what_two_workers_died_over_is_not_tried_again_and_the_reports_are_answered(both: Hospital) -> None:
    model_id = calibrated(both)
    both.receive(PATIENTS, words=OTHERS)
    job = both.cut(model_id)
    with writing(both.engine) as c:
        for number in range(shift.TRIES_MAX):
            assert shift.claim(c, job.id, f"w{number}", LEASE, both.now, gone={f"w{number - 1}"})
            assert not shift.claim(c, job.id, "another", LEASE, both.now), "it waits for who holds the lease"
    # the lease of the last one ran out long ago by the workers' clock
    assert work_on(both.engine, both.settings, job).review == 0
    with reading(both.engine) as c:
        assert shift.verdict_of(c, job.id) == Verdict("untested", "killed")
    assert any("two processes that read for it were killed" in one for one in page_of(both)[0])


def test_a_test_that_fails_keeps_no_report_from_being_scored_and_is_told(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    hospital.receive(PATIENTS)

    def fails(*_: object) -> None:
        raise ValueError("Laudo 61 do paciente")

    monkeypatch.setattr(tested, "compare", fails)
    told, found, _ = answer(hospital, model_id)
    assert found is not None
    assert (told.written, found.because) == (PATIENTS, "failed")
    assert any("the test failed" in one and "paciente" not in one for one in page_of(hospital)[0])


@pytest.mark.parametrize(
    ("program", "because"),
    [("import os; os.kill(os.getpid(), 9)", "killed"), ("import sys; sys.exit(5)", "failed")],
)
def test_what_a_worker_died_over_is_tested_in_a_process_of_its_own(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, program: str, because: Because
) -> None:
    model_id = calibrated(hospital)
    hospital.receive(PATIENTS, words=OTHERS)
    job = hospital.cut(model_id)
    with writing(hospital.engine) as c:
        assert shift.claim(c, job.id, "w0", LEASE, hospital.now) == 1
    monkeypatch.setattr(tested, "COMMAND", (sys.executable, "-c", program))
    assert work_on(hospital.engine, hospital.settings, job).review == 0
    with reading(hospital.engine) as c:
        assert shift.verdict_of(c, job.id) == Verdict("untested", because)


def test_the_process_of_its_own_decides_for_who_waits(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    hospital.receive(PATIENTS, words=OTHERS)
    job = hospital.cut(model_id)
    with writing(hospital.engine) as c:
        assert shift.claim(c, job.id, "waits", LEASE, hospital.now)
    monkeypatch.setattr(Settings, "load", lambda: hospital.settings)
    shift_apart.main(job.id, "waits")
    with reading(hospital.engine) as c:
        found = shift.verdict_of(c, job.id)
    assert found is not None
    assert found.state == "shifted"


def test_a_retry_in_the_process_that_could_not_give_the_test_back_is_no_death(hospital: Hospital) -> None:
    model_id = calibrated(hospital)
    hospital.receive(PATIENTS, words=OTHERS)
    job = hospital.cut(model_id)
    with writing(hospital.engine) as c:
        assert shift.claim(c, job.id, worker_name(), LEASE, hospital.now)
    assert work_on(hospital.engine, asking(hospital), job).review == PATIENTS


def test_what_a_student_answered_before_is_among_what_a_small_job_is_tested_with(both: Hospital) -> None:
    model_id = calibrated(both)
    both.receive(PATIENTS)
    _, _, before = answer(both, model_id)
    with writing(both.engine) as c:
        of_before = select(prediction.c.report_version_id).where(prediction.c.job_id == before)
        c.execute(delete(feature).where(feature.c.report_version_id.in_(of_before)))
    both.receive(5)
    _, found, _ = answer(both, model_id)
    assert found is not None
    assert found.because == "few_reports", "what has no vector is not read for others"
    by_student = prediction.update().where(prediction.c.job_id == before)
    with writing(both.engine) as c:
        c.execute(by_student.values(backend="torch-fp32/model-12"))
    both.receive(5)
    _, found, _ = answer(both, model_id)
    assert found is not None
    assert (found.state, found.patients, found.earlier_patients) == ("alike", 10 + PATIENTS, 5 + PATIENTS)


def test_a_test_leased_by_a_clock_that_jumped_is_made_by_the_next_worker(both: Hospital) -> None:
    """As a chunk is; and counts no death: it may be a living worker's with a longer lease."""
    both.receive(5)
    job = both.cut(both.crown_row())
    with writing(both.engine) as c:
        for days in (4, 3, 2, 1, 0):
            assert shift.claim(c, job.id, f"w{days}", LEASE, both.now + timedelta(days=days)) == 1
        assert not shift.claim(c, job.id, "another", LEASE, both.now), "it waits for who holds the lease"
        assert shift.verdict_of(c, job.id) is None


def test_a_worker_that_lost_the_test_decides_nothing(both: Hospital) -> None:
    model_id = calibrated(both)
    both.receive(5)
    job = both.cut(model_id)
    with writing(both.engine) as c:
        assert shift.claim(c, job.id, "slow", LEASE, both.now)
        assert shift.claim(c, job.id, "quick", LEASE, both.now + 2 * LEASE)
        shift.record(c, job.id, "slow", Verdict("alike"), both.now)
        assert shift.verdict_of(c, job.id) is None
        shift.record(c, job.id, "quick", Verdict("shifted"), both.now)
        shift.record(c, job.id, "quick", Verdict("alike"), both.now)
        assert shift.verdict_of(c, job.id) == Verdict("shifted")
