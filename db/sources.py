"""The sources themselves: how far each has been read, and which ingest may say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import Connection, select, update

from db.engine import insert_into
from db.errors import Busy
from db.tables import source

# two days into the calendar: a zone's offset and the day that text is read behind lead out of it
_EARLIEST = datetime(1, 1, 3, tzinfo=UTC)


@dataclass(frozen=True)
class Turn:
    """An ingest's turn at a source. `since`: where to read from, None for the beginning."""

    source_id: int
    fence: int
    watermark: datetime | None
    since: datetime | None


def ensure_source(
    c: Connection, name: str, kind: Literal["database", "synthetic"], overlap_s: int = 0
) -> int:
    """The number of the source of that name; it is written down where it is new."""
    statement = insert_into(c, source).values(name=name, kind=kind, overlap_s=overlap_s)
    statement = statement.on_conflict_do_update(
        index_elements=[source.c.name], set_={"overlap_s": statement.excluded.overlap_s}
    )
    return int(c.execute(statement.returning(source.c.id)).scalar_one())


def begin_turn(c: Connection, name: str, overlap_s: int) -> Turn:
    """Take over the source of a hospital: whoever had the turn before can no longer commit."""
    source_id = ensure_source(c, name, "database", overlap_s)
    taken = c.execute(
        update(source)
        .where(source.c.id == source_id)
        .values(fence=source.c.fence + 1)
        .returning(source.c.fence, source.c.watermark)
    ).one()
    return Turn(source_id, taken.fence, taken.watermark, _behind(taken.watermark, overlap_s))


def _behind(watermark: datetime | None, overlap_s: int) -> datetime | None:
    """So far behind a watermark; None, the beginning, too for one in year 1, the "never" of some systems."""
    overlap = timedelta(seconds=overlap_s)
    if watermark is None or watermark - _EARLIEST < overlap:
        return None
    return watermark - overlap


def move_watermark(c: Connection, turn: Turn, to: datetime | None, last_key: str | None) -> None:
    """Note how far the source is read, never backwards. Raises Busy where the turn was taken over."""
    current = c.execute(
        select(source.c.watermark)
        .where(source.c.id == turn.source_id, source.c.fence == turn.fence)
        .with_for_update()
    ).one_or_none()
    if current is None:
        raise Busy("another ingest of this source has begun since; this one stops")
    if to is not None and (current.watermark is None or to > current.watermark):
        c.execute(update(source).where(source.c.id == turn.source_id).values(watermark=to, last_key=last_key))


def note_reconciled(c: Connection, turn: Turn, now: datetime) -> None:
    """Note that every row of the source was compared."""
    c.execute(update(source).where(source.c.id == turn.source_id).values(reconciled_at=now))
