"""How long the two ends of a PostgreSQL connection wait for one that vanished without a word."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

import pytest
from psycopg import sql
from sqlalchemy import Engine, make_url, select, text
from sqlalchemy.exc import DBAPIError

from db import lock, schema
from db.engine import IDLE_TRANSACTION_S, POSTGRES_TIMEOUTS, open_engine, reading, writing
from db.errors import Busy
from db.tables import run
from tasks.ledger import recorded_run
from tasks.settings.settings import Settings
from tasks.torture.proxy import Proxy
from tasks.torture.server import Server
from tests.db.conftest import administrator

pytestmark = pytest.mark.postgres


def test_only_a_transaction_that_writes_is_ended_when_its_client_falls_silent(postgres_url: str) -> None:
    engine = open_engine(postgres_url)
    asked = "SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    with writing(engine) as c:
        assert c.exec_driver_sql(asked).scalar_one() == 1000 * IDLE_TRANSACTION_S
    with reading(engine) as c:
        assert c.exec_driver_sql(asked).scalar_one() == 0
    engine.dispose()


def test_a_server_that_vanished_is_noticed_in_minutes_and_a_url_may_say_otherwise(
    postgres_server: Server, postgres_url: str
) -> None:
    with Proxy(postgres_server.socket) as proxy:
        url = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port, query={"keepalives_idle": "7"})
        engine = open_engine(url.render_as_string())
        with reading(engine) as c:
            driver = c.connection.dbapi_connection
            assert driver is not None
            client = socket.socket(fileno=os.dup(driver.fileno()))
        found = {
            name: client.getsockopt(socket.IPPROTO_TCP, getattr(socket, option))
            for name, option in {
                "keepalives_idle": "TCP_KEEPIDLE",
                "keepalives_interval": "TCP_KEEPINTVL",
                "keepalives_count": "TCP_KEEPCNT",
                "tcp_user_timeout": "TCP_USER_TIMEOUT",
            }.items()
        }
        client.close()
        engine.dispose()
    assert found == POSTGRES_TIMEOUTS | {"keepalives_idle": 7}


def test_a_server_that_ends_idle_sessions_takes_no_lock_away(
    postgres_server: Server, postgres_url: str
) -> None:
    with administrator(postgres_server, "postgres") as admin:
        name = sql.Identifier(str(make_url(postgres_url).database))
        admin.execute(sql.SQL("ALTER DATABASE {} SET idle_session_timeout = '300ms'").format(name))
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    with lock.exclusive(engine, "model"):
        with other.connect() as idle:
            time.sleep(1)
            with pytest.raises(DBAPIError):  # the control
                idle.exec_driver_sql("SELECT 1")
        assert not lock.is_free(other, "model")
    assert lock.is_free(other, "model")
    engine.dispose()
    other.dispose()


def holder(engine: Engine) -> int:
    """The number of the session that has the one lock there is."""
    with reading(engine) as c:
        return int(c.scalar(text("SELECT pid FROM pg_locks WHERE locktype = 'advisory'")) or 0)


def restarted(server: Server) -> None:
    server.stop("immediate")
    server.start()


def test_a_server_that_restarts_takes_no_lock_away_for_longer_than_nothing_is_done(
    postgres_server: Server, postgres_url: str
) -> None:
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    with lock.exclusive(engine, "model"), lock.exclusive(engine, "run-1"):
        restarted(postgres_server)
        assert lock.is_free(other, "model")  # the control
        with reading(engine):
            assert not lock.is_free(other, "model")
            assert not lock.is_free(other, "run-1")
    assert lock.is_free(other, "model")
    engine.dispose()
    other.dispose()


def test_a_run_whose_lock_another_took_after_a_restart_writes_nothing_and_ends_as_busy(
    postgres_server: Server, postgres_url: str, configure: Callable[..., Settings]
) -> None:
    schema.upgrade(postgres_url)
    settings = configure(database=postgres_url)
    engine, other = open_engine(postgres_url), open_engine(postgres_url)
    taken = pytest.raises(Busy, match=r"let go of 'model'.*another process")
    with taken, recorded_run(engine, settings, "retrain", exclusive="model"):
        restarted(postgres_server)
        beside = recorded_run(other, settings, "retrain", exclusive="model")
        with beside, pytest.raises(Busy), writing(engine):
            pytest.fail("written beside the other")
        with writing(engine):
            pytest.fail("written after the other")
    with reading(other) as c:
        ended = [tuple(row) for row in c.execute(select(run.c.state, run.c.failure).order_by(run.c.id))]
    (first, told), second = ended
    assert (first, second) == ("failed", ("completed", None))
    assert told.startswith("Busy: the server has let go of 'model'")
    assert lock.is_free(other, "model")
    engine.dispose()
    other.dispose()


def test_a_lock_that_the_server_holds_for_a_session_the_network_has_cut_stays_with_its_process(
    postgres_server: Server, postgres_url: str
) -> None:
    other = open_engine(postgres_url)
    with Proxy(postgres_server.socket) as proxy:
        url = make_url(postgres_url).set(host="127.0.0.1", port=proxy.port, query={})
        engine = open_engine(url.render_as_string())
        with lock.exclusive(engine, "model"):
            cut_off = holder(other)
            proxy.silence()
            proxy.cut()
            assert holder(other) == cut_off
            while holder(other) == cut_off:  # the client hears of it by a thread of the proxy's
                with writing(engine):
                    assert not lock.is_free(other, "model")
        assert lock.is_free(other, "model")
        engine.dispose()
    other.dispose()
