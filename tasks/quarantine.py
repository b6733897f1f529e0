"""Rows that could not be taken in: what waits, one in full, another try, and an end to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Engine

from db import audit, backlog, labels, ledger, quarantine, reports, sources
from db.engine import reading, writing
from db.errors import NothingToWorkOn
from db.ledger import Counts
from db.quarantine import Entry as Entry
from tasks import intake
from tasks.database import open_database
from tasks.intake_rows import row_from
from tasks.ledger import recorded_run
from tasks.person import person
from tasks.settings import Settings

ROWS_A_PAGE = 500
MEANINGS: Final = {
    "no_id": "the row has no id: it cannot be told from others",
    "unfit_id": "the id is no text or number that can be kept",
    "no_text": "the text column is null",
    "not_text": "the text column holds something that is no text",
    "empty": "nothing but blanks, or nothing left after cleaning",
    "no_letters": "no letters: a number, a code or punctuation",
    "too_long": "longer than any report: several in one, or a file",
    "pdf": "a PDF file instead of its text",
    "binary": "a file (Word, picture, archive) or damaged bytes",
    "conflicting_content": "one id with several texts at once: only the source can tell",
    "unknown_label": "taken in, but its label is not in label_values (laudos.toml)",
    "scoring_failed": "taken in, but the champion could not read it",
}


@dataclass(frozen=True)
class QuarantinedRow:
    """One row as it was read: `content` holds report text."""

    entry: Entry
    content: dict[str, Any]


@dataclass(frozen=True)
class RetrySummary:
    """What another try came to: rows as in every ledger, and labels that are known by now."""

    run_id: int
    rows: Counts
    labels_taken: int


def list_quarantine(settings: Settings, source: str | None = None) -> list[Entry]:
    """What waits, oldest first, without content."""
    with reading(open_database(settings)) as c:
        return quarantine.entries(c, source)


def show_quarantine(settings: Settings, number: int) -> QuarantinedRow:
    """One row with its content, fit to print. Raises NothingToWorkOn for an unknown number."""
    with reading(open_database(settings)) as c:
        found = quarantine.entry(c, number)
    if found is None:
        raise NothingToWorkOn(_no_such(number))
    entry, content = found
    return QuarantinedRow(entry, {name: _printable(value) for name, value in content.items()})


def dismiss_quarantine(settings: Settings, number: int, because: str) -> Entry:
    """Close a waiting row for good and write down who did. Raises NothingToWorkOn where it does not wait."""
    now = datetime.now(UTC)
    with writing(open_database(settings)) as c:
        if not quarantine.dismiss(c, number, because, now):
            raise NothingToWorkOn(_no_such(number))
        audit.record(c, actor=person(), action="dismiss", subject=f"quarantine {number}", detail={}, now=now)
        found = quarantine.entry(c, number)
    assert found is not None
    return found[0]


def retry_quarantine(settings: Settings, source: str | None = None) -> RetrySummary:
    """Clean what waits with today's rules and read its labels with today's settings.

    What passes is taken in as if it had just been read. Raises Busy while an ingest is under way.
    """
    if source is not None:
        settings.source(source)
    engine = open_database(settings)
    taken = 0
    with recorded_run(engine, settings, "retry", exclusive="ingest") as run:
        for name in [source] if source is not None else settings.sources:
            with writing(engine) as c:
                source_id = sources.ensure_source(
                    c, name, "database", int(settings.source(name).overlap.total_seconds())
                )
                # these stand beside a report that was taken in: the next "laudos classify" tries them
                backlog.try_again(c, source_id, datetime.now(UTC))
            _retry_rows(engine, settings, name, source_id, run.id)
            taken += _retry_labels(engine, settings, name, source_id)
    with reading(engine) as c:
        return RetrySummary(run.id, ledger.counts_of(c, run.id), taken)


def _retry_rows(engine: Engine, settings: Settings, source_name: str, source_id: int, run_id: int) -> None:
    now = datetime.now(UTC)
    classifiers = {name: settings.classifier(name) for name in settings.source(source_name).labels}
    for waiting in _pages(engine, source_id, labels=False):
        # of two contents of one report none can be chosen here: only the source can say which
        rows = [row_from(content) for _, reason, content in waiting if reason != intake.CONFLICTING]
        if not rows:
            continue
        with reading(engine) as c:
            page = intake.decide(c, source_id, rows)
        with writing(engine) as c:
            intake.write(c, run_id, source_id, source_name, page, classifiers, now)


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
    engine: Engine, source_id: int, *, labels: bool
) -> Iterator[list[tuple[int, str, dict[str, Any]]]]:
    after = 0
    while True:
        with reading(engine) as c:
            page = quarantine.waiting(c, source_id, after, ROWS_A_PAGE, labels=labels)
        if not page:
            return
        after = page[-1][0]
        yield page


def _printable(value: Any) -> Any:
    """Text that any terminal can be given: lone surrogates as escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _no_such(number: int) -> str:
    return f'no row {number} waits in quarantine; "laudos quarantine list" shows which do'
