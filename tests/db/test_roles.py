"""What each role may and may not do, tried on real connections that have taken it on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, astuple
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import JSON, Column, Engine, Integer, LargeBinary, MetaData, String, Table, Text, text
from sqlalchemy.engine import make_url

from db import audit, roles, schema
from db.engine import open_engine, reading, writing
from db.errors import ConfigurationError, DatabaseFailure
from db.roles import Roles
from db.tables import metadata
from db.views import VIEWS
from tasks.database import open_database, upgrade_database
from tasks.intake.ingest import ingest_from
from tasks.scoring.classify import cut_backlog, score
from tasks.settings.settings import Settings
from tasks.torture.server import Server
from tasks.upkeep.backup import back_up
from tasks.upkeep.doctor import doctor
from tasks.upkeep.roles import Granted, create_roles
from tests.db.conftest import administrator, as_role
from tests.db.history import PATIENT, SECRET, TONIGHT, two_days
from tests.ingest.conftest import Hospital as Source
from tests.ingest.conftest import row
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

pytestmark = pytest.mark.postgres


@pytest.fixture
def owner(named: Roles, postgres_url: str) -> Iterator[Engine]:
    """The owner of a database with a history and the three roles."""
    schema.upgrade(postgres_url)
    engine = open_engine(postgres_url)
    two_days(engine)
    with writing(engine) as c:
        assert roles.create(c, named) == list(astuple(named))
        audit.record(c, actor="test", action="trained", subject="model 1", detail={}, now=TONIGHT)
    yield engine
    engine.dispose()


def may(engine: Engine, sql: str) -> bool:
    try:
        with writing(engine) as c:
            c.execute(text(sql))
    except DatabaseFailure as refused:
        if "42501" not in str(refused):
            raise
        return False
    return True


def test_the_reader_reads_every_view_and_no_text(
    owner: Engine, named: Roles, become: Callable[[str], Engine]
) -> None:
    reader = become(named.reader)
    told = []
    for view in VIEWS:
        with reading(reader) as c:
            told.append(str(c.execute(text(f"SELECT * FROM {view.name}")).all()))
    assert all(len(rows) > 2 for rows in told)
    for table in metadata.tables.values():
        if columns := roles.shown(table, to_auditor=False):
            names = ", ".join(f'"{name}"' for name in columns)
            with reading(reader) as c:
                told.append(str(c.execute(text(f"SELECT {names} FROM {table.name}")).all()))
    assert SECRET not in str(told)
    assert PATIENT not in str(told)
    assert "dra. teste" not in str(told)
    for hidden in (
        "SELECT text FROM report_version",
        "SELECT raw_sha FROM report_version",
        "SELECT * FROM report_version",
        "SELECT count(*) FROM report_version WHERE text LIKE '%carcinoma%'",
        "SELECT payload FROM quarantine",
        "SELECT closed_because FROM quarantine",
        "SELECT vector FROM feature",
        "SELECT patient_key FROM report",
        "SELECT actor FROM label",
        "SELECT 1 FROM run",
        "SELECT 1 FROM promotion",
        "SELECT 1 FROM audit",
        "SELECT race FROM patient_group",
    ):
        assert not may(reader, hidden), hidden
        assert may(owner, hidden)


def test_the_auditor_reads_runs_decisions_and_the_audit_but_no_text_and_writes_nothing(
    owner: Engine, named: Roles, become: Callable[[str], Engine]
) -> None:
    auditor = become(named.auditor)
    with reading(auditor) as c:
        found = [
            str(c.execute(text(f"SELECT * FROM {name}")).all())
            for name in ("run", "promotion", "audit", "patient_group", *(view.name for view in VIEWS))
        ]
        assert c.scalar(text("SELECT config_sha FROM model LIMIT 1"))
        assert audit.broken(c) == []
    assert SECRET not in str(found)
    for refused in (
        "SELECT text FROM report_version",
        "SELECT payload FROM quarantine",
        "SELECT patient_key FROM report",
        "INSERT INTO source (name, kind) VALUES ('x', 'database')",
        "UPDATE prediction SET label = 'benigno'",
        "DELETE FROM audit",
        "CREATE TABLE theirs (id int)",
    ):
        assert not may(auditor, refused), refused


def test_the_writer_does_a_nights_work_and_cannot_touch_tables_or_the_past(
    named: Roles, postgres_url: str, configure: Callable[..., Settings], now: datetime, tmp_path: Path,
    become: Callable[[str], Engine], postgres_server: Server, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    schema.upgrade(postgres_url)
    owner = open_engine(postgres_url)
    with writing(owner) as c:
        roles.create(c, named)
    url = f"sqlite:///{tmp_path}/hospital.db"
    source = Source(url)
    source.add(*(row(f"L{number}", now, text=f"Laudo {number} sem achados.") for number in range(12)))
    his = {"url": url, "table": "laudos", "id": "id", "text": "texto", "updated_at": "atualizado_em"}
    settings = configure(database=as_role(postgres_url, named.writer), sources={"his": his}, **TABLES)
    writer = open_database(settings)
    desk = Hospital(writer, settings, now)
    assert ingest_from(writer, settings, "his", desk.run(), True, now).new == 12
    desk.crown()
    job_id = cut_backlog.fn(desk.run("classify"), CLASSIFIER)
    assert job_id is not None
    assert score.fn(job_id).written == 12
    with writing(writer) as c:
        audit.record(c, actor="test", action="trained", subject="model 1", detail={}, now=now)
    assert doctor(settings) == []
    monkeypatch.setenv("PATH", f"{postgres_server.binaries}{os.pathsep}{os.environ['PATH']}")
    assert back_up(settings, tmp_path / "kept").models == 1
    for refused in (
        "DROP TABLE prediction",
        "DROP VIEW current_prediction",
        "ALTER TABLE report ADD COLUMN x int",
        "CREATE TABLE mine (id int)",
        "TRUNCATE audit",
        "UPDATE audit SET actor = 'nobody'",
        "DELETE FROM audit",
        "UPDATE alembic_version SET version_num = '0001'",
    ):
        assert not may(become(named.writer), refused), refused
    writer.dispose()
    owner.dispose()


def test_running_it_again_changes_nothing_and_takes_back_what_was_granted_by_hand(
    owner: Engine, named: Roles, become: Callable[[str], Engine]
) -> None:
    with writing(owner) as c:
        c.execute(text(f"GRANT SELECT ON report_version TO {named.reader}"))
    assert may(become(named.reader), "SELECT text FROM report_version")
    with writing(owner) as c:
        assert roles.create(c, named) == []
    assert not may(become(named.reader), "SELECT text FROM report_version")
    assert may(become(named.reader), "SELECT id FROM report_version")


def test_the_next_upgrade_covers_its_own_tables(
    owner: Engine, named: Roles, postgres_url: str, become: Callable[[str], Engine],
    configure: Callable[..., Settings],
) -> None:  # fmt: skip
    settings = configure(database=postgres_url, roles=asdict(named))
    assert create_roles(settings) == Granted(*astuple(named), created=[])
    schema.downgrade(postgres_url, "0001")
    with writing(owner) as c:
        c.execute(text("CREATE TABLE of_the_next_version (id bigserial, note text)"))
    writer, reader = become(named.writer), become(named.reader)
    assert may(writer, "INSERT INTO of_the_next_version (note) VALUES ('x')")
    assert not may(reader, "SELECT id FROM of_the_next_version")
    upgrade_database(settings)
    assert may(reader, "SELECT deaths FROM score_chunk")
    assert may(reader, "SELECT label FROM current_prediction")
    assert not may(reader, "SELECT text FROM report_version")


def test_an_upgrade_is_its_owners_and_tables_of_another_owner_are_named(
    named: Roles, postgres_server: Server, postgres_url: str, configure: Callable[..., Settings]
) -> None:
    plain, name = f"{named.writer}_plain", make_url(postgres_url).database
    with administrator(postgres_server, "postgres") as admin:
        admin.execute(f"CREATE ROLE {plain}".encode())
        admin.execute(f"ALTER DATABASE {name} OWNER TO {plain}".encode())
    url = as_role(postgres_url, plain)
    schema.upgrade(url)
    schema.downgrade(url, "0010")
    superuser = f"belong to user {plain}, to whom all that user laudos adds would be closed: run this as"
    with pytest.raises(ConfigurationError, match=superuser):
        schema.upgrade(postgres_url)
    assert schema.upgrade(url).revision == schema.head()
    with pytest.raises(ConfigurationError, match=superuser):
        schema.downgrade(postgres_url, "0010")
    assert doctor(configure(database=url)) == []
    with administrator(postgres_server, str(name)) as admin:  # as an upgrade by another user left them
        admin.execute("ALTER TABLE review_queue OWNER TO laudos")
        admin.execute("ALTER TABLE shift_test OWNER TO laudos")
    told = f"ALTER TABLE review_queue OWNER TO {plain}; ALTER TABLE shift_test OWNER TO {plain}"
    for anybody in (url, postgres_url):
        with pytest.raises(ConfigurationError, match=told):
            schema.upgrade(anybody)
    (found,) = doctor(configure(database=url))
    assert (found.name, told in found.advice) == ("tables_have_one_owner", True)
    with administrator(postgres_server, str(name)) as admin:
        admin.execute(told.encode())
    assert schema.upgrade(url).revision == schema.head()


def test_a_user_who_may_not_create_roles_is_told_what_an_administrator_must_run(
    named: Roles, postgres_server: Server, postgres_url: str, become: Callable[[str], Engine]
) -> None:
    plain = f"{named.writer}_plain"
    name = make_url(postgres_url).database
    with administrator(postgres_server, "postgres") as admin:
        admin.execute(f"CREATE ROLE {plain}".encode())
        admin.execute(f"ALTER DATABASE {name} OWNER TO {plain}".encode())
    url = as_role(postgres_url, plain)
    schema.upgrade(url)
    engine = open_engine(url)
    told = f"may not create roles; .*CREATE ROLE {named.writer}"
    with pytest.raises(ConfigurationError, match=told), writing(engine) as c:
        roles.create(c, named)
    with reading(engine) as c:
        sql = roles.statements(c, named)
    with administrator(postgres_server, str(name)) as admin:
        for statement in sql:
            admin.execute(statement.encode())
    with reading(become(named.reader)) as c:
        assert c.execute(text("SELECT * FROM current_prediction")).all() == []
    with writing(engine) as c:  # they stand by now: the owner may grant what is the owner's
        assert roles.create(c, named) == []
    engine.dispose()


def test_a_new_column_that_could_hold_text_is_hidden_until_it_is_named() -> None:
    added = Table(
        "added", MetaData(), Column("n", Integer), Column("note", Text), Column("facts", JSON),
        Column("bytes", LargeBinary), Column("state", String(16)),
    )  # fmt: skip
    assert roles.shown(added, to_auditor=True) == roles.shown(added, to_auditor=False) == ["n", "state"]


def test_sqlite_has_permissions_not_roles(sqlite_url: str) -> None:
    schema.upgrade(sqlite_url)
    engine = open_engine(sqlite_url)
    with pytest.raises(ConfigurationError, match="permissions of the file"), writing(engine) as c:
        roles.create(c, Roles())
    engine.dispose()
