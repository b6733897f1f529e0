"""The cascade: who answered is recorded and asked again, and a student that answers otherwise does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from db.predictions import Scored
from db.tables import feature
from flows.cli.app import main
from tasks.inspection.verify import verify_prediction
from tasks.ml.network.predictor import Predictor
from tasks.scoring import apart, cascade, cascade_trial, estimate
from tasks.scoring.answering import Read
from tasks.scoring.scorer import load_scorer
from tasks.upkeep.retention import collect
from tests.scoring.cascading import REPORTS, recorded, score, with_cascade, with_student
from tests.scoring.hospital import Hospital

pytestmark = pytest.mark.usefixtures("easily_promised")


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


def test_the_command_tells_what_was_found_or_what_is_lacking(
    hospital: Hospital,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    half_sure: Callable[[Hospital, int], None],
) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr("tasks.scoring.try_backends.trials", lambda *_: [])

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
