"""What every test may ask for: both databases, migrated, a fixed clock, and a laudos.toml of its own."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

# Prefect reads these when it is first imported: nothing of the user's, nothing left behind, nothing reported
_PREFECT_HOME = tempfile.TemporaryDirectory(prefix="laudos-prefect-", ignore_cleanup_errors=True)
os.environ |= {
    "PREFECT_HOME": _PREFECT_HOME.name,
    "PREFECT_PROFILES_PATH": f"{_PREFECT_HOME.name}/profiles.toml",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # Prefect's 20 are few beside other work
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",  # the suite takes both cores by running two processes
    "OMP_WAIT_POLICY": "PASSIVE",
}
_OURS = {name for name in os.environ if name.startswith("LAUDOS_")}
for _name in _OURS - {"LAUDOS_PG_BIN", "LAUDOS_CORPORA"}:
    del os.environ[_name]

# started in the background, a shell has Ctrl-C ignored, and every process of ours would inherit that
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

from db import schema  # noqa: E402
from db.engine import open_engine  # noqa: E402
from tasks.settings.settings import Settings  # noqa: E402
from tasks.torture.server import ADVICE, Server, find_binaries, scratch_server  # noqa: E402
from tests.stand_in_hub import StandInHub, stand_in_hub  # noqa: E402


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run side by side, a file stays in one process, and so do all that share one Prefect server.

    The scenarios of torture share nothing: each may go where there is room. What takes longest comes
    first, or one process would be left with it in the end.
    """
    slow = set()
    group_of = {}
    for item in items:
        group = "flows" if item.path.parent.name == "flows" else item.nodeid.split("::")[0]
        group_of[item] = item.nodeid if item.path.name == "test_scenarios.py" else group
        item.add_marker(pytest.mark.xdist_group(group_of[item]))
        if item.get_closest_marker("slow"):
            slow.add(group_of[item])
    items.sort(key=lambda item: group_of[item] not in slow)


Capable = Callable[[bool], None]


@pytest.fixture
def capable(monkeypatch: pytest.MonkeyPatch) -> Capable:
    """Say of this processor that it has arithmetic on bfloat16, or none; torch emulates what it lacks."""
    import torch

    from tasks.ml.network.bfloat16 import PROCESSORS

    really = torch.cpu.get_capabilities()

    def say(has: bool) -> None:
        told = {**really, **dict.fromkeys(PROCESSORS, False), PROCESSORS[0]: has}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told)

    return say


@pytest.fixture
def now() -> datetime:
    return datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with all tables, to be copied: migrating one a test takes a good part of the suite's time."""
    path = tmp_path_factory.mktemp("template") / "laudos.db"
    schema.upgrade(f"sqlite:///{path}")
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A file that is not there yet; for who asks for `engine` too, one with all tables."""
    path = tmp_path / "laudos.db"
    if "engine" in request.fixturenames:
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Server]:
    """A server of this session's own on a socket."""
    if find_binaries() is None:
        pytest.skip(ADVICE)
    with scratch_server() as server:
        yield server


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Server) -> str:
    """A database with all tables, to be copied."""
    url = postgres_server.new_database()
    schema.upgrade(url)
    return url


@pytest.fixture
def postgres_url(postgres_server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    """A fresh database on the session's server: empty, or for who asks for `engine` too, with all tables."""
    like = request.getfixturevalue("postgres_template") if "engine" in request.fixturenames else None
    url = postgres_server.new_database(like=like)
    yield url
    postgres_server.drop(url)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A database, once on SQLite and once on PostgreSQL: empty, unless `engine` is asked for too."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on a database with all tables."""
    engine = open_engine(database_url)
    if schema.revision_of(engine) is None:  # a test's own `database_url`
        schema.upgrade(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """pytest's own, which hears what is logged whatever the test is the first to ask of Prefect.

    Prefect sets up logging where it is first asked for one of its names, and takes all listeners away.
    """
    import prefect.main  # noqa: F401

    root = logging.getLogger()
    if caplog.handler not in root.handlers:
        root.addHandler(caplog.handler)
    return caplog


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """Flows called in this process report to a server of this session's own, whose database goes away."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    """A hub on 127.0.0.1, for huggingface_hub's own client."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # the client waits a second before it takes a broken download up again
    patient = SimpleNamespace(**{**vars(time), "sleep": lambda _seconds: None})
    monkeypatch.setattr("huggingface_hub.file_download.time", patient)
    with stand_in_hub() as hub:
        yield hub


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """`configure(database=url, sources={...})` writes laudos.toml into the test's folder and loads it."""

    def write(**keys: Any) -> Settings:
        keys = {
            "database": f"sqlite:///{tmp_path}/laudos.db",
            "folder": str(tmp_path / "laudos-data"),
            **keys,
        }
        path = tmp_path / "laudos.toml"
        path.write_text("".join(f"{key} = {_toml(value)}\n" for key, value in keys.items()), encoding="utf-8")
        monkeypatch.setenv("LAUDOS_CONFIG", str(path))
        return Settings.load()

    return write


def _toml(value: Any) -> str:
    """A value in TOML; tables inline."""
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {_toml(inner)}' for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    escaped = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
