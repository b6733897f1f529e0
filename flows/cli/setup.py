"""Commands that set something up: init, demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.session import AsJson
from tasks.settings.settings import write_template


def add_to(app: typer.Typer) -> None:
    """Hang the commands that stand alone on the root."""
    app.command(epilog="Example: laudos init --to /etc/laudos/laudos.toml")(init)
    app.command(epilog="Example: laudos demo --folder demo")(demo)


def init(
    to: Annotated[Path, typer.Option(help="The file; an existing one stays.")] = Path("laudos.toml"),
) -> None:
    """Write a commented laudos.toml to start from."""
    write_template(to)
    typer.echo(f'wrote {to}; name your database there, then run "laudos ingest"')


def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo lives.")] = Path("demo"),
    as_json: AsJson = False,
) -> None:
    """A made-up hospital and one real nightly run on it; a few minutes, nothing is downloaded."""
    from flows.demo import demo as run

    run(folder, as_json)
