"""A student is a challenger as any other, and never reads a patient that judges it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select, update

from db import metrics
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.tables import audit, label, model, report, report_version
from tasks.inspection.reproduce import reproduce
from tasks.ml.splits import split_of
from tasks.ml.training.distillation import Recipe
from tasks.model_folders import checkpoints_of, folder_of
from tasks.models.models import roll_back
from tasks.promotion.promote import decide
from tasks.training import distill
from tasks.training.distill import POPULATION, compare, teacher_of
from tasks.training.evaluate import evaluate_on_holdout
from tasks.training.learning_data import read_unlabelled
from tasks.training.plan import config_sha, plan
from tasks.training.training_set import freeze
from tests.learning.retraining import challenge, champion_of, distilled, model_of, retrain
from tests.learning.world import CLASSIFIER, LABELS, TRAINING, World, patient_key, text_of

LABELLED, UNLABELLED = range(80), range(80, 200)
TWO_LAYERS = TRAINING | {"layers": 2, "epochs": 3.0}


@pytest.fixture
def hospital(world: World, reconfigured: Callable[..., World]) -> World:
    """A champion of two layers, and reports that nobody labelled."""
    world = reconfigured(world, training=TWO_LAYERS)
    world.add(LABELLED)
    retrain(world)
    add_unlabelled(world)
    return world


def add_unlabelled(world: World) -> None:
    world.add(UNLABELLED)
    keys = [patient_key(number) for number in UNLABELLED]
    theirs = select(report_version.c.id).join(report).where(report.c.patient_key.in_(keys)).scalar_subquery()
    with writing(world.engine) as c:
        c.execute(label.delete().where(label.c.report_version_id.in_(theirs)))


def test_reports_without_a_label_are_read_of_patients_in_training_only(both: World) -> None:
    both.add(LABELLED)
    run_id = both.run("distill")
    snapshot_id = freeze(both.engine, run_id, CLASSIFIER, both.settings.classifier(CLASSIFIER), both.now)
    add_unlabelled(both)
    both.add(range(200, 230), name="outro")
    both.forget([UNLABELLED[0]])
    with writing(both.engine) as c:
        c.execute(update(report).where(report.c.external_id == "L81").values(deleted_at=both.now))
    allowed = [number for number in UNLABELLED[2:] if split_of(patient_key(number)) == "train"]
    assert 0 < len(allowed) < len(UNLABELLED)
    found = read_unlabelled(both.engine, snapshot_id, ["his"], 1000)
    assert sorted(found.texts) == sorted(text_of(number, LABELS[number % 2]) for number in allowed)
    some = read_unlabelled(both.engine, snapshot_id, ["his"], 10)
    assert len(some.texts) == 10
    assert some.sha == read_unlabelled(both.engine, snapshot_id, ["his"], 10).sha
    assert len(read_unlabelled(both.engine, snapshot_id, None, 1000).texts) > len(found.texts)


def test_a_student_is_taught_judged_and_recorded_as_a_challenger(
    hospital: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []

    def listen(
        teacher: Any, student: Any, tokenizer: Any, texts: list[str], labels: Any, **options: Any
    ) -> Any:
        heard.extend(texts)
        assert np.sum(labels == -100) == len(set(texts) & unlabelled)
        return real(teacher, student, tokenizer, texts, labels, **options)

    real = distill.distil
    unlabelled = {text_of(number, LABELS[number % 2]) for number in UNLABELLED}
    monkeypatch.setattr(distill, "distil", listen)
    made = distilled(hospital)
    assert (made.layers, made.teacher_layers, made.reused) == (1, 2, False)
    assert made.unlabelled > 0
    kept_away = {
        text_of(number, LABELS[number % 2])
        for number in [*LABELLED, *UNLABELLED]
        if split_of(patient_key(number)) != "train"
    }
    assert len(kept_away) > 20
    assert len(heard) == made.labelled + made.unlabelled
    assert not kept_away & set(heard)

    teacher, student = champion_of(hospital).model, model_of(hospital, made.model_id)
    engine, settings, now = hospital.engine, hospital.settings, hospital.now
    config = (folder_of(settings, student) / "config.json").read_text()
    assert '"num_hidden_layers": 1' in config
    assert student.config["distilled"]["teacher"] == teacher.id
    assert not list(checkpoints_of(settings, CLASSIFIER).glob("*"))
    run_id = hospital.run("distill")
    evaluate_on_holdout(engine, settings, run_id, student.id, now)
    found = compare(engine, settings, run_id, student, teacher, now)
    assert found.quality_kept == pytest.approx(found.f1_macro / found.teacher_f1_macro)
    assert found.quality_kept > 0.9
    assert 0.4 < found.flops_share < 0.6
    with reading(engine) as c:
        [ours] = [
            one for one in metrics.of_model(c, student.id)
            if (one.subject, one.slice, one.name) == ("model", "all", "f1_macro")
        ]  # fmt: skip
        written = {one.name: one.value for one in metrics.of_model(c, student.id, POPULATION)}
        [line] = c.execute(select(audit).where(audit.c.subject == f"model {student.id}")).all()
    assert ours.value == found.f1_macro
    assert written["f1_macro_kept"] == found.quality_kept
    assert (line.actor, line.action) == ("distill", "trained")
    # the same data: as good as the champion is not enough, whatever it costs
    assert decide(engine, settings, run_id, student.id, now).decision == "refused"

    again = distilled(hospital)
    assert (again.model_id, again.reused) == (made.model_id, True)
    assert challenge(hospital, "full").model_id == teacher.id  # no student passes for the whole network
    fewer = distilled(hospital, unlabelled=0)
    assert (fewer.reused, fewer.unlabelled) == (False, 0)


def test_the_night_after_puts_its_head_on_a_student_that_answers(hospital: World) -> None:
    made = distilled(hospital, unlabelled=0)
    roll_back(hospital.engine, hospital.settings, CLASSIFIER, made.model_id, "dra. teste", hospital.now)
    hospital.say(LABELLED[:1], "maligno")
    run_id = hospital.run("retrain")
    snapshot_id = freeze(
        hospital.engine, run_id, CLASSIFIER, hospital.settings.classifier(CLASSIFIER), hospital.now
    )
    planned = plan(hospital.engine, hospital.settings, CLASSIFIER, snapshot_id, "auto", hospital.now)
    assert planned.trained == "head"
    assert planned.base is not None
    assert planned.base.id == made.model_id


def test_only_a_model_of_todays_configuration_teaches(
    hospital: World, reconfigured: Callable[..., World], tmp_path: Path
) -> None:
    settings, engine = hospital.settings, hospital.engine
    assert teacher_of(engine, settings, None, None) == champion_of(hospital).model
    with pytest.raises(LaudosError, match="there is no model 99"):
        teacher_of(engine, settings, None, 99)
    with pytest.raises(LaudosError, match=r"model 1 belongs to 'achado', not to 'outra'"):
        teacher_of(engine, settings, "outra", 1)
    changed = reconfigured(hospital, training=TWO_LAYERS | {"window_tokens": 32})
    with pytest.raises(NothingToWorkOn, match="training of 'achado' changed since model 1 was trained"):
        distilled(changed)


def test_without_a_champion_or_a_name_it_says_what_is_missing(
    world: World, configure: Callable[..., Any]
) -> None:
    with pytest.raises(NothingToWorkOn, match="no promoted model for"):
        teacher_of(world.engine, world.settings, None, None)
    asked = world.settings.classifier(CLASSIFIER)
    two = world.settings.model_copy(update={"classifiers": {"um": asked, "dois": asked}})
    with pytest.raises(ConfigurationError, match="Say --classifier NAME"):
        teacher_of(world.engine, two, None, None)


def test_a_student_is_made_again_while_the_reports_that_taught_it_are_the_same(hospital: World) -> None:
    made = distilled(hospital)
    found = reproduce(hospital.engine, hospital.settings, made.model_id)
    assert (found.same, found.trained, found.body) == (True, "distilled", "distilled again")
    newcomer = next(number for number in range(300, 400) if split_of(patient_key(number)) == "train")
    hospital.add([newcomer])
    found = reproduce(hospital.engine, hospital.settings, made.model_id)
    assert [one.what for one in found.differences] == ["unlabelled reports"]


def test_a_student_of_the_time_before_narrower_layers_is_made_again_with_whole_ones(hospital: World) -> None:
    made = distilled(hospital, 0, Recipe(inner_share=1.0))
    config = model_of(hospital, made.model_id).config
    del config["distilled"]["inner_share"]
    with writing(hospital.engine) as c:
        then = {"config": config, "config_sha": config_sha(config)}
        c.execute(update(model).where(model.c.id == made.model_id).values(then))
    assert reproduce(hospital.engine, hospital.settings, made.model_id).same
