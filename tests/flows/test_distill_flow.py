"""`distill` as Prefect runs it: whole, and where there is nothing to learn from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from sqlalchemy import select

from db.engine import reading
from db.tables import run
from flows.distill import distill
from tasks.database import open_database
from tasks.errors import NothingToWorkOn
from tasks.model_folders import report_path
from tasks.settings.settings import Settings
from tests.learning.retraining import retrain
from tests.learning.world import CLASSIFIER, TABLES, TRAINING, World

pytestmark = pytest.mark.usefixtures("prefect_harness")


@pytest.fixture
def world(configure: Callable[..., Settings], now: datetime) -> World:
    """A hospital whose network has two layers."""
    [asked] = TABLES["classifiers"].values()
    asked = asked | {"training": TRAINING | {"layers": 2, "epochs": 3.0}}
    settings = configure(**TABLES | {"classifiers": {CLASSIFIER: asked}})
    return World(open_database(settings), settings, now)


def test_a_student_is_made_judged_and_held_against_its_teacher(world: World) -> None:
    with pytest.raises(NothingToWorkOn, match='run "laudos retrain" first'):
        distill()
    world.add(range(80))
    teacher_id = retrain(world).trained.model_id
    found = distill(CLASSIFIER)
    assert (found.teacher_id, found.layers, found.teacher_layers) == (teacher_id, 1, 2)
    assert (found.decision, found.champion_id) == ("refused", teacher_id)
    assert any("better than the champion" in reason for reason in found.reasons)
    assert found.quality_kept == pytest.approx(found.f1_macro / found.teacher_f1_macro)
    page = report_path(world.settings, found.model_id, "md").read_text()
    assert f"(1 of its layers kept, taught by model {teacher_id})" in page
    with reading(world.engine) as c:
        states = c.execute(select(run.c.state).where(run.c.kind == "distill")).scalars().all()
    assert states == ["completed"]
