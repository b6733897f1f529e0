"""What `laudos models show` prints for a person."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from rich.markup import escape

from flows.cli.console import console, heading, moment, title
from flows.cli.summary import print_judged, print_rules
from flows.cli.words import HOW
from tasks.models.models import ModelStory
from tasks.night.summary import Judged


def tell_model(story: ModelStory, judged: Sequence[Judged], zone: ZoneInfo) -> None:
    """What taught it, its figures beside the baselines, and every decision about it."""
    out, model = console(), story.model
    standing = "the champion" if model.champion else f"{model.state}, not the champion"
    title(out, f"Model {model.id} for {model.classifier}: {standing}")
    out.print(f"made {moment(model.created_at, zone)} ({zone.key}), trained: {HOW[model.trained]}")
    if student := story.config.get("distilled"):
        out.print(f"a student of model {student['teacher']}, with {student['layers']} of its layers")
    out.print(f"folder {model.folder}", soft_wrap=True, markup=False)
    if story.report:
        out.print(f"report {story.report}", soft_wrap=True, markup=False)
    if story.fault:
        out.print(f"[bold red]It cannot answer:[/] {escape(story.fault)}")
    heading(out, f"What taught it (snapshot {model.snapshot_id})")
    if story.data_card:
        out.print(f"data card {story.data_card}", soft_wrap=True, markup=False)
    patients = story.training_set.get("patients", {})
    for split, labels in story.training_set.get("reports", {}).items():
        counts = ", ".join(f"{count:,} {label}" for label, count in labels.items())
        out.print(escape(f"{split}: {patients.get(split, 0):,} patients, reports: {counts}"))
    if story.erased:
        out.print(
            f"{story.erased} of the reports that taught it were erased on request since; "
            '"laudos retrain --how full" makes one that never saw them'
        )
    for sentence in story.learnt:
        out.print(escape(sentence))
    if story.answers:
        out.print(f"what answers: {story.answers}")
    for one in judged:
        print_judged(one, str(story.config["critical"]), out)
    if story.review:
        heading(out, "Who goes to a person")
    for sentence in story.review:
        out.print(escape(sentence))
    for past in story.decisions:
        heading(out, f"Decided {moment(past.at, zone)} by {past.actor}: {past.decision.replace('_', ' ')}")
        print_rules(past.reasons, out)
    out.print("\n[dim]--json tells every figure and the whole configuration.[/]")
