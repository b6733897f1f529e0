"""Labels in doubt: which reports are named, of whom nothing is read, and what the body had seen."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from db.engine import reading, writing
from db.errors import NothingToWorkOn
from db.tables import feature, label, model, report, report_version
from flows.cli.app import main
from flows.cli.session import plain
from tasks.labels.doubts import Doubts, label_doubts
from tasks.labels.vectors import labels_of_body
from tasks.ml.splits import split_of
from tasks.training import train_body
from tests.learning.retraining import champion_of, distilled, model_of, retrain
from tests.learning.world import CLASSIFIER, TRAINING, World, patient_key

PATIENTS = range(160)
CALIBRATION = [number for number in PATIENTS if split_of(patient_key(number)) == "calibration"]
TRAIN = [number for number in PATIENTS if split_of(patient_key(number)) == "train"]
HOLDOUT = [number for number in PATIENTS if split_of(patient_key(number)) == "holdout"]
# said after the champion was trained: its body saw the right ones, not these
WRONG = [*TRAIN[:8], *CALIBRATION[:2]]


def mislabel(world: World, patients: list[int]) -> None:
    for number in patients:
        of_it = (
            select(report_version.c.id).join(report).where(report.c.patient_key == patient_key(number))
        ).scalar_subquery()
        with writing(world.engine) as c:
            wrong = ["maligno", "benigno"][number % 2]
            c.execute(update(label).where(label.c.report_version_id == of_it).values(value=wrong))


@pytest.fixture
def laudos(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """`laudos labels doubt` in this process: what it prints."""

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", "labels", "doubt", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    return run


def everything(world: World) -> dict[str, list[Any]]:
    with reading(world.engine) as c:
        return {one.name: sorted(map(repr, c.execute(select(one)))) for one in (label, feature, model)}


def test_labels_that_were_planted_wrong_are_named_and_nothing_changes(both: World) -> None:
    both.add(PATIENTS)
    champion = retrain(both).trained.model_id
    assert champion_of(both).model.id == champion
    mislabel(both, [*WRONG, *HOLDOUT[:4]])
    before = everything(both)
    found = label_doubts(both.settings, CLASSIFIER, 50)
    assert everything(both) == before
    named = {one.external_id for one in found.listed}
    planted = {f"L{number}" for number in WRONG}
    # by chance, one in thirteen
    assert len(named & planted) >= 6
    assert len(named - planted) <= 2
    assert not named & {f"L{number}" for number in HOLDOUT}
    assert found.reports == len(TRAIN) + len(CALIBRATION)
    assert found.wrong_share == pytest.approx(len(WRONG) / found.reports, abs=0.05)
    for one in found.listed:
        assert (one.source, one.version, one.origin) == ("his", 1, "source")
        assert one.given != one.suggested
        assert one.probabilities[one.suggested] - one.probabilities[one.given] == pytest.approx(one.margin)
    assert len(label_doubts(both.settings, CLASSIFIER, 3).listed) == 3
    assert len(label_doubts(both.settings, CLASSIFIER, 3).listed) < found.doubted
    assert "nucleos" not in repr(plain(found))
    assert patient_key(WRONG[0]) not in repr(plain(found))


def of_which_seen(found: Doubts) -> dict[bool, tuple[int, int]]:
    return {part.label_seen: (part.reports, part.doubted) for part in found.seen}


def test_a_body_trained_on_the_labels_is_told_from_one_that_was_not(
    world: World, laudos: Callable[..., str]
) -> None:
    world.add(PATIENTS)
    retrain(world)
    mislabel(world, WRONG)
    found = label_doubts(world.settings, None, 50)
    assert found.caveat
    assert {seen: reports for seen, (reports, _) in of_which_seen(found).items()} == {
        True: len(TRAIN) - 8,
        False: len(CALIBRATION) + 8,
    }
    told = laudos("--limit", "4")
    assert "4 of " in told
    assert "whose label it did not see" in told
    listed = json.loads(laudos("--limit", "4", "--json"))["listed"]
    assert [f"his {one['external_id']}" in told for one in listed] == [True] * 4
    # as if only heads had ever been fitted on this body
    with writing(world.engine) as c:
        c.execute(update(model).values(trained="head"))
    frozen = label_doubts(world.settings, None, 50)
    assert frozen.caveat is None
    assert set(of_which_seen(frozen)) == {False}
    assert frozen.doubted == found.doubted
    assert "whose label it did not see" not in laudos()


def test_a_label_that_was_left_out_or_held_out_of_the_training_counts_as_never_seen(
    both: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    both.add(PATIENTS)
    training = TRAINING | {"layers": 2, "max_train_reports": 30, "early_stopping": 2}
    asked = reconfigured(both, training=training)
    read: list[str] = []

    def listen(network: Any, tokenizer: Any, texts: list[str], *rest: Any, **options: Any) -> Any:
        read.extend(texts)
        return trained(network, tokenizer, texts, *rest, **options)

    trained = train_body.train_body
    monkeypatch.setattr(train_body, "train_body", listen)
    first = retrain(asked).trained.model_id
    with reading(asked.engine) as c:
        stored = c.execute(select(report_version.c.id, report_version.c.text))
        texts: dict[int, str] = {row.id: row.text for row in stored}
        seen = labels_of_body(c, model_of(asked, first))
    assert {texts[version_id] for version_id, _ in seen} == set(read)
    assert 20 < len(seen) < 30
    parts = of_which_seen(label_doubts(asked.settings, None, 50))
    assert {one: reports for one, (reports, _) in parts.items()} == {
        True: len(seen),
        False: 30 - len(seen) + len(CALIBRATION),
    }
    # a student saw what taught its teacher, and then its own lessons, of which nothing is held out
    mislabel(asked, TRAIN)
    student = distilled(asked, unlabelled=0).model_id
    with reading(asked.engine) as c:
        learnt = labels_of_body(c, model_of(asked, student))
    assert learnt > seen
    assert len(learnt - seen) == 30


def test_a_report_that_was_never_read_and_a_label_of_too_few_are_told_not_judged(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world.add(PATIENTS)
    retrain(world)
    world.add(range(1000, 1020))
    world.say(TRAIN[:3], "raro")
    asked = reconfigured(world, labels=["benigno", "maligno", "raro"])
    found = label_doubts(asked.settings, None, 50)
    assert found.without_vector == sum(split_of(patient_key(n)) != "holdout" for n in range(1000, 1020))
    assert found.rare == {"raro": 3}
    assert found.reports == len(TRAIN) + len(CALIBRATION) - 3


def test_too_little_to_judge_is_told_with_what_helps(world: World) -> None:
    world.add(range(8))
    with pytest.raises(NothingToWorkOn, match="laudos retrain"):
        label_doubts(world.settings, None, 50)
