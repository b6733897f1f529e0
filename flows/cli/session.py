"""What every command shares: getting ready, showing a result, and ending well or badly."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.cli.console import FILE_WIDTH
from tasks.errors import StepFailed, safe_form, trail
from tasks.settings.settings import Settings, prepare_environment, wants_debug

AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Shown = TypeVar("Shown")
ClassifierName = Annotated[str | None, typer.Option("--classifier", help="Only this one; default: all.")]


def a_number(what: str) -> Any:
    """An argument that is the number of a row; `what` it is, for --help."""
    return typer.Argument(help=what, callback=_of_a_row)


def _of_a_row(number: int | None) -> int | None:
    if number is not None and not 0 <= number < 2**63:
        raise typer.BadParameter("there is no such number")
    return number


def ready() -> Settings:
    """The settings in force, with the environment set for what is imported next (Prefect, transformers)."""
    settings = Settings.load()
    prepare_environment(settings)
    return settings


def ready_to_run() -> Settings:
    """`ready`, and a Prefect server to report to."""
    settings = ready()
    wake_prefect()
    return settings


def wake_prefect() -> None:
    """Start Prefect's temporary server where no other is named; a terminal is told what it waits for."""
    console = Console(stderr=True)
    waiting = console.status("Prefect starts (10 to 40 s where it has to start a server of its own)")
    with waiting if console.is_terminal else nullcontext():
        from prefect import get_client

        get_client(sync_client=True)


def show(result: Shown, as_json: bool, words: Callable[[Shown], object] | None = None) -> None:
    """Print a result on stdout: as JSON, in `words` of its own, or else as its fields and tables."""
    if as_json:
        typer.echo(json.dumps(plain(result), ensure_ascii=False, indent=2))
    elif words is not None:
        words(result)
    else:
        _print(plain(result), Console(soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH))


def plain(value: Any) -> Any:
    """Dataclasses, moments and paths as what JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(inner) for inner in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return value.isoformat(sep=" ", timespec="seconds") if hasattr(value, "timetuple") else str(value)


def end_with(failures: Iterable[bool]) -> None:
    """Exit code 1 where any part failed, although the others went well."""
    if any(failures):
        raise typer.Exit(1)


def fail(error: Exception) -> NoReturn:
    """One line on stderr and the exit code of the error's kind."""
    safe = safe_form(error)
    if wants_debug():
        typer.echo("\n".join(f"  {line}" for line in trail(error)), err=True)
    hint = "; --debug shows the way there" if isinstance(safe, StepFailed) and not wants_debug() else ""
    typer.echo(f"laudos: {safe}{hint}", err=True)
    sys.exit(safe.exit_code)


def _print(value: Any, console: Console, indent: str = "") -> None:
    """Plain values for people: `name: value` lines, and a table for a list of records."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if isinstance(inner, (Mapping, list)) and inner:
                console.print(f"{indent}{_title(key)}:", highlight=False, markup=False)
                _print(inner, console, indent + "  ")
            else:
                console.print(f"{indent}{_title(key)}: {_cell(inner)}", highlight=False, markup=False)
    elif isinstance(value, list) and value and all(isinstance(row, Mapping) for row in value):
        _print_rows(value, console, indent)
    elif isinstance(value, list):
        for inner in value:
            console.print(f"{indent}{_cell(inner)}", highlight=False, markup=False)
        if not value and not indent:
            console.print("nothing")
    else:
        console.print(f"{indent}{_cell(value)}", highlight=False, markup=False)


def _print_rows(rows: Sequence[Mapping[str, Any]], console: Console, indent: str) -> None:
    """A table where the records are flat and fit the line, else one record below the other."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        table.add_column(_title(name), justify="right" if _is_number(rows[0][name]) else "left", no_wrap=True)
    for row in rows:
        # Text, not str: square brackets in a value are no markup
        table.add_row(*(Text(_cell(inner)) for inner in row.values()))
    nested = any(isinstance(inner, (Mapping, list)) and inner for row in rows for inner in row.values())
    width = sum(max(len(_title(name)), *(len(_cell(row[name])) for row in rows)) + 2 for name in rows[0])
    if not nested and width <= console.width:
        console.print(table, highlight=False)
        return
    for number, row in enumerate(rows):
        console.print(end="\n" if number else "")
        _print(row, console, indent)


def _title(name: str) -> str:
    return name.replace("_", " ")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None or value in ([], {}):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
