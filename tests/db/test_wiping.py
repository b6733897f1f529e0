"""PostgreSQL: who writes is waited for, who may not VACUUM is told, and what VACUUM leaves of the bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, delete, event, func, insert, select, text, update

from db import erasure, roles, schema, wiping
from db.engine import open_engine, reading, writing
from db.errors import Busy
from db.roles import Roles
from db.tables import evidence, feature, label, patient_group, prediction, quarantine, report, report_version
from tests.db.history import two_days

pytestmark = pytest.mark.postgres

CANARY = "Xilofonista zarolho"


@pytest.fixture
def owner(postgres_url: str) -> Iterator[Engine]:
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    two_days(engine)
    yield engine
    engine.dispose()


def test_an_erasure_waits_for_whoever_saw_the_text_and_is_about_to_write(owner: Engine) -> None:
    looked, order = threading.Event(), list[str]()

    def erase() -> None:
        looked.wait()
        with writing(owner) as c:
            erasure.alone(c)
            order.append("erased")

    eraser = threading.Thread(target=erase)
    eraser.start()
    with writing(owner) as c:
        erasure.held_off(c)
        looked.set()
        eraser.join(1)
        order.append("written")
    eraser.join()
    assert order == ["written", "erased"]


def test_the_writers_role_may_erase_and_leaves_the_vacuum_to_the_owner(
    named: Roles, owner: Engine, become: Callable[[str], Engine], now: datetime
) -> None:
    with writing(owner) as c:
        roles.create(c, named)
    writer = become(named.writer)
    with writing(writer) as c:
        erasure.alone(c)
        found, known = erasure.find(c, erasure.source_id(c, "his"), ["L1", "L2"], [])
        erasure.erase(c, found, now)
    assert known == {"L1", "L2"}
    assert wiping.wipe(writer) is False
    assert wiping.wipe(owner) is True


def test_a_transaction_that_still_sees_the_rows_is_waited_for_and_then_told(
    owner: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.wiping.OLDER_S", 0.3)
    with owner.connect().execution_options(isolation_level="REPEATABLE READ") as reader:
        reader.execute(text("SELECT count(*) FROM report"))
        with writing(owner) as c:
            c.execute(update(report_version).values(text=None))
        with pytest.raises(Busy, match="their bytes are not"):
            wiping.wipe(owner)
    with reading(owner) as c:
        c.execute(text("SELECT count(*) FROM report"))  # began since: it sees nothing that is gone
        assert wiping.wipe(owner) is True


MAY_BE_EMPTY = [table for table in erasure.TOUCHED if table not in (report, report_version)]


def maintain(engine: Engine, *commands: str) -> None:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        for command in commands:
            c.execute(text(command))


def fill(c: Connection, now: datetime) -> None:
    """Two rows in each of the tables that an erasure may leave empty, beside what two days left there."""
    begun = {"first_run_id": 1, "first_seen_at": now, "last_seen_at": now, "payload": CANARY.encode()}
    held = {"encoder_sha": "e", "vector": CANARY.encode(), "tokens_seen": 1, "tokens_total": 1}
    seen = {"begins": 0, "ends": 9, "score": 0.5, "method": CANARY[:16], "at": now}
    for answer in c.execute(
        select(prediction.c.model_id, prediction.c.report_version_id).limit(2)
    ).mappings():
        of = {"report_version_id": answer["report_version_id"]}
        said = {"classifier": "x", "origin": "feedback", "actor": "x", "value": CANARY, "at": now}
        c.execute(
            insert(quarantine).values(
                source_id=1, external_id=f"{answer}", raw_sha=CANARY, reason="x", **begun
            )
        )
        c.execute(insert(feature).values(created_at=now, **held, **of))
        c.execute(insert(evidence).values(**answer, **seen))
        c.execute(insert(patient_group).values(race=CANARY, **of))
        c.execute(insert(label).values(**said, **of))


def quoted(c: Connection) -> dict[str, str]:
    """The values that the planner's statistics quote, by table."""
    quotes = "string_agg(concat(most_common_vals, histogram_bounds), ' ') AS told"
    rows = c.execute(text(f"SELECT tablename, {quotes} FROM pg_stats GROUP BY 1"))
    return {row.tablename: row.told for row in rows}


def test_statistics_of_tables_that_are_left_empty_quote_nothing_of_what_they_held(
    owner: Engine, now: datetime
) -> None:
    with writing(owner) as c:
        fill(c, now)
    maintain(owner, "ANALYZE")
    with writing(owner) as c:
        assert all(quoted(c)[table.name] for table in MAY_BE_EMPTY)
        for table in MAY_BE_EMPTY:
            c.execute(delete(table))
    assert wiping.wipe(owner)
    with reading(owner) as c:
        assert "".join(quoted(c)[table.name].strip() for table in MAY_BE_EMPTY) == ""
        assert {c.scalar(select(func.count()).select_from(table)) for table in MAY_BE_EMPTY} == {0}


def test_what_is_written_while_an_empty_tables_statistics_are_seen_to_stays(
    owner: Engine, postgres_url: str, now: datetime
) -> None:
    another = open_engine(postgres_url)

    def write(_connection: object, _cursor: object, statement: str, *_more: object) -> None:
        if statement == "ANALYZE patient_group":
            with writing(another) as c:
                first = select(func.min(report_version.c.id)).scalar_subquery()
                c.execute(insert(patient_group).values(report_version_id=first + 1))

    event.listen(owner, "before_cursor_execute", write)
    assert wiping.wipe(owner)
    with reading(another) as c:
        assert c.scalar(select(func.count()).select_from(patient_group)) == 1
    another.dispose()


def test_a_vacuum_frees_the_row_and_only_a_new_table_is_without_its_bytes(owner: Engine) -> None:
    def kept() -> list[str]:
        with reading(owner) as c:
            home = c.scalar(text("SHOW data_directory"))
            places = {name: c.scalar(text(f"SELECT pg_relation_filepath('{name}')")) for name in holding}
        return [name for name in holding if CANARY.encode() in Path(f"{home}/{places[name]}").read_bytes()]

    holding = ["report_version", "pg_statistic"]
    with writing(owner) as c:
        c.execute(update(report_version).values(text=f"{CANARY} " * 10))
    maintain(owner, "ANALYZE")
    with writing(owner) as c:
        c.execute(update(report_version).values(text=None))
    maintain(owner, "CHECKPOINT")
    assert "report_version" in kept()
    assert wiping.wipe(owner)
    maintain(owner, "CHECKPOINT")
    assert "report_version" in kept(), "docs/erasure.md says otherwise"
    maintain(owner, *(f"VACUUM FULL {name}" for name in holding), "CHECKPOINT")
    assert kept() == []
