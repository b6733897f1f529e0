"""Another try for what lies in quarantine, after a newer laudos or a change of laudos.toml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from db import backlog, labels, ledger, quarantine, reports, sources
from db.engine import reading, writing
from db.errors import ConfigurationError
from db.ledger import Counts
from tasks.database import open_database
from tasks.intake import intake
from tasks.intake.quarantine import NEXT, known_reason
from tasks.intake.rows import row_from
from tasks.ledger import recorded_run
from tasks.settings.settings import Settings

ROWS_A_PAGE = 500
# of several contents only the source can say which; what is no text is kept as no more than a description
NOT_AGAIN = (intake.CONFLICTING, "not_text")


@dataclass(frozen=True)
class RetrySummary:
    """What another try came to: rows as in every ledger, and labels that are known by now.

    `to_be_scored`: reports back in the backlog. `still_waiting`: of what was asked for.
    """

    run_id: int
    rows: Counts
    labels_taken: int
    to_be_scored: int
    still_waiting: int


def retry_quarantine(
    settings: Settings, source: str | None = None, reason: str | None = None
) -> RetrySummary:
    """Clean what waits with today's rules and read its labels with today's settings.

    What passes is taken in as if it had just been read. `reason`: only these rows. Raises Busy while an
    ingest is under way, ConfigurationError for a reason that is none, or that only the source can end.
    """
    if source is not None:
        settings.source(source)
    if reason is not None:
        known_reason(reason)
    if reason in NOT_AGAIN:
        raise ConfigurationError(f"{reason} cannot be tried again here: {NEXT[reason]}")
    engine = open_database(settings)
    taken = freed = 0
    with recorded_run(engine, settings, "retry", exclusive="ingest") as run:
        for name in [source] if source is not None else settings.sources:
            with writing(engine) as c:
                source_id = sources.ensure_source(
                    c, name, "database", int(settings.source(name).overlap.total_seconds())
                )
                # these stand beside a report that was taken in: the next "laudos classify" tries them
                if reason in (None, quarantine.SCORING_FAILED):
                    freed += backlog.try_again(c, source_id, datetime.now(UTC))
            if reason not in quarantine.BESIDE_A_REPORT:
                _retry_rows(engine, settings, name, source_id, run.id, reason)
            if reason in (None, quarantine.UNKNOWN_LABEL):
                taken += _retry_labels(engine, settings, name, source_id)
    with reading(engine) as c:
        left = sum(one.rows for one in quarantine.groups(c, source, reason))
        return RetrySummary(run.id, ledger.counts_of(c, run.id), taken, freed, left)


def _retry_rows(
    engine: Engine, settings: Settings, source_name: str, source_id: int, run_id: int, reason: str | None
) -> None:
    now = datetime.now(UTC)
    classifiers = {name: settings.classifier(name) for name in settings.source(source_name).labels}
    for waiting in _pages(engine, source_id, labels=False, only=reason):
        again = {number: row_from(content) for number, why, content in waiting if why not in NOT_AGAIN}
        if not again:
            continue
        with reading(engine) as c:
            # what waits of a report is what its source held when it was last read
            page = intake.decide(c, source_id, list(again.values()), whole=True)
        with writing(engine) as c:
            intake.write(c, run_id, source_id, source_name, page, classifiers, now, again=list(again))


def _retry_labels(engine: Engine, settings: Settings, source_name: str, source_id: int) -> int:
    taken = 0
    for waiting in _pages(engine, source_id, labels=True):
        now = datetime.now(UTC)
        with writing(engine) as c:
            known = reports.known(c, source_id, [content["external_id"] for _, _, content in waiting])
            done: list[int] = []
            found: list[labels.Label] = []
            for number, _, content in waiting:
                report, name = known.get(content["external_id"]), content["classifier"]
                value = (
                    intake.label_for(content["value"], settings.classifiers[name])
                    if name in settings.classifiers
                    else None
                )
                if report is not None and value is not None:
                    found.append(labels.Label(report.version_id, name, "source", source_name, value))
                    done.append(number)
            labels.put_labels(c, found, now)
            quarantine.close(c, done, now, "the settings now know this label")
        taken += len(done)
    return taken


def _pages(
    engine: Engine, source_id: int, *, labels: bool, only: str | None = None
) -> Iterator[list[tuple[int, str, dict[str, Any]]]]:
    after = 0
    while True:
        with reading(engine) as c:
            page = quarantine.waiting(c, source_id, after, ROWS_A_PAGE, labels=labels, only=only)
        if not page:
            return
        after = page[-1][0]
        yield page
