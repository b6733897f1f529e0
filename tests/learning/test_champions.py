"""Which model answers: one change at a time, on record, and a person can take it back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import delete, insert, select, update

from db import audit, models
from db.engine import reading, writing
from db.errors import Busy, ConfigurationError, LaudosError, NothingToWorkOn
from db.tables import audit as audit_table
from db.tables import snapshot
from tasks.ml.pages.model_report import STILL_WAITS
from tasks.ml.splits import split_of
from tasks.model_folders import point_at_champion, pointer_path, report_path
from tasks.models.models import list_models, reference, roll_back, rollback, show_model
from tasks.pages.model_report import write_model_report
from tasks.promotion.approval import approve_model, pending_of
from tasks.promotion.candidacy import lapse
from tasks.promotion.plan_check import check_plan
from tasks.promotion.promote import decide, look_at
from tests.learning.retraining import alter, challenge, champion_of, decisions, model_of, retrain
from tests.learning.world import CLASSIFIER, LABELS, World, patient_key

HOSPITAL = range(80)
LENIENT = {"holdout_patients_min": 5, "beat_baselines": False}


def bare_model(world: World, number: int) -> int:
    """A model's row without a folder: enough for what SQL decides."""
    run_id = world.run("retrain")
    with writing(world.engine) as c:
        frozen = {
            "classifier": CLASSIFIER,
            "sha": f"sha {number}",
            "recipe": {},
            "reports": 0,
            "run_id": run_id,
            "created_at": world.now,
        }
        snapshot_id = c.execute(insert(snapshot).values(frozen).returning(snapshot.c.id)).scalar_one()
        return models.add(
            c,
            classifier=CLASSIFIER,
            path=f"{CLASSIFIER}/{number}",
            manifest_sha="0" * 64,
            encoder_sha="0" * 64,
            snapshot_id=snapshot_id,
            trained="full",
            config={"labels": LABELS},
            config_sha="0" * 64,
            run_id=run_id,
            now=world.now,
        )


def mislead(world: World, patients: Iterable[int]) -> None:
    """Wrong feedback on four in ten of the reports that teach and calibrate."""
    taught = [one for one in patients if split_of(patient_key(one)) != "holdout" and one % 5 < 2]
    for value in LABELS:
        world.say([one for one in taught if LABELS[one % 2] != value], value)


@pytest.mark.parametrize("seen", [None, 1], ids=["no champion yet", "a champion"])
def test_of_two_that_change_the_champion_at_once_one_is_told_so(both: World, seen: int | None) -> None:
    challengers = [bare_model(both, number) for number in range(3)]
    if seen is not None:
        with writing(both.engine) as c:
            models.crown(c, CLASSIFIER, challengers[2], expected_epoch=None, now=both.now)
    together = Barrier(2)

    def crown(model_id: int) -> int | None:
        together.wait()
        try:
            with writing(both.engine) as c:
                return models.crown(c, CLASSIFIER, model_id, expected_epoch=seen, now=both.now)
        except Busy:
            return None

    with ThreadPoolExecutor(2) as pool:
        epochs = list(pool.map(crown, challengers[:2]))
    assert sorted(epochs, key=str) == [1 if seen is None else seen + 1, None]
    winner = challengers[0] if epochs[1] is None else challengers[1]
    assert champion_of(both).model.id == winner


def test_a_champion_that_changed_while_a_challenger_was_judged_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.add(range(80, 90))
    challenger = challenge(world).model_id
    other = bare_model(world, 1)

    def judged_slowly(*given: object) -> object:
        with writing(world.engine) as c:
            models.crown(c, CLASSIFIER, other, expected_epoch=1, now=world.now)
        return verdict_of(*given)

    from tasks.promotion import promote

    verdict_of = promote._verdict
    monkeypatch.setattr(promote, "_verdict", judged_slowly)
    with pytest.raises(Busy, match='run "laudos retrain" again'):
        decide(world.engine, world.settings, world.run(), challenger, world.now)
    assert champion_of(world).model.id == other
    assert len(decisions(world)) == 1


def test_a_rollback_lets_the_one_before_answer_and_stands_until_a_person_says_otherwise(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both).trained.model_id
    both.add(range(80, 90))
    second = retrain(both).trained.model_id
    back = roll_back(both.engine, both.settings, CLASSIFIER, None, "dra. teste", both.now)
    assert (back.model_id, back.previous_model_id, back.epoch) == (first, second, 3)
    assert model_of(both, second).state == "retired"
    assert json.loads(pointer_path(both.settings, CLASSIFIER).read_text())["model_id"] == first
    # the next night has the same training set: it does not bring the retired model back
    night = retrain(both)
    assert night.decided.reasons == (
        f"model {second} was rolled back from; only a person lets it answer again",
    )
    assert champion_of(both).model.id == first
    forth = roll_back(both.engine, both.settings, CLASSIFIER, second, "dra. teste", both.now)
    assert (forth.model_id, forth.epoch) == (second, 4)
    assert model_of(both, second).state == "ready"
    assert [row.decision for row in decisions(both)] == ["promoted", "promoted", "rolled_back", "rolled_back"]
    with reading(both.engine) as c:
        assert audit.broken(c) == []
        actions = c.scalars(select(audit_table.c.action).order_by(audit_table.c.id)).all()
    assert actions[-2:] == ["rolled_back", "rolled_back"]


def test_rolling_back_twice_goes_back_twice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    for start in (80, 90):
        world.add(range(start, start + 10))
        retrain(world)
    rollback(world.settings, CLASSIFIER)
    # in a container a user may have a number and no name
    monkeypatch.setattr("getpass.getuser", lambda: {}["no such user"])
    assert rollback(world.settings, CLASSIFIER).model_id == first
    assert decisions(world)[-1].actor == f"user {os.getuid()}"
    with pytest.raises(LaudosError, match="is the first champion"):
        rollback(world.settings, CLASSIFIER)


def test_an_altered_model_cannot_answer_again(world: World) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    world.add(range(80, 90))
    second = retrain(world).trained.model_id
    alter(world, first)
    with pytest.raises(LaudosError, match=r"model\.safetensors was altered") as refusal:
        rollback(world.settings, CLASSIFIER)
    assert f"the champion stays model {second}" in str(refusal.value)
    assert champion_of(world).model.id == second


def test_what_cannot_be_rolled_back_is_said(world: World) -> None:
    with pytest.raises(LaudosError, match="has no champion to roll back from"):
        rollback(world.settings, CLASSIFIER)
    with pytest.raises(ConfigurationError, match="did you mean 'achado'"):
        rollback(world.settings, "achados")
    world.add(HOSPITAL)
    only = retrain(world).trained.model_id
    with pytest.raises(LaudosError, match="is the champion already"):
        rollback(world.settings, CLASSIFIER, only)
    with pytest.raises(LaudosError, match="there is no model 99"):
        rollback(world.settings, CLASSIFIER, 99)


def test_a_model_of_other_labels_is_not_gone_back_to(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    world.say(range(0, 80, 3), "inconclusivo")
    wider = reconfigured(world, labels=[*LABELS, "inconclusivo"], sensitivity_floor=0.0, promotion=LENIENT)
    second = retrain(wider)
    assert second.decided.decision == "promoted", second.decided.reasons
    with pytest.raises(LaudosError, match=r"laudos\.toml asks for benigno, inconclusivo, maligno"):
        rollback(wider.settings, CLASSIFIER)
    assert champion_of(wider).model.id == second.trained.model_id
    # with its labels written there again, in whatever order, it answers again
    narrow = reconfigured(world, labels=LABELS[::-1])
    assert rollback(narrow.settings, CLASSIFIER).model_id == first


def test_a_model_of_other_labels_waits_for_nobody_any_more(
    world: World, reconfigured: Callable[..., World]
) -> None:
    plan = {"holdout_patients_min": 5, "approval": "person"}
    world.add(HOSPITAL)
    waits = reconfigured(world, promotion=plan)
    second = retrain(waits)
    assert second.decided.decision == "waiting"
    turned = reconfigured(world, labels=LABELS[::-1], promotion=plan)
    lapse(turned.engine, turned.settings, turned.now)
    assert pending_of(turned.engine, second.trained.model_id).state == "waiting"
    renamed = reconfigured(world, labels=["negativo", "maligno"], promotion=plan)
    with pytest.raises(LaudosError, match="labels changed since it was judged"):
        approve_model(renamed.settings, second.trained.model_id, "ana", "read")


def test_the_list_marks_the_champion_and_the_story_tells_its_figures(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.add(range(80, 90))
    retrain(world)
    newest, oldest = list_models(world.settings)
    assert (newest.champion, oldest.champion) == (True, False)
    assert (newest.trained, oldest.trained) == ("head", "full")
    story = show_model(world.settings, newest.id)
    assert story.fault is None
    assert {figure.subject for figure in story.figures} >= {"model", "tfidf_word", "tfidf_char"}
    assert sum(story.training_set["patients"].values()) == 90
    assert [past.decision for past in story.decisions] == ["promoted"]
    *promises, unlike = story.review
    assert [promise.split(":")[0] for promise in promises] == LABELS
    assert "are too few to promise 2.0% wrong sure answers (49 are needed)" in promises[1]
    assert "calibration reports)" in unlike
    alter(world, oldest.id)
    assert "model.safetensors was altered" in (show_model(world.settings, oldest.id).fault or "")


def test_a_pointer_left_behind_by_a_kill_is_put_right_by_the_next_run(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    pointer = pointer_path(world.settings, CLASSIFIER)
    right = pointer.read_text()
    pointer.write_text("{}")
    retrain(world)
    assert pointer.read_text() == right
    untouched = pointer.stat().st_mtime_ns
    point_at_champion(world.engine, world.settings, CLASSIFIER)
    assert pointer.stat().st_mtime_ns == untouched


def test_editing_or_removing_an_audit_row_is_found(both: World) -> None:
    with writing(both.engine) as c:
        for number in range(4):
            subject = f"model {number}"
            audit.record(
                c,
                actor="a",
                action="b",
                subject=subject,
                detail={"number": number, "share": 0.1},
                now=both.now,
            )
        assert audit.broken(c) == []
        ids = c.scalars(select(audit_table.c.id).order_by(audit_table.c.id)).all()
    with both.engine.connect() as c, c.begin():
        c.execute(update(audit_table).where(audit_table.c.id == ids[1]).values(detail={"number": 7}))
        assert [(b.audit_id, b.what) for b in audit.broken(c)] == [(ids[1], "its content was altered")]
        c.execute(delete(audit_table).where(audit_table.c.id == ids[1]))
        assert [b.audit_id for b in audit.broken(c)] == [ids[2]]


def test_audit_rows_written_at_once_make_one_chain(both: World) -> None:
    def write(number: int) -> None:
        with writing(both.engine) as c:
            audit.record(
                c, actor="a", action="b", subject=str(number), detail={}, now=both.later(hours=number)
            )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(12)))
    with reading(both.engine) as c:
        assert audit.broken(c) == []
        assert len(c.execute(select(audit_table)).all()) == 12


def test_small_steps_are_measured_from_the_model_a_person_chose_or_the_first_champion(both: World) -> None:
    models_made = [bare_model(both, number) for number in range(4)]
    by_itself = "retrain"
    told = [
        ("promoted", 0, by_itself), ("promoted", 1, by_itself), ("refused", 2, by_itself),
        ("rolled_back", 0, "ana"), ("promoted", 3, by_itself), ("promoted", 2, "ana"), ("refused", 1, "ana"),
    ]  # fmt: skip
    history: list[models.Promotion] = []  # newest first
    for decision, number, actor in told:
        with writing(both.engine) as c:
            models.add_promotion(
                c, classifier=CLASSIFIER, decision=decision, model_id=models_made[number],
                previous_model_id=None, epoch=None, reasons=[], plan_sha="", actor=actor, run_id=None,
                now=both.now,
            )  # fmt: skip
            history = models.promotions(c, CLASSIFIER)
    newest = list(reversed(history))
    assert reference(list(reversed(newest[:2])), models_made) == models_made[0]
    assert reference(list(reversed(newest[:3])), models_made[1:]) == models_made[1]
    assert reference(list(reversed(newest[:5])), models_made) == models_made[0]
    assert reference(history, models_made) == models_made[2]  # a person approved it
    assert reference(history, []) is None


def test_where_the_champion_is_damaged_the_reference_still_counts(world: World) -> None:
    world.add(range(110))
    first = retrain(world).trained.model_id
    world.add(range(110, 120))
    second = retrain(world)
    assert second.decided.decision == "promoted"
    alter(world, second.trained.model_id)
    mislead(world, range(120))
    third = retrain(world, "full").decided
    assert third.decision == "refused"
    assert any(one.startswith("NOT HELD: not worse than the reference") for one in third.reasons)
    assert any("look 2 at it" in one for one in third.reasons)
    assert champion_of(world).model.id == second.trained.model_id != first


def test_while_one_waits_for_a_person_no_other_is_judged_and_no_look_is_spent(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    plan = {"holdout_patients_min": 5, "approval": "person", "approval_within": "9999d"}
    asking = reconfigured(world, promotion=plan)
    asking.add(range(80, 86))
    second = retrain(asking)
    assert second.decided.decision == "waiting"
    asking.add(range(86, 90))
    third = retrain(asking)
    assert third.decided.decision == "unchanged"
    assert "no other is judged until then" in third.decided.reasons[0]
    assert champion_of(asking).model.id == first
    asked = model_of(asking, third.trained.model_id).snapshot_id
    assert (
        look_at(asking.engine, CLASSIFIER, asked, decisions(asking)) == 2
    )  # the one that waits had the first
    write_model_report.fn(asking.run("retrain"), second.trained.model_id)
    page = report_path(asking.settings, second.trained.model_id, "md")
    assert STILL_WAITS in page.read_text()
    approved = approve_model(asking.settings, second.trained.model_id, "ana", "read")
    assert STILL_WAITS not in page.read_text()
    assert "held: approval by a person" in page.read_text()
    assert approved.champion_id == champion_of(asking).model.id == second.trained.model_id
    again = decide(asking.engine, asking.settings, asking.run("retrain"), third.trained.model_id, asking.now)
    assert any("look 2 at it" in reason for reason in again.reasons)
    with reading(asking.engine) as c:
        actions = [row.action for row in c.execute(select(audit_table).order_by(audit_table.c.id))]
    assert actions.count("plan changed") == 1


def test_a_change_of_the_rules_is_on_record_by_itself(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.add(range(80, 86))
    retrain(reconfigured(world, promotion={"holdout_patients_min": 5, "margin": 0.03}))
    with reading(world.engine) as c:
        actions = [row.action for row in c.execute(select(audit_table).order_by(audit_table.c.id))]
    assert actions.count("plan changed") == 1
    world.add(range(86, 90))
    again = retrain(reconfigured(world, promotion={"holdout_patients_min": 5, "margin": 0.03}))
    with reading(world.engine) as c:
        actions = [row.action for row in c.execute(select(audit_table).order_by(audit_table.c.id))]
    assert actions.count("plan changed") == 1
    assert any("look 2 at it" in reason for reason in again.decided.reasons)


def test_the_plan_says_what_it_can_see(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NothingToWorkOn, match="no champion"):
        check_plan(world.settings)
    world.add(HOSPITAL)
    retrain(world)
    few = check_plan(world.settings, disagree=0.3)
    overall, *by_label = few.measures
    assert (few.looks, few.error_of_next) == (0, 0.025)
    assert overall.patients == few.patients == sum(one.patients for one in by_label)
    assert overall.least_gain is not None
    assert 0 < overall.least_gain < (overall.least_gain_later or 0)
    alike = check_plan(world.settings, disagree=0.001).measures[0].least_gain
    assert alike is not None
    assert alike < overall.least_gain
