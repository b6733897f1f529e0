"""Scoring a backlog with a real champion: only what is new, exactly once, and nothing lost on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select, update

import flows.classify
from db import models
from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.tables import audit, feature, model, prediction, quarantine, report_version, score_chunk, score_job
from flows.cli.words import tell_status
from tasks.inspection.predict import predict_text
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import intact
from tasks.models.models import roll_back
from tasks.night.nightly import Attempts
from tasks.night.status import status
from tasks.scoring import claims
from tasks.scoring.classify import cut_backlog, export_predictions, score
from tasks.scoring.scorer import Scorer, ScoreSummary, load_scorer
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import checkup, doctor
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital


def classify(hospital: Hospital) -> ScoreSummary | None:
    job_id = cut_backlog.fn(hospital.run("classify"), CLASSIFIER)
    return None if job_id is None else score.fn(job_id)


def probabilities(hospital: Hospital) -> dict[tuple[int, int], float]:
    with reading(hospital.engine) as c:
        rows = c.execute(select(prediction)).all()
    return {(row.model_id, row.report_version_id): row.probabilities["maligno"] for row in rows}


def test_a_backlog_is_scored_once_and_again_only_what_is_new(both: Hospital) -> None:
    both.receive(30)
    both.crown()
    first = classify(both)
    assert first is not None
    assert (first.written, first.encoded, first.from_features, first.elsewhere) == (30, 30, 0, 0)
    assert first.review == both.count(prediction, prediction.c.decision == "review")
    assert classify(both) is None
    both.receive(5)
    both.amend("L3")
    second = classify(both)
    assert second is not None
    assert (second.written, second.encoded) == (6, 6)
    assert both.count(prediction) == 36
    assert doctor(both.settings) == []


def test_a_new_head_scores_the_backlog_from_stored_features(both: Hospital) -> None:
    both.receive(30)
    both.crown()
    classify(both)
    successor = both.crown(head=1)
    again = classify(both)
    assert again is not None
    assert (again.written, again.encoded, again.from_features) == (30, 0, 30)
    by_features = {key: value for key, value in probabilities(both).items() if key[0] == successor}
    texts = {key[1]: value for key, value in by_features.items()}
    with reading(both.engine) as c:
        read = {row.id: row.text for row in c.execute(select(report_version.c.id, report_version.c.text))}
    answers = Predictor.load(both.folder_of(successor)).predict([read[version] for version in texts])
    assert [answer.probabilities["maligno"] for answer in answers] == pytest.approx(
        list(texts.values()), abs=1e-5
    )
    assert doctor(both.settings) == []


FOREIGN = "The specimen is received in formalin and consists of tan tissue; sections show a carcinoma. " * 4


def test_a_report_unlike_those_that_taught_goes_to_a_person_by_text_and_by_features_alike(
    both: Hospital,
) -> None:
    both.receive(20)
    both.receive(2, text=FOREIGN)
    first = both.crown(familiar=True)
    classify(both)
    second = both.crown(head=1, familiar=True)
    again = classify(both)
    assert again is not None
    assert (again.written, again.encoded, again.from_features) == (22, 0, 22)
    with reading(both.engine) as c:
        texts = {row.id: row.text for row in c.execute(select(report_version.c.id, report_version.c.text))}
        written = c.execute(select(prediction)).all()
    for model_id in (first, second):
        ours = [row for row in written if row.model_id == model_id]
        answers = Predictor.load(both.folder_of(model_id)).predict(
            [texts[row.report_version_id] for row in ours]
        )
        told = [(row.label, row.decision, row.review_because) for row in ours]
        assert told == [(one.label, one.decision, one.because) for one in answers]
        foreign = [row.report_version_id for row in ours if row.review_because == "unfamiliar"]
        assert foreign == [version for version, text in texts.items() if text == FOREIGN]
        one = predict_text(both.settings, FOREIGN, model=both.folder_of(model_id))
        assert (one.decision, one.because) == ("review", "unfamiliar")


def test_a_vector_stored_before_there_were_sketches_is_read_once_more(both: Hospital) -> None:
    both.receive(5)
    both.receive(1, text=FOREIGN)
    both.crown(familiar=True)
    classify(both)
    with writing(both.engine) as c:
        c.execute(update(feature).where(feature.c.report_version_id != 2).values(sketch=None))
    both.crown(head=1, familiar=True)
    after = classify(both)
    assert after is not None
    assert (after.encoded, after.from_features) == (5, 1)
    assert both.count(prediction, prediction.c.review_because == "unfamiliar") == 2
    both.crown(head=2, familiar=True)
    last = classify(both)
    assert last is not None
    assert (last.encoded, last.from_features) == (0, 6)


def test_nothing_new_does_not_even_load_the_model(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(8)
    hospital.crown()
    classify(hospital)
    monkeypatch.setattr(Predictor, "load", None)
    monkeypatch.setattr(flows.classify, "cut_backlog", cut_backlog.fn)
    monkeypatch.setattr(flows.classify, "score", score.fn)
    (summary,) = flows.classify.classify.fn()
    assert (summary.outcome, summary.written, summary.encoded) == ("nothing to score", 0, 0)


def test_the_flow_finishes_what_was_interrupted_and_then_what_came_since(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(8)
    job = hospital.cut(hospital.crown())
    hospital.receive(6)
    monkeypatch.setattr(flows.classify, "cut_backlog", cut_backlog.fn)
    monkeypatch.setattr(flows.classify, "score", score.fn)
    (summary,) = flows.classify.classify.fn(CLASSIFIER)
    assert (summary.outcome, summary.jobs, summary.written) == ("scored", (job.id, job.id + 1), 14)


def test_a_classifier_that_was_renamed_is_named_by_status_and_doctor_and_breaks_nothing(
    both: Hospital, configure: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    def noticed(settings: Settings) -> str:
        with reading(both.engine) as c:
            [found] = [one for one in checkup(c, settings) if one.name == "champions_are_configured"]
        assert found.ok
        return found.found

    both.receive(4)
    both.crown()
    classify(both)
    assert status(both.settings).classifiers_ended == []
    assert noticed(both.settings) == "every classifier that has a champion is in laudos.toml"
    other = {"outro": {"labels": ["a", "b"], "critical": "a"}}
    renamed = configure(database=both.settings.database, classifiers=other)
    stands = status(renamed)
    assert stands.classifiers_ended == [CLASSIFIER]
    assert noticed(renamed).startswith(f"{CLASSIFIER}: a champion, and not in laudos.toml")
    tell_status(stands, renamed.zone)
    assert f"{CLASSIFIER}: has a champion and is not in laudos.toml" in capsys.readouterr().out


def test_one_classifier_without_a_champion_does_not_stop_the_other(
    hospital: Hospital, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(4)
    hospital.crown()
    monkeypatch.setattr(flows.classify, "cut_backlog", cut_backlog.fn)
    monkeypatch.setattr(flows.classify, "score", score.fn)
    other = {"outro": {"labels": ["a", "b"], "critical": "a"}}
    configure(database=hospital.settings.database, classifiers={**other, **TABLES["classifiers"]})
    lacking, scored = flows.classify.classify.fn()
    assert lacking.outcome == "failed"
    assert "laudos retrain" in (lacking.failure or "")
    assert (scored.outcome, scored.written) == ("scored", 4)
    with pytest.raises(NothingToWorkOn, match="laudos retrain"):
        flows.classify.classify.fn("outro")


def test_a_former_champions_job_is_stopped_and_the_new_one_scores_everything(hospital: Hospital) -> None:
    hospital.receive(8)
    former = hospital.cut(hospital.crown())
    hospital.crown(head=1)
    summary = classify(hospital)
    assert summary is not None
    assert summary.written == 8
    assert hospital.count(score_job, score_job.c.id == former.id, score_job.c.state == "stopped") == 1
    assert score.fn(former.id).written == 0
    assert doctor(hospital.settings) == []


def damage(hospital: Hospital, model_id: int) -> Callable[[], object]:
    """Alter one byte of the weights; what puts it back."""
    weights = hospital.folder_of(model_id) / "model.safetensors"
    published = weights.read_bytes()
    weights.write_bytes(published[:-1] + bytes([published[-1] ^ 1]))
    return lambda: weights.write_bytes(published)


def test_an_altered_model_scores_nothing_and_says_how_to_go_on(hospital: Hospital) -> None:
    hospital.receive(8)
    damage(hospital, hospital.crown())
    with pytest.raises(LaudosError, match=r"model\.safetensors was altered.*laudos models rollback"):
        classify(hospital)
    assert hospital.count(prediction) == 0
    assert hospital.count(score_chunk, score_chunk.c.state == "leased") == 0


def test_a_night_whose_champion_cannot_be_used_has_failed(hospital: Hospital) -> None:
    hospital.receive(8)
    damage(hospital, hospital.crown())
    night = Attempts()
    assert night("classify", classify, hospital) == night.skipped == []
    assert "model 1 of 'achado' cannot be used" in night.failed[0]


def test_a_champion_whose_folder_was_restored_answers_again(both: Hospital) -> None:
    both.receive(8)
    restore = damage(both, both.crown())
    for _ in range(2):
        with pytest.raises(LaudosError, match="Restore its folder from a back-up"):
            classify(both)
    restore()
    (found,) = doctor(both.settings)
    assert (found.name, "was restored" in found.advice) == ("champions_may_answer", True)
    assert classify(both) is not None
    assert both.count(prediction) == 8
    assert doctor(both.settings) == []
    with reading(both.engine) as c:
        rows = c.execute(select(audit.c.action, audit.c.subject).order_by(audit.c.id)).all()
    assert [tuple(row) for row in rows] == [("tainted", "model 1"), ("restored", "model 1")]


def test_a_restored_model_that_a_person_went_back_from_stays_retired(hospital: Hospital) -> None:
    def state_once_read() -> str:
        with reading(hospital.engine) as c:
            found = models.get(c, second)
        assert found is not None
        intact(hospital.engine, hospital.settings, found, "test", hospital.now)
        with reading(hospital.engine) as c:
            return str(c.scalar(select(model.c.state).where(model.c.id == second)))

    hospital.crown()
    second = hospital.crown(head=1)
    restore = damage(hospital, second)
    assert state_once_read() == "tainted"
    roll_back(hospital.engine, hospital.settings, CLASSIFIER, None, "dra. Lima", hospital.now)
    for _ in range(2):
        restore()
        assert state_once_read() == "retired"
        damage(hospital, second)
        assert state_once_read() == "tainted"


def test_changed_labels_ask_for_a_new_model(hospital: Hospital, configure: Callable[..., Settings]) -> None:
    hospital.receive(8)
    hospital.crown()
    renamed = {CLASSIFIER: {"labels": ["normal", "maligno"], "critical": "maligno"}}
    configure(database=hospital.settings.database, classifiers=renamed)
    with pytest.raises(NothingToWorkOn, match=r"labels of 'achado' changed.*laudos retrain"):
        classify(hospital)


def fail_on(monkeypatch: pytest.MonkeyPatch, fails: Callable[[str], bool]) -> None:
    read = Predictor.vectors

    def vectors(self: Predictor, texts: list[str], **options: Any) -> Any:
        if any(map(fails, texts)):
            raise RuntimeError("a kernel said no")
        return read(self, texts, **options)

    monkeypatch.setattr(Predictor, "vectors", vectors)


def test_a_report_that_makes_the_model_fail_is_quarantined_and_the_rest_written(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(7)
    hospital.receive(1, text="Laudo que derruba o modelo")
    hospital.receive(7)
    hospital.crown()
    fail_on(monkeypatch, lambda text: "derruba" in text)
    summary = classify(hospital)
    assert summary is not None
    assert (summary.written, summary.quarantined, summary.elsewhere) == (14, 1, 0)
    with reading(hospital.engine) as c:
        row = c.execute(select(quarantine)).one()
    assert (row.external_id, row.reason, row.state) == ("L7", "scoring_failed", "waiting")
    assert row.classifier == CLASSIFIER
    assert b"derruba" not in row.payload
    assert classify(hospital) is None
    assert doctor(hospital.settings) == []


def test_a_broken_model_does_not_empty_the_backlog_into_quarantine(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(8)
    hospital.crown()
    fail_on(monkeypatch, lambda text: True)
    with pytest.raises(LaudosError, match="RuntimeError in score"):
        classify(hospital)
    assert hospital.count(quarantine) == 0
    monkeypatch.undo()


def test_nothing_is_claimed_while_the_model_is_loaded(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A load, or a trial of back ends, that takes longer than a lease would lose the chunk."""
    both.receive(8)
    both.crown()
    leased: list[int] = []

    def load(*asked: Any) -> Scorer:
        leased.append(both.count(score_chunk, score_chunk.c.state == "leased"))
        return load_scorer(*asked)

    monkeypatch.setattr(claims, "load_scorer", load)
    summary = classify(both)
    assert summary is not None
    assert (summary.written, leased) == (8, [0])
    assert both.count(score_chunk, score_chunk.c.fence > 1) == 0


def test_without_a_champion_the_command_that_gives_one_is_named(hospital: Hospital) -> None:
    hospital.receive(1)
    with pytest.raises(NothingToWorkOn, match="laudos retrain"):
        classify(hospital)
    with pytest.raises(LaudosError, match="no scoring job 77"):
        score.fn(77)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_predictions_are_exported_with_ids_and_without_text(
    hospital: Hospital, tmp_path: Path, name: str
) -> None:
    hospital.receive(6)
    hospital.crown()
    classify(hospital)
    hospital.amend("L2")
    told = export_predictions(hospital.settings, None, tmp_path / name)
    assert told.rows == 5
    out = tmp_path / name
    frame = pd.read_csv(out) if name.endswith("csv") else pd.read_parquet(out)
    assert list(frame.external_id) == ["L0", "L1", "L3", "L4", "L5"]
    assert (frame.p_benigno + frame.p_maligno).round(6).eq(1).all()
    assert not any("Laudo" in str(value) for value in frame.to_numpy().ravel())
    assert sorted(path.name for path in tmp_path.glob("*out*")) == [name]


def test_an_export_bears_the_labels_that_the_champion_answers_with(
    hospital: Hospital, tmp_path: Path
) -> None:
    hospital.receive(6)
    hospital.crown()
    classify(hospital)
    only = hospital.settings.classifiers[CLASSIFIER]
    renamed = only.model_copy(update={"labels": ["benigno", "malign"], "critical": "malign"})
    settings = hospital.settings.model_copy(update={"classifiers": {CLASSIFIER: renamed}})
    export_predictions(settings, None, tmp_path / "out.csv")
    frame = pd.read_csv(tmp_path / "out.csv")
    assert (frame.p_benigno + frame.p_maligno).round(6).eq(1).all()


def test_an_export_says_what_it_cannot_do(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(NothingToWorkOn, match="laudos retrain"):
        export_predictions(hospital.settings, CLASSIFIER, tmp_path / "out.csv")
    hospital.crown()
    with pytest.raises(LaudosError, match=r"must end in \.csv or \.parquet"):
        export_predictions(hospital.settings, CLASSIFIER, tmp_path / "out.xlsx")
    with pytest.raises(LaudosError, match="did you mean 'achado'"):
        export_predictions(hospital.settings, "achdo", tmp_path / "out.csv")
    with pytest.raises(LaudosError, match="make it first"):
        export_predictions(hospital.settings, CLASSIFIER, tmp_path / "nowhere" / "out.csv")
