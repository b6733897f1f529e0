"""Commands about one prediction or model: what carried it, and whether it can be computed again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.session import AsJson, a_number, end_with, ready, show

SourceName = Annotated[
    str | None, typer.Option("--source", help="The source whose id it is; without: laudos' own number.")
]
Whose = Annotated[str | None, typer.Option("--classifier", help="Whose champion; default: the only one.")]


def add_to(app: typer.Typer) -> None:
    """Hang the commands on the root."""
    app.command(
        epilog="Example: laudos explain 17  or  laudos explain L-881 --source his --html marked.html"
    )(explain)
    app.command(epilog="Example: laudos verify 3:1207  or  laudos verify --report 17")(verify)
    app.command(epilog="Example: laudos reproduce 3")(reproduce)


def explain(
    report: Annotated[str, typer.Argument(help="The report's number, or with --source its id there.")],
    source: SourceName = None,
    classifier: Whose = None,
    page: Annotated[
        Path | None, typer.Option("--html", help="Write the marked report to a new file; it holds its text.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Mark the sentences that carried the champion's answer. Who asks is kept in the audit.

    The text is shown on a terminal only. --json, a pipe or a file get places and scores.
    """
    settings = ready()
    from flows.cli.evidence_words import tell_marked, tell_places
    from tasks.inspection.explain import explain as ask
    from tasks.inspection.marked_page import WARNING, write_page

    explained, text = ask(settings, report, source=source, classifier=classifier)
    if page is not None:
        write_page(page, explained, text)
        typer.echo(f"wrote {page}. {WARNING}", err=True)
    if as_json:
        show(explained, as_json)
    elif sys.stdout.isatty():
        tell_marked(explained, text)
    else:
        tell_places(explained)
        if page is None:
            typer.echo("the text is shown on a terminal only; --html FILE writes it", err=True)


def verify(
    prediction: Annotated[
        str | None, typer.Argument(help="MODEL:VERSION, the numbers of a model and a report version.")
    ] = None,
    report: Annotated[
        str | None, typer.Option("--report", help="The champion's answer for this report, as for explain.")
    ] = None,
    source: SourceName = None,
    classifier: Whose = None,
    as_json: AsJson = False,
) -> None:
    """Compute a prediction again from text and model; exit code 1 where it differs.

    Tells which report version, model, training set, code and configuration it came from.
    """
    if (prediction is None) == (report is None):
        raise typer.BadParameter("give MODEL:VERSION or --report, one of them")
    if prediction is not None and (source is not None or classifier is not None):
        raise typer.BadParameter("--source and --classifier go with --report")
    settings = ready()
    from tasks.inspection.verify import verify_prediction, verify_report

    if prediction is not None:
        verified = verify_prediction(settings, prediction)
    else:
        verified = verify_report(settings, str(report), source=source, classifier=classifier)
    from flows.cli.evidence_words import tell_verified

    show(verified, as_json, lambda one: tell_verified(one, settings.zone))
    end_with([not verified.same])


def reproduce(
    model: Annotated[int, a_number("Its number; a whole network takes as long as its training.")],
    as_json: AsJson = False,
) -> None:
    """Train a model again from its training set and recorded settings; exit code 1 where it differs.

    Compares every weight, and tells what is another than it was then. Reads no holdout, changes nothing.
    """
    settings = ready()
    from tasks.inspection.reproduce import reproduce_model

    reproduced = reproduce_model(settings, model)
    from flows.cli.evidence_words import tell_reproduced

    show(reproduced, as_json, tell_reproduced)
    end_with([not reproduced.same])
