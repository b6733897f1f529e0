"""Prefect for tests: a quick one inside this process, and `make ui` on a hospital with marked reports."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.flows import canary, town

ROOT = Path(__file__).parents[2]
ENDS = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


@dataclass(frozen=True)
class Ui:
    """A running `make ui`. Everything it and its runs write lies in `folder`."""

    process: subprocess.Popen[bytes]
    port: int
    folder: Path
    environment: dict[str, str]

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, **body: Any) -> Any:
        """POST to the server's API."""
        request = urllib.request.Request(
            f"{self.address}/api/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        for _ in range(10):
            try:
                with urllib.request.urlopen(request, timeout=30) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                if error.code != 503:  # the server's own SQLite is busy; Prefect's client tries again too
                    raise
                time.sleep(1)
        raise AssertionError(f"{path} stays unavailable")

    def deployments(self) -> dict[str, str]:
        return {one["name"]: one["id"] for one in self.ask("deployments/filter", limit=50)}

    def latest(self, key: str) -> str:
        """The id of an artifact's latest version."""
        [artifact] = self.ask("artifacts/latest/filter", artifacts={"key": {"any_": [key]}})
        return str(artifact["latest_id"])

    def start(self, name: str) -> None:
        self.ask(f"deployments/{self.deployments()[name]}/create_flow_run", state={"type": "SCHEDULED"})

    def finished(self, name: str, *, within_s: float) -> list[str]:
        """The end states of a deployment's runs, waited for until there is one."""
        return [run["state_type"] for run in self.runs(name, *ENDS, within_s=within_s)]

    def runs(self, name: str, *states: str, within_s: float) -> list[dict[str, Any]]:
        """A deployment's runs that are in these states, waited for until there is one."""
        deployment, deadline = self.deployments()[name], time.monotonic() + within_s
        asked = {
            "deployments": {"id": {"any_": [deployment]}},
            "flow_runs": {"state": {"type": {"any_": states}}},
        }
        while not (runs := self.ask("flow_runs/filter", **asked)):
            assert time.monotonic() < deadline, f"no run of {name} became {states} within {within_s} s"
            assert self.process.poll() is None, "make ui ended"
            time.sleep(0.5)
        return list(runs)


@pytest.fixture(scope="session")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    folder = tmp_path_factory.mktemp("ui")
    town.build(folder, patients=20)
    canary.mark(folder / "hospital.db")
    with make_ui(folder) as running:
        yield running


@contextmanager
def make_ui(folder: Path, *, before: Callable[[], Any] | None = None) -> Iterator[Ui]:
    """`make ui` on the hospital in `folder`; `before` happens in its process before it begins."""
    port = free_port()
    for name in ("tmp", "out"):
        (folder / name).mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")} | {
        "LAUDOS_CONFIG": str(folder / "laudos.toml"),
        "TMPDIR": str(folder / "tmp"),
        "OMP_NUM_THREADS": "1",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_RUNNER_POLL_FREQUENCY": "2",
    }
    with (folder / "out" / "ui").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "deployments.ui", "--port", str(port)],
            env=environment,
            cwd=ROOT,
            stdout=out,
            stderr=out,
            preexec_fn=before,
        )
        try:
            running = Ui(process, port, folder, environment)
            wait_until_up(f"{running.address}/api/health", within_s=150)
            deadline = time.monotonic() + 120
            while len(running.deployments()) < 6:  # four of the nine bear the same name
                assert time.monotonic() < deadline, (folder / "out" / "ui").read_text()[-3000:]
                time.sleep(0.5)
            yield running
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(60)


@pytest.fixture(scope="session")
def night(ui: Ui) -> list[str]:
    """A whole night run as a deployment: how it ended."""
    ui.start("nightly")
    return ui.finished("nightly", within_s=240)


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
