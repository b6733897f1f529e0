"""`laudos quarantine`: rows that could not be taken in, and what becomes of them."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_session import AsJson, ready, show

app = typer.Typer(no_args_is_help=True, help="List, show, retry and dismiss rows that could not be taken in.")

Number = Annotated[int, typer.Argument(help="Its number in the list.")]
SourceName = Annotated[str | None, typer.Option("--source", help="Only this one; default: all.")]


@app.command("list", epilog="Example: laudos quarantine list --source his --json")
def list_rows(source: SourceName = None, as_json: AsJson = False) -> None:
    """What waits, by source and reason."""
    settings = ready()
    from tasks.quarantine import list_quarantine

    rows = list_quarantine(settings, source)
    if as_json:
        show(rows, as_json)
    else:
        from flows.cli_words import tell_quarantine

        tell_quarantine(rows, settings.zone)


@app.command("show", epilog="Example: laudos quarantine show 12")
def show_row(number: Number, as_json: AsJson = False) -> None:
    """One row as it was read. Prints the report's text: mind who is watching."""
    settings = ready()
    from tasks.quarantine import show_quarantine

    show(show_quarantine(settings, number), as_json)


@app.command("retry", epilog="Example: laudos quarantine retry --source his")
def retry(source: SourceName = None, as_json: AsJson = False) -> None:
    """Clean the waiting rows again, with today's rules; what passes is taken in."""
    settings = ready()
    from tasks.quarantine import retry_quarantine

    show(retry_quarantine(settings, source), as_json)


@app.command("dismiss", epilog="Example: laudos quarantine dismiss 12 --because 'test row of the vendor'")
def dismiss(
    number: Number,
    because: Annotated[str, typer.Option(help="Kept with the row; no report text, please.")],
    as_json: AsJson = False,
) -> None:
    """Close a row for good, with the reason why."""
    settings = ready()
    from tasks.quarantine import dismiss_quarantine

    show(dismiss_quarantine(settings, number, because), as_json)
