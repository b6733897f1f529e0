"""PostgreSQL: who writes is waited for, who may not VACUUM is told, and what VACUUM leaves of the bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, text, update

from db import erasure, roles, schema, wiping
from db.engine import open_engine, reading, writing
from db.errors import Busy
from db.roles import Roles
from db.tables import report_version
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


def test_a_vacuum_frees_the_row_and_only_a_new_table_is_without_its_bytes(owner: Engine) -> None:
    def kept() -> bool:
        with reading(owner) as c:
            place = c.scalar(text("SELECT pg_relation_filepath('report_version')"))
            home = c.scalar(text("SHOW data_directory"))
        return CANARY.encode() in Path(str(home), str(place)).read_bytes()

    def maintain(*commands: str) -> None:
        with owner.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
            for command in (*commands, "CHECKPOINT"):
                c.execute(text(command))

    with writing(owner) as c:
        c.execute(update(report_version).values(text=f"{CANARY} " * 10))
    with writing(owner) as c:
        c.execute(update(report_version).values(text=None))
    maintain()
    assert kept()
    assert wiping.wipe(owner)
    maintain()
    assert kept(), "docs/erasure.md says otherwise"
    maintain("VACUUM FULL report_version")
    assert not kept()
