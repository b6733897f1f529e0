"""The cascade: who answered is recorded and asked again, and a student that answers otherwise does not."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sqlalchemy import select, update

from db import models
from db.engine import reading, writing
from db.predictions import Scored
from db.tables import feature, model, prediction, report_version
from flows.cli import main
from tasks import apart, cascade, cascade_audit, cascade_trial, estimate
from tasks.answering import Read
from tasks.cascade_audit import audit_cascade
from tasks.ml import cascade as promises
from tasks.ml.predictor import Predictor
from tasks.monitor import look_back
from tasks.retention import collect
from tasks.scorer import ScoreSummary, load_scorer, work_on
from tasks.settings import Settings
from tasks.tonight import tonight
from tasks.verify import verify_prediction
from tests.scoring.hospital import CLASSIFIER, Hospital, text_of

REPORTS = 60  # enough of their patients are in the calibration split


@pytest.fixture(autouse=True)
def _easily_promised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handful of reports proves enough; every backlog is worth a trial, and every speed pays."""
    monkeypatch.setattr(promises, "OTHER_DECISIONS_MAX", 0.5)
    monkeypatch.setattr(promises, "CRITICAL_LOST_MAX", 0.9)
    monkeypatch.setattr(cascade, "WORTH_TRYING", 1)
    monkeypatch.setattr(cascade_trial, "PAYS_FROM", 0.0)


@pytest.fixture
def half_sure(monkeypatch: pytest.MonkeyPatch) -> Callable[[Hospital, int], None]:
    """Lets a model be sure of about half of its reports, however random it is."""

    def of(hospital: Hospital, model_id: int) -> None:
        told = Predictor.load(hospital.folder_of(model_id)).predict([text_of(number) for number in range(30)])
        middle = float(np.median([max(one.probabilities.values()) for one in told]))
        monkeypatch.setattr(promises, "CONFIDENCES", (0.9999, middle))

    return of


def with_cascade(hospital: Hospital) -> Settings:
    scoring = hospital.settings.scoring.model_copy(update={"cascade": True})
    return hospital.settings.model_copy(update={"scoring": scoring})


def with_student(hospital: Hospital, head: int) -> tuple[int, int]:
    """A champion, and a student that is its copy (`head` 0) or answers in another way; their numbers."""
    hospital.receive(REPORTS)
    taught = hospital.crown(head=head) if head else None
    champion_id = hospital.crown()
    with writing(hospital.engine) as c:
        champion = models.get(c, champion_id)
        assert champion is not None
        if taught is None:
            copied = hospital.settings.folder / "models" / CLASSIFIER / "copy"
            shutil.copytree(hospital.folder_of(champion_id), copied)
            known = {name: getattr(champion, name) for name in ("manifest_sha", "encoder_sha", "snapshot_id")}
            known |= {"classifier": CLASSIFIER, "trained": "full", "config": {}, "config_sha": "1"}
            run_id = champion.run_id
            taught = models.add(c, path=f"{CLASSIFIER}/copy", run_id=run_id, now=hospital.now, **known)
        c.execute(update(model).where(model.c.id == taught).values(config={"distilled": {}}))
    return champion_id, taught


def score(hospital: Hospital, model_id: int, settings: Settings) -> ScoreSummary:
    return work_on(hospital.engine, settings, hospital.cut(model_id))


def recorded(hospital: Hospital) -> dict[int, str]:
    with reading(hospital.engine) as c:
        rows = c.execute(select(prediction.c.report_version_id, prediction.c.backend))
        return dict(rows.all())


def test_what_the_student_is_sure_of_bears_its_name_and_is_verified_with_it(
    both: Hospital, half_sure: Callable[[Hospital, int], None]
) -> None:
    champion_id, student_id = with_student(both, head=0)
    half_sure(both, student_id)
    settings = with_cascade(both)
    told = score(both, champion_id, settings)
    by = recorded(both)
    theirs = {version for version, backend in by.items() if backend == f"torch-fp32/model-{student_id}"}
    assert told.written == len(by) == REPORTS, "exactly once each"
    assert 0 < told.by_student == len(theirs) < REPORTS
    assert {by[version] for version in by.keys() - theirs} == {"torch-fp32"}
    assert both.count(feature) == REPORTS - len(theirs), "a student's vectors are not the champion's"
    for version, who in ((min(theirs), f"{student_id}, manifest "), (min(by.keys() - theirs), "None")):
        again = verify_prediction(settings, f"{champion_id}:{version}")
        assert again.same
        assert str(again.student).startswith(who)


def test_it_is_off_by_default_and_tried_once(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    champion_id, _ = with_student(hospital, head=0)
    assert score(hospital, champion_id, hospital.settings).by_student == 0
    hospital.receive(5)
    settings = with_cascade(hospital)
    score(hospital, champion_id, settings)

    def never(*_: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(cascade, "tried", never)
    hospital.receive(5)
    assert score(hospital, champion_id, settings).written == 5


@pytest.mark.parametrize(
    ("constant", "value", "why"),
    [
        ((promises, "OTHER_DECISIONS_MAX"), 0.001, "3,688 are needed"),
        ((cascade_trial, "PAYS_FROM"), 1e6, "times as fast, and pays from"),
        ((cascade, "WORTH_TRYING"), 1000, "not worth a trial"),
    ],
)
def test_the_champion_reads_everything_where_nothing_is_proven_or_gained(
    hospital: Hospital,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    half_sure: Callable[[Hospital, int], None],
    constant: tuple[Any, str],
    value: float,
    why: str,
) -> None:
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    monkeypatch.setattr(*constant, value)
    with caplog.at_level(logging.INFO):
        told = score(hospital, champion_id, with_cascade(hospital))
    assert (told.written, told.by_student) == (REPORTS, 0)
    assert why in caplog.text


def test_a_student_that_fails_stops_no_scoring_and_its_words_are_kept_back(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    champion_id, _ = with_student(hospital, head=0)

    def failing(*_: object) -> None:
        raise RuntimeError("of patient Maria")

    monkeypatch.setattr(cascade_trial, "_read", failing)
    assert score(hospital, champion_id, with_cascade(hospital)).written == REPORTS
    assert "fails on calibration reports (RuntimeError)" in caplog.text
    assert "Maria" not in caplog.text


def test_a_student_that_fails_while_it_scores_leaves_its_reports_to_the_champion(
    hospital: Hospital,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    half_sure: Callable[[Hospital, int], None],
) -> None:
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    assert score(hospital, champion_id, settings).by_student > 0
    hospital.receive(5)

    def failing(predictor: Predictor, *more: Any) -> Read:
        raise torch.OutOfMemoryError("of patient Maria")

    monkeypatch.setattr(cascade, "read", failing)
    told = score(hospital, champion_id, settings)
    assert (told.written, told.by_student, told.quarantined) == (5, 0, 0)
    assert f"the student, model {student_id}, fails (OutOfMemoryError)" in caplog.text
    assert "Maria" not in caplog.text


def test_an_audit_that_fails_switches_the_cascade_off_with_an_alarm(
    both: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    champion_id, student_id = with_student(both, head=0)
    half_sure(both, student_id)
    settings = with_cascade(both)
    score(both, champion_id, settings)
    monkeypatch.setattr(cascade_audit.Settings, "load", lambda: settings)
    with writing(both.engine) as c:
        # what a student never said: the champion must find it out
        theirs = prediction.c.backend == f"torch-fp32/model-{student_id}"
        moment = {"at": cascade_audit.datetime.now(cascade_audit.UTC)}
        c.execute(update(prediction).values(moment))
        run_id = both.run_id(c)
    sound = audit_cascade.fn(run_id, CLASSIFIER).agreements[student_id]
    assert sound.answered > 0
    assert sound.other_decisions == 0
    with reading(both.engine) as c:
        night = look_back(c, settings, moment["at"])
    assert not any("cascade" in one for one in night.alarms)
    assert f"of {REPORTS} audited answers" in tonight(night)

    assert audit_cascade.fn(run_id, CLASSIFIER).agreements == {}, "no answer is counted twice"

    with writing(both.engine) as c:
        c.execute(update(prediction).values(at=cascade_audit.datetime.now(cascade_audit.UTC)))
        c.execute(update(prediction).where(theirs).values(decision="review"))
    monkeypatch.setattr(promises, "OTHER_DECISIONS_MAX", 0.01)
    broken = audit_cascade.fn(run_id, CLASSIFIER).agreements[student_id]
    assert broken.other_decisions == broken.answered
    with reading(both.engine) as c:
        assert any("cascade is switched off" in one for one in look_back(c, settings, moment["at"]).alarms)
        assert cascade.audited(c, champion_id, student_id).breach() is not None
        assert cascade.audited(c, champion_id, student_id + 1).breach() is None, "another begins anew"
    both.receive(5)
    assert score(both, champion_id, settings).by_student == 0


def test_a_report_that_makes_the_champion_fail_is_left_out_of_the_audit(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    score(hospital, champion_id, settings)
    monkeypatch.setattr(cascade_audit.Settings, "load", lambda: settings)
    with writing(hospital.engine) as c:
        c.execute(update(prediction).values(at=cascade_audit.datetime.now(cascade_audit.UTC)))
        run_id = hospital.run_id(c)
        theirs = prediction.c.backend.like(f"%/model-{student_id}")
        texts = list(c.scalars(select(report_version.c.text).join(prediction).where(theirs)))
    bad, readable = texts[0], Predictor.vectors

    def failing(predictor: Predictor, some: Any, **more: Any) -> Any:
        if bad in some:
            raise RuntimeError("a kernel said no")
        return readable(predictor, some, **more)

    monkeypatch.setattr(Predictor, "vectors", failing)
    found = audit_cascade.fn(run_id, CLASSIFIER).agreements[student_id]
    assert 0 < found.answered == len(texts) - texts.count(bad)
    assert found.reports == REPORTS - texts.count(bad)
    assert found.other_decisions == 0


def test_the_command_tells_what_was_found_or_what_is_lacking(
    hospital: Hospital,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    half_sure: Callable[[Hospital, int], None],
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("tasks.try_backends.trials", lambda *_: [])

    def ran() -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", "backends", "--cascade"])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return " ".join(capsys.readouterr().out.split())

    hospital.crown(head=9)
    assert "has no student" in ran()
    _, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    told = ran()
    assert f"cascade: model {student_id} answers" in told
    assert told.endswith("offered")


def test_a_student_in_use_is_kept(hospital: Hospital) -> None:
    hospital.crown(head=9)  # the first champion is kept whatever it is
    _, student_id = with_student(hospital, head=1)
    settings = with_cascade(hospital)
    retention = settings.retention.model_copy(update={"models": 0, "rollbacks": 1})
    for number in range(2, 5):
        hospital.crown(head=number)
    kept = settings.model_copy(update={"retention": retention})
    collect(kept, lambda _: None)
    assert hospital.folder_of(student_id).is_dir()

    off = kept.scoring.model_copy(update={"cascade": False})
    collect(kept.model_copy(update={"scoring": off}), lambda _: None)
    assert not hospital.folder_of(student_id).is_dir()


def test_what_a_worker_died_over_is_read_by_the_champion_alone(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    """A student that kills the process must not cost the report, which the champion can read."""
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    job = hospital.cut(champion_id)
    assert load_scorer(hospital.engine, settings, job).student is not None, "elsewhere it is asked first"
    monkeypatch.setattr(apart.Settings, "load", lambda: settings)
    apart.main(job.id)
    assert set(recorded(hospital).values()) == {"torch-fp32"}
    assert len(recorded(hospital)) == REPORTS


def test_a_calibration_report_that_makes_a_network_fail_is_left_out_of_the_trial(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    """It would have kept a student from ever being tried, and both networks reading every night."""
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    model, predictor = champion_of(hospital, champion_id)
    [bad, *others] = cascade_trial.calibration(hospital.engine, settings, model)
    readable = Predictor.vectors

    def failing(predictor: Predictor, some: Any, **more: Any) -> Any:
        if bad in some:
            raise RuntimeError("a kernel said no")
        return readable(predictor, some, **more)

    monkeypatch.setattr(Predictor, "vectors", failing)
    offer = cascade.offered(hospital.engine, settings, model, predictor)
    assert offer.refused is None
    assert offer.choice.agreement.reports == len(others)


def test_a_student_refused_for_want_of_critical_reports_is_tried_again_when_there_are_more(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, half_sure: Callable[[Hospital, int], None]
) -> None:
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    with monkeypatch.context() as strict:
        strict.setattr(promises, "CRITICAL_LOST_MAX", 0.001)
        assert score(hospital, champion_id, settings).by_student == 0
    (kept,) = (hospital.settings.folder / "backends").glob("*cascade*.json")
    assert "critical are too few" in kept.read_text()
    first = kept.read_bytes()

    with monkeypatch.context() as never:
        # the control: a handful more says nothing new
        never.setattr(cascade_trial, "MORE_PERCENT", 1000)
        hospital.receive(REPORTS)
        assert score(hospital, champion_id, settings).by_student == 0
        assert kept.read_bytes() == first
    hospital.receive(REPORTS)
    assert score(hospital, champion_id, settings).by_student > 0
    assert json.loads(kept.read_bytes())["refused"] is None


def test_a_student_that_was_compared_is_tried_again_with_twice_the_patients_and_less_of_the_error(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that makes a network fail must not have both of them read all others every night."""
    champion_id, _ = with_student(hospital, head=0)
    settings = with_cascade(hospital)
    model, predictor = champion_of(hospital, champion_id)
    errors: list[float] = []

    def differing(small: list[Scored], _large: Any, _critical: str, error: float) -> promises.Choice:
        errors.append(error)
        return promises.Choice(1.0, promises.Agreement(len(small) - 1, 5, 0, 5, 5), "they differ")

    monkeypatch.setattr(cascade_trial, "choose", differing)

    def offered() -> cascade_trial.Offer:
        return cascade.offered(hospital.engine, settings, model, predictor)

    first = offered()
    patients = len(cascade_trial.calibration(hospital.engine, settings, model))
    assert (first.refused, first.patients, first.tests) == ("they differ", patients, 1)
    hospital.receive(REPORTS // 2)
    assert offered() == first
    hospital.receive(2 * REPORTS)
    assert offered().tests == 2
    assert errors == [promises.ERROR / 2, promises.ERROR / 6]
    with monkeypatch.context() as full:
        full.setattr(cascade_trial, "READ_MAX", first.patients)
        assert not cascade_trial.more_may_be_proven(hospital.engine, settings, model, first)
    before_it_was_counted = {"student_id": 1, "choice": vars(first.choice), "times_as_fast": 1.0}
    old = cascade_trial._OFFER.validate_python({**before_it_was_counted, "refused": "they differ"})
    assert not cascade_trial.more_may_be_proven(hospital.engine, settings, model, old)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"student_id": 1, "refused": null}', b"\xff[", b"[1]"])
def test_a_trial_file_that_cannot_be_read_is_made_anew_and_told(
    hospital: Hospital,
    caplog: pytest.LogCaptureFixture,
    half_sure: Callable[[Hospital, int], None],
    content: bytes,
) -> None:
    champion_id, student_id = with_student(hospital, head=0)
    half_sure(hospital, student_id)
    settings = with_cascade(hospital)
    champion, predictor = champion_of(hospital, champion_id)
    file = cascade._Asked.of(hospital.engine, settings, champion, predictor).kept_in
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert score(hospital, champion_id, settings).by_student > 0
    assert "damaged" in caplog.text
    assert "the student is tried anew" in caplog.text
    assert json.loads(file.read_bytes())["student_id"] == student_id


def champion_of(hospital: Hospital, model_id: int) -> tuple[models.Model, Predictor]:
    with reading(hospital.engine) as c:
        champion = models.get(c, model_id)
    assert champion is not None
    return champion, Predictor.load(hospital.folder_of(model_id))


@pytest.mark.parametrize("share", [1, 2])
def test_an_estimate_writes_what_a_student_answers_as_scoring_does(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, share: int
) -> None:
    """A student that answers everything leaves no vector, and its answers take time to write all the same."""
    hospital.receive(40)
    hospital.crown()
    written: list[tuple[int, int]] = []

    def sure(texts: Mapping[int, str], _tokens: int) -> dict[int, Scored]:
        answer = {"benigno": 0.9, "maligno": 0.1}
        return {
            version: Scored(version, "benigno", answer, "auto", 9, 9, backend="torch-fp32/model-9")
            for version in list(texts)[::share]
        }

    def rehearse(c: Any, asked: Any, name: str, run_id: int, said: list[Scored], fresh: list[Any], now: Any):
        written.append((len(said), len(fresh)))
        return real(c, asked, name, run_id, said, fresh, now)

    real = estimate.tables.rehearse
    monkeypatch.setattr(estimate, "student_of", lambda *_: SimpleNamespace(sure=sure))
    monkeypatch.setattr(estimate.tables, "rehearse", rehearse)
    told = estimate.estimate(hospital.settings)
    assert told.tried_texts == 40
    chunk = 40 // (40 // 4)
    assert written == [(chunk, chunk - chunk // share)]
