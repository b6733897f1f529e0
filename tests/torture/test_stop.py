"""Ctrl-C in the middle of a scenario: its processes, its server and its folders go away with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.test_layers import ROOT

PATIENCE_S = 90


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder for all that is temporary, which the unprivileged user of PostgreSQL may enter."""
    with tempfile.TemporaryDirectory(prefix="laudos-stop-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def processes_below(place: Path) -> list[str]:
    """Command lines and environments that name the folder: whatever was started from there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(place).encode() in (process / "cmdline").read_bytes() + (process / "environ").read_bytes():
                found.append(process.name)
        except OSError:
            continue  # it is gone, or not ours
    return found


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.usefixtures("postgres_server")  # for its skip: torture starts a server of its own
def test_ctrl_c_leaves_nothing_behind(place: Path) -> None:
    command = [sys.executable, "-m", "flows.cli.app", "torture", "kill", "--load", "full", "--on", "postgres"]
    environment = os.environ | {"TMPDIR": str(place)}
    running = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    # the forkserver, a hospital at work and an ingest to be killed
    wait_for(lambda: len(processes_below(place)) > 3, "it did not begin")
    running.send_signal(signal.SIGINT)
    _, told = running.communicate(timeout=PATIENCE_S)
    assert running.returncode == 130, told
    wait_for(lambda: not processes_below(place), "processes are left")
    assert [path.name for path in place.iterdir() if path.name.startswith(("laudos-", "pymp-"))] == []
