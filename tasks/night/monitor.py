"""The monitor's two steps: the champion on labels that came in since, and the page "tonight"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import Connection

from db import metrics, models, monitoring, shift, status
from db.engine import reading, writing
from db.metrics import Metric
from db.monitoring import Answered
from tasks.artifacts import publish_tonight
from tasks.database import open_database
from tasks.ml.errors import BrokenArtifact
from tasks.ml.judging.evaluation import evaluate
from tasks.ml.network.artifact import read_facts
from tasks.model_folders import folder_of
from tasks.models.figures import metrics_of
from tasks.night import alarms
from tasks.night.missed import ADVICE, missed_nights
from tasks.night.tonight import PICTURED_DAYS, Night, tonight
from tasks.pages.after_waiting import renew_pages
from tasks.promotion.candidacy import lapse
from tasks.scoring import cascade_audit
from tasks.settings.settings import Settings
from tasks.step import step
from tasks.training import behaviour

POPULATION = "source"


@dataclass(frozen=True)
class Measured:
    """On how many labelled hospital reports a champion was measured; 0 figures: nothing had changed."""

    classifier: str
    model_id: int | None
    labelled_reports: int
    figures: int


@dataclass(frozen=True)
class Told:
    """What the page says in short. `for_review`: reports that wait for a person."""

    alarms: tuple[str, ...]
    for_review: int
    in_quarantine: int


@step("measure champion", run_name="measure champion of {classifier}", retries=2)
def measure_champion(run_id: int, classifier: str) -> Measured:
    """Write the champion's figures on hospital reports whose truth is known by now."""
    settings = Settings.load()
    engine = open_database(settings)
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
        if champion is None:
            return Measured(classifier, None, 0, 0)
        labels, critical = champion.model.config["labels"], champion.model.config["critical"]
        known = monitoring.answered(c, classifier, champion.model.id, labels)
        before = metrics.of_model(c, champion.model.id, POPULATION)
    rows = _figures(known, labels, critical, settings.seed) if known else metrics.withdrawn(before)
    if rows == before:
        rows = []  # the same labels as last time: one row a figure is enough
    with writing(engine) as c:
        written = metrics.put(c, run_id, champion.model.id, rows, datetime.now(UTC))
    return Measured(classifier, champion.model.id, len(known), written)


@step("tell the night", run_name="tell the night", retries=2)
def tell_the_night(run_id: int) -> Told:
    """Gather the last 24 hours, raise the alarms, and publish the page."""
    settings = Settings.load()
    engine, now = open_database(settings), datetime.now(UTC)
    lapse(engine, settings, now)  # what nobody decided in time is told as refused
    with reading(engine) as c:
        night = look_back(c, settings, now)
    publish_tonight(tonight(night))
    renew_pages(engine, settings)
    return Told(
        tuple(night.alarms),
        sum(one.for_review for one in night.classifiers),
        sum(one.waiting for one in night.quarantine),
    )


def look_back(c: Connection, settings: Settings, now: datetime) -> Night:
    """Everything the page tells about the 24 hours before `now`."""
    since, earlier = now - timedelta(days=1), now - timedelta(days=PICTURED_DAYS)
    intake = monitoring.intake(c, since, now)
    answers = monitoring.answers(c, earlier)
    verdicts = shift.since(c, since)
    figures = {name: _known_figures(c, name) for name in settings.classifiers}
    limits = settings.monitoring
    cascaded = sorted(settings.classifiers) if settings.scoring.cascade else []
    audits = {name: found for name in cascaded if (found := cascade_audit.so_far(c, name)) is not None}
    standing = [
        status.classifier(c, name, asked.sources) for name, asked in sorted(settings.classifiers.items())
    ]
    missed = missed_nights(c, settings, now)
    return Night(
        until=now,
        zone=settings.zone,
        alarms=[
            *alarms.failed_runs(monitoring.troubles(c, since)),
            *([f"{missed}; {ADVICE}"] if missed else []),
            *alarms.misses(figures, settings.classifiers),
            *alarms.silences(intake, sorted(settings.sources), now, limits),
            *alarms.quarantine_jumps(intake, monitoring.intake(c, earlier, since), limits),
            *alarms.backlogs(
                {
                    name: status.overdue(c, name, asked.sources, since)
                    for name, asked in settings.classifiers.items()
                }
            ),
            *alarms.shifts(verdicts),
            *alarms.indecision(
                [one for one in answers if one.at >= since],
                limits,
                {one.classifier: one.champion for one in standing},
                {name: _unpromised(c, settings, name) for name in settings.classifiers},
            ),
            *alarms.cascades(audits),
        ],
        intake=intake,
        decisions=monitoring.decisions(c, since),
        figures=figures,
        answers=answers,
        verdicts=verdicts,
        classifiers=standing,
        candidates=status.candidates(c),
        quarantine=monitoring.waiting_in_quarantine(c),
        cleared=monitoring.cleared(c, since),
        audits=audits,
    )


def _figures(known: list[Answered], labels: list[str], critical: str, seed: int) -> list[Metric]:
    probabilities = np.array([[one.probabilities[label] for label in labels] for one in known])
    figures = evaluate(
        probabilities,
        [labels.index(one.truth) for one in known],
        [one.patient_key for one in known],
        labels,
        critical,
        seed=seed,
    )
    return metrics_of("model", POPULATION, figures)


def _known_figures(c: Connection, classifier: str) -> list[Metric]:
    champion = models.champion_of(c, classifier)
    if champion is None:
        return []
    populations = ("holdout", POPULATION, behaviour.POPULATION)
    return [row for name in populations for row in metrics.of_model(c, champion.model.id, name)]


def _unpromised(c: Connection, settings: Settings, classifier: str) -> list[str]:
    champion = models.champion_of(c, classifier)
    try:
        facts = None if champion is None else read_facts(folder_of(settings, champion.model))
    except BrokenArtifact:  # `laudos doctor` and the next scoring say so
        return []
    return [] if facts is None else facts.thresholds.unpromised(facts.labels)
