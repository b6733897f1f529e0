"""`laudos models`: which models there are, how each was judged, and going back to an earlier one."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.session import AsJson, ClassifierName, a_number, ready, show

app = typer.Typer(no_args_is_help=True, help="List, show, approve, roll back, end and clear away models.")


@app.command("list", epilog="Example: laudos models list --classifier paaf")
def list_models(classifier: ClassifierName = None, as_json: AsJson = False) -> None:
    """Every model, newest first; the champion is marked."""
    settings = ready()
    from flows.cli.words import tell_models
    from tasks.models.models import list_models as models

    show(models(settings, classifier), as_json, lambda found: tell_models(found, settings.zone))


@app.command("show", epilog="Example: laudos models show 3")
def show_model(model_id: Annotated[int, a_number("Its number.")], as_json: AsJson = False) -> None:
    """One model: what it was trained on, its figures, and why it was promoted or refused."""
    settings = ready()
    from flows.cli.model_words import tell_model
    from tasks.models.models import show_model as model
    from tasks.night.summary import judged_of

    story = model(settings, model_id)
    show(story, as_json, lambda story: tell_model(story, judged_of(settings, model_id), settings.zone))


By = Annotated[str | None, typer.Option("--by", help="Who decides; default: your login.")]


@app.command("approve", epilog='Example: laudos models approve 7 --by "dra. Lima" --because "report read"')
def approve(
    model_id: Annotated[int, a_number("Its number; laudos status tells which waits.")],
    because: Annotated[str, typer.Option("--because", help="Why, for the audit; nothing of a patient.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Let a model answer that met every rule and waits for a person (promotion.approval = "person")."""
    settings = ready()
    from tasks.promotion.approval import approve_model

    show(approve_model(settings, model_id, by, because), as_json)


@app.command("refuse", epilog='Example: laudos models refuse 7 --because "too many more reports for us"')
def refuse(
    model_id: Annotated[int, a_number("Its number; laudos status tells which waits.")],
    because: Annotated[
        str, typer.Option("--because", help="Why, for the audit; nothing of a patient.")
    ] = "no reason given",
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """Turn a model away that waits or scores along; the champion goes on answering."""
    settings = ready()
    from tasks.promotion.approval import refuse_model

    show(refuse_model(settings, model_id, by, because), as_json)


@app.command("rollback", epilog="Example: laudos models rollback paaf --to 2")
def rollback(
    classifier: Annotated[str, typer.Argument(help="Its name in laudos.toml.")],
    to: Annotated[int | None, typer.Option(help="Its number; default: the champion before.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let an earlier model answer again; what the present one predicted stays on record."""
    settings = ready()
    from tasks.models.models import rollback as roll_back

    show(roll_back(settings, classifier, to), as_json)


@app.command("end", epilog='Example: laudos models end paaf --because "is called puncao now"')
def end(
    classifier: Annotated[str, typer.Argument(help="Its name, which laudos.toml holds no longer.")],
    because: Annotated[str, typer.Option("--because", help="Why, for the audit; nothing of a patient.")],
    by: By = None,
    as_json: AsJson = False,
) -> None:
    """End a classifier: its answers leave the views of what is current; nothing is deleted."""
    settings = ready()
    from tasks.models.ending import end_classifier

    show(end_classifier(settings, classifier, by, because), as_json)


@app.command("gc", epilog="Example: laudos models gc --dry-run")
def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what the retention rules allow: old models, what killed runs left, vectors nobody reads."""
    settings = ready()
    from tasks.upkeep.retention import collect

    # with --json stdout holds one document and nothing else
    show(collect(settings, lambda line: typer.echo(line, err=as_json), dry_run=dry_run), as_json)
