"""`laudos db`: laudos' own tables, brought to a version and back."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_session import AsJson, ready, show

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
    from tasks.roles import create_roles, roles_as_sql

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
