"""What makes moving a million rows cheap: reading ahead, and a garbage collector that looks at less."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Page = TypeVar("Page")


@contextmanager
def ahead(pages: Iterator[Page]) -> Iterator[Iterator[Page]]:
    """The same pages, the next one being read while this one is worked on; never more than that one.

    What reading raises is raised where its page would have come.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:

        def following() -> Iterator[Page]:
            coming = reader.submit(next, pages, None)
            while (page := coming.result()) is not None:
                coming = reader.submit(next, pages, None)
                yield page

        yield following()


@contextmanager
def heap_left_alone() -> Iterator[None]:
    """What was there before is not searched for garbage again with every few pages of rows."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
