"""What `laudos explain`, `laudos verify` and `laudos reproduce` print for a person."""

from __future__ import annotations

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from flows.cli.console import console, moment, table
from tasks.inspection.explain import Explained, Marked
from tasks.inspection.marked_page import CAVEAT
from tasks.inspection.reproduce import Reproduced
from tasks.inspection.verify import Difference, Verified

STYLES = {"strong": "bold black on yellow", "some": "yellow", "against": "underline cyan", "none": ""}
RANKED = 5


def tell_marked(explained: Explained, text: str) -> None:
    """The report with its marks, on the terminal of the person who asked."""
    out = console()
    _tell_answer(explained, out)
    out.print()
    out.print(marked(explained, text), soft_wrap=True)
    out.print()
    words = Text()
    for degree, meaning in (("strong", "carried the answer"), ("some", "helped"), ("against", "against it")):
        words.append(meaning, style=STYLES[degree]).append("  ")
    out.print(words)
    _tell_ranked(explained, out)


def tell_places(explained: Explained) -> None:
    """The same without the text, for whatever is no terminal."""
    out = console()
    _tell_answer(explained, out)
    _tell_ranked(explained, out)


def marked(explained: Explained, text: str) -> Text:
    """The text with a style a passage."""
    shown = Text(text)  # Text, not markup: square brackets in a report stay what they are
    for one in explained.passages:
        if STYLES[one.degree]:
            shown.stylize(STYLES[one.degree], one.start, one.end)
    return shown


def tell_verified(verified: Verified, zone: ZoneInfo) -> None:
    """The verdict first, then where the prediction came from."""
    out, of = console(), verified.trace
    if verified.same:
        out.print(f"[green]the same again[/]: prediction {verified.prediction}")
    else:
        out.print(f"[bold red]NOT the same[/]: prediction {verified.prediction}")
        out.print(table(("", "recorded", "now"), _as_rows(verified.differences), words=1))
    if verified.largest_difference is not None:
        out.print(f"largest difference of a probability: {verified.largest_difference:.1e}")
    reason = f" ({of.review_because})" if of.review_because else ""
    for name, value in (
        ("answer", f"{of.label}, {of.decision}{reason}, {moment(of.predicted_at, zone)}, {of.backend}"),
        ("report", f"{of.report_id} of {of.source}, version {of.version} of {of.current_version}"),
        ("report version", f"{of.report_version_id}, cleaned by revision {of.cleaning_revision}"),
        *([("student", f"{verified.student}: it answered, for the model")] if verified.student else []),
        ("model", f"{of.model_id} of {of.classifier}, manifest {of.manifest_sha}"),
        ("training set", f"{of.snapshot_id}, sha {of.snapshot_sha}"),
        ("trained by", f"run {of.training_run}, code {of.training_code_revision}"),
        ("trained with", f"configuration {of.training_config_sha}"),
        ("scored by", f"run {of.scoring_run}, code {of.scoring_code_revision}"),
        ("scored with", f"configuration {of.scoring_config_sha}"),
        ("its job's reports", of.shift or "not tested for a shift"),
        ("computed again by", f"code {verified.code_revision_now}"),
        ("computed again with", f"configuration {verified.config_sha_now}"),
    ):
        out.print(escape(f"{name:20} {value}"), soft_wrap=True)


def tell_reproduced(reproduced: Reproduced) -> None:
    """The verdict first, then what differs, and what is another than it was."""
    out, of = console(), reproduced
    name = f"model {of.model_id} ({of.trained})"
    if of.same:
        out.print(f"[green]the same again[/]: {name}, every weight bit for bit", soft_wrap=True)
    else:
        out.print(f"[bold red]NOT the same[/]: {name}", soft_wrap=True)
        out.print(table(("", "recorded", "now"), _as_rows(of.differences), words=1))
    if of.largest_difference:
        out.print(f"largest difference of a weight: {of.largest_difference:.1e}")
    if of.circumstances:
        out.print("another than when it was trained:" if of.same else "it may be because of these:")
        out.print(table(("", "then", "now"), _as_rows(of.circumstances), words=1))
    elif not of.same and of.largest_difference is not None:
        out.print("nothing that was recorded is another than it was", soft_wrap=True)
    if of.largest_difference is not None:
        out.print(escape(f"{'body':20} {of.body}"), soft_wrap=True)
        out.print(escape(f"{'vectors':20} {of.encoded:,} computed, the others as stored"), soft_wrap=True)


def _as_rows(differences: Sequence[Difference]) -> list[tuple[str, str, str]]:
    return [(one.what, one.recorded, one.now) for one in differences]


def _tell_answer(explained: Explained, out: Console) -> None:
    reason = f" ({explained.because})" if explained.because else ""
    out.print(
        escape(
            f"report {explained.report_id}, version {explained.version}, {explained.classifier}: "
            f"{explained.label} {explained.probability:.3f}, {explained.decision}{reason}, "
            f"model {explained.model_id}"
        )
    )


def _tell_ranked(explained: Explained, out: Console) -> None:
    strongest = sorted(explained.passages, key=lambda one: -one.score)[:RANKED]
    carrying: list[Marked] = [one for one in strongest if one.degree in ("strong", "some")]
    if carrying:
        rows = [(f"{one.start} to {one.end}", f"{one.score:+.2f}", one.degree) for one in carrying]
        out.print(table(("characters", "score (nats)", ""), rows, words=2))
    else:
        out.print("No single sentence carried the answer.")
    out.print(escape(CAVEAT))
