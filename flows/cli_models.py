"""`laudos models`: which models there are, how each was judged, and going back to an earlier one."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_session import AsJson, ClassifierName, ready, show

app = typer.Typer(no_args_is_help=True, help="List, show and roll back models.")


@app.command("list", epilog="Example: laudos models list --classifier paaf")
def list_models(classifier: ClassifierName = None, as_json: AsJson = False) -> None:
    """Every model, newest first; the champion is marked."""
    settings = ready()
    from tasks.models import list_models as models

    show(models(settings, classifier), as_json)


@app.command("show", epilog="Example: laudos models show 3")
def show_model(model_id: Annotated[int, typer.Argument(help="Its number.")], as_json: AsJson = False) -> None:
    """One model: what it was trained on, its figures, and why it was promoted or refused."""
    settings = ready()
    from tasks.models import show_model as model

    show(model(settings, model_id), as_json)


@app.command("rollback", epilog="Example: laudos models rollback paaf --to 2")
def rollback(
    classifier: Annotated[str, typer.Argument(help="Its name in laudos.toml.")],
    to: Annotated[int | None, typer.Option(help="Its number; default: the champion before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let an earlier model answer again; what the present one predicted stays on record."""
    settings = ready()
    from tasks.models import rollback as roll_back

    show(roll_back(settings, classifier, to), as_json)
