"""Memory that was freed, back to the system."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any


def give_back() -> None:
    """Return the pages of freed tensors to the system, where the C library knows how (glibc).

    Batches of ever other lengths leave holes in the heap that fit no later batch, so that a training would
    take half as much memory again as any of its steps needs.
    """
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):  # another C library, or another system
        return None
