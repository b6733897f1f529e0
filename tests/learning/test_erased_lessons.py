"""A model that erased reports taught goes on answering, says so, and is replaced by one that never saw it."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from db import lessons
from db.engine import reading
from db.models import Model, State, Trained
from db.tables import feature, report, report_version, snapshot_item
from tasks import learning_data
from tasks.doctor import examine
from tasks.erase import Erasure, Request, erase
from tasks.model_folders import checkpoints_of
from tasks.models import show_model
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
    assert show_model(both.settings, first).erased == 2

    second = retrain(both, "head").trained.model_id
    assert show_model(both.settings, second).erased == 2, "its body is the old one"
    third = retrain(both, "full").trained.model_id
    assert show_model(both.settings, third).erased == 0
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
    assert show_model(both.settings, made.model_id).erased == 2


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
    assert lessons.taught(every[::-1], of) == {2: 2, 3: 2, 4: 2, 6: 1}
