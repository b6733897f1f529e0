"""The migrations lead to the tables of db/tables.py, and a wrong schema is refused with advice."""

from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from db import comments, ledger, lock, schema
from db.engine import open_engine, reading, writing
from db.errors import Busy, ConfigurationError, DatabaseFailure
from db.tables import metadata
from tasks.torture.server import Server
from tests.db.conftest import database_in


def test_the_migrations_lead_to_the_tables_of_this_version(engine: Engine) -> None:
    with reading(engine) as c:
        context = MigrationContext.configure(c, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_every_check_of_the_tables_stands_in_the_database(engine: Engine) -> None:
    """Alembic does not compare CHECKs, so we break one of each."""
    begun = "INSERT INTO run (kind, state, code_revision, config_sha, started_at, read, new) VALUES "
    for values in (
        "('ingest', 'asleep', 'x', 'x', CURRENT_TIMESTAMP, 0, 0)",
        "('ingest', 'running', 'x', 'x', CURRENT_TIMESTAMP, 2, 1)",
    ):
        with pytest.raises(Exception, match=r"CHECK|CheckViolation"), writing(engine) as c:
            c.execute(text(begun + values))
    wanted = {
        str(check.name)
        for table in metadata.tables.values()
        for check in table.constraints
        if check.__visit_name__ == "check_constraint"
    }
    names = (
        "SELECT conname FROM pg_constraint WHERE contype = 'c'"
        if engine.dialect.name == "postgresql"
        else "SELECT sql FROM sqlite_master WHERE type = 'table'"
    )
    with reading(engine) as c:
        found = "\n".join(c.scalars(text(names)))
    assert [name for name in wanted if name not in found] == []


def test_upgrading_twice_changes_nothing(database_url: str) -> None:
    first = schema.upgrade(database_url)
    assert schema.upgrade(database_url) == first == schema.Moved(schema.head(), None)


def test_an_empty_database_is_refused_with_the_command_that_helps(database_url: str) -> None:
    engine = open_engine(database_url)
    with pytest.raises(ConfigurationError, match="laudos db upgrade"):
        schema.require_current(engine)
    engine.dispose()


@pytest.mark.postgres
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_has_no_place_for_every_character_is_refused(
    postgres_server: Server, encoding: str
) -> None:
    told = f"in {encoding}, .*ENCODING 'UTF8' TEMPLATE template0"
    with database_in(postgres_server, encoding) as url:
        with pytest.raises(ConfigurationError, match=told):
            schema.upgrade(url)
        engine = open_engine(url)
        with pytest.raises(ConfigurationError, match=told):
            schema.require_current(engine)
        engine.dispose()


def test_a_newer_schema_is_left_alone(engine: Engine, database_url: str) -> None:
    with writing(engine) as c:
        c.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        schema.require_current(engine)
    with pytest.raises(ConfigurationError, match=r"9999.*newer"):
        schema.upgrade(database_url)


def test_two_upgrades_at_once_do_not_meet(engine: Engine, database_url: str) -> None:
    with lock.exclusive(engine, "schema"), pytest.raises(Busy, match="schema"):
        schema.upgrade(database_url)


@pytest.mark.parametrize(
    ("name", "creation"),
    [
        ("report", "TABLE report (x int)"),
        ("current_prediction", "VIEW current_prediction AS SELECT 1 AS x"),
        ("alembic_version", "TABLE alembic_version AS SELECT '0003' AS version_num"),
        ("alembic_version", "TABLE alembic_version AS SELECT 'beef' AS version_num"),
    ],
)
def test_what_bears_a_name_of_ours_before_the_first_upgrade_is_named_and_nothing_is_replaced(
    name: str, creation: str, database_url: str
) -> None:
    engine = open_engine(database_url)
    with writing(engine) as c:
        c.execute(text(f"CREATE {creation}"))
    told = f"another program's tables or views bear names of laudos': {name};"
    for refused in (lambda: schema.upgrade(database_url), lambda: schema.require_current(engine)):
        with pytest.raises(ConfigurationError, match=told):
            refused()
    there = inspect(engine)
    assert {*there.get_table_names(), *there.get_view_names()} == {name}
    engine.dispose()


@pytest.mark.postgres
def test_tables_in_a_schema_that_the_search_path_does_not_lead_to_are_named(postgres_url: str) -> None:
    leading = make_url(postgres_url).update_query_dict({"options": "-csearch_path=aside"})
    engine, led = open_engine(postgres_url), leading.render_as_string(False)
    with writing(engine) as c:
        c.execute(text("CREATE SCHEMA aside"))
    schema.upgrade(led)
    told = "tables are in the schema aside.*ALTER ROLE laudos SET search_path = aside"
    for refused in (lambda: schema.upgrade(postgres_url), lambda: schema.require_current(engine)):
        with pytest.raises(ConfigurationError, match=told):
            refused()
    assert inspect(engine).get_table_names() == []
    engine.dispose()
    assert schema.upgrade(led).revision == schema.head()


def test_no_table_changes_beside_a_run_whose_process_lives(engine: Engine, database_url: str) -> None:
    begun = (
        "INSERT INTO run (id, kind, state, code_revision, config_sha, started_at) "
        "VALUES (:id, 'ingest', 'running', 'x', 'x', CURRENT_TIMESTAMP)"
    )
    with writing(engine) as c:
        c.execute(text(begun), [{"id": 7}, {"id": 8}])
    told = r"run 8 is under way"
    with lock.exclusive(engine, ledger.life_of(8)):
        with pytest.raises(Busy, match=told):
            schema.downgrade(database_url, "0010")
        assert schema.upgrade(database_url).revision == schema.head()  # no table changes
    schema.downgrade(database_url, "0010")
    with lock.exclusive(engine, ledger.life_of(8)), pytest.raises(Busy, match=told):
        schema.upgrade(database_url)
    assert schema.revision_of(engine) == "0010"
    assert schema.upgrade(database_url).revision == schema.head()


@pytest.mark.postgres
@pytest.mark.parametrize("way", ["up", "nothing to migrate", "down"])
def test_an_upgrade_does_not_wait_for_ever_and_names_who_holds_a_table(
    way: str, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.upgrade(postgres_url)
    if way == "up":
        schema.downgrade(postgres_url, "0010")
    before = "0010" if way == "up" else schema.head()
    monkeypatch.setattr("db.house.PATIENCE_S", 0.1)
    theirs = create_engine(postgres_url, connect_args={"application_name": "painel"})
    held = "review_queue" if way == "nothing to migrate" else "quarantine"
    with theirs.connect() as dashboard:
        dashboard.exec_driver_sql(f"SELECT count(*) FROM {held}")
        pid = dashboard.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        with pytest.raises(DatabaseFailure, match=rf"changed.*session {pid} of laudos \(painel, "):
            schema.downgrade(postgres_url, "0010") if way == "down" else schema.upgrade(postgres_url)
        assert schema.revision_of(theirs) == before
    assert schema.upgrade(postgres_url).revision == schema.head()
    theirs.dispose()


def test_the_way_down_and_up_again_keeps_the_rows(engine: Engine, database_url: str) -> None:
    filled = (
        "INSERT INTO run (kind, state, code_revision, config_sha, started_at) "
        "VALUES ('ingest', 'running', 'x', 'x', CURRENT_TIMESTAMP)",
        "INSERT INTO snapshot (classifier, sha, recipe, reports, run_id, created_at) "
        "VALUES ('a', 'x', '{}', 0, 1, CURRENT_TIMESTAMP)",
        "INSERT INTO model (classifier, path, manifest_sha, encoder_sha, snapshot_id, trained, config, "
        "config_sha, run_id, created_at, state) "
        "VALUES ('a', 'p', 'm', 'e', 1, 'full', '{}', 'c', 1, CURRENT_TIMESTAMP, 'removed')",
        "INSERT INTO score_job (classifier, model_id, state, reports, run_id, created_at) "
        "VALUES ('a', 1, 'paused', 0, 1, CURRENT_TIMESTAMP)",
    )
    with writing(engine) as c:
        for statement in filled:
            c.execute(text(statement))
    schema.downgrade(database_url, "0001")
    with reading(engine) as c:
        # what the older version has no word for, in the nearest it has
        assert c.scalar(text("SELECT state FROM model")) == "tainted"
        assert c.scalar(text("SELECT state FROM score_job")) == "open"
    assert schema.upgrade(database_url).revision == schema.head()
    with reading(engine) as c:
        assert c.scalar(text("SELECT count(*) FROM score_job JOIN model ON model.id = model_id")) == 1


def test_there_is_no_way_down_to_a_revision_that_does_not_lie_behind(
    engine: Engine, database_url: str
) -> None:
    with pytest.raises(ConfigurationError, match="0001"):
        schema.downgrade(database_url, schema.head())


def test_every_table_and_column_explains_itself() -> None:
    silent = [
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if not column.comment or not table.comment
    ]
    assert silent == []


@pytest.mark.postgres
def test_the_database_bears_the_same_comments(postgres_url: str) -> None:
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    with writing(engine) as c:
        c.exec_driver_sql("COMMENT ON COLUMN report.id IS 'somebody else thought better'")
    schema.upgrade(postgres_url)
    with reading(engine) as c:
        told = comments.found(c)
    engine.dispose()
    assert told == {(table.name, ""): table.comment for table in metadata.tables.values()} | {
        (table.name, column.name): column.comment
        for table in metadata.tables.values()
        for column in table.columns
    }
