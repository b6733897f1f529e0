"""A bulk load writes what an INSERT of SQLAlchemy's would, number for number."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import Engine, insert, select, text

from db import schema
from db.engine import open_engine, reading, writing
from db.errors import DatabaseFailure
from db.load import load, next_ids
from db.tables import report, report_version, run, source
from tasks.torture.server import Server

BRASILIA = timezone(timedelta(hours=-3))
MOMENTS = [
    None,
    datetime(2026, 3, 2, 12, tzinfo=UTC),
    datetime(2026, 3, 2, 23, 59, 59, 7, tzinfo=BRASILIA),
    datetime(1, 1, 2, tzinfo=UTC),
]
DATES = [None, date(2026, 3, 2), date(1, 1, 1), date(9999, 12, 31)]
REPAIRS: list[dict[str, int]] = [{}, {"nul": 2}, {"ção": 1}, {}]
TEXTS = [None, "a\tb\\N\nc", "\\.", "ç–“🙂"]


def versions() -> dict[str, list[Any]]:
    return {
        "version": [1, 2, 3, 4],
        "text": TEXTS,
        "repairs": REPAIRS,
        "report_date": DATES,
        "source_updated_at": MOMENTS,
    }


def test_what_is_loaded_is_stored_as_an_insert_stores_it(engine: Engine, now: datetime) -> None:
    every = {"raw_sha": "0" * 64, "cleaning_revision": 1, "run_id": 1, "created_at": now}
    columns = versions()
    with writing(engine) as c:
        began = {"kind": "ingest", "code_revision": "x", "config_sha": "x", "started_at": now}
        c.execute(insert(run).values(id=1, **began))
        c.execute(insert(source).values(id=1, name="his", kind="database"))
        same = {"source_id": 1, "patient_key": "p", "current_version": 4, "created_at": now}
        ids = next_ids(c, report, 2)
        load(c, report, {"id": ids, "external_id": ["a", "b"]}, same)
        load(
            c,
            report_version,
            {"id": next_ids(c, report_version, 4), **columns},
            every | {"report_id": ids[0]},
        )
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        c.execute(insert(report_version), [row | every | {"report_id": ids[1]} for row in rows])
    # as the database keeps them: no type of ours between
    told = text("SELECT version, text, CAST(repairs AS TEXT), CAST(report_date AS TEXT),"
                " CAST(source_updated_at AS TEXT), CAST(created_at AS TEXT)"
                " FROM report_version WHERE report_id = :of ORDER BY version")  # fmt: skip
    with reading(engine) as c:
        loaded, inserted = ([tuple(row) for row in c.execute(told, {"of": of})] for of in ids)
    assert loaded == inserted
    assert [row[1] for row in loaded] == TEXTS


def test_numbers_go_on_where_rows_ended_and_nothing_loaded_is_nothing(
    engine: Engine, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.load.ROWS_A_STATEMENT", 2)
    with writing(engine) as c:
        c.execute(insert(source).values(id=1, name="his", kind="database"))
        same = {"source_id": 1, "patient_key": "p", "current_version": 1, "created_at": now}
        load(c, report, {"id": next_ids(c, report, 0), "external_id": []}, same)
        load(c, report, {"id": next_ids(c, report, 5), "external_id": list("abABÁ")}, same)
        added = insert(report).values(external_id="c", **same).returning(report.c.id)
        last = c.execute(added).scalar_one()
        load(c, report, {"id": next_ids(c, report, 1), "external_id": ["d"]}, same)
        told = c.execute(select(report.c.external_id, report.c.id).order_by(report.c.id)).all()
    assert [name for name, _ in told] == [*"abABÁ", "c", "d"]
    assert told[5].id == last


@pytest.mark.postgres
def test_a_copy_that_is_cut_off_leaves_no_row_in_the_servers_log(
    postgres_url: str, postgres_server: Server, now: datetime
) -> None:
    """As a server that is stopped, or a person at pg_terminate_backend, cuts it off."""
    schema.upgrade(postgres_url)
    engine, log = open_engine(postgres_url), postgres_server.home / "log"
    before = len(log.read_text())

    def ids(pid: int) -> Iterator[str]:
        for number in range(100_000):
            if number == 50_000:  # so many are under way to the server by now
                with reading(engine) as another:
                    another.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            yield f"CANARY-{number}"

    def load_many() -> None:
        with writing(engine) as c:
            c.execute(insert(source).values(id=1, name="his", kind="database"))
            same = {"source_id": 1, "patient_key": "p", "current_version": 1, "created_at": now}
            pid = c.scalar(text("SELECT pg_backend_pid()"))
            load(c, report, {"external_id": ids(int(pid or 0))}, same)

    with pytest.raises(DatabaseFailure):
        load_many()
    engine.dispose()
    told = log.read_text()[before:]
    assert "COPY report, line" in told, "it was cut off somewhere else"
    assert "CANARY" not in told
