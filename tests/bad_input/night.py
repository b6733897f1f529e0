"""`laudos nightly` in a process of its own; in a file of its own so that starting one imports no pytest."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# as the command sets it before it imports Prefect, which reads it once
QUIET = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL"}


def night(config: str, api: str, told: Path) -> None:
    """The command as a person starts it, with what it prints in the file `told`."""
    os.environ |= QUIET
    out = os.open(told, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)

    import torch
    from prefect.settings import PREFECT_API_URL, temporary_settings

    from flows.cli.app import main

    torch.set_num_threads(1)
    sys.argv = ["laudos", "--config", config, "nightly"]
    with temporary_settings({PREFECT_API_URL: api}):
        main()
