"""`laudos db ...` as a person types it: what it prints, how it ends, on both databases."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from db import schema
from db.engine import writing
from flows.cli.app import main
from tasks.settings.settings import Settings
from tests.test_cli import Ran, one_line

Laudos = Callable[..., Ran]


@pytest.fixture
def laudos(
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    configure: Callable[..., Settings],
) -> Laudos:
    """Run the command in this process, on the test's database."""
    configure(database=database_url)
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["laudos", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_a_newer_schema_ends_with_two_and_says_what_to_do(laudos: Laudos, engine: Engine) -> None:
    with writing(engine) as c:
        c.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for words in (("status",), ("db", "upgrade"), ("db", "downgrade", "--to", "0001", "--yes")):
        ended = laudos(*words)
        assert ended.code == 2
        assert "9999, which this version of laudos does not know: a newer one" in one_line(ended.err)


def test_the_way_down_must_be_confirmed_and_names_the_copy(
    laudos: Laudos, engine: Engine, tmp_path: Path
) -> None:
    refused = laudos("db", "downgrade", "--to", "0001")
    assert (refused.code, "say --yes" in one_line(refused.err)) == (2, True)
    assert schema.revision_of(engine) == schema.head()
    told = laudos("db", "downgrade", "--to", "0001", "--yes", "--json").json
    assert told["revision"] == schema.revision_of(engine) == "0001"
    copied = engine.dialect.name == "sqlite"
    assert bool(told["copy"]) == copied
    older = laudos("status")
    assert (older.code, "laudos db upgrade" in one_line(older.err)) == (2, True)
    told = laudos("db", "upgrade", "--json").json
    assert told["revision"] == schema.head()
    assert len(list(tmp_path.glob("laudos.db.*.backup"))) == (2 if copied else 0)


def test_roles_are_printed_for_an_administrator_or_refused_with_what_sqlite_has(
    laudos: Laudos, engine: Engine
) -> None:
    told = laudos("db", "roles", "--print")
    if engine.dialect.name == "sqlite":
        assert (told.code, "permissions of the file" in one_line(told.err)) == (2, True)
        assert laudos("db", "roles").code == 2
        return
    assert told.out.splitlines()[0] == "CREATE ROLE laudos_writer NOLOGIN;"
    with writing(engine) as c:
        assert c.scalar(text("SELECT count(*) FROM pg_roles WHERE rolname LIKE 'laudos%writer'")) == 0
        c.exec_driver_sql(told.out)
        c.rollback()


def test_a_back_up_comes_back_by_command(
    laudos: Laudos, engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if engine.dialect.name == "postgresql":
        binaries = request.getfixturevalue("postgres_server").binaries
        os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    kept = str(tmp_path / "kept")
    done = laudos("db", "backup", "--to", kept, "--json").json
    assert (done["folder"], done["models"], done["left_out"]) == (kept, 0, [])
    with writing(engine) as c:
        c.execute(text("CREATE TABLE theirs (id int)"))
    engine.dispose()
    told = laudos("db", "restore", "--from", kept, "--json")
    assert (told.code, told.json["findings"], told.json["rows"]["report"]) == (0, [], 0)
    again = laudos("db", "backup", "--to", kept)
    assert (again.code, "name a new folder" in one_line(again.err)) == (2, True)
