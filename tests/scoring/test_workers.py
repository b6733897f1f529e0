"""A lease's name tells one process from every other, whatever it has in common with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tasks.scoring.workers import is_dead, worker_name

NAMES_ITSELF = "from tasks.scoring.workers import worker_name; print(worker_name(), flush=True); input()"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", NAMES_ITSELF], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    yield process
    process.kill()
    process.communicate()


def changed(name: str, **parts: str) -> str:
    own = dict(zip(("host", "process", "started", "machine"), name.rsplit(":", 3), strict=True))
    return ":".join({**own, **parts}.values())


def test_a_killed_process_is_known_dead_even_before_its_parent_has_asked(
    child: subprocess.Popen[str],
) -> None:
    assert child.stdout is not None
    name = child.stdout.readline().strip()
    assert not is_dead(name)
    child.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the table of processes
    assert is_dead(name)
    child.wait()
    assert is_dead(name)


def test_a_number_given_to_another_process_since_is_no_sign_of_life() -> None:
    assert not is_dead(worker_name())
    assert is_dead(changed(worker_name(), started="1"))


def test_a_container_of_the_same_name_is_another_machine() -> None:
    gone = changed(worker_name(), process="4194305")  # above any process id of Linux
    assert is_dead(gone)
    assert not is_dead(changed(gone, machine="0" * 16))
    assert not is_dead(changed(gone, host="another"))


@pytest.mark.parametrize("name", ["", "no process", "host:1", "host:x:y:z", "host:4194305::", "dead:1"])
def test_a_name_that_tells_too_little_is_never_dead(name: str) -> None:
    assert not is_dead(name)
    assert not is_dead(f"{os.uname().nodename}:{name}")


def test_a_name_fits_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    longest = os.uname_result(("Linux", "h" * 255, "", "", ""))
    monkeypatch.setattr(os, "uname", lambda: longest)
    # the highest number a process can have, and a machine that has run for a century
    name = changed(worker_name(), process="4194304", started=str(100 * 365 * 86_400 * 100))
    assert len(name) <= 128
