"""The scratch PostgreSQL server: what was committed outlives its sudden end, what was not does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tasks.torture.server import ADVICE, ROLE, Server, find_binaries, scratch_server

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Not the session's, which other tests are connected to."""
    if find_binaries() is None:
        pytest.skip(ADVICE)
    with scratch_server(fsync=True) as server:
        yield server


def connect(server: Server, url: str) -> psycopg.Connection[tuple[object, ...]]:
    return psycopg.connect(host=str(server.home), dbname=make_url(url).database, user=ROLE)


def runs(process: int) -> bool:
    """Whether it is there and not merely waiting for its parent to notice that it ended."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_an_immediate_stop_keeps_what_was_committed_and_nothing_else(server: Server) -> None:
    url = server.new_database()
    open_transaction = connect(server, url)
    open_transaction.execute("CREATE TABLE kept (id int)")
    open_transaction.commit()
    open_transaction.execute("INSERT INTO kept VALUES (1)")
    server.stop("immediate")
    with pytest.raises(psycopg.OperationalError):
        open_transaction.commit()
    server.start()
    with connect(server, url) as again:
        assert again.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    server.drop(url)


def test_a_database_is_dropped_although_somebody_is_connected(server: Server) -> None:
    url = server.new_database()
    still_here = connect(server, url)
    server.drop(url)
    with pytest.raises(psycopg.OperationalError):
        still_here.execute("SELECT 1")
    assert server.new_database() != url


def test_nothing_of_a_server_is_left_behind() -> None:
    if find_binaries() is None:
        pytest.skip(ADVICE)
    with scratch_server() as server:
        assert server.socket.exists()
        process = int((server.home / "data" / "postmaster.pid").read_text().split()[0])
    assert not server.home.exists()
    assert not runs(process)
