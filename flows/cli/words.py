"""Answers in words: what `status`, `models list`, `jobs list` and `doctor` print for a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from rich.markup import escape

from flows.cli.console import console, heading, lasts, moment, table, title
from tasks.models.models import ModelLine
from tasks.night.status import ClassifierStatus, Status, candidate_told
from tasks.scoring.jobs import JobStatus
from tasks.upkeep.findings import Finding

if TYPE_CHECKING:
    from flows.classify import ClassifySummary

HOW = {"full": "whole network", "head": "last layer"}


def tell_status(status: Status, zone: ZoneInfo) -> None:
    """Sources, classifiers, jobs, the last run of each kind, and where everything lies."""
    out = console()
    title(out, "Sources")
    if status.sources:
        rows = [
            (
                one.source,
                f"{one.reports:,}",
                f"{one.waiting_in_quarantine:,}",
                moment(one.read_up_to, zone),
                moment(one.compared_at, zone),
            )
            for one in status.sources
        ]
        out.print(table(("source", "reports", "in quarantine", "read up to", "compared row by row"), rows))
    for name in status.sources_never_read:
        out.print(escape(f'{name}: never read; run "laudos ingest"'))
    if not status.sources and not status.sources_never_read:
        out.print("None: name your database in laudos.toml.")
    heading(out, "Classifiers")
    for one in status.classifiers:
        out.print(escape(_stands(one, zone)))
    for name in status.classifiers_ended:
        told = f"{name}: has a champion and is not in laudos.toml; its answers stay in the views as they are"
        told += f' until "laudos models end {name}"'
        out.print(escape(told))
    if status.candidates:
        heading(out, "Models that wait")
    for waits in status.candidates:
        out.print(escape(candidate_told(waits, zone)), soft_wrap=True)
    if status.jobs:
        heading(out, "Being scored")
    for job in status.jobs:
        out.print(escape(_how_far(job)))
    heading(out, f"The last run of each kind ({zone.key})")
    rows = [
        (
            one.kind,
            str(one.run),
            one.state,
            moment(one.started_at, zone),
            _took(one.started_at, one.ended_at),
        )
        for one in status.last_runs
    ]
    out.print(table(("kind", "run", "state", "started", "took"), rows) if rows else "None yet.")
    for run in status.last_runs:
        if run.failure:
            out.print(escape(f"{run.kind} run {run.run} {run.state}: {run.failure}"))
    if status.nights_missed:
        out.print(escape(status.nights_missed), soft_wrap=True)
    heading(out, "Where it is")
    for what, place in (
        ("configuration", status.configuration),
        ("database", status.database),
        ("models", status.models),
    ):
        out.print(f"{what:14} {place}", soft_wrap=True, markup=False)


def tell_models(models: Sequence[ModelLine], zone: ZoneInfo) -> None:
    """One line a model, the champion marked."""
    out = console()
    rows = [
        (
            str(one.id),
            one.classifier,
            "champion" if one.champion else one.state,
            (one.decision or "not judged").replace("_", " "),
            HOW[one.trained],
            str(one.snapshot_id),
            moment(one.created_at, zone),
        )
        for one in models
    ]
    header = ("model", "classifier", "stands", "last decision", "trained", "snapshot", f"made ({zone.key})")
    out.print(table(header, rows, words=1) if rows else 'None yet; "laudos retrain" makes one.')
    if rows:
        out.print("[dim]laudos models show NUMBER tells one's figures and the decision, rule by rule.[/]")


def tell_jobs(jobs: Sequence[JobStatus], zone: ZoneInfo) -> None:
    """One line a job, and in words how far the unfinished ones are."""
    out = console()
    rows = [
        (
            str(one.job),
            one.classifier,
            str(one.model_id),
            one.state,
            f"{one.reports_done:,} of {one.reports:,}",
            f"{one.written:,}",
            f"{one.chunks_done:,} of {one.chunks:,}",
            one.population or "-",
            moment(one.created_at, zone),
            moment(one.ended_at, zone),
        )
        for one in jobs
    ]
    header = (
        "job",
        "classifier",
        "model",
        "state",
        "reports done",
        "written",
        "chunks",
        "population",
        f"cut ({zone.key})",
        "ended",
    )
    out.print(table(header, rows) if rows else 'None yet; "laudos classify" cuts one.')
    for one in jobs:
        if one.state in ("open", "paused"):
            out.print(escape(_how_far(one)))


def tell_classified(classified: Sequence[ClassifySummary]) -> None:
    """One line a classifier; what there was none of is left out."""
    out = console()
    for one in classified:
        counts = (
            (one.written, "predictions written"),
            (one.review, "of them for a person"),
            (one.withheld, "of these sure, but unlike those that calibrated the model"),
            (one.by_student, "answered by a student"),
            (one.encoded, "reports encoded"),
            (one.identical, "with the text of another"),
            (one.from_features, "read before"),
            (one.quarantined, "in quarantine"),
            (one.paused, "chunks wait"),
        )
        told = [one.outcome, *(f"{count:,} {what}" for count, what in counts if count)]
        if one.along is not None:
            told.append(f"model {one.along.model_id} scored {one.along.written:,} along ({one.along.state})")
        if one.resume_with:
            told.append(f'"{one.resume_with}" lets it go on')
        if one.failure:
            told.append(one.failure)
        out.print(escape(f"{one.classifier}: {'; '.join(told)}"), soft_wrap=True)


def tell_findings(findings: Sequence[Finding]) -> None:
    """One line a promise, what to do about those that are not kept, and the sum of each kind."""
    marks = {"invariant": "NO  ", "house": "care"}
    for one in findings:
        print(f"{'ok  ' if one.ok else marks[one.kind]}  {one.name}: {one.found}")
    wanting = [one for one in findings if not one.ok]
    for one in wanting:
        print(f"      {one.name}: {one.advice}")
    broken = sum(one.kind == "invariant" for one in wanting)
    kept, care = len(findings) - len(wanting), len(wanting) - broken
    print(f"{kept} promises kept, {broken} broken, {care} want care")


def _stands(one: ClassifierStatus, zone: ZoneInfo) -> str:
    if one.champion is None:
        return f'{one.classifier}: no champion, so nothing is answered; see "laudos models list"'
    return (
        f"{one.classifier}: model {one.champion} answers since {moment(one.since, zone)}; "
        f"{one.predicted:,} reports answered, {one.for_review:,} of them wait for a person, "
        f"{one.backlog or 0:,} not scored yet"
    )


def _how_far(job: JobStatus) -> str:
    told = [
        f"job {job.job} of {job.classifier}, model {job.model_id}: "
        f"{job.reports_done:,} of {job.reports:,} reports, {job.chunks_done:,} of {job.chunks:,} chunks"
    ]
    if job.state == "paused":
        told.append(f'stopped; "laudos jobs resume {job.job}" lets it go on')
    elif job.population == "due" and job.workers:
        told.append("a worker reads a sample first, by which all of it is tested; the others wait for it")
    else:
        told.append(f"{job.workers} workers" if job.workers else 'nobody at work; "laudos classify" goes on')
    if job.reports_per_minute is not None:
        told.append(f"{job.reports_per_minute:,.0f} reports a minute")
    if job.left_s is not None:
        told.append(f"about {lasts(job.left_s)} left")
    if job.silent:
        told.append(f"{job.silent} chunks of workers that fell silent")
    if job.suspect:
        told.append(f"{job.suspect} chunks that a worker died over")
    return "; ".join(told)


def _took(started: datetime, ended: datetime | None) -> str:
    return "under way" if ended is None else f"{(ended - started).total_seconds():,.0f} s"
