"""A form in Prefect decides about a model that waits: on a real server, suspended and started again by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run
from prefect.states import State

from db import models
from db.engine import reading
from deployments.schedules import deployments
from flows.approve import approve
from flows.retrain import retrain
from tasks.database import open_database
from tasks.ml.judging.rules import Verdict
from tasks.model_folders import model_card_path, report_path
from tasks.models.models import model_row
from tasks.promotion import form
from tasks.promotion.approval import refuse_model
from tasks.promotion.candidacy import plan_sha, rules_of
from tasks.promotion.promote import record
from tasks.settings.settings import Settings
from tests.learning.test_champions import bare_model
from tests.learning.world import CLASSIFIER, TABLES, World, patient_key, text_of

pytestmark = pytest.mark.usefixtures("prefect_harness")


@pytest.fixture
def world(configure: Callable[..., Settings], now: datetime) -> World:
    """A hospital whose plan asks for a person."""
    asked = TABLES["classifiers"][CLASSIFIER]
    plan = asked["promotion"] | {"approval": "person"}
    settings = configure(**TABLES | {"classifiers": {CLASSIFIER: asked | {"promotion": plan}}})
    return World(open_database(settings), settings, now)


@pytest.fixture
def by_form(world: World) -> UUID:
    """The deployment, as `make ui` registers it."""
    [made] = [one for one in deployments(world.settings) if one.name == "by-form"]
    found = made.apply()
    assert isinstance(found, UUID)
    return found


@pytest.fixture
def served(by_form: UUID, monkeypatch: pytest.MonkeyPatch) -> UUID:
    """The same, as a night finds it that is told of a server; nobody but the test runs what is asked for."""
    monkeypatch.setattr(form, "prefect_server", lambda: "the harness")
    return by_form


def runs_of(deployment: UUID, besides: list[FlowRun] | None = None) -> list[FlowRun]:
    """Its runs, but for those of before: the server is shared."""
    before = {one.id for one in besides or []}
    with get_client(sync_client=True) as client:
        found = client.read_flow_runs()
    return [one for one in found if one.deployment_id == deployment and one.id not in before]


def run(one: FlowRun) -> State[Any]:
    """What a worker does with a run that is due."""
    with get_client(sync_client=True) as client:
        one = client.read_flow_run(one.id)
    with suppress(Pause):  # a process of its own ends here
        run_flow(approve, flow_run=one, parameters=one.parameters, return_type="state")
    return state_of(one)


def state_of(one: FlowRun) -> State[Any]:
    with get_client(sync_client=True) as client:
        found = client.read_flow_run(one.id).state
    assert found is not None
    return found


def waiting(world: World) -> int:
    """A model that waits for a person, without a folder: for what never loads it."""
    model_id = bare_model(world, 1)
    asked = world.settings.classifier(CLASSIFIER)
    verdict, now = Verdict(True, (), plan_sha(asked)), datetime.now(UTC)
    model = model_row(world.engine, model_id)
    record(world.engine, model, None, verdict, world.run("retrain"), now, None, rules_of(asked))
    return model_id


def champion(world: World) -> int | None:
    with reading(world.engine) as c:
        found = models.champion_of(c, CLASSIFIER)
    return None if found is None else found.model.id


def test_a_night_ends_while_a_model_waits_and_the_form_lets_it_answer(
    world: World, by_form: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = runs_of(by_form)
    world.add(range(80))
    [summary] = retrain(CLASSIFIER)
    assert (summary.decision, summary.champion_id) == ("waiting", None)
    assert "waits for a person until" in summary.reasons[-1]
    model_id = summary.model_id or 0
    pages = (
        report_path(world.settings, model_id, "md"),
        model_card_path(world.settings, model_id, "en", "md"),
    )
    page, card = (path.read_text() for path in pages)
    assert "It met every rule and does not answer yet" in page
    assert "dra. Lima" not in card
    assert runs_of(by_form, before) == []  # no server of the user's: nobody would run it
    monkeypatch.setattr(form, "prefect_server", lambda: "the harness")
    assert form.offer_form(world.settings, summary.model_id or 0)
    [asked] = runs_of(by_form, before)
    suspended = run(asked)
    assert suspended.name == "Suspended"
    keys = suspended.state_details.run_input_keyset
    assert keys is not None
    with get_client(sync_client=True) as client:
        described, schema = (
            client.read_flow_run_input(asked.id, keys[key]) for key in ("description", "schema")
        )
    assert "for **achado** met every rule" in str(described)
    fields = json.loads(schema)["properties"] if isinstance(schema, str) else schema["properties"]
    assert [name for name, asks in fields.items() if "enum" not in asks] == ["by"]
    shown = f"{described} {schema} {asked.parameters} {asked.name}"
    assert not any(told in shown for told in (text_of(1, "maligno"), patient_key(1), "L1 "))
    resume_flow_run(asked.id, run_input={"decision": "approve", "by": "dra. Lima"})
    assert run(asked).is_completed()
    assert champion(world) == summary.model_id
    with reading(world.engine) as c:
        [last] = models.promotions(c, CLASSIFIER)
    assert (last.decision, last.actor) == ("promoted", "dra. Lima")
    page, card = (path.read_text() for path in pages)
    assert "Promoted: it answers from now on" in page
    assert "approval by a person" in page
    assert "It met every rule and does not answer yet" not in page
    assert "dra. Lima" in card


def test_what_was_decided_by_command_stands_whatever_the_form_says_later(world: World, served: UUID) -> None:
    model_id, before = waiting(world), runs_of(served)
    assert form.offer_form(world.settings, model_id)
    [asked] = runs_of(served, before)
    assert run(asked).name == "Suspended"
    refuse_model(world.settings, model_id, "ana", "not here")
    resume_flow_run(asked.id, run_input={"decision": "approve", "by": "dra. Lima"})
    ended = run(asked)
    assert ended.is_failed()
    assert "it was refused" in str(ended.message)
    assert champion(world) is None


def test_a_night_goes_on_where_nothing_serves_the_form(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(form, "prefect_server", lambda: "the harness")
    monkeypatch.setattr(form, "DEPLOYMENT", "approve/nowhere")
    assert not form.offer_form(world.settings, waiting(world))
