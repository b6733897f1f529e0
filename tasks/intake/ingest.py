"""Taking in what a source holds: since the watermark, or all of it.

A page is one transaction: reports, versions, labels, quarantine, ledger and watermark together. So a
source that vanishes, or a process that is killed, leaves whole pages, and the next run goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Engine

from db import ledger, reports, sources
from db.engine import reading, writing
from db.errors import LaudosError
from db.ledger import Counts
from db.source_pages import PageSize
from db.source_reader import SourceReader, SourceRow, SourceTable
from tasks.bulk import ahead, heap_left_alone
from tasks.database import open_database
from tasks.intake import intake
from tasks.intake.groups import Meanings, Values, groups_of
from tasks.intake.rows import Row, fit_id, row_of
from tasks.ml.faultpoints import reach
from tasks.progress import progress_bar
from tasks.settings.settings import Settings
from tasks.step import step

GONE_A_TRANSACTION = 10_000


@step("ingest", run_name="ingest {source_name}", retries=2)
def ingest_source(source_name: str, run_id: int, full: bool) -> Counts:
    """What one source brought in this run. A retry goes on after the last page that was committed.

    `full` compares every row with what is known, and so finds what the watermark missed and what was
    deleted. Raises ConfigurationError where the source's schema does not fit, DatabaseFailure where it
    is away, LaudosError where everything it held is gone.
    """
    settings = Settings.load()
    return ingest_from(open_database(settings), settings, source_name, run_id, full, datetime.now(UTC))


def ingest_from(
    engine: Engine, settings: Settings, source_name: str, run_id: int, full: bool, now: datetime
) -> Counts:
    """As `ingest_source`, at a given time."""
    asked = settings.source(source_name)
    with (
        heap_left_alone(),
        SourceReader(source_table(settings, source_name)) as reader,
        progress_bar(f"{source_name}: rows read") as progress,
    ):
        with writing(engine) as c:
            turn = sources.begin_turn(c, source_name, int(asked.overlap.total_seconds()))
        reach("ingest.turn.begun")
        visit = _Visit(engine, settings, source_name, run_id, turn, now, progress)
        size = PageSize(asked.page_rows, asked.page_bytes)
        whole = full or asked.updated_at is None
        read = reader.all_rows(size) if whole else reader.pages(_since(turn, asked.overlap, now), size)
        values = (
            _values(engine, settings, source_name, turn.source_id, whole=whole)
            if asked.group_columns
            else None
        )
        with ahead(_rows(reader.source, read, asked.group_values, values)) as pages:
            (_compare_all if whole else _follow)(visit, pages)
    with reading(engine) as c:
        return ledger.counts_of_source(c, run_id, turn.source_id)


def _since(turn: sources.Turn, overlap: timedelta, now: datetime) -> datetime | None:
    """Where to read from. A watermark ahead of the present, set by a clock that jumped, hides nothing."""
    ahead_of_time = turn.watermark is not None and turn.watermark > now
    return now - overlap if ahead_of_time else turn.since


def source_table(settings: Settings, name: str) -> SourceTable:
    """A source as the reader wants it."""
    asked = settings.source(name)
    return SourceTable(
        name=name,
        url=asked.url,
        table=asked.table,
        schema=asked.schema_,
        id=asked.id,
        text=asked.text,
        updated_at=asked.updated_at,
        patient=asked.patient,
        date=asked.date,
        labels=asked.labels,
        groups=asked.group_columns,
        zone=ZoneInfo(asked.timezone) if asked.timezone else settings.zone,
    )


@dataclass(frozen=True)
class _Visit:
    """One ingest of one source."""

    engine: Engine
    settings: Settings
    source_name: str
    run_id: int
    turn: sources.Turn
    now: datetime
    progress: Callable[[int, int | None], None]  # rows so far, of an unknown number

    def commit(self, rows: Sequence[Row], watermark: Row | None, seen: _Seen | None = None) -> intake.Page:
        """Take a page in, and note how far the source is read. Raises Busy where another took over.

        `seen`: which reports a comparison of everything has met so far; None where it is none.
        """
        met = None if seen is None else seen.__contains__
        with reading(self.engine) as c:
            page = intake.decide(c, self.turn.source_id, rows, whole=seen is not None, met=met)
        reach("ingest.page.decided")
        classifiers = {name: self.settings.classifier(name) for name in self._labelled()}
        with writing(self.engine) as c:
            self.move(c, watermark)
            intake.write(c, self.run_id, self.turn.source_id, self.source_name, page, classifiers, self.now)
        reach("ingest.page.committed")
        return page

    def move(self, c: Connection, to: Row | None) -> None:
        """Move the watermark, if this is still our turn."""
        sources.move_watermark(c, self.turn, to.updated_at if to else None, to.external_id if to else None)

    def _labelled(self) -> list[str]:
        return list(self.settings.source(self.source_name).labels)


def _values(engine: Engine, settings: Settings, source_name: str, source_id: int, *, whole: bool) -> Values:
    """What a source's groups are held against. Of all its rows, what is known does not count: it may be what
    another column said, which they now correct."""
    most = settings.source(source_name).institutions_max
    if whole:
        return Values(source_name, most)
    with reading(engine) as c:
        return Values.so_far(c, source_name, most, source_id)


def _rows(
    source: SourceTable, pages: Iterator[list[SourceRow]], meanings: Meanings, values: Values | None
) -> Iterator[list[Row]]:
    for page in pages:
        rows = [row_of(source.name, read, groups_of(read, meanings, source.zone)) for read in page]
        if values is not None:
            values.admit(row.groups for row in rows)
        yield rows


def _follow(visit: _Visit, pages: Iterator[list[Row]]) -> None:
    """What changed since the watermark: the pages come oldest change first, so each may move it."""
    rows_read = 0
    for rows in pages:
        visit.commit(rows, _latest(rows, visit.now))
        rows_read += len(rows)
        visit.progress(rows_read, None)


def _compare_all(visit: _Visit, pages: Iterator[list[Row]]) -> None:
    """Every row by its id: the watermark moves only once all were seen, and what was not is gone."""
    with reading(visit.engine) as c:
        newest_before = reports.last_id(c)
    seen = _Seen(newest_before)
    latest: Row | None = None
    rows_read = 0
    for rows in pages:
        page = visit.commit(rows, None, seen)
        for report_id in page.report_ids:
            seen.add(report_id)
        latest = _latest([*rows, *([latest] if latest else [])], visit.now)
        rows_read += len(rows)
        visit.progress(rows_read, None)
    _mark_gone(visit, seen, rows_read)
    with writing(visit.engine) as c:
        visit.move(c, latest)
        sources.note_reconciled(c, visit.turn, visit.now)


def _mark_gone(visit: _Visit, seen: _Seen, rows_read: int) -> None:
    with reading(visit.engine) as c:
        known = reports.standing(c, visit.turn.source_id, seen.up_to)
        gone = (report_id for report_id in known if report_id not in seen)
        if not rows_read and next(gone, None) is not None:
            # far more often a load that failed than a hospital that threw every report away
            raise LaudosError(
                f"source {visit.source_name!r} is empty, but {1 + sum(1 for _ in gone)} reports of it are "
                "known; none was marked as deleted. Look whether its load failed; if it is really to be "
                "forgotten, take it out of laudos.toml and let classifiers.X.sources name the others, or "
                "its reports are scored and teach as before"
            )
        while some := list(islice(gone, GONE_A_TRANSACTION)):
            reach("ingest.deletions.found")
            with writing(visit.engine) as marking:
                visit.move(marking, None)
                reports.mark_deleted(marking, some, visit.now)
            reach("ingest.deletions.marked")


class _Seen:
    """Which reports were met: a bit for each known before, so that eighty million take ten megabytes, and
    all that came in since."""

    def __init__(self, up_to: int) -> None:
        self.up_to = up_to
        self._bits = bytearray(up_to // 8 + 1)

    def add(self, report_id: int) -> None:
        if report_id <= self.up_to:  # an id written in two ways comes back on a later page than it came in by
            self._bits[report_id >> 3] |= 1 << (report_id & 7)

    def __contains__(self, report_id: int) -> bool:
        return report_id > self.up_to or bool(self._bits[report_id >> 3] & 1 << (report_id & 7))


def _latest(rows: Sequence[Row], now: datetime) -> Row | None:
    """The row changed last, but for those of the future: a clock gone wrong must not hide what comes."""
    past = [row for row in rows if row.updated_at is not None and row.updated_at <= now]
    newest_first = sorted(past, key=lambda row: row.updated_at or now, reverse=True)
    return next((row for row in newest_first if fit_id(row.external_id)), None)


def counts_of_run(engine: Engine, run_id: int) -> Counts:
    """What a run brought from all of its sources."""
    with reading(engine) as c:
        return ledger.counts_of(c, run_id)
