"""`laudos encoders`: which encoders there are by name, fetching one from a hub, importing it elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.session import AsJson, ready, show
from tasks.settings.settings import prepare_for_hub

app = typer.Typer(
    invoke_without_command=True,
    epilog="Example: laudos encoders    docs/encoders.md says how to choose",
)


@app.callback()
def encoders(context: typer.Context, as_json: AsJson = False) -> None:
    """List encoders by name and which are on disk; fetch one where there is a network, import it here."""
    if context.invoked_subcommand is not None:
        return
    settings = ready()
    from flows.cli.encoder_words import tell_encoders
    from tasks.models.encoders import list_encoders

    show(list_encoders(settings), as_json, tell_encoders)


@app.command("fetch", epilog="Example: laudos encoders fetch bertimbau-base --to bertimbau-base")
def fetch(
    name: Annotated[str, typer.Argument(help="One that `laudos encoders` lists, or owner/model of a hub.")],
    revision: Annotated[
        str | None, typer.Option(help="The commit, all 40 hex digits; default: the one that is pinned.")
    ] = None,
    to: Annotated[Path | None, typer.Option(help="The folder to write; default: its name, here.")] = None,
    called: Annotated[
        str | None, typer.Option("--name", help="What laudos shall call it; default: its own name.")
    ] = None,
    endpoint: Annotated[
        str | None, typer.Option(help="Address of the hub; default: $HF_ENDPOINT, else huggingface.co.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download an encoder at a pinned commit, safetensors only, into a folder to carry."""
    prepare_for_hub()
    from tasks.models.encoders import fetch_encoder

    show(fetch_encoder(name, revision=revision, to=to, name=called, endpoint=endpoint), as_json)


@app.command("import", epilog="Example: laudos encoders import bertimbau-base")
def import_(
    folder: Annotated[Path, typer.Argument(help="What `laudos encoders fetch` wrote on another machine.")],
    called: Annotated[
        str | None, typer.Option("--name", help="What laudos shall call it; default: its own name.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every file of a fetched encoder and take it in; needs no network."""
    settings = ready()
    from tasks.models.encoders import import_encoder

    show(import_encoder(settings, folder, called), as_json)
