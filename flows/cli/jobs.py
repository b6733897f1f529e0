"""`laudos jobs`: how far scoring is, stopping it, letting it go on; and `laudos worker`, one more at work."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.session import AsJson, ClassifierName, a_number, end_with, ready, show

app = typer.Typer(no_args_is_help=True, help="List, stop and resume scoring jobs.")

Number = Annotated[int, a_number("Its number in the list.")]


def add_to(root: typer.Typer) -> None:
    """Hang the command that stands alone on the root."""
    root.command(epilog="Example: laudos worker --wait")(worker)


def worker(
    classifier: ClassifierName = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Stay, and look for jobs every few seconds, until stopped.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Help with the scoring jobs that are under way, on this database; leave when no chunk is free."""
    settings = ready()
    from tasks.scoring.worker import work

    worked = work(settings, classifier, wait=wait)
    show(worked, as_json)
    end_with([bool(worked.failed)])


@app.command("list", epilog="Example: laudos jobs list --classifier paaf")
def list_jobs(
    classifier: ClassifierName = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every job there ever was; default: the last 20.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Scoring jobs, newest first, and how far each is."""
    settings = ready()
    from flows.cli.words import tell_jobs
    from tasks.scoring.jobs import list_jobs as jobs

    found = jobs(settings, classifier, every=every)
    show(found, as_json, lambda found: tell_jobs(found, settings.zone))


@app.command("stop", epilog="Example: laudos jobs stop 7")
def stop(number: Number, as_json: AsJson = False) -> None:
    """Let no worker write for a job until it is resumed; what is written stays.

    Workers end in good order within a third of their lease. The schedule leaves the job alone, too.
    """
    settings = ready()
    from tasks.scoring.jobs import stop_job

    show(stop_job(settings, number), as_json)


@app.command("resume", epilog="Example: laudos jobs resume 7")
def resume(number: Number, as_json: AsJson = False) -> None:
    """Let a stopped job go on with the next classify."""
    settings = ready()
    from tasks.scoring.jobs import resume_job

    show(resume_job(settings, number), as_json)
