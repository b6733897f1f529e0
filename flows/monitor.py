"""Measure the champions on labels that came in since, raise alarms, show the night."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.database import open_database
from tasks.errors import LaudosError
from tasks.ledger import recorded_run
from tasks.night.monitor import Measured, measure_champion, tell_the_night
from tasks.promotion.form import offer_forms
from tasks.scoring.cascade_audit import audit_cascade
from tasks.settings.settings import Settings
from tasks.step import flow


@dataclass(frozen=True)
class MonitorSummary:
    """What the page `tonight` says, in short. Each alarm is a sentence that says what to do."""

    run_id: int
    alarms: tuple[str, ...]
    for_review: int
    in_quarantine: int
    measured: tuple[Measured, ...]


@flow("monitor", run_name="monitor {day}")
def monitor() -> MonitorSummary:
    """Audit the cascades, measure the champions on labels that arrived since, publish the page `tonight`.

    Whoever waits for a person and has no form in Prefect gets one.
    An audit that fails keeps nobody from the page; it is raised once the page is there.
    """
    settings = Settings.load()
    failures: list[LaudosError] = []
    with recorded_run(open_database(settings), settings, "monitor") as run:
        if settings.scoring.cascade:
            for name in settings.classifiers:
                try:
                    audit_cascade(run.id, name)
                except LaudosError as failure:
                    failures.append(failure)
        measured = tuple(measure_champion(run.id, name) for name in settings.classifiers)
        told = tell_the_night(run.id)
        offer_forms(settings)
        if failures:
            raise failures[0]
    return MonitorSummary(run.id, told.alarms, told.for_review, told.in_quarantine, measured)
