"""Back ends: one answers only where it answers as torch does, and what computed an answer is recorded."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args

import pytest
import torch
from sqlalchemy import insert, select

from db import erasure
from db.engine import reading, writing
from db.errors import NothingToWorkOn
from db.models import Model, champion_of
from db.tables import feature, prediction, snapshot_item
from flows.cli.app import main
from tasks.inspection.verify import verify_prediction
from tasks.ml.network.backends import BACKENDS, REFERENCE, Backend, reader_on, why_not
from tasks.ml.network.features import Heard, Reader
from tasks.ml.network.isolation import PROBE
from tasks.ml.network.predictor import Predictor
from tasks.scoring import answering, backends
from tasks.scoring.backends import Trial
from tasks.scoring.claims import work_on
from tasks.scoring.scorer import ScoreSummary, load_predictor, load_scorer
from tasks.settings.sections import ScoringSettings
from tasks.settings.settings import Settings
from tests.scoring.hospital import CLASSIFIER, LABELS, Hospital, text_of

here = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(one, marks=pytest.mark.skipif(why_not(one) is not None, reason=str(why_not(one))))
        for one in BACKENDS
        if one != REFERENCE
    ],
)


def champion(hospital: Hospital) -> Model:
    with reading(hospital.engine) as c:
        found = champion_of(c, CLASSIFIER)
    assert found is not None
    return found.model


def as_torch_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every back end is here, and reads as the reference does."""
    monkeypatch.setattr(backends, "why_not", lambda backend: None)
    monkeypatch.setattr(
        "tasks.ml.network.predictor.reader_on", lambda model, backend: reader_on(model, REFERENCE)
    )


def calibrated(hospital: Hospital) -> int:
    """A champion, and the calibration reports that it was made with."""
    hospital.receive(12)
    model_id = hospital.crown()
    rows = [
        {"report_version_id": version, "label": LABELS[version % 2], "origin": "source"}
        for version in range(1, 13)
    ]
    frozen = {"snapshot_id": champion(hospital).snapshot_id, "split": "calibration"}
    with writing(hospital.engine) as c:
        c.execute(insert(snapshot_item), [row | frozen for row in rows])
    return model_id


def asking_for(hospital: Hospital, backend: str) -> Settings:
    scoring = hospital.settings.scoring.model_copy(update={"backend": backend})
    return hospital.settings.model_copy(update={"scoring": scoring})


def score(hospital: Hospital, model_id: int, settings: Settings) -> ScoreSummary:
    return work_on(hospital.engine, settings, hospital.cut(model_id))


def test_the_settings_name_every_back_end() -> None:
    named = get_args(ScoringSettings.model_fields["backend"].annotation)
    assert named == ("auto", *BACKENDS)


@here
def test_what_computed_an_answer_is_recorded_and_verify_computes_it_so_again(
    hospital: Hospital, backend: Backend
) -> None:
    model_id = calibrated(hospital)
    settings = asking_for(hospital, backend)
    assert score(hospital, model_id, settings).encoded == 12
    with reading(hospital.engine) as c:
        assert set(c.scalars(select(prediction.c.backend))) == {backend}
    assert verify_prediction(settings, f"{model_id}:1").same
    # vectors of reduced precision never stand beside those that a head is fitted on
    assert hospital.count(feature) == (12 if backend.endswith("fp32") else 0)


def test_a_back_end_that_answers_otherwise_is_refused(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)

    def wrong(model: object, backend: Backend) -> Reader:
        def read(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
            heard = right(ids, mask)
            return heard._replace(vectors=-3 * heard.vectors)

        return read

    with reading(hospital.engine) as c:
        champion = champion_of(c, CLASSIFIER)
    assert champion is not None
    predictor = load_predictor(hospital.engine, hospital.settings, CLASSIFIER, champion.model)
    right = reader_on(predictor.model, REFERENCE)
    monkeypatch.setattr("tasks.ml.network.predictor.reader_on", wrong)
    monkeypatch.setattr(backends, "why_not", lambda backend: None)
    with pytest.raises(NothingToWorkOn, match="it missed 6 critical reports"):
        score(hospital, model_id, asking_for(hospital, "openvino-fp32"))
    assert hospital.count(prediction) == 0

    monkeypatch.setattr(backends, "WORTH_TRYING", 1)
    assert score(hospital, model_id, hospital.settings).written == 12
    with reading(hospital.engine) as c:
        assert set(c.scalars(select(prediction.c.backend))) == {REFERENCE}, "auto takes what is admitted"


def test_a_back_end_that_fails_while_it_reads_is_refused_without_its_words(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)

    def failing(ids: object, mask: object) -> torch.Tensor:
        raise RuntimeError("of patient Maria")

    monkeypatch.setattr("tasks.ml.network.predictor.reader_on", lambda model, backend: failing)
    monkeypatch.setattr(backends, "why_not", lambda backend: None)
    with pytest.raises(
        NothingToWorkOn, match=r"fails on reports that torch-fp32 reads \(RuntimeError\)"
    ) as told:
        score(hospital, model_id, asking_for(hospital, "openvino-fp32"))
    assert "Maria" not in str(told.value)


def of_little_memory(tokens_max: int) -> Callable[[object, Backend], Reader]:
    """What reads as torch does, until a pass holds more tokens."""

    def on(model: Any, backend: Backend) -> Reader:
        right = reader_on(model, REFERENCE)

        def read(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
            if ids.numel() > tokens_max:
                raise torch.OutOfMemoryError("CUDA out of memory, of patient Maria")
            return right(ids, mask)

        return read

    return on


def test_memory_that_another_program_has_refuses_a_back_end_for_now_and_not_for_good(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    monkeypatch.setattr(backends, "why_not", lambda backend: None)
    monkeypatch.setattr("tasks.ml.network.predictor.reader_on", of_little_memory(0))
    with pytest.raises(NothingToWorkOn, match="too little memory"):
        score(hospital, model_id, asking_for(hospital, "cuda-fp32"))
    monkeypatch.setattr("tasks.ml.network.predictor.reader_on", of_little_memory(10**6))
    told = work_on(hospital.engine, asking_for(hospital, "cuda-fp32"), hospital.cut(model_id))
    assert told.written == 12


@pytest.mark.parametrize("at", ["set-up", "reading"])
def test_what_auto_chose_and_fails_at_night_leaves_the_reports_to_torch(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    model_id = calibrated(hospital)
    monkeypatch.setattr(backends, "_soonest", lambda *_: "cuda-fp32")
    broken = of_little_memory(0)
    said: list[str] = []
    monkeypatch.setattr(backends.log, "warning", lambda words, *what: said.append(words % what))

    def refused(model: object, backend: Backend) -> Reader:
        raise torch.OutOfMemoryError("of patient Maria")

    monkeypatch.setattr("tasks.ml.network.predictor.reader_on", broken if at == "reading" else refused)
    told = score(hospital, model_id, hospital.settings)
    assert (told.written, told.quarantined) == (12, 0)
    with reading(hospital.engine) as c:
        assert set(c.scalars(select(prediction.c.backend))) == {REFERENCE}
    assert hospital.count(feature) == 12
    assert any("(OutOfMemoryError): torch-fp32" in words for words in said)
    assert not any("Maria" in words for words in said)


def test_a_gpu_short_of_memory_reads_smaller_batches_before_it_halves_the_reports(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated(hospital)
    with reading(hospital.engine) as c:
        champion = champion_of(c, CLASSIFIER)
    assert champion is not None
    predictor = load_predictor(hospital.engine, hospital.settings, CLASSIFIER, champion.model)
    tokens: list[int] = []
    little = of_little_memory(600)(predictor.model, REFERENCE)

    def read(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
        tokens.append(ids.numel())
        return little(ids, mask)

    gpu = replace(predictor, backend="cuda-fp32", reader=read)
    told = answering.read(gpu, {number: f"{text_of(number)} {number}" for number in range(60)}, 4096)
    assert (told.encoded, told.failed) == (60, [])
    # 65,536 tokens, a quarter of them and so on, down to 512: each fails at its first pass that is too large
    too_large = [all_at_once for all_at_once in tokens if all_at_once > 600]
    assert len(too_large) == 4, tokens
    assert too_large == sorted(too_large, reverse=True)
    assert max(tokens[tokens.index(too_large[-1]) + 1 :]) <= 600


def test_machines_that_share_a_folder_are_tried_each_for_itself(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    monkeypatch.setattr(backends, "WORTH_TRYING", 1)
    as_torch_reads(monkeypatch)
    for host in ("one", "two", "one"):
        monkeypatch.setattr(backends, "machine", lambda host=host: {"host": host})
        hospital.receive(3)
        score(hospital, model_id, hospital.settings)
    assert len(list((hospital.settings.folder / "backends").glob("*.json"))) == 2


def test_a_model_and_machine_are_tried_once(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    model_id = calibrated(hospital)
    monkeypatch.setattr(backends, "WORTH_TRYING", 1)
    as_torch_reads(monkeypatch)
    score(hospital, model_id, hospital.settings)
    (kept,) = (hospital.settings.folder / "backends").glob("*.json")
    tried = [one["backend"] for one in json.loads(kept.read_text())["trials"]]
    assert tried == ["torch-fp32", "openvino-fp32", "cuda-fp32"], "auto leaves reduced precision alone"

    def never(*_: object) -> None:
        raise AssertionError("tried again")

    monkeypatch.setattr(backends, "_tried", never)
    hospital.receive(5)
    assert score(hospital, model_id, hospital.settings).written == 5


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"machine": {}, "trials": []}',  # as it was written before it had a revision
        b'{"revision": 3, "trials": [{"backend": "openvino-fp32"}]}',
        b'{"revision": 3, "trials": [{"backend": "openvino-fp32", "refused": null}]}',
        b'{"revision": 3, "trials": [{"backend": "openvino-fp32", "refused": null, "reports_per_s": "x"}]}',
        b"\xff[1]",
    ],
)
def test_a_trial_file_of_another_version_or_a_damaged_one_is_made_anew_and_told(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    model_id = calibrated(hospital)
    as_torch_reads(monkeypatch)
    file = backends._kept_in(hospital.settings, champion(hospital))
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert score(hospital, model_id, asking_for(hospital, "openvino-fp32")).written == 12
    assert f"{file.name} was written by another laudos or is damaged" in caplog.text
    caplog.clear()
    hospital.receive(3)
    assert score(hospital, model_id, asking_for(hospital, "openvino-fp32")).written == 3
    assert "damaged" not in caplog.text


def test_a_folder_of_trials_that_cannot_be_written_stops_no_night(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model_id = calibrated(hospital)
    as_torch_reads(monkeypatch)
    monkeypatch.setattr(backends, "WORTH_TRYING", 1)
    (hospital.settings.folder / "backends").write_text("no folder")
    assert score(hospital, model_id, hospital.settings).written == 12
    assert "no other back end could be tried" in caplog.text


def failing_on(monkeypatch: pytest.MonkeyPatch, fails: Callable[[Predictor, str], bool]) -> set[int]:
    """Lets a predictor fail on texts; the sizes of the batches that any was asked for."""
    read = Predictor.vectors
    sizes: set[int] = set()

    def vectors(self: Predictor, texts: Sequence[str], **options: Any) -> Any:
        if list(texts) != [PROBE]:
            sizes.add(options["batch_tokens"])
        if any(fails(self, text) for text in texts):
            raise RuntimeError("of patient Maria")
        return read(self, texts, **options)

    monkeypatch.setattr(Predictor, "vectors", vectors)
    return sizes


def test_a_calibration_report_that_no_network_can_read_stops_no_trial(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried as it is read: in the same batches, and what makes the model fail is found and left out."""
    model_id = calibrated(hospital)
    as_torch_reads(monkeypatch)
    sizes = failing_on(monkeypatch, lambda _, text: text == text_of(3))
    told = score(hospital, model_id, asking_for(hospital, "openvino-fp32"))
    assert (told.written, told.quarantined) == (11, 1)
    assert sizes == {hospital.settings.scoring.batch_tokens}
    predictor = load_predictor(hospital.engine, hospital.settings, CLASSIFIER, champion(hospital))
    found = backends.trials(hospital.engine, hospital.settings, champion(hospital), predictor, [])
    assert found[0].fidelity is not None
    assert found[0].fidelity.reports == 11


def test_an_erased_calibration_report_stops_no_trial(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    as_torch_reads(monkeypatch)
    with writing(hospital.engine) as c:
        erasure.alone(c)
        erasure.erase(c, erasure.find(c, 1, ["L3"], [])[0], hospital.now)
    assert score(hospital, model_id, asking_for(hospital, "openvino-fp32")).written == 11
    (kept,) = (hospital.settings.folder / "backends").glob("*.json")
    assert {one["fidelity"]["reports"] for one in json.loads(kept.read_text())["trials"]} == {11}


def test_a_back_end_that_cannot_read_what_the_reference_reads_is_refused(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    as_torch_reads(monkeypatch)
    failing_on(monkeypatch, lambda on, text: on.backend != REFERENCE and text == text_of(3))
    with pytest.raises(NothingToWorkOn, match=r"it fails on 1 of 12 reports that torch-fp32 reads"):
        score(hospital, model_id, asking_for(hospital, "openvino-fp32"))


def test_what_workers_died_over_is_read_by_the_reference_where_auto_chose_another(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hospital.cut(calibrated(hospital))
    as_torch_reads(monkeypatch)
    monkeypatch.setattr(backends, "WORTH_TRYING", 1)
    found = [
        Trial(REFERENCE, None, reports_per_s=1.0),
        Trial("openvino-fp32", None, reports_per_s=99.0),
    ]
    monkeypatch.setattr(backends, "trials", lambda *_: found)
    loaded = [
        load_scorer(hospital.engine, hospital.settings, job, alone=alone).predictor.backend
        for alone in (False, True)
    ]
    assert loaded == ["openvino-fp32", REFERENCE]


def test_where_memory_was_too_short_even_for_the_reference_it_answers_all_the_same(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = hospital.cut(calibrated(hospital))
    as_torch_reads(monkeypatch)
    monkeypatch.setattr(backends, "WORTH_TRYING", 1)
    found = [Trial(one, backends.NO_MEMORY) for one in (REFERENCE, "openvino-fp32")]
    monkeypatch.setattr(backends, "trials", lambda *_: found)
    assert load_scorer(hospital.engine, hospital.settings, job).predictor.backend == REFERENCE


def test_what_is_not_installed_is_named_with_the_way_to_install_it(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_id = calibrated(hospital)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NothingToWorkOn, match=r"pip install 'laudos\[fast\]'"):
        score(hospital, model_id, asking_for(hospital, "openvino-fp32"))


def test_the_command_tells_of_every_back_end(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calibrated(hospital)
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def ran(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", "backends", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    told = json.loads(ran("--json"))
    assert [one["backend"] for one in told["trials"]] == list(BACKENDS)
    assert told["trials"][0]["refused"] is None
    assert "admitted" in ran()
