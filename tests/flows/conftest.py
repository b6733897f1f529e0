"""Prefect for tests: a quick one inside this process, and a real server with a home one can search."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness


@dataclass(frozen=True)
class Server:
    """A Prefect server in a process of its own; `home` holds all it writes."""

    address: str
    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """For processes that are to report to it."""
        return os.environ | {"PREFECT_API_URL": f"{self.address}/api", "PREFECT_HOME": str(self.home)}


@pytest.fixture(scope="session")
def prefect_harness() -> Iterator[None]:
    """Flows called in this process report to a database that goes away."""
    with prefect_test_harness(server_startup_timeout=90):
        yield


@pytest.fixture(scope="session")
def prefect_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port, home = free_port(), tmp_path_factory.mktemp("prefect-home")
    server = Server(f"http://127.0.0.1:{port}", home)
    own = {"PREFECT_SERVER_API_PORT": str(port), "PREFECT_SERVER_UI_API_URL": f"{server.address}/api"}
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env=server.environment | own,
            stdout=log,
            stderr=log,
        )
        try:
            wait_until_up(f"{server.address}/api/health", within_s=150)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_up(address: str, *, within_s: float) -> None:
    deadline = time.monotonic() + within_s
    while True:
        try:
            with urllib.request.urlopen(address, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            assert time.monotonic() < deadline, f"{address} did not answer within {within_s} s"
            time.sleep(0.3)
