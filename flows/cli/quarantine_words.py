"""The quarantine in words: how many rows wait and why, what to do about them, what a retry came to."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from flows.cli.console import console, heading, moment, table, title
from tasks.intake.quarantine import MEANINGS, NEXT, Entry, QuarantinedRow, Waiting

if TYPE_CHECKING:
    from tasks.intake.quarantine_retry import RetrySummary


def tell_waiting(found: Waiting, zone: ZoneInfo) -> None:
    """Counts by source and reason, what to do for each reason, and then one line a row."""
    out = console()
    if not found.waiting:
        out.print("Nothing waits in quarantine.")
        return
    title(out, f"{found.waiting:,} rows wait")
    told = [
        (
            one.source,
            f"{one.rows:,}",
            one.reason,
            MEANINGS.get(one.reason, ""),
            moment(one.first_seen_at, zone),
        )
        for one in found.groups
    ]
    out.print(table(("source", "rows", "reason", "which means", f"first ({zone.key})"), told, words=2))
    heading(out, "What to do")
    for reason in dict.fromkeys(one.reason for one in found.groups):
        out.print(f"{reason:20} {NEXT.get(reason, '')}", markup=False)
    if found.rows:
        heading(out, f"Row by row ({zone.key})")
        lines = [
            (
                str(one.id),
                one.source,
                one.external_id or "-",
                _reason(one),
                f"{one.seen}",
                moment(one.first_seen_at, zone),
                moment(one.last_seen_at, zone),
            )
            for one in found.rows
        ]
        header = ("row", "source", "its id there", "reason", "times read", "first", "last")
        out.print(table(header, lines, words=1))
    left = found.waiting - len(found.rows)
    if left:
        out.print(
            f"[dim]... and {left:,} more: --limit shows more of them, export writes all ids to a file.[/]"
        )
    out.print(
        "\n[dim]laudos quarantine: show ROW tells one; retry tries all again; dismiss closes one, or with "
        "--source and --reason all of a kind.[/]"
    )


def tell_row(found: QuarantinedRow, zone: ZoneInfo) -> None:
    """One row; where its content was not asked for, how to ask."""
    out, entry = console(), found.entry
    title(out, f"Row {entry.id} of {entry.source}: {entry.state}")
    hidden = found.content is None
    for name, value in (
        ("its id there", entry.external_id or "-"),
        ("reason", f"{_reason(entry)}: {found.meaning}"),
        ("times read", f"{entry.seen:,}"),
        (f"first ({zone.key})", moment(entry.first_seen_at, zone)),
        ("last", moment(entry.last_seen_at, zone)),
        *([("text", f"{found.text_characters:,} characters")] if found.text_characters is not None else []),
        *([("closed because", entry.closed_because)] if entry.closed_because else []),
        *((found.content or {}).items()),
        *([("content", f"laudos quarantine show {entry.id} --text, on a terminal")] if hidden else []),
        ("next", found.next),
    ):
        out.print(f"{name:26} {value}", soft_wrap=True, markup=False)


def _reason(one: Entry) -> str:
    """Why, and of which classifier's label or model."""
    return f"{one.reason} ({one.classifier})" if one.classifier else one.reason


def tell_retry(done: RetrySummary) -> None:
    """What passed, what waits still, and what comes next."""
    out, rows = console(), done.rows
    taken = rows.read - rows.quarantined
    out.print(
        f"{rows.read:,} rows were tried again: {taken:,} were taken in "
        f"({rows.new:,} new, {rows.updated:,} updated, {rows.unchanged:,} known already)."
    )
    if done.labels_taken:
        out.print(f"{done.labels_taken:,} labels are known by now.")
    if done.to_be_scored:
        out.print(f"{done.to_be_scored:,} reports are back in the backlog; laudos classify scores them.")
    if done.still_waiting:
        out.print(
            f"{done.still_waiting:,} rows wait still; laudos quarantine list tells what to do about them."
        )
    else:
        out.print("Nothing of it waits any more.")
