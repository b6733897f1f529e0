"""Rows that could not be taken in: what waits and why, one in full, an end to it, a list of ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from db import audit, quarantine
from db.engine import reading, writing
from db.errors import ConfigurationError, NothingToWorkOn
from db.quarantine import Entry as Entry
from db.quarantine import Group as Group
from tasks.database import open_database
from tasks.person import person, said_why
from tasks.settings.errors import nearest
from tasks.settings.settings import Settings
from tasks.table_files import whole_file

ROWS_A_PIECE = 5000
MEANINGS: Final = {
    "no_id": "the row has no id: it cannot be told from others",
    "unfit_id": "the id is no text or number that can be kept",
    "no_text": "the text column is null",
    "not_text": "the text column holds something that is no text",
    "empty": "nothing but blanks, or nothing left after cleaning",
    "no_letters": "no letters: a number, a code or punctuation",
    "too_long": "longer than any report: several in one, or a file",
    "pdf": "a PDF file instead of its text",
    "binary": "a file (Word, picture, archive) or damaged bytes",
    "conflicting_content": "one id with several texts at once: only the source can tell",
    "unknown_label": "taken in, but its label is not in label_values (laudos.toml)",
    "scoring_failed": "taken in, but the champion of a classifier could not read it",
}
_AT_THE_SOURCE = "repair it at the source; the next ingest takes it in and closes the row"
NEXT: Final = {
    **dict.fromkeys(MEANINGS, _AT_THE_SOURCE),
    # kept without an id, they cannot be told from others: no later reading closes them
    **dict.fromkeys(("no_id", "unfit_id"), "give the row an id at the source, then dismiss it here"),
    "conflicting_content": "let the source hold one text for this id; the next ingest closes the row",
    "unknown_label": "name the value in label_values, then: laudos quarantine retry --reason unknown_label",
    "scoring_failed": "once another model answers: laudos quarantine retry --reason scoring_failed",
}


@dataclass(frozen=True)
class Waiting:
    """What waits in all, by source and reason, and the first rows of it; no content."""

    waiting: int
    groups: list[Group]
    rows: list[Entry]


@dataclass(frozen=True)
class QuarantinedRow:
    """One row. `text_characters`: how long its text is; `content` as it was read, None unless asked for."""

    entry: Entry
    meaning: str
    next: str
    text_characters: int | None
    content: dict[str, Any] | None


@dataclass(frozen=True)
class Dismissed:
    """How many rows were closed for good, and how many wait still."""

    rows: int
    still_waiting: int


@dataclass(frozen=True)
class Export:
    """Where the ids were written, and how many."""

    file: Path
    rows: int


def list_quarantine(
    settings: Settings, source: str | None = None, reason: str | None = None, limit: int | None = None
) -> Waiting:
    """What waits, counted, and its first rows, oldest first."""
    if reason is not None:
        known_reason(reason)
    with reading(open_database(settings)) as c:
        groups = quarantine.groups(c, source, reason)
        rows = quarantine.entries(c, source, reason, limit=limit)
    if source is not None and not groups:
        settings.source(source)  # a mistyped name is told, not answered with an empty list
    return Waiting(sum(one.rows for one in groups), groups, rows)


def show_quarantine(settings: Settings, number: int, *, text: bool = False) -> QuarantinedRow:
    """One row; with `text` its content, fit to print. Raises NothingToWorkOn for an unknown number."""
    with reading(open_database(settings)) as c:
        found = quarantine.entry(c, number)
    if found is None:
        raise NothingToWorkOn(_no_such(number))
    entry, content = found
    held = content.get("text")
    printable = {name: _printable(value) for name, value in content.items()}
    return QuarantinedRow(
        entry,
        MEANINGS.get(entry.reason, ""),
        NEXT.get(entry.reason, _AT_THE_SOURCE),
        len(held) if isinstance(held, str) else None,
        printable if text else None,
    )


def dismiss_quarantine(settings: Settings, number: int, because: str) -> Entry:
    """Close a waiting row for good and write down who did. Raises NothingToWorkOn where it does not wait."""
    because, now = said_why(because), datetime.now(UTC)
    with writing(open_database(settings)) as c:
        if not quarantine.dismiss(c, number, because, now):
            raise NothingToWorkOn(_no_such(number))
        audit.record(c, actor=person(), action="dismiss", subject=f"quarantine {number}", detail={}, now=now)
        found = quarantine.entry(c, number)
    assert found is not None
    return found[0]


def dismiss_group(settings: Settings, group: Group, because: str) -> Dismissed:
    """Close for good the rows of a group as it was listed; what came in since waits."""
    because, now = said_why(because), datetime.now(UTC)
    with writing(open_database(settings)) as c:
        rows = quarantine.dismiss_all(c, group.source, group.reason, group.last, because, now)
        detail = {"reason": group.reason, "rows": rows, "up_to": group.last}
        subject = f"quarantine of {group.source}"
        audit.record(c, actor=person(), action="dismiss", subject=subject, detail=detail, now=now)
        left = sum(one.rows for one in quarantine.groups(c))
    return Dismissed(rows, left)


def group_of(settings: Settings, source: str, reason: str) -> Group:
    """What waits of a source for one reason. Raises NothingToWorkOn where nothing does."""
    found = list_quarantine(settings, source, reason, limit=0).groups
    if not found:
        raise NothingToWorkOn(
            f'nothing of {source!r} waits because of {reason}; "laudos quarantine list" shows what does'
        )
    return found[0]


def export_quarantine(
    settings: Settings, out: Path, source: str | None = None, reason: str | None = None
) -> Export:
    """The ids of what waits as .csv or .parquet, for whoever keeps the source: no content.

    Columns: row, source, external_id, reason, classifier, times_read, first_seen. The file appears whole or
    not at all.
    """
    if not list_quarantine(settings, source, reason, limit=0).waiting:
        raise NothingToWorkOn("nothing of that kind waits in quarantine: no file was written")
    written = last = 0
    with reading(open_database(settings)) as c, whole_file(out, _SCHEMA) as file:
        while rows := quarantine.entries(c, source, reason, after=last, limit=ROWS_A_PIECE):
            file.write_table(pa.Table.from_pylist(_flat(rows), _SCHEMA))
            written, last = written + len(rows), rows[-1].id
    return Export(out, written)


_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("source", pa.string()),
        ("external_id", pa.string()),
        ("reason", pa.string()),
        ("classifier", pa.string()),
        ("times_read", pa.int64()),
        ("first_seen", pa.timestamp("s", tz="UTC")),
    ]
)


def _flat(rows: Sequence[Entry]) -> list[dict[str, Any]]:
    return [
        {
            "row": one.id,
            "source": one.source,
            "external_id": one.external_id,
            "reason": one.reason,
            "classifier": one.classifier,
            "times_read": one.seen,
            "first_seen": one.first_seen_at.replace(microsecond=0),
        }
        for one in rows
    ]


def known_reason(reason: str) -> None:
    """Raise ConfigurationError for a word that is no reason, with the nearest that is."""
    if reason not in MEANINGS:
        raise ConfigurationError(
            f"no reason {reason!r}{nearest(reason, MEANINGS)}; there are: {', '.join(MEANINGS)}"
        )


def _printable(value: Any) -> Any:
    """Text that any terminal can be given: lone surrogates as escapes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


def _no_such(number: int) -> str:
    return f'no row {number} waits in quarantine; "laudos quarantine list" shows which do'
