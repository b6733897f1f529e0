"""`laudos erase`: reports that must go on request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.session import AsJson, end_with, ready, show

if TYPE_CHECKING:
    from tasks.upkeep.erase import Erasure, Request

_AS_FILE = "One id a line; - is standard input. Ids on a command line end in the shell's history."
Ids = list[str]


def add_to(app: typer.Typer) -> None:
    """Hang the command on the root."""
    app.command(
        "erase", epilog="Example: laudos erase --patients-from ids.txt --because 'request 17/2026' --dry-run"
    )(erase)


def erase(
    because: Annotated[str, typer.Option(help="Why, for the audit; nothing of a patient.")] = "",
    source: Annotated[str | None, typer.Option(help="Whose reports the ids of reports name.")] = None,
    report: Annotated[Ids | None, typer.Option(help="A report's id at its source; may be repeated.")] = None,
    reports_from: Annotated[str | None, typer.Option(metavar="FILE", help=_AS_FILE)] = None,
    patient: Annotated[
        Ids | None, typer.Option(help="All reports of a patient, by the hospital's own id; may be repeated.")
    ] = None,
    patients_from: Annotated[str | None, typer.Option(metavar="FILE", help=_AS_FILE)] = None,
    lift: Annotated[
        bool,
        typer.Option("--lift", help="Instead: let these erased reports in again, as the source has them."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing.")] = False,
    by: Annotated[str | None, typer.Option("--by", "--actor", help="Who acts; default: your login.")] = None,
    as_json: AsJson = False,
) -> None:
    """Erase reports on request: text, vectors, labels, quarantine; and tell which models they taught.

    On SQLite the whole file is written anew at the end: that takes twice its size of room beside it, and who
    else writes waits meanwhile. Many ids at once cost that once.
    """
    if reports_from == patients_from == "-":
        raise typer.BadParameter("standard input holds the ids of reports or of patients, not both")
    if "-" in (reports_from, patients_from) and not (yes or dry_run or lift):
        raise typer.BadParameter("with ids from standard input nobody can be asked: say --yes or --dry-run")
    settings = ready()
    from tasks.upkeep import erase as steps

    request = steps.Request(
        source,
        steps.ids_in([*(report or ()), *_lines(reports_from)]),
        steps.ids_in([*(patient or ()), *_lines(patients_from)]),
    )
    _refuse_unclear(request, because, lift=lift, dry_run=dry_run)
    if lift:
        show({"lifted": steps.lift(settings, request, by, because)}, as_json)
        return
    found = steps.look(settings, request)
    if not dry_run:
        if not yes and (found.held.reports or found.held.quarantined):
            _tell(found, err=as_json)  # stdout holds one document and nothing else
            typer.confirm("Erase this for good?", abort=True, err=as_json)
        found = steps.erase(settings, request, by, because, lambda line: typer.echo(line, err=True))
    show(found, as_json, _tell)
    end_with([bool(found.unknown_reports or found.unknown_patients), not (dry_run or found.finished)])


def _refuse_unclear(request: Request, because: str, *, lift: bool, dry_run: bool) -> None:
    if not (request.reports or request.patients):
        raise typer.BadParameter("name reports (--source and --report) or patients (--patient)")
    if bool(request.reports) != (request.source is not None):
        raise typer.BadParameter("--source goes with ids of reports, and these with --source")
    if not because.strip() and not dry_run:
        raise typer.BadParameter("say why: --because")
    if lift and dry_run:
        raise typer.BadParameter("--lift removes nothing: it has no --dry-run")


def _lines(name: str | None) -> Iterator[str]:
    if name is None:
        return
    with ExitStack() as held:
        try:
            file = sys.stdin if name == "-" else held.enter_context(Path(name).open(encoding="utf-8-sig"))
            yield from file
        except (OSError, UnicodeDecodeError) as error:
            # the decoder's own message quotes what it read
            raise typer.BadParameter(f"{name} cannot be read as text ({type(error).__name__})") from None


def _tell(found: Erasure, *, err: bool = False) -> None:
    held, done = found.held, found.run_id is not None
    say = partial(typer.echo, err=err)
    say(
        f"{'erased' if done else 'to be erased'}: {held.reports:,} reports ({held.erased_before:,} of them "
        f"were before) with {held.versions:,} versions, {held.vectors:,} vectors and {held.labels:,} labels; "
        f"{held.quarantined:,} rows in quarantine"
    )
    if found.barred:
        say(f"{found.barred:,} ids that lay in quarantine only are never taken in")
    say(f"{held.predictions:,} predictions stay, without text and without the patient's key")
    if held.training_sets:
        say(f"{held.training_sets:,} training sets hold some of them, and can teach no more")
    for one in found.models:
        role = ", the champion" if one.champion else ""
        say(f"model {one.id} of {one.classifier}{role} was taught by {one} of them")
    if found.models:
        say('these models go on answering; "laudos retrain --how full" makes one that never saw them')
    for name in found.encoders:
        say(f"encoder {name} was pre-trained while they were here, and may have read some")
    for kind, places in (("report", found.unknown_reports), ("patient", found.unknown_patients)):
        if places:
            told = ", ".join(map(str, places[:20])) + (" ..." if len(places) > 20 else "")
            say(f"nothing is held of {len(places):,} {kind}s that were named: number {told} of those given")
    for sentence in found.left:
        say(sentence)
    if done:
        say("back-ups and exports that were made before hold what they held: see docs/erasure.md")
