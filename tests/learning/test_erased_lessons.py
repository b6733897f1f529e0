"""A model that erased reports taught goes on answering, says so, and is replaced by one that never saw it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select

from db import lessons, snapshots
from db.engine import reading, writing
from db.lessons import Taught
from db.models import Model, State, Trained
from db.tables import feature, report, report_version, run, snapshot_item
from tasks.inspection.dossier import write_dossier
from tasks.inspection.reproduce import _folder
from tasks.model_folders import STUDENT, baselines_path, checkpoints_of, model_card_path
from tasks.models.models import show_model
from tasks.pages.model_card import card_of, write_card
from tasks.pretraining.record import record
from tasks.training import learning_data
from tasks.upkeep.doctor import examine
from tasks.upkeep.erase import Erasure, Request, erase
from tests.learning.retraining import challenge, champion_of, model_of, retrain
from tests.learning.world import CLASSIFIER, World

HOSPITAL = range(60)


def some_of(world: World, split: str, reports: int = 2) -> tuple[str, ...]:
    """External ids of a split of the champion's training set."""
    query = (
        select(report.c.external_id)
        .join_from(report, report_version)
        .join(snapshot_item, snapshot_item.c.report_version_id == report_version.c.id)
        .where(snapshot_item.c.split == split)
        .order_by(report.c.id)
        .limit(reports)
    )
    with reading(world.engine) as c:
        return tuple(c.scalars(query))


def forget(world: World, names: tuple[str, ...]) -> Erasure:
    return erase(world.settings, Request("his", names), "dpo", "request 17", lambda _line: None)


def notice(world: World) -> str:
    found = {one.name: one for one in examine(world.engine, world.settings)}
    # this world's reports came in by no ingest
    assert {name for name, one in found.items() if not one.ok} <= {"versions_in_the_ledger"}
    return found["models_and_erasures"].found


def test_the_champion_goes_on_until_a_whole_training_replaces_it(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both).trained.model_id
    left = checkpoints_of(both.settings, CLASSIFIER) / "killed"
    begun = left.with_name(f"{model_sha(both)[:12]}-0123")
    for folder in (left, begun):
        folder.mkdir(parents=True)
    assert "no model" in notice(both)
    told = forget(both, some_of(both, "train"))
    assert [(one.id, one.champion, one.reports) for one in told.models] == [(first, True, 2)]
    assert (left.exists(), begun.exists()) == (True, False), "checkpoints of that training set, and no other"
    assert champion_of(both).model.id == first
    assert model_of(both, first).state == "ready"
    assert f"model {first} (2)" in notice(both)
    assert show_model(both.settings, first).erased == Taught(2, False)

    second = retrain(both, "head").trained.model_id
    assert show_model(both.settings, second).erased == Taught(2, False), "its body is the old one"
    third = retrain(both, "full").trained.model_id
    assert show_model(both.settings, third).erased is None
    assert f"model {third} " not in notice(both)


def model_sha(world: World) -> str:
    with reading(world.engine) as c:
        (sha,) = lessons.shas_of(c, [champion_of(world).model.snapshot_id])
    return sha


def test_a_report_that_only_judged_taught_nothing(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    told = forget(world, some_of(world, "holdout"))
    assert (told.models, told.held.training_sets) == ([], 1)
    assert "no model" in notice(world)


def test_what_a_training_read_before_an_erasure_it_stores_no_vector_of(
    both: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.add(HOSPITAL)
    names: tuple[str, ...] = ()
    put = learning_data.writing

    def meanwhile(engine: object) -> object:
        nonlocal names
        if not names:
            names = some_of(both, "train")
            forget(both, names)
        return put(engine)  # type: ignore[arg-type]

    monkeypatch.setattr(learning_data, "writing", meanwhile)
    made = challenge(both)
    assert len(names) == 2
    versions = select(report_version.c.id).join(report).where(report.c.external_id.in_(names))
    assert both.count(feature, feature.c.report_version_id.in_(versions)) == 0
    assert both.count(feature) > 0
    assert show_model(both.settings, made.model_id).erased == Taught(2, False)


def test_a_student_learnt_what_its_teacher_did_and_so_did_a_head_on_its_body(world: World) -> None:
    def model(
        number: int, snapshot: int, encoder: str, trained: Trained, teacher: int | None = None
    ) -> Model:
        config = {} if teacher is None else {"distilled": {"teacher": teacher}}
        state: State = "removed" if number == 1 else "ready"
        return Model(number, CLASSIFIER, "", "", encoder, snapshot, trained, config, "", state, 1, world.now)

    every = [
        model(1, 1, "a", "full"),
        model(2, 2, "a", "head"),
        model(3, 2, "b", "full", teacher=2),
        model(4, 2, "b", "head"),
        model(5, 2, "c", "full"),
        model(6, 3, "c", "full"),
    ]
    of: lessons.Lessons = {1: {"train": {7, 8}, "holdout": {9}}, 3: {"calibration": {7}}}
    known = {number: Taught(reports, False) for number, reports in {2: 2, 3: 2, 4: 2, 6: 1}.items()}
    assert lessons.taught(every[::-1], of) == known


def test_what_was_made_of_reports_without_a_label_is_told_as_perhaps_taught_and_so_is_what_came_of_it(
    world: World,
) -> None:
    def model(number: int, body: str, trained: Trained, **config: Any) -> Model:
        path, run_id = f"{number}", 10 * number
        return Model(number, CLASSIFIER, path, "", body, 1, trained, config, "", "ready", run_id, world.now)

    every = [
        model(1, "a", "full", encoder="/data/pretrained/achado-0123"),
        model(2, "a", "head", encoder="scratch"),
        model(3, "b", "full", distilled={"teacher": 2, "unlabelled": 0}),
        model(4, "c", "full", distilled={"teacher": 9, "unlabelled": 7}),
        model(5, "d", "full", distilled={"teacher": 9, "unlabelled": 7}),
        model(6, "e", "full", distilled={"teacher": 9, "unlabelled": 0}),
        model(7, "f", "full", encoder="/data/pretrained/achado-4567"),
    ]
    found = lessons.taught(every, {}, beside={40, 60}, encoders=["achado-0123"])
    assert found == dict.fromkeys((1, 2, 3, 4), Taught(0, True))
    told = [f"{one}" for one in (Taught(1200, False), Taught(2, True), Taught(0, True))]
    assert told == ["1,200", "2 and perhaps others", "perhaps some"]


def test_by_date_it_is_told_which_encoders_may_have_read_an_erased_report(both: World) -> None:
    both.add(range(4))

    def made(name: str, began: datetime, ended: datetime | None, start: str = "") -> None:
        with writing(both.engine) as c:
            row: dict[str, Any] = {
                "kind": "pretrain",
                "code_revision": "x",
                "config_sha": "x",
                "started_at": began,
            }
            row |= {"ended_at": ended, "state": "completed" if ended else "running"}
            new = insert(run).values(row)
            run_id = c.execute(new.returning(run.c.id)).scalar_one()
            facts = {"run": run_id, "read": {"reports": 9, "sha": "x"}, "config": {"start": {"name": start}}}
            record(c, name, facts, began)

    now, hour = datetime.now(UTC), timedelta(hours=1)
    made("before", both.now - 9 * hour, both.now - 8 * hour)
    made("during", both.now + 8 * hour, both.now + 9 * hour)
    made("under-way", now - hour, None)
    told = forget(both, ("L1",))
    assert (told.encoders, told.models) == (["during", "under-way"], [])
    made("after", now + 9 * hour, now + 10 * hour)
    made("of-during", now + 9 * hour, now + 10 * hour, start="/data/pretrained/during")
    with reading(both.engine) as c:
        assert lessons.taught_by(c)[1] == ["during", "under-way", "of-during"]


def test_card_and_dossier_say_how_many_reports_that_taught_were_erased_since(
    world: World, tmp_path: Path
) -> None:
    world.add(HOSPITAL)
    model_id = retrain(world).trained.model_id
    write_card(world.engine, world.settings, model_id)
    page = model_card_path(world.settings, model_id, "pt", "md")
    assert "apagados" not in page.read_text("utf-8")
    forget(world, some_of(world, "train"))
    assert "Desde então, 2 dos laudos que ensinaram este modelo" in page.read_text("utf-8")
    english = card_of(world.settings, model_id, "en").markdown
    assert "2 of the reports that taught it" in english
    assert "may have read" not in english
    write_dossier(world.settings, model_id, tmp_path / "dossier")
    told = json.loads((tmp_path / "dossier" / "model.json").read_text("utf-8"))
    assert told["erased_since"] == {"reports": 2, "perhaps": False}


def test_what_a_killed_distillation_or_reproduction_left_and_what_baselines_answered_goes(
    world: World,
) -> None:
    world.add(HOSPITAL)
    model_id = retrain(world).trained.model_id
    students, others = (checkpoints_of(world.settings, CLASSIFIER) / name for name in ("01-45", "89-cd"))
    (students / STUDENT).mkdir(parents=True)
    others.mkdir()
    with reading(world.engine) as c:
        snapshot = snapshots.get(c, champion_of(world).model.snapshot_id)
    assert snapshot is not None
    reproducing = _folder(world.settings, snapshot)  # its folder goes with it
    again = reproducing.__enter__()
    answers = baselines_path(world.settings, model_of(world, model_id))
    nobodys = answers.with_name("model-9-baselines.npz")
    nobodys.touch()
    forget(world, some_of(world, "train", 1))
    left = [one.exists() for one in (students, others, again, answers, nobodys)]
    assert left == [False, True, False, True, False]
    forget(world, some_of(world, "holdout", 1))
    assert not answers.exists(), "a line of it is the erased report's"
