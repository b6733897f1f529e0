"""`laudos behaviour`: what a model makes of minimal pairs of reports."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli_session import AsJson, ready, show


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(epilog="Example: laudos behaviour --failed")(behaviour)


def behaviour(
    classifier: Annotated[str | None, typer.Option(help="Whose champion; default: the only one.")] = None,
    model: Annotated[int | None, typer.Option(help="A model's number, instead of the champion.")] = None,
    suite: Annotated[
        str | None, typer.Option(help="paaf, mammography or a file; default: the classifier's own.")
    ] = None,
    failed: Annotated[bool, typer.Option("--failed", help="Show the pairs it gets wrong.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try a model on pairs of made-up reports that differ in one thing, such as a negation or a side."""
    settings = ready()
    from tasks.try_behaviour import try_behaviour

    behaved = try_behaviour(settings, classifier=classifier, model_id=model, suite=suite)
    from flows.cli_words import tell_behaviour

    show(behaved, as_json, lambda one: tell_behaviour(one, failed=failed))
