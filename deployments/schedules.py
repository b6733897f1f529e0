"""Every deployment: what runs when, after what, and never twice at once. No logic.

Changing this? deployments/prefect.yaml says the same for workers; a test compares the two.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from prefect.deployments.runner import RunnerDeployment
from prefect.events.schemas.deployment_triggers import DeploymentEventTrigger
from prefect.flows import Flow
from prefect.schedules import Cron, Schedule

from flows.approve import approve
from flows.classify import classify
from flows.distill import distill
from flows.ingest import ingest
from flows.monitor import monitor
from flows.nightly import nightly
from flows.pretrain import pretrain
from flows.retrain import retrain
from flows.synthesize import synthesize
from tasks.settings.settings import Settings

_ANY_TIME = "0 0 1 1 *"  # of a schedule that sleeps


def deployments(settings: Settings) -> list[RunnerDeployment]:
    """One a flow, with the schedules in force.

    The nightly and the weekly run are two schedules of one deployment: its limit of one makes the
    later wait for the earlier. Across deployments, whatever writes a model holds a lock of ours.
    """
    when = settings.schedules
    night = _cron("nightly", when.nightly, settings)
    weekly = _cron("weekly-full", when.weekly_full, settings, full=True)
    return [
        _deployment(ingest, "hourly", [_cron("hourly", when.ingest, settings)]),
        _deployment(nightly, "nightly", [night, weekly], "model"),
        _deployment(classify, "after-ingest", after="hourly"),
        _deployment(monitor, "after-classify", after="after-ingest"),
        _deployment(synthesize, "by-hand"),
        _deployment(retrain, "by-hand", None, "model"),
        _deployment(distill, "by-hand", None, "model"),
        _deployment(pretrain, "by-hand", None, "model"),
        _deployment(approve, "by-form"),
    ]


def _deployment(
    flow: Flow[..., Any],
    name: str,
    schedules: list[Schedule] | None = None,
    *tags: str,
    after: str | None = None,
) -> RunnerDeployment:
    """`after` names the deployment whose runs start this one when they end, unless a person cancels them."""
    return RunnerDeployment.from_flow(
        flow,
        name,
        schedules=schedules or None,
        triggers=[_ended(after)] if after else None,
        concurrency_limit=1,
        tags=["laudos", *tags],
    )


def _cron(slug: str, line: str, settings: Settings, **parameters: Any) -> Schedule:
    """A schedule in the hospital's own time zone; asleep where settings switch it off.

    Left out, it would go on running on a server that knows it: Prefect keeps schedules it is not told about.
    """
    return Cron(
        line or _ANY_TIME, active=bool(line), timezone=settings.timezone, slug=slug, parameters=parameters
    )


def _ended(deployment: str) -> DeploymentEventTrigger:
    return DeploymentEventTrigger(
        name=f"after {deployment}",
        # whatever became of them: a source that is away keeps no other from being answered
        expect={"prefect.flow-run.Completed", "prefect.flow-run.Failed", "prefect.flow-run.Crashed"},
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.role": "deployment", "prefect.resource.name": deployment},
        for_each={"prefect.resource.id"},
        threshold=1,
        within=timedelta(0),
    )
