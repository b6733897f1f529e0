"""The best plain loaders, which know no version, no patient and no ledger: what ingest is held against.

Each gets its rows ready-made in memory, does nothing but load them, in transactions as large as an
ingest's pages, over a connection opened as laudos opens its own (the same pragmas on SQLite).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection

from benchmarks.town import Values
from db import schema
from db.engine import open_engine, writing
from db.load import load, next_ids
from db.reports import Content
from db.tables import report, report_version, run, source
from tasks.intake.rows import patient_key
from tasks.ml.reading.cleaning import CLEANING_REVISION, raw_sha

Loader = Callable[[str, Sequence[Values], int], float]  # url, rows, rows a page -> seconds
ANY_TIME = datetime(2026, 3, 2, tzinfo=UTC)
SHA = "0" * 64
PLAIN = (
    "CREATE TABLE plain (id {serial} PRIMARY KEY, source INTEGER NOT NULL, external_id TEXT NOT NULL,"
    " text TEXT NOT NULL, updated_at TIMESTAMP, patient TEXT, report_date TEXT, label TEXT,"
    " UNIQUE (source, external_id))"
)
PLAIN_COLUMNS = "(source, external_id, text, updated_at, patient, report_date, label)"
STAGE = (
    "CREATE TEMPORARY TABLE stage (external_id TEXT, text TEXT, updated_at TIMESTAMPTZ, patient TEXT,"
    " report_date DATE, label TEXT, raw_sha TEXT) ON COMMIT DELETE ROWS"
)
MERGE_REPORTS = (
    "INSERT INTO report (source_id, external_id, patient_key, current_version, created_at)"
    " SELECT 1, external_id, patient, 1, now() FROM stage"
)
MERGE_VERSIONS = (
    "INSERT INTO report_version (report_id, version, raw_sha, text, cleaning_revision, repairs, report_date,"
    " source_updated_at, run_id, created_at)"
    " SELECT report.id, 1, stage.raw_sha, stage.text, 1, '{}', stage.report_date, stage.updated_at, 1, now()"
    " FROM stage JOIN report ON report.source_id = 1 AND report.external_id = stage.external_id"
)


def sqlite_plain(url: str, rows: Sequence[Values], page_rows: int) -> float:
    """Seconds of one executemany a page into one table whose key is (source, external id)."""
    engine = open_engine(url)
    with writing(engine) as c:
        c.exec_driver_sql(PLAIN.format(serial="INTEGER"))
    ready = [(1, one[0], one[1], str(one[2]), *one[3:]) for one in rows]
    began = time.perf_counter()
    for page in _pages(ready, page_rows):
        with writing(engine) as c:
            c.exec_driver_sql(f"INSERT INTO plain {PLAIN_COLUMNS} VALUES (?, ?, ?, ?, ?, ?, ?)", list(page))
    took = time.perf_counter() - began
    engine.dispose()
    return took


def postgres_stage(url: str, rows: Sequence[Values], page_rows: int) -> float:
    """Seconds of COPY into a temporary table and two INSERT ... SELECT into laudos' own tables, by page."""
    schema.upgrade(url)
    engine = open_engine(url)
    ready = [(*one, SHA) for one in rows]
    with engine.connect() as c:
        with c.begin():
            _owners(c)
            c.exec_driver_sql(STAGE)
        began = time.perf_counter()
        for page in _pages(ready, page_rows):
            with c.begin():
                _copy(c, "stage", page)
                c.exec_driver_sql(MERGE_REPORTS)
                c.exec_driver_sql(MERGE_VERSIONS)
        took = time.perf_counter() - began
    engine.dispose()
    return took


def postgres_plain(url: str, rows: Sequence[Values], page_rows: int) -> float:
    """Seconds of one COPY a page into one table whose key is (source, external id)."""
    engine = open_engine(url)
    with writing(engine) as c:
        c.exec_driver_sql(PLAIN.format(serial="BIGSERIAL"))
    ready = [(1, *one) for one in rows]
    began = time.perf_counter()
    for page in _pages(ready, page_rows):
        with writing(engine) as c:
            _copy(c, f"plain {PLAIN_COLUMNS}", page)
    took = time.perf_counter() - began
    engine.dispose()
    return took


def own_tables(url: str, rows: Sequence[Values], page_rows: int) -> float:
    """Seconds of laudos' own bulk load of the rows that an ingest leaves: what its two tables cost."""
    schema.upgrade(url)
    engine = open_engine(url)
    with writing(engine) as c:
        _owners(c)
    ready = [_as_taken_in(one) for one in rows]
    began = time.perf_counter()
    for page in _pages(ready, page_rows):
        with writing(engine) as c:
            _load_both(c, page)
    took = time.perf_counter() - began
    engine.dispose()
    return took


def _as_taken_in(row: Values) -> Content:
    external_id, text, moment, patient, day, _label = row
    key = patient_key("his", external_id, patient)
    changed, dated = moment.replace(tzinfo=UTC), date.fromisoformat(day)
    return Content(external_id, key, raw_sha(text), text, CLEANING_REVISION, {}, dated, changed)


def _load_both(c: Connection, page: Sequence[Content]) -> None:
    ids = next_ids(c, report, len(page))
    columns: dict[str, Any] = dict(zip(Content._fields, zip(*page, strict=True), strict=True))
    every = {"source_id": 1, "current_version": 1, "version": 1, "run_id": 1, "created_at": ANY_TIME}
    load(c, report, {"id": ids, **columns}, every)
    ids_of_versions = next_ids(c, report_version, len(page))
    load(c, report_version, {"id": ids_of_versions, "report_id": ids, **columns}, every)


def _owners(c: Connection) -> None:
    """The rows that foreign keys ask for."""
    c.execute(source.insert().values(id=1, name="raw", kind="database"))
    began = {"kind": "ingest", "code_revision": "raw", "config_sha": "raw", "started_at": ANY_TIME}
    c.execute(run.insert().values(id=1, **began))


def _copy(c: Connection, target: str, page: Sequence[tuple[Any, ...]]) -> None:
    driver: Any = c.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f"COPY {target} FROM STDIN") as copy:
        for one in page:
            copy.write_row(one)


def _pages(rows: Sequence[Any], page_rows: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(rows), page_rows):
        yield rows[start : start + page_rows]
