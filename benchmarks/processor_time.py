"""Where an ingest's processor time goes, stage by stage, both threads together."""

from __future__ import annotations

import functools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from db.source_reader import SourceReader
from tasks.intake import ingest, intake

# stage -> what does it; where one works inside another, its time is its own only
STAGES: dict[str, tuple[Any, str]] = {
    "reading": (SourceReader, "_fetch"),
    "decoding": (SourceReader, "_row"),
    "hashing": (ingest, "row_of"),
    "deciding": (intake, "decide"),
    "cleaning": (intake, "clean"),
    "writing": (intake, "write"),
    "committing": (DefaultDialect, "do_commit"),
}


def processor_time(work: Callable[[], object]) -> tuple[dict[str, float], float]:
    """Stage -> seconds, `rest` being what belongs to none of them; and the share of wall time without work.

    The watching itself costs a microsecond or two a report, most of it in decoding, hashing and cleaning.
    """
    spent: Counter[str] = Counter()
    with ExitStack() as stack:
        for stage, (owner, name) in STAGES.items():
            stack.enter_context(_watched(owner, name, stage, spent))
        wall, processor = time.perf_counter(), time.process_time()
        work()
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    seconds = {stage: spent[stage] for stage in STAGES}
    seconds["rest"] = processor - sum(seconds.values())
    return seconds, max(0.0, 1 - processor / wall)


_inside = threading.local()


@contextmanager
def _watched(owner: Any, name: str, stage: str, spent: Counter[str]) -> Iterator[None]:
    original = getattr(owner, name)

    @functools.wraps(original)
    def watched(*arguments: Any, **more: Any) -> Any:
        outer, _inside.inner = getattr(_inside, "inner", 0.0), 0.0
        began = time.thread_time()
        try:
            return original(*arguments, **more)
        finally:
            took = time.thread_time() - began
            spent[stage] += took - _inside.inner
            _inside.inner = outer + took

    setattr(owner, name, watched)
    try:
        yield
    finally:
        setattr(owner, name, original)
