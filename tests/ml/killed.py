"""Programs whose children are killed: run in an interpreter of their own, which has no thread yet to fork."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.test_layers import ROOT

Progress = Callable[[int, int], None]


def told_by(program: str, folder: Path) -> Any:
    """What the program printed, as JSON; it is given the folder."""
    command = [sys.executable, "-c", program, str(folder)]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
    return json.loads(ran.stdout)


def in_child(work: Callable[[], object]) -> int:
    """How a child that did the work ended: 0, 1 for an exception, below 0 for a signal."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(1 if sys.exc_info()[0] else 0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int) -> Progress:
    """For a training to tell its progress: the process is gone at that step; 0: never."""

    def progress(done: int, _total: int) -> None:
        if done == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return progress


def sha_of(model: torch.nn.Module) -> str:
    weights = b"".join(tensor.numpy().tobytes() for tensor in model.state_dict().values())
    return hashlib.sha256(weights).hexdigest()
