"""Roles of a test's own, connections that have taken one on, and a hospital whose reports are answered."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import Engine, text
from sqlalchemy.engine import make_url

from db.engine import open_engine, reading
from db.roles import Roles
from tasks.scoring.classify import cut_backlog, score
from tasks.settings.settings import Settings
from tasks.torture.server import Server
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital


def administrator(server: Server, database: str) -> psycopg.Connection[tuple[str]]:
    return psycopg.connect(f"host={server.home} user=laudos dbname={database}", autocommit=True)


def as_role(url: str, role: str) -> str:
    """The same database for a session that has done SET ROLE."""
    return make_url(url).update_query_dict({"options": f"-crole={role}"}).render_as_string(False)


@contextmanager
def database_in(server: Server, encoding: str) -> Iterator[str]:
    """The URL of an empty database in another encoding than UTF-8."""
    name = f"in_{encoding.lower()}"
    with administrator(server, "postgres") as admin:
        made = sql.SQL("CREATE DATABASE {} ENCODING {} LOCALE 'C' TEMPLATE template0")
        admin.execute(made.format(sql.Identifier(name), encoding))
    url = f"postgresql+psycopg://laudos@/{name}?host={server.home}"
    try:
        yield url
    finally:
        server.drop(url)


@pytest.fixture
def named(postgres_server: Server) -> Iterator[Roles]:
    """Roles are the whole server's: each test has its own, which go when its database is gone.

    Ask for it before `postgres_url`: a role that still holds something cannot be dropped.
    """
    prefix = f"t{uuid.uuid4().hex[:8]}"
    yield Roles(f"{prefix}_writer", f"{prefix}_reader", f"{prefix}_auditor")
    with administrator(postgres_server, "postgres") as admin:
        for name in admin.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE %s", (f"{prefix}%",)):
            admin.execute(f"DROP ROLE {name[0]}".encode())


@pytest.fixture
def become(postgres_url: str) -> Iterator[Callable[[str], Engine]]:
    """`become(role)`: an engine whose connections have taken the role on."""
    opened: list[Engine] = []

    def open_as(role: str) -> Engine:
        opened.append(open_engine(as_role(postgres_url, role)))
        with reading(opened[-1]) as c:
            assert c.scalar(text("SELECT current_user")) == role
        return opened[-1]

    yield open_as
    for engine in opened:
        engine.dispose()


@pytest.fixture
def hospital(
    engine: Engine,
    database_url: str,
    configure: Callable[..., Settings],
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Hospital:
    """A scored backlog, its champion, and a model before that."""
    if engine.dialect.name == "postgresql":
        binaries = request.getfixturevalue("postgres_server").binaries
        monkeypatch.setenv("PATH", f"{binaries}{os.pathsep}{os.environ['PATH']}")
    hospital = Hospital(engine, configure(database=database_url, **TABLES), now)
    hospital.receive(12)
    hospital.crown()
    hospital.crown(head=1)
    job_id = cut_backlog.fn(hospital.run("classify"), CLASSIFIER)
    assert job_id is not None
    score.fn(job_id)
    return hospital
