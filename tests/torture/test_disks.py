"""The small disk of a scenario that was killed is taken away by the next one; a living one's is not."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tasks.torture.disks import _mounted, unmount_abandoned
from tests.test_layers import ROOT

KILLED = """
import os, signal, sys
from contextlib import ExitStack
from pathlib import Path
from tasks.torture.disks import _mounted

with ExitStack() as held:
    assert _mounted(held, Path(sys.argv[1]))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_scenarios_disk_is_unmounted_and_a_living_ones_stays(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "their disk"  # the blank is written otherwise in the list
    ours.mkdir()
    theirs.mkdir()
    with ExitStack() as held:
        if not _mounted(held, ours):
            pytest.skip("no tmpfs can be mounted here")
        killed = subprocess.run([sys.executable, "-c", KILLED, theirs], cwd=ROOT)
        assert killed.returncode == -signal.SIGKILL
        assert theirs.is_mount(), "a killed process left nothing to take away"
        unmount_abandoned()
        assert not theirs.exists()
        assert ours.is_mount()
    assert not ours.is_mount()
