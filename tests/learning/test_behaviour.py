"""The behaviour suite in a retraining: figures of every challenger, and a gate before it answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from db import metrics
from db.engine import reading
from db.metrics import Metric
from db.models import Model
from db.tables import feature
from tasks.ml.behaviour.run import SuiteRun
from tasks.ml.behaviour.suite import Suite
from tasks.model_folders import report_path
from tasks.pages.model_report import write_model_report
from tasks.promotion import promote
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.training.behaviour import POPULATION, suite_of
from tests.learning.retraining import decisions, retrain
from tests.learning.world import World

HOSPITAL = range(100)
# in words that this hospital's reports use, so that its small network reads them
SUITE = """
critical: [maligno]
cues: {seen: {regulares: [regulares], lisos: [lisos], fina: [fina]}}
bases:
  um: {says: critical, text: "Laudo. exame com pleomorfismo acentuado grosseira."}
  dois: {says: critical, text: "Laudo. paciente sem queixas pleomorfismo acentuado grosseira."}
pairs:
  - kind: negation
    effect: flip
    of: [um, dois]
    instead_of: pleomorfismo acentuado grosseira
    say: {regulares: nucleos regulares fina, lisos: nucleos lisos fina, fina: regulares fina lisos}
"""


@pytest.fixture
def world(world: World, reconfigured: Callable[..., World], tmp_path: Path) -> World:
    """The hospital with a suite of its own."""
    path = tmp_path / "suite.yaml"
    path.write_text(SUITE, encoding="utf-8")
    return reconfigured(world, behaviour=str(path))


def tried(world: World, model_id: int) -> dict[str, Metric]:
    with reading(world.engine) as c:
        return {row.slice: row for row in metrics.of_model(c, model_id, POPULATION)}


def lose_negation(monkeypatch: pytest.MonkeyPatch, model_id: int) -> None:
    """From now on this model gets every pair on negation wrong; it is run all the same."""
    really = promote.run_of

    def run_of(settings: Settings, model: Model, suite: Suite) -> SuiteRun:
        run = really(settings, model, suite)
        return replace(run, right=np.zeros_like(run.right)) if model.id == model_id else run

    monkeypatch.setattr(promote, "run_of", run_of)


def test_every_challenger_is_tried_once_and_its_report_tells_it(world: World) -> None:
    world.add(HOSPITAL)
    model_id = retrain(world).trained.model_id
    found = tried(world, model_id)
    assert set(found) == {"all", "direction", "cues_seen", "kind=negation"}
    assert (found["all"].name, found["all"].value, found["all"].n) == ("right", 1.0, 6)
    assert found["all"].low == pytest.approx(0.610, abs=1e-3)  # Wilson: six of six
    vectors = world.count(feature)
    retrain(world)
    assert tried(world, model_id) == found
    assert world.count(feature) == vectors <= len(HOSPITAL)  # none of the suite's texts is stored
    write_model_report.fn(world.run("retrain"), model_id)
    report = report_path(world.settings, model_id, "md").read_text("utf-8")
    assert "| negation | 6 | 6 | 1.000 (0.61–1.00) |" in report


def test_a_challenger_that_lost_its_negations_does_not_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(HOSPITAL)
    champion = retrain(world).trained.model_id
    world.add(range(100, 110))
    lose_negation(monkeypatch, champion + 1)
    refused = retrain(world)
    assert (refused.trained.model_id, refused.decided.decision) == (champion + 1, "refused")
    assert refused.decided.champion_id == champion
    missed = [reason for reason in decisions(world)[-1].reasons if not reason["passed"]]
    assert [reason["rule"] for reason in missed] == [
        "behaviour not worse than the champion's",
        "negation not worse than the champion's",
    ]
    assert "0 of 6 pairs right against 6" in missed[0]["found"]


def test_one_that_kept_them_does(world: World) -> None:
    world.add(HOSPITAL)
    retrain(world)
    world.add(range(100, 110))
    second = retrain(world)
    assert second.decided.decision == "promoted"
    assert any(told.startswith("held: negation not worse") for told in second.decided.reasons)


def test_a_refused_challenger_is_judged_again_on_a_changed_suite(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(HOSPITAL)
    champion = retrain(world).trained.model_id
    world.add(range(100, 110))
    with monkeypatch.context() as patch:
        lose_negation(patch, champion + 1)
        assert retrain(world).decided.decision == "refused"
    again = retrain(world).decided
    assert again.decision == "unchanged"
    assert "was refused under the same rules before" in again.reasons[0]
    path = Path(str(world.settings.classifier("achado").behaviour))
    path.write_text(SUITE.replace("exame com", "exame realizado com"), encoding="utf-8")
    assert retrain(world).decided.decision == "promoted"


def test_the_suite_is_that_of_the_exam_it_learns_from_unless_it_names_one() -> None:
    asked = ClassifierSettings(labels=["benigno", "maligno"], critical="maligno")
    assert suite_of(asked) is None
    synthetic = asked.model_copy(update={"training_labels": ["source", "synthetic"]})
    other = synthetic.model_copy(update={"behaviour": "mammography"})
    found = [suite_of(one) for one in (synthetic, other)]
    assert [one.name for one in found if one is not None] == ["paaf", "mammography"]
    assert suite_of(synthetic.model_copy(update={"behaviour": "none"})) is None


def test_who_learns_from_conclusions_is_not_asked_to_overlook_them() -> None:
    asked = ClassifierSettings(
        labels=["benigno", "maligno"], critical="maligno", training_labels=["synthetic"]
    )
    full = asked.model_copy(update={"synthetic": asked.synthetic.model_copy(update={"mode": "full"})})
    usual, fewer = suite_of(asked), suite_of(full)
    assert usual is not None
    assert fewer is not None
    left_out = [pair for pair in usual.pairs if pair not in fewer.pairs]
    assert {pair.kind for pair in left_out} == {"conclusion_against_findings"}
    assert len(fewer.pairs) + len(left_out) == len(usual.pairs)
    assert fewer.sha != usual.sha
