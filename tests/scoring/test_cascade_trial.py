"""A student's trial: what proves that it may answer, what does not, and when it is tried again."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from db.predictions import Scored
from tasks.ml.network import cascade as promises
from tasks.ml.network.predictor import Predictor
from tasks.scoring import cascade, cascade_trial
from tests.scoring.cascading import REPORTS, champion_of, score, with_cascade, with_student
from tests.scoring.hospital import Hospital

pytestmark = pytest.mark.usefixtures("easily_promised")


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
