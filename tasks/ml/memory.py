"""Memory: the most a process had, and what was freed, back to the system."""

from __future__ import annotations

import ctypes
import resource
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

# torch says it in these words (CPU, then CUDA), with no type of its own on the CPU
OUT_OF_MEMORY = ("not enough memory", "can't allocate memory", "out of memory")


def give_back() -> None:
    """Return the pages of freed tensors to the system, where the C library knows how (glibc).

    Batches of ever other lengths leave holes in the heap that fit no later batch, so that a training would
    take half as much memory again as any of its steps needs.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether Python, numpy or torch found no memory."""
    told = str(error).lower()
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in told for words in OUT_OF_MEMORY)
    )


def peak_mib() -> float:
    """The most memory this process has had; where the system does not say, at least as much as its parent."""
    with suppress(OSError, IndexError, ValueError):
        told = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(told.partition("VmHWM:")[2].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return None
