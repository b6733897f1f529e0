"""Deployments: what runs when, the same for one machine and for workers, and what a server refuses."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml
from prefect import get_client
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import PrefectHTTPStatusError
from prefect.flows import load_flow_from_entrypoint
from prefect.server.events.schemas.automations import EventTrigger
from prefect.server.events.schemas.events import ReceivedEvent

from deployments.schedules import deployments
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
