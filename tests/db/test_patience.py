"""How long the two ends of a PostgreSQL connection wait for one that vanished without a word."""

from __future__ import annotations

import os
import socket
import time

import pytest
from psycopg import sql
from sqlalchemy import make_url
from sqlalchemy.exc import DBAPIError

from db import lock
from db.engine import IDLE_TRANSACTION_S, POSTGRES_TIMEOUTS, open_engine, reading, writing
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
