"""`laudos status`: where things stand, in one answer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from db import doctor as promises
from db import scoring
from db import status as counts
from db.engine import reading, shown
from db.status import CandidateStatus as CandidateStatus
from db.status import ClassifierStatus as ClassifierStatus
from db.status import JobStatus as JobStatus
from tasks.database import open_database
from tasks.night.missed import ADVICE, missed_nights
from tasks.settings.settings import Settings, config_shown


@dataclass(frozen=True)
class Status:
    """Configuration, sources, classifiers, models that wait, unfinished jobs and the latest runs.

    `database` is shown without its password.
    """

    configuration: str
    database: str
    models: str
    sources: list[counts.SourceStatus]
    sources_never_read: list[str]
    classifiers: list[counts.ClassifierStatus]
    classifiers_ended: list[str]  # with a champion whose answers stand in the views, and not in laudos.toml
    candidates: list[counts.CandidateStatus]
    jobs: list[counts.JobStatus]
    last_runs: list[counts.RunStatus]
    nights_missed: str | None  # a sentence, where nights come no more


def status(settings: Settings) -> Status:
    """The state of everything that is configured or was ever read."""
    engine = open_database(settings)
    with reading(engine) as c:
        read = counts.sources(c)
        missed = missed_nights(c, settings, datetime.now(UTC))
        return Status(
            configuration=config_shown(),
            database=shown(engine.url),
            models=str(settings.folder / "models"),
            sources=read,
            sources_never_read=sorted(set(settings.sources) - {source.source for source in read}),
            classifiers=[
                counts.classifier(c, name, classifier.sources)
                for name, classifier in sorted(settings.classifiers.items())
            ],
            classifiers_ended=sorted(set(promises.champions(c)) - set(settings.classifiers)),
            candidates=counts.candidates(c),
            jobs=counts.jobs(c, scoring.lease_clock(c), unfinished=True),
            last_runs=counts.last_runs(c),
            nights_missed=f"{missed}; {ADVICE}" if missed else None,
        )


def candidate_told(one: CandidateStatus, zone: ZoneInfo) -> str:
    """Where a challenger that met every rule stands, and what decides about it: one sentence."""
    until = f"{one.until.astimezone(zone):%Y-%m-%d %H:%M}"
    name = f"{one.classifier}: model {one.model_id} met every rule and"
    told = f"{name} scores along, {one.scored:,} of {one.of:,} reports by {until}"
    if one.state == "waiting":
        told = (
            f'{name} waits for a person until {until}: laudos models approve {one.model_id} --because "..."'
        )
    if not one.scored:
        return told
    return (
        f"{told}; of {one.scored:,} reports scored along {one.same_label:,} got the champion's label, "
        f"{one.scored - one.same_label:,} another, {one.to_person:,} more would go to a person and "
        f"{one.from_person:,} fewer"
    )
