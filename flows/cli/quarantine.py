"""`laudos quarantine`: rows that could not be taken in, and what becomes of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.session import AsJson, a_number, ready, show

app = typer.Typer(no_args_is_help=True, help="Work through the rows that could not be taken in.")

Number = Annotated[int, a_number("Its number in the list.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Only this one; default: all.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Only these, such as no_letters; default: all.")]


@app.command("list", epilog="Example: laudos quarantine list --reason no_letters --limit 100")
def list_rows(
    source: SourceName = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(min=0, help="So many rows at most; all are counted.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What waits: how many rows by source and reason, what each means, and the first rows."""
    settings = ready()
    from flows.cli.quarantine_words import tell_waiting
    from tasks.intake.quarantine import list_quarantine

    found = list_quarantine(settings, source, reason, limit)
    show(found, as_json, lambda found: tell_waiting(found, settings.zone))


def on_a_terminal() -> bool:
    return sys.stdout.isatty()


@app.command("show", epilog="Example: laudos quarantine show 12 --text")
def show_row(
    number: Number,
    text: Annotated[
        bool, typer.Option("--text", help="Its content too, on a terminal only: mind who is watching.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """One row: why it waits, since when, how long its text is, and what to do."""
    if text and (as_json or not on_a_terminal()):
        raise typer.BadParameter("--text is for a terminal only: report text lands in no file by accident")
    settings = ready()
    from flows.cli.quarantine_words import tell_row
    from tasks.intake.quarantine import show_quarantine

    found = show_quarantine(settings, number, text=text)
    show(found, as_json, lambda found: tell_row(found, settings.zone))


@app.command("retry", epilog="Example: laudos quarantine retry --source his --reason unknown_label")
def retry(source: SourceName = None, reason: Reason = None, as_json: AsJson = False) -> None:
    """Clean the waiting rows again, with today's rules and settings; what passes is taken in."""
    settings = ready()
    from flows.cli.quarantine_words import tell_retry
    from tasks.intake.quarantine_retry import retry_quarantine

    show(retry_quarantine(settings, source, reason), as_json, tell_retry)


@app.command("dismiss", epilog="Example: laudos quarantine dismiss 12 --because 'test row of the vendor'")
def dismiss(
    because: Annotated[str, typer.Option(help="Kept with the row; no report text, please.")],
    number: Annotated[int | None, a_number("Its number in the list.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="With --reason: all of this one.")] = None,
    reason: Annotated[str | None, typer.Option("--reason", help="With --source: all of these.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Close a row for good, or all rows of one source and reason, and keep why."""
    if (number is None) == (source is None or reason is None) or (number and (source or reason)):
        raise typer.BadParameter("give a row's number, or --source and --reason together")
    settings = ready()
    from tasks.intake.quarantine import dismiss_group, dismiss_quarantine, group_of

    if source is None or reason is None:
        assert number is not None  # one of the two was given
        show(dismiss_quarantine(settings, number, because), as_json)
        return
    group = group_of(settings, source, reason)
    if not yes:
        typer.confirm(f"Close {group.rows:,} rows of {source} for good ({reason})?", abort=True, err=as_json)
    show(
        dismiss_group(settings, group, because),
        as_json,
        lambda done: typer.echo(
            f"{done.rows:,} rows were closed for good; {done.still_waiting:,} wait in quarantine."
        ),
    )


@app.command("export", epilog="Example: laudos quarantine export --out ids.csv --reason empty")
def export(
    out: Annotated[Path, typer.Option(help="A file that ends in .csv or .parquet.")],
    source: SourceName = None,
    reason: Reason = None,
    as_json: AsJson = False,
) -> None:
    """Ids and reasons of what waits, for whoever keeps the source; no text."""
    settings = ready()
    from tasks.intake.quarantine import export_quarantine

    show(export_quarantine(settings, out, source, reason), as_json)
