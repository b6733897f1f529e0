"""The `laudos` command: starts a flow, or answers a question.

Exit codes: 0 done; 1 it failed, `doctor`, `verify`, `reproduce` or `synth audit` found something, or `erase`
was given an id of which nothing is held; 2 configuration or usage; 3 something must come first (the message
names the command); 4 another run holds the lock; 5 the database refused; 130 Ctrl-C; 143 ended by a service
manager. Prefect, torch and SQL are imported inside the commands, so that `--help` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli import (
    backends,
    behaviour,
    database,
    encoders,
    erase,
    estimate,
    evidence,
    jobs,
    labels,
    models,
    plan,
    pretrain,
    quarantine,
    questions,
    setup,
    synth,
    torture,
)
from flows.cli.session import AsJson, ClassifierName, end_with, fail, ready_to_run, show
from tasks.settings.settings import overrule_environment
from tasks.stopping import stop_on_signals

INTERRUPTED = 130

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Classify medical reports with BERT models, as scheduled batch jobs.",
    epilog="Start with: laudos demo --folder demo    or, for your own database: laudos init",
)
for part in (
    questions,
    estimate,
    erase,
    jobs,
    backends,
    evidence,
    behaviour,
    plan,
    pretrain,
    setup,
    torture,
):
    part.add_to(app)
app.add_typer(models.app, name="models")
app.add_typer(encoders.app, name="encoders")
app.add_typer(jobs.app, name="jobs")
app.add_typer(labels.app, name="labels")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(questions.export_app, name="export")
app.add_typer(synth.app, name="synth")
app.add_typer(database.app, name="db")

Full = Annotated[bool, typer.Option("--full", help="Compare every row with the source, deletions included.")]


@app.callback()
def options(
    config: Annotated[
        Path | None, typer.Option(help="The configuration; default: $LAUDOS_CONFIG, else ./laudos.toml.")
    ] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's log on the console.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="On an error, show where it came from.")] = False,
) -> None:
    overrule_environment(config=config, verbose=verbose, debug=debug)


@app.command(epilog="Example: laudos ingest --source his --full")
def ingest(
    source: Annotated[str | None, typer.Option(help="Only this one; default: all of them.")] = None,
    full: Full = False,
    as_json: AsJson = False,
) -> None:
    """Take in new and amended reports from the sources."""
    ready_to_run()
    from flows.ingest import ingest as run

    ingested = run(source=source, full=full)
    show(ingested, as_json)
    end_with([bool(ingested.failed)])


@app.command(epilog="Example: laudos synthesize --classifier paaf --seed 7")
def synthesize(
    classifier: ClassifierName = None,
    seed: Annotated[int | None, typer.Option(help="Another one writes another set.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write labelled training reports from a table of measurements."""
    ready_to_run()
    from flows.synthesize import synthesize as run

    show(run(classifier=classifier, seed=seed), as_json)


@app.command(epilog="Example: laudos retrain --classifier paaf --how head")
def retrain(
    classifier: ClassifierName = None,
    how: Annotated[
        Literal["auto", "full", "head"],
        typer.Option(help="full: the whole network; head: the last layer; auto: full only where it must be."),
    ] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a challenger, evaluate it, and promote it if it earned it."""
    ready_to_run()
    from flows.retrain import retrain as run

    retrained = run(classifier=classifier, how=how)
    show(retrained, as_json)
    end_with(one.decision == "failed" for one in retrained)


@app.command(epilog="Example: laudos distill --classifier paaf --layers 6")
def distill(
    classifier: Annotated[
        str | None, typer.Option("--classifier", help="Which one; may be left out where there is one only.")
    ] = None,
    model: Annotated[int | None, typer.Option(help="The teacher's number; default: the champion.")] = None,
    layers: Annotated[
        int | None, typer.Option(min=1, help="Of the student; default: half of the teacher's.")
    ] = None,
    unlabelled: Annotated[
        int | None, typer.Option(min=0, help="At most so many reports without a label beside those with one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a smaller challenger that answers as a model does, and promote it if it earned it."""
    ready_to_run()
    from flows.distill import distill as run
    from tasks.training.distill import UNLABELLED

    most = UNLABELLED if unlabelled is None else unlabelled
    show(run(classifier=classifier, model=model, layers=layers, unlabelled=most), as_json)


@app.command(epilog="Example: laudos classify --classifier paaf --json")
def classify(
    classifier: ClassifierName = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Let the workers of this Dask scheduler do it; tcp://host:8786"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Score every report that the champion has not read yet."""
    ready_to_run()
    from flows.classify import classify as run
    from flows.cli.words import tell_classified

    classified = run(classifier=classifier, dask=dask)
    show(classified, as_json, tell_classified)
    end_with(one.outcome == "failed" for one in classified)


@app.command(epilog="Example: laudos monitor --json")
def monitor(as_json: AsJson = False) -> None:
    """Measure the champion on labels that arrived since, and raise alarms."""
    ready_to_run()
    from flows.monitor import monitor as run

    show(run(), as_json)


@app.command(epilog="Example: laudos nightly --full")
def nightly(
    full: Annotated[bool, typer.Option("--full", help="Train the whole network, as weekly.")] = False,
    as_json: AsJson = False,
) -> None:
    """Everything in order: ingest, synthesize, retrain, classify, tidy up, monitor."""
    settings = ready_to_run()
    from flows.cli.summary import print_night
    from flows.nightly import nightly as run
    from tasks.errors import DoneInPart
    from tasks.night.summary import tell_last_night

    try:
        result = run(full=full)
    except DoneInPart:
        # cron's mail tells what came in and was answered all the same
        if not as_json:
            print_night(tell_last_night(settings))
        raise
    show(result, as_json, lambda _: print_night(tell_last_night(settings)))


def main() -> None:
    """Run the command; every error becomes one line on stderr and its exit code."""
    stop_on_signals()
    try:
        app()
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            typer.echo("laudos: stopped; what was committed stays, and the next run does the rest", err=True)
        raise
    except Exception as error:
        fail(error)


if __name__ == "__main__":
    main()
