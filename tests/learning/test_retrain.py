"""A challenger is trained only where it must be, and answers only where it earned it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from sqlalchemy import select, update
from transformers import pipeline

from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.tables import audit, feature, metric, model, promotion
from tasks.inspection.reproduce import reproduce
from tasks.ml.network import encoder
from tasks.ml.network.predictor import Predictor
from tasks.ml.splits import split_of, unit_interval
from tasks.model_folders import folder_of, pointer_path
from tasks.pages.model_report import write_model_report
from tasks.promotion.promote import decide, promote_if_earned
from tasks.training.evaluate import evaluate_model
from tasks.training.plan import How
from tasks.training.train import train
from tests.learning.retraining import (
    alter,
    challenge,
    champion_of,
    decisions,
    model_of,
    retrain,
    weights_of,
)
from tests.learning.world import CLASSIFIER, LABELS, TRAINING, World, patient_key, text_of

HOSPITAL = range(100)
LENIENT = {"holdout_patients_min": 5, "beat_baselines": False}


def poison(world: World) -> None:
    """Wrong feedback on every report that teaches or calibrates; the holdout stays as it is."""
    taught = [number for number in HOSPITAL if split_of(patient_key(number)) != "holdout"]
    for value in LABELS:
        world.say([number for number in taught if LABELS[number % 2] != value], value)


def upgrade_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """To a version that knows one setting more, which may change what a network computes."""
    before = encoder._computing
    monkeypatch.setattr(encoder, "_computing", lambda config: before(config) | {"of_the_new_version": None})


def test_the_first_model_is_trained_whole_and_answers(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both)
    assert (first.trained.trained, first.trained.reused) == ("full", False)
    assert first.decided.decision == "promoted"
    assert champion_of(both).model.id == first.trained.model_id
    pointer = json.loads(pointer_path(both.settings, CLASSIFIER).read_text())
    folder = both.settings.folder / pointer["path"]
    assert pointer["manifest_sha"] == champion_of(both).model.manifest_sha
    answer = pipeline("text-classification", model=str(folder))("nucleos pleomorfismo acentuado")[0]
    assert answer["label"] in LABELS
    foreign, own = Predictor.load(folder).predict(["lorem ipsum dolor sit amet " * 9, text_of(1, "maligno")])
    assert (foreign.decision, foreign.because) == ("review", "unfamiliar")
    assert own.because != "unfamiliar"


def test_the_same_training_set_again_trains_encodes_measures_and_decides_nothing(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both)
    written = [both.count(table) for table in (feature, metric, promotion)]
    again = retrain(both)
    assert (again.trained.model_id, again.trained.reused, again.trained.encoded) == (
        first.trained.model_id,
        True,
        0,
    )
    assert again.trained.notes == ("already trained: model 1 on snapshot 1",)
    assert again.decided.reasons == ("model 1 is the champion already",)
    assert [both.count(table) for table in (feature, metric, promotion)] == written


def test_a_head_refresh_moves_no_body_weight_and_encodes_only_what_is_new(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both).trained
    new = range(100, 120)
    both.add(new)
    second = retrain(both).trained
    assert second.trained == "head"
    assert second.encoded == sum(split_of(patient_key(number)) != "holdout" for number in new)
    before, after = weights_of(both, first.model_id), weights_of(both, second.model_id)
    moved = {name for name in before if before[name] != after[name]}
    assert moved == {"classifier.weight", "classifier.bias"}


def test_new_labels_on_known_reports_cost_no_encoding(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.say([0, 2, 4], "maligno")
    second = retrain(world).trained
    assert (second.trained, second.reused, second.encoded) == ("head", False, 0)


def test_a_poisoned_challenger_leaves_the_champion_where_it_was(both: World) -> None:
    both.add(HOSPITAL)
    first = retrain(both)
    pointer = pointer_path(both.settings, CLASSIFIER).read_text()
    poison(both)
    ways: tuple[How, ...] = ("head", "full")
    for how in ways:
        poisoned = retrain(both, how)
        assert (poisoned.trained.trained, poisoned.decided.decision) == (how, "refused")
        assert poisoned.decided.champion_id == champion_of(both).model.id == first.trained.model_id
    assert champion_of(both).epoch == 1
    assert pointer_path(both.settings, CLASSIFIER).read_text() == pointer


def test_a_refusal_is_recorded_with_what_was_found_and_asked(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    poison(world)
    refused = retrain(world)
    row = decisions(world)[-1]
    assert (row.decision, row.model_id, row.previous_model_id, row.epoch) == ("refused", 2, 1, None)
    failed = [reason for reason in row.reasons if not reason["passed"]]
    assert "sensitivity for maligno" in {reason["rule"] for reason in failed}
    assert "not worse than the champion overall" in {reason["rule"] for reason in failed}
    assert all(reason["found"] and reason["asked"] for reason in row.reasons)
    assert any(sentence.startswith("NOT HELD: sensitivity") for sentence in refused.decided.reasons)


def test_a_refused_model_is_judged_again_only_when_the_rules_change(
    world: World, reconfigured: Callable[..., World]
) -> None:
    strict = reconfigured(world, sensitivity_floor=1.0)
    strict.add(HOSPITAL)
    assert retrain(strict).decided.decision == "refused"
    again = retrain(strict)
    assert again.decided.decision == "unchanged"
    assert "was refused under the same rules before" in again.decided.reasons[0]
    mild = reconfigured(world, sensitivity_floor=0.5)
    promoted = retrain(mild)
    assert (promoted.trained.reused, promoted.decided.decision) == (True, "promoted")


def test_an_altered_champion_is_tainted_and_the_whole_network_trained_anew(world: World) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    alter(world, first)
    second = retrain(world)
    assert second.trained.trained == "full"
    assert "champion model 1 is tainted" in second.trained.notes[0]
    assert "model.safetensors was altered" in second.trained.notes[0]
    assert model_of(world, first).state == "tainted"
    assert world.count(audit, audit.c.action == "tainted") == 1
    assert second.decided.decision == "promoted"
    assert any("is tainted" in sentence for sentence in second.decided.reasons)


def test_a_champion_that_this_transformers_reads_otherwise_is_replaced_by_a_whole_training(
    world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    along = {"holdout_patients_min": 5, "shadow_reports": 10}
    world = reconfigured(world, promotion=along)
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    upgrade_transformers(monkeypatch)
    second = retrain(world)  # on the same training set: the champion is not what was trained already, either
    assert (second.trained.trained, second.trained.reused) == ("full", False)
    assert second.trained.notes[0].startswith("champion model 1 cannot be read here: ")
    assert second.trained.notes[0].endswith("; training the whole network")
    assert second.trained.notes[1].startswith("model 1 cannot be used again: it cannot be read here: ")
    # at once: model 1 answers nothing here that the other could score along with
    assert second.decided.decision == "promoted"
    [reason] = [r for r in decisions(world)[-1].reasons if r["rule"] == "comparison with the champion"]
    assert reason["found"].startswith("champion model 1 cannot be read here: ")
    assert model_of(world, first).state == "ready"  # where the older versions are, it is what it was
    assert world.count(audit, audit.c.action == "tainted") == 0
    world.add(range(100, 110))
    third = retrain(world)  # a head on the second, beside which the first is a reference that cannot be read
    assert (third.trained.trained, third.trained.notes) == ("head", ())
    assert third.decided.decision in ("waiting", "refused")


def test_a_champion_whose_folder_is_gone_is_replaced(world: World) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    folder = folder_of(world.settings, model_of(world, first))
    folder.rename(folder.with_name("elsewhere"))
    second = retrain(world)
    assert second.decided.champion_id == second.trained.model_id != first


def test_a_changed_label_set_trains_the_whole_network_and_says_so(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.say(range(0, 100, 3), "inconclusivo")
    wider = reconfigured(world, labels=[*LABELS, "inconclusivo"], sensitivity_floor=0.0)
    second = retrain(wider)
    assert second.trained.trained == "full"
    assert second.trained.notes[0].startswith("labels changed since champion model 1 was trained")
    [reason] = [r for r in decisions(wider)[-1].reasons if r["rule"] == "comparison with the champion"]
    assert reason["found"] == "champion model 1 answers with other labels"


def test_the_same_labels_in_another_order_are_compared_with_the_champion(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = retrain(world).trained.model_id
    poison(world)
    turned = reconfigured(world, labels=LABELS[::-1], sensitivity_floor=0.0, promotion=LENIENT)
    second = retrain(turned, "full")
    assert second.decided.decision == "refused"
    (reason,) = [one for one in second.decided.reasons if "not worse than the champion overall" in one]
    assert reason.startswith("NOT HELD")
    assert champion_of(turned).model.id == first


def test_a_changed_training_setting_trains_the_whole_network(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    retrain(world)
    wider = reconfigured(world, training=TRAINING | {"hidden_size": 48})
    second = retrain(wider)
    assert second.trained.trained == "full"
    assert "training changed" in second.trained.notes[0]
    # another encoder: the champion reads the holdout with its own, on the same reports
    assert any(
        sentence.startswith("held: not worse than the champion") for sentence in second.decided.reasons
    )


def test_augmentation_trains_another_network_from_the_same_reports(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(range(60))
    first = challenge(world)
    noisy = reconfigured(world, training=TRAINING | {"augment": ["noise"]})
    other = challenge(noisy)
    assert not other.reused
    assert other.trained == "full"
    assert weights_of(world, first.model_id) != weights_of(noisy, other.model_id)


def test_settings_that_do_nothing_in_a_training_are_named_by_it(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(range(60))
    idle = {"layer_decay": 0.8, "last_layers": 1, "lessons": 500}
    scratch = challenge(reconfigured(world, training=TRAINING | idle))
    assert scratch.notes == (
        "without effect on a scratch encoder: last_layers, layer_decay",
        "without effect: lessons, which are written where synthetic labels teach",
    )
    encoder = str(folder_of(world.settings, model_of(world, scratch.model_id)))
    pretrained = challenge(reconfigured(world, encoder=encoder, training=TRAINING | {"last_layers": 1}))
    assert pretrained.notes == ("without effect on a pretrained encoder: hidden_size, layers, vocabulary",)


def test_a_head_without_a_champion_is_refused_with_the_command_that_helps(world: World) -> None:
    world.add(HOSPITAL)
    with pytest.raises(NothingToWorkOn, match="laudos retrain --how full"):
        challenge(world, "head")


def test_a_reused_model_that_was_altered_is_trained_again(
    world: World, reconfigured: Callable[..., World]
) -> None:
    strict = reconfigured(world, sensitivity_floor=1.0)
    strict.add(HOSPITAL)
    first = retrain(strict).trained.model_id
    alter(strict, first)
    second = challenge(strict)
    assert not second.reused
    assert f"model {first} cannot be used again" in second.notes[0]


def test_figures_by_origin_stand_beside_those_of_the_whole_holdout(world: World) -> None:
    world.add(HOSPITAL)
    held = [number for number in HOSPITAL if split_of(patient_key(number)) == "holdout"]
    world.say([number for number in held if number % 2], "maligno")
    retrain(world)
    with reading(world.engine) as c:
        rows = c.execute(select(metric)).all()
    populations = {row.population for row in rows if row.subject == "model"}
    assert populations == {"holdout", "holdout_feedback", "holdout_source", "training"}
    assert {row.subject for row in rows} >= {"model", "majority", "keyword_rule", "tfidf_word"}


def test_at_most_so_many_reports_are_trained_on(world: World, reconfigured: Callable[..., World]) -> None:
    small = reconfigured(world, training=TRAINING | {"max_train_reports": 30})
    small.add(HOSPITAL)
    calibration = sum(split_of(patient_key(number)) == "calibration" for number in HOSPITAL)
    assert challenge(small).encoded == 30 + calibration


def test_a_rare_label_stays_among_at_most_so_many_reports(
    world: World, reconfigured: Callable[..., World]
) -> None:
    small = reconfigured(world, labels=[*LABELS, "raro"], training=TRAINING | {"max_train_reports": 30})
    small.add(HOSPITAL)
    taught = [number for number in HOSPITAL if split_of(patient_key(number)) == "train"]
    # versions are numbered as reports came, from 1
    drawn = sorted(taught, key=lambda number: unit_interval(str(number + 1), "first"))
    small.say(drawn[-2:], "raro")
    calibration = sum(split_of(patient_key(number)) == "calibration" for number in HOSPITAL)
    assert challenge(small).encoded == 30 + calibration
    with reading(world.engine) as c:
        read = set(c.scalars(select(feature.c.report_version_id)))
    chosen = [number for number in taught if number + 1 in read]
    # the others are those that chance had drawn without it, but for the last
    assert set(chosen) == {*drawn[:29], drawn[-2]}


def test_a_model_folder_can_be_the_encoder_of_another(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = model_of(world, retrain(world).trained.model_id)
    onwards = reconfigured(world, encoder=str(folder_of(world.settings, first)))
    world.add(range(len(HOSPITAL), len(HOSPITAL) + 6))
    second = retrain(onwards)
    assert (second.trained.trained, second.decided.decision) == ("full", "promoted")
    assert second.trained.notes[0].startswith("encoder, training changed")  # no linear reader beside it
    assert weights_of(onwards, second.trained.model_id).keys() == weights_of(world, first.id).keys()


def test_on_the_same_data_another_model_must_be_better_and_not_only_as_good(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = model_of(world, retrain(world).trained.model_id)
    again = retrain(reconfigured(world, encoder=str(folder_of(world.settings, first))))
    assert again.decided.decision == "refused"
    (reason,) = [one for one in again.decided.reasons if one.startswith("NOT HELD")]
    assert "better than the champion" in reason
    assert "no data are newer" in reason


def test_a_head_alone_stands_on_a_pretrained_encoder_as_it_was_loaded(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(HOSPITAL)
    first = model_of(world, retrain(world).trained.model_id)
    frozen = reconfigured(world, encoder=str(folder_of(world.settings, first)))
    second = retrain(frozen, "head")
    assert second.trained.trained == "head"
    before, after = weights_of(world, first.id), weights_of(frozen, second.trained.model_id)
    assert {name for name in before if before[name] != after[name]} <= {
        "classifier.weight",
        "classifier.bias",
    }
    assert reproduce(frozen.engine, frozen.settings, second.trained.model_id).same


def test_a_head_on_a_pretrained_encoder_is_found_again_and_one_on_a_trained_body_is_not_taken_for_it(
    both: World, reconfigured: Callable[..., World]
) -> None:
    both.add(HOSPITAL)
    encoder = str(folder_of(both.settings, model_of(both, challenge(both).model_id)))
    frozen = reconfigured(both, encoder=encoder, promotion={"holdout_patients_min": 500})
    first, again = retrain(frozen, "head"), retrain(frozen, "head")
    assert first.decided.decision == "refused"
    assert (again.trained.model_id, again.trained.reused) == (first.trained.model_id, True)
    assert again.decided.decision == "unchanged"
    # as if it stood on a body that was trained under the same settings
    body = model_of(frozen, challenge(frozen, "full").model_id)
    with writing(frozen.engine) as c:
        c.execute(
            update(model).where(model.c.id == first.trained.model_id).values(encoder_sha=body.encoder_sha)
        )
    assert not challenge(frozen, "head").reused


def test_a_step_run_alone_says_what_is_not_there(world: World) -> None:
    with pytest.raises(LaudosError, match="there is no snapshot 7"):
        train.fn(world.run(), CLASSIFIER, 7)
    for judge in (evaluate_model, promote_if_earned, write_model_report):
        with pytest.raises(LaudosError, match="there is no model 7"):
            judge.fn(world.run(), 7)


def test_a_tainted_model_is_not_judged(world: World) -> None:
    world.add(HOSPITAL)
    first = challenge(world).model_id
    alter(world, first)
    assert challenge(world).model_id != first
    decided = decide(world.engine, world.settings, world.run(), first, world.now)
    assert decided.decision == "unchanged"
    assert "is tainted" in decided.reasons[0]
