"""Who holds a lease: a name that tells this process from every other, here and anywhere else.

    host:process:started:machine        at most 128 characters, such as scorer-1:4711:883412:5f1c8a90d2e44b17

A host's name and a process id alone do not do: two containers may bear one name, each with a process
17 of its own, and a number that became free is given to the next program. `started` (clock ticks since
the machine started) tells one bearer of a number from the next; `machine` is a hash of this boot and
of the container's own count of processes.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

# of a host's name; the four parts together must fit the column
_HOST_CHARACTERS = 64
# of /proc/PID/stat behind the process's name: ticks since the machine started (the 22nd of all, proc(5))
_STARTED_FIELD = 19


def worker_name() -> str:
    """This process, for a lease."""
    process = os.getpid()
    told = _stat(process)
    return f"{_host()}:{process}:{told[1] if told else ''}:{machine()}"


def is_dead(worker: str) -> bool:
    """Whether the worker was a process that this one would see, and that is gone.

    False wherever that cannot be known: another machine, another container, an earlier boot, a system
    without /proc. Such a worker's lease runs out instead.
    """
    host, process, started, where = ([*worker.rsplit(":", 3), "", "", ""])[:4]
    if not where or (host, where) != (_host(), machine()) or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # alive, and another user's: perhaps a program that was given the number since
    except OverflowError:
        return False
    told = _stat(int(process))
    # Z: ended, and nobody has asked how
    return told is not None and (told[0] == "Z" or told[1] != started)


def _host() -> str:
    return os.uname().nodename[:_HOST_CHARACTERS]


@cache
def machine() -> str:
    """This boot and this container's processes; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        processes = Path("/proc/self/ns/pid").readlink()
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {processes}".encode()).hexdigest()[:16]


def _stat(process: int) -> tuple[str, str] | None:
    """A process's state and when it started, as proc(5) tells them; None where it does not."""
    with suppress(OSError, IndexError):
        told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        # the name in parentheses may itself hold blanks and parentheses
        fields = told.rpartition(")")[2].split()
        return fields[0], fields[_STARTED_FIELD]
    return None
