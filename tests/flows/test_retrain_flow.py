"""`retrain` as Prefect runs it: whole, twice, for several classifiers, and while another one runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from sqlalchemy import select

from db.engine import reading
from db.tables import run
from flows.retrain import retrain
from tasks.database import open_database
from tasks.errors import Busy, NothingToWorkOn
from tasks.ledger import recorded_run
from tasks.model_folders import data_card_path, report_path
from tasks.settings.settings import Settings
from tests.learning.world import CLASSIFIER, TABLES, World

pytestmark = pytest.mark.usefixtures("prefect_harness")


@pytest.fixture
def world(configure: Callable[..., Settings], now: datetime) -> World:
    """A hospital with two classifiers, of which the second never got a label."""
    [asked] = TABLES["classifiers"].values()
    settings = configure(**TABLES | {"classifiers": {CLASSIFIER: asked, "sem_rotulos": asked}})
    return World(open_database(settings), settings, now)


def states(world: World) -> list[tuple[str, str | None]]:
    """(state, failure) of every retrain run, oldest first."""
    query = select(run.c.state, run.c.failure).where(run.c.kind == "retrain").order_by(run.c.id)
    with reading(world.engine) as c:
        return [(row.state, row.failure) for row in c.execute(query)]


def test_a_retraining_runs_whole_and_the_second_finds_nothing_to_do(world: World) -> None:
    world.add(range(80))
    [first] = retrain(CLASSIFIER)
    assert (first.decision, first.trained, first.reused) == ("promoted", "full", False)
    assert first.champion_id == first.model_id
    page = report_path(world.settings, first.model_id or 0, "html")
    written = page.stat().st_mtime_ns
    assert f"Model {first.model_id} for {CLASSIFIER}" in page.read_text()
    card = data_card_path(world.settings, first.snapshot_id or 0, "md").read_text()
    assert "80 labelled reports" in card
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[f"training-set-{first.snapshot_id}"]))
        shown = [artifact.data for artifact in client.read_artifacts(artifact_filter=wanted)]
    assert card in shown  # the server is shared: another test's world may have a set of this number
    [second] = retrain(CLASSIFIER)
    assert (second.decision, second.reused, second.encoded) == ("unchanged", True, 0)
    assert (second.snapshot_id, second.model_id) == (first.snapshot_id, first.model_id)
    assert page.stat().st_mtime_ns == written
    assert states(world) == [("completed", None)] * 2


def test_a_classifier_without_labels_does_not_stop_the_other(world: World) -> None:
    world.add(range(80))
    told = {summary.classifier: summary for summary in retrain()}
    assert told[CLASSIFIER].decision == "promoted"
    assert told["sem_rotulos"].decision == "failed"
    assert 'run "laudos ingest" first' in told["sem_rotulos"].reasons[0]
    assert sorted(state for state, _ in states(world)) == ["completed", "failed"]


def test_where_nothing_can_be_trained_the_flow_says_what_is_missing(world: World) -> None:
    with pytest.raises(NothingToWorkOn, match='run "laudos ingest" first'):
        retrain("sem_rotulos")
    [(state, failure)] = states(world)
    assert state == "failed"
    assert failure is not None
    assert "no labelled reports" in failure


def test_two_retrainings_at_once_are_refused_naming_the_one_that_runs(world: World) -> None:
    world.add(range(80))
    running = recorded_run(world.engine, world.settings, "retrain", exclusive="model")
    with running as other, pytest.raises(Busy, match=f"run {other.id}"):
        retrain(CLASSIFIER)
    assert len(states(world)) == 1
