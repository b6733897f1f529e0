"""`laudos synth`: what synthetic reports can say, and what they, or one's own, give away besides findings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.markup import escape

from flows.cli.console import console, heading, table
from flows.cli.session import AsJson, end_with, ready, show

if TYPE_CHECKING:
    from tasks.synthesis.audit import Audit, Check, Evidence
    from tasks.synthesis.exam_words import ExamCounted

app = typer.Typer(no_args_is_help=True, help="Look into synthetic reports.")


@app.command(
    "audit",
    epilog="Example: laudos synth audit --exam paaf  or  laudos synth audit --csv own.csv --group patient",
)
def audit(
    exam: Annotated[str | None, typer.Option(help="Reports as this generator writes them.")] = None,
    classifier: Annotated[
        str | None, typer.Option(help="The synthetic set that teaches this classifier now.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="One's own reports, a row each.")] = None,
    parquet: Annotated[Path | None, typer.Option(help="The same, as Parquet.")] = None,
    mode: Annotated[
        Literal["findings", "full", "seed"], typer.Option(help="With --exam: what is written.")
    ] = "findings",
    seed: Annotated[int, typer.Option(help="With --exam: what is drawn.")] = 0,
    reports_per_row: Annotated[int, typer.Option(min=1, help="With --exam: how many.")] = 12,
    reserved_share: Annotated[
        float, typer.Option(min=0, max=1, help="With --exam: share of the rows left out.")
    ] = 0.0,
    text: Annotated[str, typer.Option(help="With a file: the column that holds the text.")] = "text",
    label: Annotated[str, typer.Option(help="The column that holds the label.")] = "label",
    group: Annotated[
        str | None, typer.Option(help="The column that tells patients apart; default: each row is one.")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The column that tells train from test, to look for copies.")
    ] = None,
    label_word: Annotated[
        list[str] | None, typer.Option(help="The beginning of a word that means a label; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask whether the label reaches the text by any other way than the findings.

    Exit code 1 where a check failed. What leaks is quoted, here and nowhere else.
    """
    file = csv or parquet
    if sum(one is not None for one in (exam, classifier, csv, parquet)) != 1:
        raise typer.BadParameter("give --exam, --classifier, --csv or --parquet: one of them")
    settings = ready()
    from tasks.settings.sections import SyntheticSettings
    from tasks.synthesis import audit as synthetic_audit

    left_out = 0
    if exam is not None:
        recipe = SyntheticSettings(
            exam=exam, mode=mode, reports_per_row=reports_per_row, reserved_share=reserved_share
        )
        found = synthetic_audit.audit_exam(recipe, seed)
    elif classifier is not None:
        found = synthetic_audit.audit_classifier(settings, classifier)
    else:
        assert file is not None
        columns = synthetic_audit.Columns(text, label, group, split)
        of_file = synthetic_audit.audit_file(file, columns, label_word or [])
        found, left_out = of_file.audit, of_file.left_out
    if as_json:
        show({"passed": found.passed, **vars(found), "left_out": left_out}, as_json)
    else:
        tell(found, left_out)
    end_with([not found.passed])


@app.command("count", epilog="Example: laudos synth count paaf")
def count(
    exam: Annotated[str | None, typer.Argument(help="Which exam; default: all.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count what each institution can say, and find four words in a row that two of them say.

    Exit code 1 where two institutions share any: leaving one out would not ask about new wording.
    """
    ready()
    from tasks.synthesis.exam_words import count_words

    counted = count_words(exam)
    show(counted, as_json, _tell_counts)
    end_with(bool(one.shared) for one in counted)


def _tell_counts(counted: list[ExamCounted]) -> None:
    out = console()
    for one in counted:
        heading(out, f"{one.exam}: {one.clauses:,} distinct finding clauses")
        rows = [
            (
                i.institution,
                f"{i.phrases:,}",
                f"{i.realisations:,}",
                f"{i.thinnest} ({i.thinnest_phrases})",
                i.about,
            )
            for i in one.institutions
        ]
        out.print(table(("institution", "phrases", "wordings", "fewest phrases", ""), rows, words=4))
        for shared in one.shared:
            places = " and ".join(f"{name}.yaml, line {line}" for name, line in shared.places)
            out.print(escape(f"  {shared.words}: {places}"), soft_wrap=True)
    if not any(one.shared for one in counted):
        out.print("\nNo two institutions share four words in a row.")


@app.command("show", epilog="Example: laudos synth show paaf --finding cromatina --level leve")
def show_words(
    exam: Annotated[str, typer.Argument(help="Which exam.")] = "paaf",
    institution: Annotated[str | None, typer.Option(help="One of its institutions; default: all.")] = None,
    finding: Annotated[str | None, typer.Option(help="What is said of this one, by phrase.")] = None,
    level: Annotated[str | None, typer.Option(help="With --finding: at this level only.")] = None,
    most: Annotated[int, typer.Option(min=1, help="Whole reports, or wordings of a phrase.")] = 4,
    seed: Annotated[int, typer.Option(help="Of whole reports: what is drawn.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Read reports as they are written, or everything that a finding's phrases can say."""
    ready()
    from tasks.synthesis.exam_words import reports_of, wordings_of

    if finding is not None:
        said = wordings_of(exam, institution, finding, level, most)
        if as_json:
            show(said, as_json)
        for one in said if not as_json else ():
            typer.echo(f"{one.institution}.yaml:{one.line} {one.level}: {' / '.join(one.wordings)}")
    else:
        reports = reports_of(exam, institution, most, seed)
        if as_json:
            show(reports, as_json)
        else:
            typer.echo("\n\n".join(f"{report}\n{'-' * 40}" for report in reports))


def tell(found: Audit, left_out: int = 0) -> None:
    """A line a check, then what each that failed has found, then what a person should look at."""
    out = console()
    counts = ", ".join(f"{count:,} {label}" for label, count in found.labels.items())
    sample = "" if found.reports == found.of_reports else f" (a sample of {found.of_reports:,})"
    out.print(escape(f"{found.reports:,} reports{sample} of {found.groups:,} groups: {counts}"))
    if left_out:
        out.print(f"{left_out:,} rows had no readable text, or no label")
    if not found.measured:
        out.print("No measurements: words that tell the label cannot be told from findings.")
    rows = [
        (
            one.name,
            one.state.upper() if one.state == "failed" else one.state,
            _figure(one.statistic),
            _figure(one.threshold),
            f"{one.tested:,}",
            "; ".join(filter(None, (one.measure, one.note))),
        )
        for one in found.checks
    ]
    out.print(table(("check", "", "read", "limit", "looked at", "which is"), rows, words=5))
    for one in found.failed:
        heading(out, f"{one.name} failed")
        _print_found(one, out)
    for one in found.checks:
        if one.state == "untested" and one.found:
            heading(out, f"{one.name}: {one.note}")
            _print_found(one, out)
    failed = len(found.failed)
    out.print(f"\n{failed} checks failed" if failed else "\nNo check failed.")


def _print_found(check: Check, out: Console) -> None:
    for one in check.found:
        out.print(escape(f"  {_words(one)}"), soft_wrap=True)
    if not check.found:
        out.print("  no single phrase; the whole of the texts does")


def _words(one: Evidence) -> str:
    told = [f"in {one.reports:,} reports"]
    if one.label:
        told.append(f"goes with {one.label}" + (f", {one.how}" if one.how else ""))
    if one.bits is not None:
        told.append(f"{one.bits:.3f} bits")
    if one.figure is not None:
        told.append(_figure(one.figure))
    return f"{one.what}: {'; '.join(told)}"


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
