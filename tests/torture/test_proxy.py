"""The network that fails on demand: where it cuts, and what each side then knows."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import make_url

from tasks.torture.proxy import Proxy
from tasks.torture.server import ROLE, Server

pytestmark = pytest.mark.postgres
Client = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def proxy(postgres_server: Server) -> Iterator[Proxy]:
    with Proxy(postgres_server.socket) as proxy:
        yield proxy


@pytest.fixture
def database(postgres_url: str) -> str:
    name = str(make_url(postgres_url).database)
    with psycopg.connect(make_url(postgres_url).set(drivername="postgresql").render_as_string()) as c:
        c.execute("CREATE TABLE kept (id int)")
    return name


def connect(proxy: Proxy, database: str) -> Client:
    return psycopg.connect(host="127.0.0.1", port=proxy.port, dbname=database, user=ROLE, sslmode="disable")


def rows(proxy: Proxy, database: str) -> int:
    with connect(proxy, database) as c:
        (found,) = c.execute("SELECT count(*) FROM kept").fetchone() or (None,)
    assert isinstance(found, int)
    return found


def test_what_is_said_reaches_the_other_side(proxy: Proxy, database: str) -> None:
    with connect(proxy, database) as c:
        c.execute("INSERT INTO kept SELECT generate_series(1, 5000)")
        assert len(c.execute("SELECT repeat('x', 1000) FROM kept").fetchall()) == 5000
    assert rows(proxy, database) == 5000
    assert proxy.cuts == 0


def test_a_cut_ends_every_connection_and_lets_new_ones_through(proxy: Proxy, database: str) -> None:
    one, other = connect(proxy, database), connect(proxy, database)
    one.execute("INSERT INTO kept VALUES (1)")
    proxy.cut()
    for cut in (one, other):
        with pytest.raises(psycopg.OperationalError):
            cut.execute("SELECT 1")
    assert proxy.cuts == 2
    assert rows(proxy, database) == 0


@pytest.mark.parametrize(("when", "kept"), [("before_commit", 0), ("after_commit", 1)])
def test_a_cut_at_commit_leaves_the_client_without_knowing(
    proxy: Proxy, database: str, when: str, kept: int
) -> None:
    c = connect(proxy, database)
    c.execute("INSERT INTO kept VALUES (1)")
    proxy.cut_at_commit(when)  # type: ignore[arg-type]
    with pytest.raises(psycopg.OperationalError):
        c.commit()
    assert proxy.cuts == 1
    assert rows(proxy, database) == kept


def test_silence_tells_nobody(proxy: Proxy, database: str) -> None:
    c = connect(proxy, database)
    proxy.silence()
    c.pgconn.send_query(b"INSERT INTO kept VALUES (1)")
    assert rows(proxy, database) == 0, "a new connection is let through, what the old one says is not"
    assert c.pgconn.is_busy()
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        c.execute("SELECT 1")
