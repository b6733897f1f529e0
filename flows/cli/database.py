"""`laudos db`: laudos' own tables: to a version and back, backed up and restored, and who may read them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.session import AsJson, end_with, ready, show

app = typer.Typer(no_args_is_help=True, help="Look after laudos' own tables.")


@app.command("upgrade", epilog="Example: laudos db upgrade")
def upgrade(as_json: AsJson = False) -> None:
    """Create laudos' tables, or bring them to this version; an SQLite file is copied first."""
    settings = ready()
    from tasks.database import upgrade_database

    show(upgrade_database(settings), as_json)


@app.command("roles", epilog="Example: laudos db roles --print")
def roles(
    as_sql: Annotated[
        bool, typer.Option("--print", help="Print the SQL for an administrator; run nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create PostgreSQL roles that write, read without text, and audit; run it again at any time."""
    settings = ready()
    from tasks.upkeep.roles import create_roles, roles_as_sql

    if as_sql and not as_json:
        typer.echo("\n".join(roles_as_sql(settings)))
    else:
        show(roles_as_sql(settings) if as_sql else create_roles(settings), as_json)


@app.command("downgrade", epilog="Example: laudos db downgrade --to 0001 --yes")
def downgrade(
    to: Annotated[str, typer.Option(help="The revision that the older version of laudos needs.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Yes: what the older tables have no place for may be lost.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Take the tables back to what an older laudos needs; an SQLite file is copied first."""
    settings = ready()
    from tasks.database import downgrade_database

    show(downgrade_database(settings, to, confirmed=yes), as_json)


@app.command("backup", epilog="Example: laudos db backup --to /backup/laudos-monday")
def backup(
    to: Annotated[Path, typer.Option(help="A new folder; it holds report text.")], as_json: AsJson = False
) -> None:
    """Write the database and the models that may answer into a new folder, also while laudos runs."""
    settings = ready()
    from tasks.upkeep.backup import back_up

    done = back_up(settings, to.absolute())
    show(done, as_json)
    end_with([bool(done.left_out)])


@app.command("restore", epilog="Example: laudos db restore --from /backup/laudos-monday")
def restore(
    source: Annotated[Path, typer.Option("--from", help="A folder that laudos db backup wrote.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what the database holds now.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Bring a back-up back into an empty database, upgrade its tables, and say what the doctor finds."""
    settings = ready()
    from tasks.upkeep.backup import restore as bring_back

    restored = bring_back(settings, source.absolute(), overwrite=overwrite)
    show(restored, as_json)
    end_with([bool(restored.left_out), bool(restored.findings)])
