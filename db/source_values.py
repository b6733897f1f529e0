"""What drivers hand over, as keys, moments and dates of one kind."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite
from zoneinfo import ZoneInfo

_BRAZILIAN = re.compile(r"(\d{2})/(\d{2})/(\d{4})(?:\b|$)")


def as_key(value: object) -> str | None:
    """An id as text, without the padding of CHAR columns; None where there is none."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, (float, Decimal)) and isfinite(value) and value == int(value):
        value = int(value)  # a numeric column with NULLs often arrives as a float
    return str(value).strip() or None


def as_instant(value: object, zone: ZoneInfo) -> datetime | None:
    """A moment in UTC out of a datetime, a date or ISO 8601 text; None for anything else.

    A moment without a zone is one of `zone`.
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value.strip())  # finer than microseconds is cut
        except ValueError:
            return None
    elif isinstance(value, date) and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    if not isinstance(value, datetime):
        return None
    try:
        # combine: replace(tzinfo=zone), at a sixth of the cost
        return (value if value.tzinfo else datetime.combine(value, value.time(), zone)).astimezone(UTC)
    except OverflowError:  # year 1 or 9999, the "never" of some systems
        return None


def is_iso(value: object) -> bool:
    """Whether it is text in ISO 8601, of a moment that leaves the calendar in UTC (9999, "never") too."""
    if not isinstance(value, str):
        return False
    try:
        datetime.fromisoformat(value.strip())
    except ValueError:
        return False
    return True


def as_date(value: object, zone: ZoneInfo) -> date | None:
    """A date out of a datetime, a date, ISO 8601 or dd/mm/yyyy text; None for anything else.

    Of a datetime with a zone it is the day in `zone`, for the driver's is that of the server's session.
    Text has the day that it bears.
    """
    if isinstance(value, datetime):
        try:
            return (value.astimezone(zone) if value.tzinfo else value).date()
        except OverflowError:  # year 1 or 9999
            return value.date()
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        return None
    written = value.strip()
    try:
        if written[2:3] == "/" and (brazilian := _BRAZILIAN.match(written)):
            return date(int(brazilian[3]), int(brazilian[2]), int(brazilian[1]))
        return datetime.fromisoformat(written).date()
    except ValueError:
        return None
