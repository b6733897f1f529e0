"""Back-ups of a PostgreSQL database that holds more than laudos' own: that is not laudos' to touch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text
from sqlalchemy.engine import make_url

from db import backup as database
from db import schema
from db.engine import open_engine, reading, writing
from db.errors import ConfigurationError, DatabaseFailure
from db.roles import Roles
from db.tables import report
from tasks.ml.sealed import write_json
from tasks.settings.settings import Settings
from tasks.torture.server import Server
from tasks.upkeep.backup import FACTS, back_up, restore
from tests.db.conftest import administrator, as_role
from tests.scoring.hospital import TABLES, Hospital

pytestmark = pytest.mark.postgres


@pytest.fixture
def database_url(postgres_url: str) -> str:
    return postgres_url


def as_before(hospital: Hospital, kept: Path) -> None:
    """Make the back-up what an earlier laudos wrote: of the whole database, whosever the tables are."""
    file, url = kept / database.FILES["postgresql"], hospital.engine.url
    connection = ("--host", str(url.query["host"]), "--username", "laudos", "--dbname", str(url.database))
    subprocess.run(
        ["pg_dump", "--format=custom", "--no-owner", "--no-privileges", f"--file={file}", *connection],
        check=True,
    )
    facts = json.loads((kept / FACTS).read_text(encoding="utf-8"))
    facts["database"]["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
    write_json(kept / FACTS, facts)


def run_in(engine: Engine, *statements: str) -> None:
    with writing(engine) as c:
        for one in statements:
            c.exec_driver_sql(one)


def numbers_in(engine: Engine, table: str) -> list[int]:
    with reading(engine) as c:
        return sorted(c.execute(text(f"SELECT n FROM {table}")).scalars())


@pytest.fixture
def empty(postgres_server: Server) -> Iterator[Engine]:
    """Another database on the same server."""
    url = postgres_server.new_database()
    engine = open_engine(url)
    yield engine
    engine.dispose()
    postgres_server.drop(url)


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(False)


def test_a_restore_brings_back_views_that_the_back_up_holds_and_takes_no_other_away(
    hospital: Hospital, tmp_path: Path
) -> None:
    run_in(hospital.engine, 'CREATE VIEW "my own" AS SELECT label FROM current_prediction')
    back_up(hospital.settings, tmp_path / "kept")
    run_in(
        hospital.engine,
        'CREATE MATERIALIZED VIEW later AS SELECT count(*) AS n FROM "my own"',
        "CREATE VIEW on_table AS SELECT id FROM report",
    )
    with pytest.raises(ConfigurationError, match=r"^public\.later, public\.on_table stand on laudos'"):
        restore(hospital.settings, tmp_path / "kept", overwrite=True)
    run_in(hospital.engine, "DROP MATERIALIZED VIEW later", "DROP VIEW on_table")
    assert restore(hospital.settings, tmp_path / "kept", overwrite=True).findings == []
    with reading(hospital.engine) as c:
        assert c.scalar(text('SELECT count(*) FROM "my own"')) == 12


@pytest.mark.parametrize("whole", [False, True])
def test_a_restore_touches_no_table_of_somebody_elses_in_the_database(
    hospital: Hospital, empty: Engine, configure: Callable[..., Settings], tmp_path: Path, whole: bool
) -> None:
    theirs = ("notas", "painel.anot")
    made = [f"CREATE TABLE {table} (n int PRIMARY KEY)" for table in theirs]
    run_in(hospital.engine, "CREATE SCHEMA painel", *made, *(f"INSERT INTO {t} VALUES (1)" for t in theirs))
    back_up(hospital.settings, tmp_path / "kept")
    if whole:
        as_before(hospital, tmp_path / "kept")
    run_in(hospital.engine, *(f"INSERT INTO {table} VALUES (2)" for table in theirs))
    hospital.receive(1, name="outro")
    assert restore(hospital.settings, tmp_path / "kept", overwrite=True).findings == []
    assert [numbers_in(hospital.engine, table) for table in theirs] == [[1, 2], [1, 2]]
    assert hospital.count(report) == 12
    hospital.receive(1, name="outro")  # by a number that is free
    assert hospital.count(report) == 13
    run_in(empty, "CREATE TABLE notas (n int)", "INSERT INTO notas VALUES (77)")
    elsewhere = configure(database=url_of(empty), **TABLES)
    assert restore(elsewhere, tmp_path / "kept", overwrite=False).findings == []
    assert numbers_in(empty, "notas") == [77]
    listing = ["pg_restore", "--list", tmp_path / "kept" / database.FILES["postgresql"]]
    held = subprocess.run(listing, check=True, capture_output=True).stdout
    assert (b" TABLE painel anot " in held, b" TABLE public report " in held) == (whole, True)


def test_a_restore_takes_away_no_table_that_only_has_a_name_of_laudos(
    hospital: Hospital, empty: Engine, configure: Callable[..., Settings], tmp_path: Path
) -> None:
    back_up(hospital.settings, tmp_path / "kept")
    run_in(empty, "CREATE TABLE champion (n int)", "CREATE TABLE alembic_version (n int)")
    elsewhere = configure(database=url_of(empty), **TABLES)
    with pytest.raises(ConfigurationError, match=r"^champion, alembic_version stand .* are not laudos'"):
        restore(elsewhere, tmp_path / "kept", overwrite=True)
    assert numbers_in(empty, "champion") == []


@pytest.mark.parametrize("whole", [False, True])
def test_what_an_administrator_keeps_in_the_database_stops_no_back_up_and_no_restore(
    named: Roles,
    postgres_server: Server,
    empty: Engine,
    postgres_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: bool,
) -> None:
    """laudos' user is no superuser; the schema of its tables is not its own."""
    monkeypatch.setenv("PATH", f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}")
    user, there = named.writer, str(make_url(postgres_url).database)
    with administrator(postgres_server, there) as admin:
        for one in (
            f"CREATE ROLE {user}",
            "CREATE SCHEMA laudos",
            f"GRANT USAGE, CREATE ON SCHEMA laudos TO {user}",
            f"ALTER DATABASE {there} SET search_path = laudos",
            "CREATE FOREIGN DATA WRAPPER superusers_alone",
            "CREATE TABLE public.secret (n int)",
        ):
            admin.execute(one.encode())
    url = as_role(postgres_url, user)
    schema.upgrade(url)
    engine = open_engine(url)
    run_in(engine, "INSERT INTO source (name, kind) VALUES ('his', 'database')")
    file = database.write(open_engine(postgres_url) if whole else engine, tmp_path)
    run_in(engine, "DELETE FROM source")
    assert database.read_into(engine, file) == []
    fresh = open_engine(as_role(url_of(empty), user))
    with administrator(postgres_server, str(empty.url.database)) as admin:
        admin.execute(f"GRANT CREATE ON DATABASE {empty.url.database} TO {user}".encode())
        with pytest.raises(
            DatabaseFailure, match=r"is what it was; .* search_path leads to the schema laudos"
        ):
            database.read_into(fresh, file)
        assert "laudos" not in inspect(empty).get_schema_names()
        admin.execute(f"ALTER DATABASE {empty.url.database} SET search_path = laudos".encode())
    fresh.dispose()
    assert database.read_into(fresh, file) == []
    for one in (engine, fresh):
        with reading(one) as c:
            assert c.scalar(text("SELECT name FROM source")) == "his"
        one.dispose()


@pytest.mark.parametrize("whole", [False, True])
def test_what_stands_on_laudos_and_on_what_is_not_here_is_left_out_and_named(
    hospital: Hospital, empty: Engine, configure: Callable[..., Settings], tmp_path: Path, whole: bool
) -> None:
    run_in(
        hospital.engine,
        "CREATE SCHEMA painel",
        "CREATE TABLE painel.anot (n int)",
        "INSERT INTO painel.anot VALUES (1)",
        "CREATE VIEW painel.contagem AS SELECT count(*)::int AS n FROM current_prediction",
        "CREATE VIEW painel.juntos AS SELECT count(*)::int AS n FROM report, painel.anot",
        "CREATE FUNCTION painel.f(t text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT t'",
        "CREATE INDEX por_f ON report (painel.f(external_id))",
        "CREATE INDEX por_data ON report (external_id, id)",
    )
    back_up(hospital.settings, tmp_path / "kept")
    if whole:
        as_before(hospital, tmp_path / "kept")
    assert restore(hospital.settings, tmp_path / "kept", overwrite=True).left_out == []
    assert numbers_in(hospital.engine, "painel.juntos") == [12]
    elsewhere = configure(database=url_of(empty), **TABLES)
    restored = restore(elsewhere, tmp_path / "kept", overwrite=False)
    assert restored.left_out == ["VIEW painel juntos", "INDEX public por_f"]
    assert restored.findings == []
    assert numbers_in(empty, "painel.contagem") == [12]
    assert "por_data" in {one["name"] for one in inspect(empty).get_indexes("report")}
