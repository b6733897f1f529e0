"""Of what is erased on request no byte stays, in files either, whenever the command is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from db import lock
from db.engine import open_engine, reading, writing
from db.errors import Busy
from db.sqlite_copy import beside
from db.tables import quarantine, report, report_version
from db.wiping import wipe
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor as examine
from tasks.upkeep.erase import finish_left
from tasks.upkeep.repair import repair
from tests.ingest.conftest import PAAF, Desk, Hospital, columns, row
from tests.ingest.erasing import CANARY, WHY, go, silent
from tests.test_layers import ROOT

HOUR = timedelta(hours=1)
OLDER = "Oboísta estrábico"


def bytes_of(desk: Desk) -> bytes:
    path = Path(str(desk.engine.url.database))
    return b"".join(one.read_bytes() for one in sorted(path.parent.glob(f"{path.name}*")) if one.is_file())


def leave_in_free_space(desk: Desk) -> None:
    """A copy of a text as SQLite leaves it where a page was split or a row moved."""
    with closing(sqlite3.connect(str(desk.engine.url.database))) as c:
        c.execute("PRAGMA secure_delete = OFF")
        c.execute("CREATE TABLE moved AS SELECT ?", [OLDER * 1000])
        c.execute("DROP TABLE moved")
        c.commit()
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert OLDER.encode() in bytes_of(desk)


@pytest.fixture
def on_sqlite(full: Desk) -> Desk:
    if full.engine.dialect.name != "sqlite":
        pytest.skip("its files are the server's")
    return full


def test_no_byte_of_an_erased_text_stays_in_the_file_or_beside_it(on_sqlite: Desk) -> None:
    path = Path(str(on_sqlite.engine.url.database))
    copied = path.with_name(f"{path.name}.0009-20260101T000000.000000Z.backup")
    copied.write_bytes(bytes_of(on_sqlite))
    leave_in_free_space(on_sqlite)
    go(on_sqlite, "1", "3")
    assert OLDER.encode() not in bytes_of(on_sqlite), "what pages that were freed long ago still held"
    assert not copied.exists(), "what an upgrade left beside it holds it, too"
    assert CANARY.encode() not in bytes_of(on_sqlite)
    assert b"Outro laudo" in bytes_of(on_sqlite), "the search is blind"


def test_copies_of_a_database_with_brackets_in_its_name_go_too(
    sqlite_template: Path,
    hospital: Hospital,
    configure: Callable[..., Settings],
    tmp_path: Path,
    now: datetime,
) -> None:
    if hospital.engine.dialect.name != "sqlite":
        pytest.skip("the copies of a file")
    file = Path(shutil.copyfile(sqlite_template, tmp_path / "laudos[prod].db"))
    source = columns(hospital.url)
    settings = configure(database=f"sqlite:///{file}", sources={"his": source}, classifiers={"paaf": PAAF})
    desk = Desk(open_engine(settings.database), settings)
    hospital.add(row("1", now, f"{CANARY} um"))
    desk.ingest(now)
    copied = beside(file, "0009", now)
    partial = copied.with_name(f".{copied.name}.partial")
    another = copied.with_name(copied.name.replace("[prod]", "p"))
    for left in (partial, another):
        left.write_bytes(copied.read_bytes())
    assert go(desk, "1").finished
    desk.engine.dispose()
    assert [one.exists() for one in (copied, partial, another)] == [False, False, True]


@pytest.mark.postgres
@pytest.mark.parametrize("erased", [("1", "3"), ("1", "3", "4")], ids=["some rows stay", "quarantine empty"])
def test_the_statistics_of_postgresql_keep_nothing_of_an_erased_report(
    full: Desk, erased: tuple[str, ...]
) -> None:
    if full.engine.dialect.name != "postgresql":
        pytest.skip("what SQLite's planner knows are counts")
    with full.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as c:
        c.execute(text("ANALYZE"))  # as PostgreSQL does by itself, and laudos before it scores
    held = select(report.c.patient_key, report_version.c.raw_sha).join_from(report, report_version)
    rows = full.rows(held.where(report.c.external_id.in_(erased)))
    payloads = full.rows(select(quarantine.c.payload).where(quarantine.c.external_id.in_(erased)))
    secrets = {CANARY, *(one for row in rows for one in row), *(row.payload.hex() for row in payloads)}
    quotes = text(
        "SELECT concat(most_common_vals, histogram_bounds) FROM pg_stats WHERE tablename <> 'laudos'"
    )

    def quoted() -> set[str]:
        told = " ".join(row[0] for row in full.rows(quotes))
        return {one for one in secrets if one in told}

    assert quoted() == secrets
    assert go(full, *erased).finished
    assert quoted() == set()


def test_a_plain_update_would_leave_the_bytes(on_sqlite: Desk, hospital: Hospital, now: datetime) -> None:
    hospital.add(row("9", now + 2 * HOUR, f"{CANARY} " * 60))
    on_sqlite.ingest(now + 2 * HOUR)
    with writing(on_sqlite.engine) as c:
        c.exec_driver_sql("PRAGMA secure_delete = OFF")  # as most builds of SQLite have it
        c.execute(update(report_version).values(text=None))
    assert on_sqlite.texts()["1"] == [None, None]
    assert CANARY.encode() in bytes_of(on_sqlite)
    with closing(sqlite3.connect(str(on_sqlite.engine.url.database))) as c:
        c.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert CANARY.encode() in bytes_of(on_sqlite), "nor is it the -wal alone"


def test_a_reader_that_keeps_old_pages_is_told_and_the_rest_is_done_by_a_repair(
    on_sqlite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("db.wiping.SQLITE_BUSY_TIMEOUT_S", 0.1)
    with closing(sqlite3.connect(str(on_sqlite.engine.url.database), isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM report_version").fetchone()
        with pytest.raises(Busy, match="their bytes are not"):
            go(on_sqlite, "1", "3")
    assert on_sqlite.texts()["1"] == [None, None]
    assert "erasures_finished" in {one.name for one in examine(on_sqlite.settings)}
    assert repair(on_sqlite.engine, on_sqlite.settings, "dpo", silent) == 1
    assert CANARY.encode() not in bytes_of(on_sqlite)
    assert "erasures_finished" not in {one.name for one in examine(on_sqlite.settings)}


CHILD = """
import os, signal, sys
from flows.cli.app import app
from tasks.ml import faultpoints

point, *words = sys.argv[1:]
faultpoints.arm(lambda at: os.kill(os.getpid(), signal.SIGKILL) if at == point else None)
app(words)
"""


def killed_at(point: str) -> None:
    """`laudos erase` of report 1, as a person has it run, until its process is gone."""
    words = ("erase", "--source", "his", "--report", "1", "--because", WHY, "--yes")
    child = [sys.executable, "-c", CHILD, point, *words]
    ran = subprocess.run(child, cwd=ROOT, capture_output=True, timeout=120)
    assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()


def files_of(desk: Desk) -> bytes:
    return b"".join(one.read_bytes() for one in sorted(desk.settings.folder.rglob("*")) if one.is_file())


@pytest.mark.parametrize(
    ("point", "again"),
    [
        ("erase.rows.committed", "the command"),
        ("erase.rows.committed", "the night"),
        ("erase.files.removed", "a repair"),
        ("erase.pages.freed", "the command"),
    ],
)
def test_what_a_killed_erasure_has_left_the_next_command_repair_or_night_removes(
    full: Desk, point: str, again: str
) -> None:
    on_sqlite = full.engine.dialect.name == "sqlite"
    tokens = full.settings.folder / "pretraining" / "paaf" / "0123" / "tokens"
    tokens.mkdir(parents=True)
    (tokens / "ids").write_text(CANARY)
    with reading(full.engine) as c:
        c.execute(select(report)).all()  # a session that stays open keeps the -wal when the child is gone
    killed_at(point)
    assert full.texts()["1"] == [None, None], "its one transaction was committed"
    assert "erasures_finished" in {one.name for one in examine(full.settings)}
    assert tokens.exists() == (point == "erase.rows.committed")
    if point == "erase.rows.committed":
        assert CANARY in files_of(full).decode(), "the kill came too late to show anything"
        assert not on_sqlite or f"{CANARY} um".encode() in bytes_of(full)

    {
        "the command": lambda: go(full, "1"),
        "a repair": lambda: repair(full.engine, full.settings, "dpo", silent),
        "the night": lambda: finish_left(full.settings),
    }[again]()
    assert not {one.name for one in examine(full.settings)} & {"erasures_finished", "erased_leave_nothing"}
    assert CANARY.encode() not in files_of(full)
    if on_sqlite:
        assert f"{CANARY} um".encode() not in bytes_of(full)
        assert f"{CANARY} três".encode() in bytes_of(full), "the search is blind"


def test_files_of_a_training_under_way_are_left_and_the_erasure_says_so(full: Desk) -> None:
    folder = full.settings.folder / "pretraining" / "paaf" / "0123"
    folder.mkdir(parents=True)
    with lock.exclusive(full.engine, "model"):
        done = go(full, "1")
    assert (done.finished, folder.exists()) == (False, True)
    assert "doctor --repair" in done.left[0]
    assert repair(full.engine, full.settings, "dpo", silent) == 1
    assert not folder.exists()


def test_a_pre_training_that_never_read_it_is_left_alone(full: Desk) -> None:
    folder = full.settings.folder / "pretraining" / "paaf"
    versions = dict(
        full.rows(select(report.c.external_id, report_version.c.id).join_from(report, report_version))
    )
    for name in ("2", "3"):
        (folder / name).mkdir(parents=True)
        (folder / name / "corpus.json").write_text(json.dumps({"taught": [versions[name]], "exam": []}))
    go(full, "3")
    assert sorted(one.name for one in folder.iterdir()) == ["2"]


def test_a_pre_training_whose_list_of_reports_is_damaged_is_taken_for_the_worst(
    full: Desk,
) -> None:
    folder = full.settings.folder / "pretraining" / "paaf" / "0123"
    folder.mkdir(parents=True)
    (folder / "corpus.json").write_text('{"taught": [1')
    assert go(full, "3").finished
    assert not folder.exists()


def test_the_copy_that_vacuum_writes_lies_beside_the_database_and_not_where_all_programs_write(
    on_sqlite: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, seen, connect = Path(str(on_sqlite.engine.url.database)), set[str](), sqlite3.connect
    with closing(sqlite3.connect(file)) as c:
        c.execute("CREATE TABLE large AS SELECT randomblob(20000000)")  # more than SQLite keeps in memory

    def look() -> None:
        for descriptor in os.listdir("/proc/self/fd"):
            with suppress(OSError):
                seen.add(os.readlink(f"/proc/self/fd/{descriptor}"))

    def watched(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_progress_handler(look, 10)
        return connection

    monkeypatch.setattr("db.wiping.sqlite3.connect", watched)
    go(on_sqlite, "1")
    temporary = {str(Path(name).parent) for name in seen if "etilqs" in name}
    assert temporary == {str(file.parent)}


def test_what_was_moved_when_a_page_was_split_outlives_secure_delete_and_no_vacuum(tmp_path: Path) -> None:
    file, rng = tmp_path / "moved.db", random.Random(1)
    with closing(sqlite3.connect(file, isolation_level=None)) as c:
        c.execute("PRAGMA secure_delete = ON")
        c.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        c.execute("BEGIN")
        for number in range(400):
            c.execute("INSERT INTO t VALUES (?, ?)", (number, f"{CANARY} " * rng.randint(2, 60)))
        for number in rng.sample(range(400), 200):  # longer: its neighbours have to move
            c.execute("UPDATE t SET text = ? WHERE id = ?", (f"{CANARY} " * rng.randint(30, 90), number))
        c.execute("UPDATE t SET text = NULL")
        c.execute("COMMIT")
    assert CANARY.encode() in file.read_bytes()
    engine = open_engine(f"sqlite:///{file}")
    assert wipe(engine)
    engine.dispose()
    assert CANARY.encode() not in file.read_bytes()
