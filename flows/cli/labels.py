"""`laudos labels`: what the labels are worth that teach a model, and giving some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from flows.cli.console import console, heading, table, title
from flows.cli.session import AsJson, ready, show

if TYPE_CHECKING:
    from rich.console import Console

    from tasks.labels.curve import Estimate, LabelCurve
    from tasks.labels.doubts import Doubts
    from tasks.labels.give import Given
    from tasks.labels.next import LabelNext

app = typer.Typer(no_args_is_help=True, help="Ask what labels are worth, and give some.")


@app.command("doubt", epilog="Example: laudos labels doubt --limit 20")
def doubt(
    classifier: Annotated[str | None, typer.Option(help="Whose labels; default: the only one's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List so many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List reports whose label is probably wrong, for a person to look at. Changes nothing, shows no text."""
    settings = ready()
    from tasks.labels.doubts import label_doubts

    found = label_doubts(settings, classifier, limit)
    show(found, as_json, _tell)


@app.command("curve", epilog="Example: laudos labels curve --more 500")
def curve(
    classifier: Annotated[str | None, typer.Option(help="Whose labels; default: the only one's.")] = None,
    more: Annotated[int, typer.Option(min=1, help="What so many more labels would buy.")] = 500,
    repeats: Annotated[int, typer.Option(min=3, help="Shares drawn so often; more is surer.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Tell how the last layer gets better with more labels, and what the next ones would buy."""
    settings = ready()
    from tasks.labels.curve import label_curve

    found = label_curve(settings, classifier, more, repeats)
    show(found, as_json, _tell_curve)


@app.command("next", epilog="Example: laudos labels next --limit 20")
def next_ones(
    classifier: Annotated[str | None, typer.Option(help="Whose queue; default: the only one's.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="List so many at most.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the waiting reports whose label would teach the most, the first to label at the front."""
    settings = ready()
    from tasks.labels.next import label_next

    found = label_next(settings, classifier, limit)
    show(found, as_json, _tell_next)


@app.command("give", epilog="Example: laudos labels give maligno --source his --report L17")
def give(
    label: Annotated[str | None, typer.Argument(help="What the reports are: one of the labels.")] = None,
    source: Annotated[str | None, typer.Option(help="Whose reports the ids name.")] = None,
    report: Annotated[
        list[str] | None, typer.Option(help="A report's id at its source; may be repeated.")
    ] = None,
    from_file: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Instead: a .csv or .parquet with source, external_id, label."
        ),
    ] = None,
    classifier: Annotated[str | None, typer.Option(help="Whose label; default: the only one's.")] = None,
    by: Annotated[str | None, typer.Option("--by", "--actor", help="Who says so; default: you.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what reports are (feedback): it counts before the source, and they wait for nobody any more.

    It is said of the report's present version; saying something else later replaces it.
    """
    one_by_one = (label, source, report)
    if not (all(one_by_one) if from_file is None else not any(one_by_one)):
        raise typer.BadParameter("give a label, --source and --report, or --from FILE alone")
    settings = ready()
    from tasks.labels.give import Said, in_file, label_give

    if from_file is not None:
        said = in_file(from_file)
    else:
        said = (Said(source, one.strip(), label) for one in report or ())
    show(label_give(settings, classifier, said, by), as_json, _tell_given)


def _tell_given(found: Given) -> None:
    typer.echo(
        f"{found.new + found.replaced:,} reports bear a label of {found.by} for {found.classifier} "
        f"({found.replaced:,} had another one of theirs), {found.as_before:,} bore it already"
    )
    if found.blank:
        typer.echo(f"{found.blank:,} rows without a label were left alone")
    if found.teaches:
        typer.echo('the next "laudos retrain" learns from them')
    else:
        typer.echo(
            f'they teach nothing: training_labels of [classifiers.{found.classifier}] has no "feedback"'
        )


def _say_how_to_give(out: Console, classifier: str) -> None:
    out.print(
        f"to say what one is: laudos labels give LABEL --source SOURCE --report ID --classifier {classifier}",
        soft_wrap=True,
        markup=False,
    )


def _tell_next(found: LabelNext) -> None:
    out = console()
    title(out, f"To label next for {found.classifier}: {len(found.listed):,} of {found.waiting:,} that wait")
    rows = [
        (
            f"{one.source} {one.external_id}",
            str(one.version),
            f"{one.uncertainty:.3f}",
            one.label,
            one.because or "-",
        )
        for one in found.listed
    ]
    if rows:
        out.print(table(("report", "version", "uncertainty", "model says", "because"), rows, words=3))
        _say_how_to_give(out, found.classifier)
    out.print(
        f"{found.of_others:,} more are of patients who calibrate or judge; they are in no order, so that "
        "they stay ordinary ones (view review_queue)",
        soft_wrap=True,
    )


def _tell_curve(found: LabelCurve) -> None:
    out = console()
    title(
        out, f"Last layers for {found.classifier} on the body of model {found.model_id}, by labelled reports"
    )
    points = [(f"{one.reports:,}", _with_ends(one.macro_f1)) for one in found.points]
    out.print(table(("labelled reports", f"macro F1 (95 % of {found.repeats} repeats)"), points))
    for label, reports in found.rare.items():
        out.print(escape(f"{label}: too few patients bear it; its {reports:,} reports were left out"))
    if found.forecast is not None and found.gain is not None and found.check_error is not None:
        out.print(
            f"{found.more:,} more labels: macro F1 {_with_ends(found.forecast)}, a gain of "
            f"{_with_ends(found.gain)}; foretold from the smaller shares, the last point is off by "
            f"{found.check_error:+.3f}",
            soft_wrap=True,
        )
    else:
        out.print(f"no forecast: {found.no_forecast}", soft_wrap=True)
    if found.caveat:
        out.print(f"[dim]{found.caveat}[/]", soft_wrap=True)


def _with_ends(one: Estimate) -> str:
    return f"{one.value:.3f} ({one.low:.3f} to {one.high:.3f})"


def _tell(found: Doubts) -> None:
    out = console()
    title(out, f"Labels of {found.classifier}, judged on the vectors of model {found.model_id}")
    out.print(
        f"{found.doubted:,} of {found.reports:,} reports ({found.patients:,} patients) are in doubt; about "
        f"{found.wrong_share:.1%} of all labels are estimated to be wrong",
        soft_wrap=True,
    )
    for part in found.seen if found.caveat else ():
        saw = "whose label the body saw" if part.label_seen else "whose label it did not see"
        out.print(f"  {saw}: {part.doubted:,} of {part.reports:,} ({part.doubted / part.reports:.1%})")
    for label, reports in found.rare.items():
        out.print(escape(f"{label}: too few patients bear it; its {reports:,} reports were not judged"))
    if found.without_vector:
        out.print(f"{found.without_vector:,} labelled reports were never read by this model, and not judged")
    if found.caveat:
        out.print(f"[dim]{found.caveat}[/]", soft_wrap=True)
    heading(out, "Given and true labels (estimated shares of all reports)")
    shares = [(one.given, one.true, f"{one.share:.2%}") for one in found.joint if one.share]
    out.print(table(("given", "true", "share"), shares, words=1))
    if not found.listed:
        return
    heading(out, f"In doubt ({len(found.listed):,} of {found.doubted:,}, the clearest first)")
    rows = [
        (
            f"{one.source} {one.external_id}",
            str(one.version),
            f"{one.probabilities[one.given]:.3f}",
            f"{one.probabilities[one.suggested]:.3f}",
            one.given,
            one.suggested,
            one.origin,
            one.split,
        )
        for one in found.listed
    ]
    header = ("report", "version", "p(given)", "p(suggested)", "given", "suggested", "origin", "split")
    out.print(table(header, rows, words=4))
    _say_how_to_give(out, found.classifier)
