"""Deployments: what runs when, the same for one machine and for workers, and what a server refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import get_client, task
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flows import load_flow_from_entrypoint
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent
from prefect.states import Cancelling, Pending, Running, State, Suspended

from deployments.schedules import deployments
from deployments.serve import end_what_died
from flows.approve import approve
from flows.retrain import retrain
from tasks.settings.settings import Settings

ROOT = Path(__file__).parents[2]
FLOWS = [
    "ingest",
    "synthesize",
    "retrain",
    "distill",
    "pretrain",
    "classify",
    "monitor",
    "nightly",
    "approve",
]


def _by_flow(settings: Settings) -> dict[str, RunnerDeployment]:
    return {one.flow_name or "": one for one in deployments(settings)}


def _crons(deployment: RunnerDeployment) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Those that are awake."""
    return {
        one.slug: (one.schedule.cron, one.schedule.timezone, one.parameters)
        for one in deployment.schedules or []
        if one.active
    }


@pytest.mark.parametrize("name", FLOWS)
def test_every_flow_is_found_by_its_entrypoint(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load_flow_from_entrypoint(f"flows/{name}.py:{name}").name == name


def test_every_flow_has_one_deployment_that_never_runs_twice_at_once(
    configure: Callable[..., Settings],
) -> None:
    made = deployments(configure())
    assert sorted(one.flow_name or "" for one in made) == sorted(FLOWS)
    assert {one.concurrency_limit for one in made} == {1}
    assert {one.flow_name: "model" in one.tags for one in made if "model" in one.tags} == {
        "nightly": True,
        "retrain": True,
        "distill": True,
        "pretrain": True,
    }


def test_schedules_follow_the_settings_in_the_hospitals_own_zone(configure: Callable[..., Settings]) -> None:
    schedules = {"ingest": "", "nightly": "15 3 * * *", "weekly_full": "0 5 * * 6"}
    made = _by_flow(configure(timezone="America/Manaus", schedules=schedules))
    assert _crons(made["ingest"]) == {}
    assert _crons(made["nightly"]) == {
        "nightly": ("15 3 * * *", "America/Manaus", {}),
        "weekly-full": ("0 5 * * 6", "America/Manaus", {"full": True}),
    }


def test_the_yaml_for_workers_says_what_the_code_says(configure: Callable[..., Settings]) -> None:
    written = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    made = _by_flow(configure())
    assert len(written) == len(made)
    for one in written:
        coded = made[one["entrypoint"].rsplit(":", 1)[1]]
        assert (one["name"], one["tags"]) == (coded.name, coded.tags)
        assert coded.entrypoint == one["entrypoint"]
        assert one["concurrency_limit"]["limit"] == coded.concurrency_limit
        assert {
            s["slug"]: (s["cron"], s["timezone"], s.get("parameters", {})) for s in one.get("schedules", [])
        } == _crons(coded)
        for trigger, twin in zip(one.get("triggers", []), coded.triggers, strict=True):
            dumped = twin.model_dump(mode="json")
            assert dumped["match_related"] == trigger["match_related"]
            assert dumped["match"] == trigger["match"]
            assert twin.expect == set(trigger["expect"])
            assert dumped["for_each"] == trigger["for_each"]


@pytest.mark.parametrize(
    ("ended", "followed"), [("Completed", True), ("Failed", True), ("Crashed", True), ("Cancelled", False)]
)
def test_what_follows_an_ingest_follows_it_whatever_became_of_it_but_for_a_person_who_stopped_it(
    configure: Callable[..., Settings], ended: str, followed: bool
) -> None:
    """As Prefect's server reads the triggers: one source that is away keeps no other from being answered."""
    made = _by_flow(configure())

    def run_of(deployment: str) -> ReceivedEvent:
        related = {
            "prefect.resource.id": "prefect.deployment.1",
            "prefect.resource.role": "deployment",
            "prefect.resource.name": deployment,
        }
        run = {"prefect.resource.id": "prefect.flow-run.1"}
        at = datetime(2026, 3, 2, tzinfo=UTC)
        name = f"prefect.flow-run.{ended}"
        return ReceivedEvent(occurred=at, event=name, resource=run, related=[related], id=uuid4())

    for flow, after in (("classify", "hourly"), ("monitor", "after-ingest")):
        [trigger] = made[flow].triggers
        trigger.set_deployment_id(uuid4())
        read = EventTrigger.model_validate(trigger.as_automation().trigger.model_dump(mode="json"))
        assert read.covers(run_of(after)) == followed
        assert not read.covers(run_of("nightly"))


def test_a_schedule_that_is_switched_off_sleeps_on_a_server_that_knew_it(
    prefect_harness: None, configure: Callable[..., Settings]
) -> None:
    """And is awake again as soon as settings name its times."""
    off, every = {"ingest": "", "weekly_full": ""}, {"hourly", "nightly", "weekly-full"}
    for schedules, awake in (({}, every), (off, {"nightly"}), ({}, every)):
        made = _by_flow(configure(schedules=schedules))
        ids = [made[flow].apply() for flow in ("ingest", "nightly")]
        with get_client(sync_client=True) as client:
            known = [one for at in ids for one in client.read_deployment(at).schedules]
        assert {one.slug for one in known if one.active} == awake
        assert {one.slug for one in known} == every


@pytest.mark.parametrize(
    "parameters", [{"source": "laudo: carcinoma"}, {"source": "x" * 65}, {"full": "texto"}]
)
def test_the_server_refuses_unfit_parameters_and_keeps_no_run(
    prefect_harness: None, configure: Callable[..., Settings], parameters: dict[str, Any]
) -> None:
    deployment_id = _by_flow(configure())["ingest"].apply()
    with get_client(sync_client=True) as client:
        with pytest.raises(PrefectHTTPStatusError):
            client.create_flow_run_from_deployment(deployment_id, parameters=parameters)
        assert [run for run in client.read_flow_runs() if run.deployment_id == deployment_id] == []


def _reach(client: SyncPrefectClient, run: FlowRun, *states: State[Any]) -> str:
    """The name of the state that the server then holds it in."""
    for state in states:
        client.set_flow_run_state(run.id, state)
    return client.read_flow_run(run.id).state_name or ""


@pytest.mark.parametrize(
    "left_at", [[Pending()], [Pending(), Running()], [Pending(), Running(), Cancelling()]], ids=len
)
def test_a_run_that_its_runner_left_for_dead_is_crashed_and_its_deployment_runs_again(
    prefect_harness: None, configure: Callable[..., Settings], left_at: list[State[Any]]
) -> None:
    nightly = _by_flow(configure())["nightly"].apply()
    with get_client(sync_client=True) as client:
        dead = client.create_flow_run_from_deployment(nightly)
        assert _reach(client, dead, *left_at) == left_at[-1].name
        asked = client.create_task_run(task(retrain.fn), dead.id, "retrain-0")
        within = client.create_flow_run(retrain, parent_task_run_id=asked.id, state=Running())
        waits = client.create_flow_run_from_deployment(nightly)
        assert _reach(client, waits, Pending()) == "AwaitingConcurrencySlot"
        end_what_died()
        assert [client.read_flow_run(run.id).state_name for run in (dead, within)] == ["Crashed", "Crashed"]
        assert client.read_flow_run(waits.id).state_name == "AwaitingConcurrencySlot"
        following = client.create_flow_run_from_deployment(nightly)
        assert _reach(client, following, Pending()) == "Pending"
        for run in (dead, within, waits, following):
            client.delete_flow_run(run.id)


def test_runs_that_others_are_at_are_not_taken_for_dead(
    prefect_harness: None, configure: Callable[..., Settings]
) -> None:
    """A command's, a worker's, and a form that waits for a person."""
    made = _by_flow(configure())
    with get_client(sync_client=True) as client:
        client.create_work_pool(WorkPoolCreate(name="elsewhere", type="process"))
        made["retrain"].work_pool_name = "elsewhere"
        workers = client.create_flow_run_from_deployment(made["retrain"].apply())
        form = client.create_flow_run_from_deployment(made["approve"].apply(), parameters={"model_id": 7})
        commands = client.create_flow_run(approve, parameters={"model_id": 8})
        held = [(workers, Running()), (form, Suspended(timeout_seconds=60)), (commands, Running())]
        before = [_reach(client, run, Pending(), Running(), state) for run, state in held]
        end_what_died()
        assert [client.read_flow_run(run.id).state_name for run, _ in held] == before
        assert before == ["Running", "Suspended", "Running"]
        for run, _ in held:
            client.delete_flow_run(run.id)
