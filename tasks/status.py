"""`laudos status`: where things stand, in one answer."""

from __future__ import annotations

from dataclasses import dataclass

from db import scoring
from db import status as counts
from db.engine import reading
from db.status import ClassifierStatus as ClassifierStatus
from db.status import JobStatus as JobStatus
from tasks.database import open_database
from tasks.settings import Settings, config_path


@dataclass(frozen=True)
class Status:
    """Configuration, sources, classifiers, unfinished jobs and the latest runs.

    `database` is shown without its password.
    """

    configuration: str
    database: str
    models: str
    sources: list[counts.SourceStatus]
    sources_never_read: list[str]
    classifiers: list[counts.ClassifierStatus]
    jobs: list[counts.JobStatus]
    last_runs: list[counts.RunStatus]


def status(settings: Settings) -> Status:
    """The state of everything that is configured or was ever read."""
    engine = open_database(settings)
    with reading(engine) as c:
        read = counts.sources(c)
        return Status(
            configuration=str(config_path().resolve()),
            database=engine.url.render_as_string(hide_password=True),
            models=str(settings.folder / "models"),
            sources=read,
            sources_never_read=sorted(set(settings.sources) - {source.source for source in read}),
            classifiers=[
                counts.classifier(c, name, classifier.sources)
                for name, classifier in sorted(settings.classifiers.items())
            ],
            jobs=counts.jobs(c, scoring.lease_clock(c), unfinished=True),
            last_runs=counts.last_runs(c),
        )
