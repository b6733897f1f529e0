"""Commands that answer a question: status, doctor, data-card, model-card, dossier, predict, export."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.cli.session import AsJson, a_number, end_with, ready, show

export_app = typer.Typer(no_args_is_help=True, help="Write predictions or a training set to files.")


def add_to(app: typer.Typer) -> None:
    """Hang the commands that stand alone on the root."""
    app.command(epilog="Example: laudos status --json")(status)
    app.command(epilog="Example: laudos doctor")(doctor)
    app.command("data-card", epilog="Example: laudos data-card 3")(data_card)
    app.command("model-card", epilog="Example: laudos model-card 3 --language en")(model_card)
    app.command("dossier", epilog="Example: laudos dossier 3 --to dossier-3")(dossier)
    app.command(
        epilog="Example: laudos predict 'Esfregaço...'  or  laudos predict --csv in.csv --out out.csv"
    )(predict)


def status(as_json: AsJson = False) -> None:
    """Sources, backlog, champions, quarantine and the last runs."""
    settings = ready()
    from flows.cli.words import tell_status
    from tasks.night.status import status as answer

    show(answer(settings), as_json, lambda stands: tell_status(stands, settings.zone))


def doctor(
    repair: Annotated[
        bool, typer.Option("--repair", help="First put right what is safe to, saying each thing before.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hold every promise against database, models and machine; exit code 1 where one is not kept."""
    settings = ready()
    from flows.cli.words import tell_findings
    from tasks.database import open_database
    from tasks.upkeep.doctor import examine

    engine = open_database(settings)
    if repair:
        from tasks.person import person
        from tasks.upkeep.repair import repair as put_right

        # with --json stdout holds one document and nothing else
        done = put_right(engine, settings, person(), lambda line: typer.echo(line, err=as_json))
        typer.echo(f"{done} things were put right" if done else "nothing to put right by itself", err=as_json)
    findings = examine(engine, settings)
    show(findings, as_json, tell_findings)
    end_with(not one.ok for one in findings)


def data_card(
    snapshot_id: Annotated[int, a_number("Its number; `laudos models show` names it.")],
    as_json: AsJson = False,
) -> None:
    """What a training set is made of, and what it must not be used for, as Markdown; no report's text."""
    settings = ready()
    from tasks.training.data_card import read_data_card

    card = read_data_card(settings, snapshot_id)
    show({"snapshot_id": snapshot_id, "markdown": card}, as_json, lambda _: typer.echo(card, nl=False))


def model_card(
    model_id: Annotated[int, a_number("Its number; `laudos models list` shows which there are.")],
    language: Annotated[Literal["pt", "en"], typer.Option(help="Portuguese or English.")] = "pt",
    as_json: AsJson = False,
) -> None:
    """What a model is for, on whom it was judged and what nobody validated, as Markdown."""
    settings = ready()
    from tasks.pages.model_card import card_of

    card = card_of(settings, model_id, language).markdown
    told = {"model_id": model_id, "language": language, "markdown": card}
    show(told, as_json, lambda _: typer.echo(card, nl=False))


def dossier(
    model_id: Annotated[int, a_number("Its number; `laudos models list` shows which there are.")],
    to: Annotated[Path, typer.Option(help="A new folder.")],
    as_json: AsJson = False,
) -> None:
    """All that an auditor asks for about one model, in one folder: no report's text, no patient."""
    settings = ready()
    from tasks.inspection.dossier import write_dossier

    show(write_dossier(settings, model_id, to), as_json)


def predict(
    text: Annotated[str | None, typer.Argument(help="One report, or - to read it from stdin.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Many reports, a column with their text.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="The same, as Parquet.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answers go: .csv or .parquet.")] = None,
    column: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    model: Annotated[Path | None, typer.Option(help="A model folder; default: the champion.")] = None,
    classifier: Annotated[str | None, typer.Option(help="Whose champion; default: the only one.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the champion about one's own text; needs no database."""
    given = [value for value in (text, csv, parquet) if value is not None]
    if len(given) != 1:
        raise typer.BadParameter("give a TEXT, --csv or --parquet: one of them")
    if text is None and out is None:
        raise typer.BadParameter("many reports need --out FILE")
    report = sys.stdin.read() if text == "-" else text
    settings = ready()
    from tasks.inspection.predict import predict_file, predict_text

    source = csv or parquet
    if source is not None and out is not None:
        answers = predict_file(settings, source, out, column=column, model=model, classifier=classifier)
        show(answers, as_json)
    elif report is not None:
        show(predict_text(settings, report, model=model, classifier=classifier), as_json)


@export_app.command("predictions", epilog="Example: laudos export predictions --out answers.parquet")
def export_predictions(
    out: Annotated[Path, typer.Option(help="A file that ends in .csv or .parquet.")],
    classifier: Annotated[str | None, typer.Option(help="Whose answers; default: the only one.")] = None,
    as_json: AsJson = False,
) -> None:
    """The champion's answers, one row a report."""
    settings = ready()
    from tasks.scoring.classify import export_predictions as export

    show(export(settings, classifier, out), as_json)


@export_app.command("snapshot", epilog="Example: laudos export snapshot 3 --folder snapshot-3")
def export_snapshot(
    snapshot_id: Annotated[int, a_number("Its number; `laudos models show` names it.")],
    folder: Annotated[Path, typer.Option(help="A new folder for Parquet files and a datasets folder.")],
    as_json: AsJson = False,
) -> None:
    """A frozen training set, with text. Personal data: keep it where reports may be kept."""
    settings = ready()
    from tasks.training.training_set import export_snapshot as export

    show(export(settings, snapshot_id, folder), as_json)
