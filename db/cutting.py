"""How large a backlog's chunks are: large ones first, and ever smaller ones at the end.

A large chunk is read with less padding, for there are more reports of one length in it; small ones at the
end let all workers end together. So each round takes half of what is left, as one chunk for each of so many
workers (factoring: Hummel, Schonberg and Flynn 1992, Communications of the ACM 35(8)). How many will come
nobody knows when a backlog is cut: one for each two of its largest chunks is provided for, between FEW and
MANY. More than these end within one largest chunk of each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, case, literal

FEW = 4  # a small backlog loses more to a worker without a chunk than to padding
MANY = 32


@dataclass(frozen=True)
class Level:
    """So many chunks, one after the other, of so many reports each."""

    chunks: int
    reports: int


def levels(reports: int, smallest: int, largest: int) -> tuple[Level, ...]:
    """Chunks that hold so many reports together, or a few more: the last one may hold fewer than it says.

    None holds more than `largest`, none but the last one fewer than `smallest` (or `largest`, the lesser).
    The first level holds half of all reports, or more.
    """
    workers = min(MANY, max(FEW, reports // (2 * largest)))
    left, made = reports, list[Level]()
    if left > 2 * workers * largest:
        made.append(Level(-(-left // largest) - workers, largest))
        left -= made[-1].chunks * largest
    while left > 0:
        size = min(largest, max(smallest, -(-left // (2 * workers))))
        chunks = workers if size > smallest else -(-left // size)
        made.append(Level(chunks, size))
        left -= chunks * size
    return tuple(made)


def seq_of(number: ColumnElement[int], cut: Sequence[Level]) -> ColumnElement[int]:
    """In SQL: the chunk, from 1 on, of the report with this number, from 1 on."""
    whens = []
    chunks, reports = 0, 0
    for level in cut:
        chunk = (number - (reports + 1)) // level.reports + (chunks + 1)
        chunks, reports = chunks + level.chunks, reports + level.chunks * level.reports
        whens.append((number <= reports, chunk))
    # of nothing there is no level
    return case(*whens) if whens else literal(0)
