"""Locks that the operating system or the server releases when their holder dies.

A lock file on SQLite (flock), an advisory lock on PostgreSQL: after a SIGKILL nobody has to clean up.
A server that restarts lets go of its own under a process that lives: each transaction sees to that first.
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from select import POLLIN, poll
from typing import Any

from sqlalchemy import Connection, Engine, event, func, inspect, select, text
from sqlalchemy.exc import SQLAlchemyError

from db.engine import failure_of, raise_alone, reading
from db.errors import Busy, DatabaseFailure
from db.tables import run

# the first half of PostgreSQL's two-part lock key: ours, among whatever else uses the database
_NAMESPACE = "laudos"


@contextmanager
def exclusive(engine: Engine, name: str) -> Iterator[None]:
    """Hold the lock `name` of this database. Raises Busy, naming the runs under way, where another has it.

    So does every transaction of this engine, while it is held, where another has taken it since.
    """
    hold = _hold_row_of_server if engine.dialect.name == "postgresql" else _hold_file
    with hold(engine, name) as held:
        if not held:
            raise Busy(
                f"another process holds {name!r} of this database{_under_way(engine)}; try again later"
            )
        yield


def is_free(engine: Engine, name: str) -> bool:
    """Whether nobody holds the lock `name` at this moment."""
    hold = _hold_row_of_server if engine.dialect.name == "postgresql" else _hold_file
    with hold(engine, name) as held:
        return held


@contextmanager
def regardless() -> Iterator[None]:
    """Let transactions begin whatever has become of the locks: the end of a run that lost one is written."""
    token = _regardless.set(True)
    try:
        yield
    finally:
        _regardless.reset(token)


@contextmanager
def _hold_file(engine: Engine, name: str) -> Iterator[bool]:
    database = engine.url.database
    if not database or database == ":memory:":
        yield True  # nobody else can open it
        return
    path = Path(f"{Path(database).expanduser()}.{name}.lock")
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            if name.startswith("run-"):
                path.unlink(missing_ok=True)  # a run's number never comes again


@contextmanager
def _hold_row_of_server(engine: Engine, name: str) -> Iterator[bool]:
    session = _Session(engine, name)
    try:
        if session.take():
            if not event.contains(engine, "begin", _keep_locks):
                event.listen(engine, "begin", _keep_locks)
            _HELD.add(session)
        yield session.holds
    finally:
        with _ONE_AT_A_TIME:
            _HELD.discard(session)
            session.close()


class _Session:
    """The session of a server that holds a lock, which goes with it: outside any transaction, so that nothing
    stays open on the server while we work."""

    def __init__(self, engine: Engine, name: str) -> None:
        self.engine, self.name, self.holds, self.lost = engine, name, False, False
        self._key = (func.hashtext(_NAMESPACE), func.hashtext(name))
        self._open()

    def take(self) -> bool:
        """Whether the lock is ours from now on."""
        # it is idle while we work: a server that ends idle sessions would let go of the lock with it
        self._connection.exec_driver_sql("SET idle_session_timeout = 0")
        self.holds = bool(self._connection.scalar(select(func.pg_try_advisory_lock(*self._key))))
        if self.holds:
            self._known_as = dict(self._connection.execute(_OURSELVES).mappings().one())
        return self.holds

    def keep(self) -> None:
        """Take the lock anew where the server has ended the session. Raises Busy where another has it."""
        if self.holds and not self._has_ended():
            return
        if not self.lost:
            self.holds = False
            self._give_up()
            self._open()
            # where only the network broke, the server may hold that session, and the lock, for hours yet
            self._connection.execute(_END, self._known_as)
            for _ in range(20):  # whoever asks whether it is free holds it, too, for a moment
                if self.take():
                    return
                time.sleep(0.1)
            self.lost = True  # also when the other has ended: what it did may cross what was begun here
        raise Busy(
            f"the server has let go of {self.name!r}, as it does when it restarts, and another process has "
            "taken it; run again when that has ended"
        )

    def close(self) -> None:
        if self.holds:
            try:
                self._connection.execute(select(func.pg_advisory_unlock(*self._key)))
            except SQLAlchemyError:
                self._give_up()  # the server lets go of the lock together with the session
        with suppress(SQLAlchemyError):
            self._connection.close()

    def _open(self) -> None:
        failure: DatabaseFailure | None = None
        try:
            self._connection = self.engine.connect().execution_options(**_OPTIONS)
        except SQLAlchemyError as error:
            failure = failure_of(error)
        if failure is not None:
            raise_alone(failure)

    def _has_ended(self) -> bool:
        """Without asking the server: to an idle session it says nothing but that it ends."""
        driver: Any = self._connection.connection.dbapi_connection
        if driver.closed:
            return True
        heard = poll()
        heard.register(driver.fileno(), POLLIN)
        return bool(heard.poll(0))

    def _give_up(self) -> None:
        with suppress(SQLAlchemyError):
            self._connection.invalidate()
            self._connection.close()


_OURSELVES = text("SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()")
# a number alone may be another's by now
_END = text(
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
    "WHERE pid = :pid AND backend_start = :backend_start"
)
_OPTIONS = {"isolation_level": "AUTOCOMMIT", "laudos_lock": True}
# what this process holds on servers
_HELD: set[_Session] = set()
_ONE_AT_A_TIME = threading.RLock()
_regardless = ContextVar("laudos_lost_locks", default=False)


def _keep_locks(connection: Connection) -> None:
    """Before each transaction: what is done in it is done under the locks."""
    if connection.get_execution_options().get("laudos_lock") or _regardless.get():
        return
    with _ONE_AT_A_TIME:
        for session in tuple(_HELD):
            if session.engine is connection.engine:
                session.keep()


def _under_way(engine: Engine) -> str:
    """The runs that say they are running, for the message of a Busy."""
    if not inspect(engine).has_table(run.name):
        return ""
    with reading(engine) as c:
        rows = c.execute(
            select(run.c.kind, run.c.id, run.c.started_at).where(run.c.state == "running").order_by(run.c.id)
        ).all()
    told = ", ".join(f"{row.kind} run {row.id} since {row.started_at:%Y-%m-%d %H:%M} UTC" for row in rows)
    return f" ({told})" if told else ""
