"""Before an SQLite file is migrated it is copied, whole, and only the last copies are kept."""

from __future__ import annotations

import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from db import lock, schema, sqlite_copy
from db.engine import open_engine, writing
from db.errors import DatabaseFailure


@pytest.fixture
def old_file(sqlite_url: str) -> Iterator[Path]:
    """An SQLite file at the first schema, another program reading and writing it."""
    engine = open_engine(sqlite_url)
    with writing(engine) as c:
        schema.migrate(c, "0001")
        c.execute(text("INSERT INTO source (name, kind) VALUES ('canary', 'database')"))
    yield Path(sqlite_url.removeprefix("sqlite:///"))
    engine.dispose()


def test_an_sqlite_file_is_copied_before_it_is_migrated(old_file: Path, sqlite_url: str) -> None:
    old_file.chmod(0o640)
    copied = schema.upgrade(sqlite_url).copy
    assert copied is not None
    assert copied.name.startswith("laudos.db.0001-20")
    assert copied.stat().st_mode & 0o777 == 0o640
    with closing(sqlite3.connect(copied)) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        assert raw.execute("SELECT name FROM source").fetchall() == [("canary",)]
    assert schema.upgrade(sqlite_url).copy is None  # nothing to migrate, nothing to copy
    back = schema.downgrade(sqlite_url, "0001").copy
    assert back is not None
    assert sqlite_copy.copies_beside(old_file) == [copied, back]


def test_a_plain_copy_of_the_file_would_miss_what_was_written_last(old_file: Path, tmp_path: Path) -> None:
    """Why `cp` is no back-up: the negative control of the copy that is one."""
    engine = open_engine(f"sqlite:///{old_file}")
    with writing(engine) as c:
        c.execute(text("INSERT INTO source (name, kind) VALUES ('the last', 'database')"))
    shutil.copy(old_file, tmp_path / "plain")
    sqlite_copy.copy(old_file, tmp_path / "whole")
    engine.dispose()
    told = {}
    for name in ("plain", "whole"):
        with closing(sqlite3.connect(tmp_path / name)) as raw:
            told[name] = [
                row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE name = 'source'")
            ]
            told[name] += [row[0] for row in raw.execute("SELECT name FROM source")] if told[name] else []
    assert told["whole"] == ["source", "canary", "the last"]
    assert "the last" not in told["plain"]


def test_only_the_last_copies_are_kept(old_file: Path, now: datetime) -> None:
    strangers = [old_file.with_name(name) for name in ("laudos.db.mine", "other.db.0001-1.backup")]
    killed = old_file.with_name(".laudos.db.0001-20260101T000000.000000Z.backup.partial")
    for path in (*strangers, killed):
        path.touch()
    copies = [
        sqlite_copy.beside(old_file, "0002" if hour % 2 else "0001", now + timedelta(hours=hour))
        for hour in range(sqlite_copy.KEPT + 2)
    ]
    assert sqlite_copy.copies_beside(old_file) == copies[2:]
    assert not killed.exists()
    assert all(path.exists() for path in strangers)


def test_a_disk_too_full_for_the_copy_refuses_and_changes_nothing(
    old_file: Path, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    lock.is_free(open_engine(sqlite_url), "schema")  # the lock's file stands before the disk is full
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        with pytest.raises(DatabaseFailure, match=r"no copy of .*nothing was changed; check space"):
            schema.upgrade(sqlite_url)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    usage = shutil.disk_usage(old_file)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
    with pytest.raises(DatabaseFailure, match=r"needs .* MB and .* has .* MB left; nothing was changed"):
        schema.upgrade(sqlite_url)
    engine = open_engine(sqlite_url)
    assert schema.revision_of(engine) == "0001"
    engine.dispose()
    left = {path.name for path in old_file.parent.iterdir()}
    assert left <= {old_file.name, f"{old_file.name}-wal", f"{old_file.name}-shm", "laudos.db.schema.lock"}


def test_a_copy_that_is_damaged_is_no_copy(old_file: Path, tmp_path: Path) -> None:
    """What lies in the file is checked, not that a file was written."""
    engine = create_engine(f"sqlite:///{old_file}")
    with engine.connect() as c:
        root = c.exec_driver_sql("SELECT rootpage FROM sqlite_master WHERE name = 'uq_source_name' OR "
                                 "name = 'sqlite_autoindex_source_1'").scalar_one()  # fmt: skip
        size = c.exec_driver_sql("PRAGMA page_size").scalar_one()
        c.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    with old_file.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(bytes([255]) * size)
    with pytest.raises(DatabaseFailure, match="no copy of"):
        sqlite_copy.copy(old_file, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


# ------------------------------------------------------------------ what the tests above stand on
