"""The page "tonight": the last 24 hours on one screen, in Markdown. Counts and names, never text."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from db.metrics import Metric
from db.monitoring import Answers, Cleared, Decision, Intake, Refusal
from db.shift import Told
from db.status import CandidateStatus, ClassifierStatus
from tasks.ml.judging.shift import PATIENTS_MIN, rings_from
from tasks.ml.network.artifact import CAVEAT
from tasks.ml.network.budget import SIZE, SPEED, TIME
from tasks.ml.network.cascade import Agreement
from tasks.ml.pages.nights import nights
from tasks.ml.pages.report_figures import BEHAVIOUR, FIRST_FIGURES
from tasks.night.status import candidate_told

PICTURED_DAYS = 14
# (population, subject) -> who is judged on what; the baselines keep the champion honest
SUBJECTS = {
    ("source", "model"): "hospital's labels",
    ("holdout", "model"): "held-out patients",
    ("holdout", "tfidf_word"): "- by TF-IDF, words",
    ("holdout", "keyword_rule"): "- by the keyword rule",
}


@dataclass(frozen=True)
class Night:
    """Everything the page tells. `answers` reach back PICTURED_DAYS, all else covers the last 24 hours."""

    until: datetime
    zone: ZoneInfo
    alarms: Sequence[str]
    intake: Sequence[Intake]
    decisions: Sequence[Decision]
    figures: Mapping[str, Sequence[Metric]]  # classifier -> its champion's, and the baselines' beside them
    answers: Sequence[Answers]
    classifiers: Sequence[ClassifierStatus]
    candidates: Sequence[CandidateStatus]
    quarantine: Sequence[Refusal]
    cleared: Cleared
    verdicts: Sequence[Told] = ()  # of the jobs' reports, taken together
    audits: Mapping[str, Agreement] = field(default_factory=dict)  # of the champions' cascades, all nights

    @property
    def since(self) -> datetime:
        return self.until - timedelta(days=1)


def tonight(night: Night) -> str:
    """The page, as GitHub-flavoured Markdown with one picture a classifier."""
    sections = [
        f"# Tonight, {night.until.astimezone(night.zone):%d %b %Y, %H:%M}",
        "The last 24 hours. Counts only: no report text ever reaches this page.",
        _alarms(night.alarms),
        _came_in(night),
        _trained(night),
        _measured(night),
        _scored(night),
        _waits(night),
        f"## What was removed\n\n{night.cleared}",
        f"---\n*{CAVEAT}*",
    ]
    return "\n\n".join(sections) + "\n"


def _alarms(alarms: Sequence[str]) -> str:
    if not alarms:
        return "> **No alarms.**"
    told = "\n".join(f"> - {alarm}" for alarm in alarms)
    return f"> **{len(alarms)} alarm{'s' if len(alarms) > 1 else ''}**\n>\n{told}"


def _came_in(night: Night) -> str:
    if not night.intake:
        return "## What came in\n\nNo source was ever read; `laudos ingest` reads them."
    header = ("source", "read", "new", "updated", "unchanged", "quarantined", "last new report")
    rows = [
        (
            one.source,
            *(f"{n:,}" for n in (one.read, one.new, one.updated, one.unchanged, one.quarantined)),
            _moment(one.last_report_at, night.zone),
        )
        for one in night.intake
    ]
    balance = (
        "*read = new + updated + unchanged + quarantined, each row as often as an ingest of these 24 hours"
    )
    return f"## What came in\n\n{_table(header, rows)}\n\n{balance} read it*"


def _trained(night: Night) -> str:
    parts = [f"**{candidate_told(one, night.zone)}**" for one in night.candidates]
    if not night.decisions and not parts:
        return "## What was trained\n\nNothing: the labels and the configuration were those of the champion."
    for one in night.decisions:
        parts.append(
            f"**{one.classifier}: model {one.model_id} {_FATE[one.decision]}** "
            f"({_HOW[one.trained]}, on {one.reports:,} labelled reports; page `model-{one.model_id}`)"
        )
        rules = [reason for reason in one.reasons if "rule" in reason]
        missed = [r for r in rules if not r["passed"]]
        broken = [f"- **missed** {r['rule']}: {r['found']}; asked: {r['asked']}" for r in missed]
        held = ", ".join(r["rule"] for r in rules if r["passed"])
        within = [r for r in rules if r["passed"] and r["rule"] in (SIZE, SPEED, TIME)]
        cost = [f"- {r['rule']}: {r['found']}" for r in within]
        parts.append("\n".join([*broken, *([f"- held: {held}"] if held else []), *cost]))
    return "## What was trained\n\n" + "\n\n".join(part for part in parts if part)


_FATE = {
    "promoted": "was promoted",
    "refused": "was refused",
    "rolled_back": "was rolled back to",
    "ended": "answers no more: a person ended the classifier",
}
_HOW = {"full": "the whole network", "head": "the last layer"}


def _measured(night: Night) -> str:
    tables = [table for name, known in sorted(night.figures.items()) for table in _judged(name, known)]
    if not tables:
        return "## How good the champions are\n\nNo champion yet; `laudos retrain` trains one."
    note = (
        "*Rows: whose reports, and how many; below, simpler methods on the same patients. In brackets 95 % "
        "intervals over patients. Patients a champion was trained on are never counted.*"
    )
    return "\n\n".join(["## How good the champions are", *tables, note])


def _judged(classifier: str, figures: Sequence[Metric]) -> Iterator[str]:
    """One table a champion: it on two populations, and much simpler methods beside it."""
    found = {(one.population, one.subject, one.name): one for one in figures if one.slice == "all"}
    rows = []
    for (population, subject), words in SUBJECTS.items():
        measured = [found.get((population, subject, name)) for name in FIRST_FIGURES]
        known = [one for one in measured if one is not None and one.value is not None]
        if known:
            # what a figure per report that is no share of one label stands on: every report
            on = f" ({found[population, subject, 'brier'].n:,})" if subject == "model" else ""
            rows.append((words + on, *map(_figure, measured)))
    if rows:
        yield _table((classifier, *FIRST_FIGURES.values()), rows)
    behaved = [one for one in figures if one.population == "behaviour" and one.slice in BEHAVIOUR]
    if behaved:
        yield f"{classifier}, pairs of reports that differ in one thing: " + "; ".join(map(_behaved, behaved))


def _behaved(one: Metric) -> str:
    return f"{BEHAVIOUR[one.slice]} {one.value or 0:.0%} of {one.n:,} right"


def _scored(night: Night) -> str:
    recent = [one for one in night.answers if one.at >= night.since]
    counts: Counter[tuple[str, int, str, str]] = Counter()
    for one in recent:
        counts[one.classifier, one.model_id, one.label, one.decision] += one.reports
    rows = [
        (classifier, model_id, label, f"{counts[classifier, model_id, label, 'auto']:,}",
         f"{counts[classifier, model_id, label, 'review']:,}")
        for classifier, model_id, label in sorted({key[:3] for key in counts})
    ]  # fmt: skip
    header = ("classifier", "model", "label", "answered", "left to a person")
    told = _table(header, rows) if rows else "Nothing: every report had been answered by the champion."
    pictures = [
        _picture(classifier, [one for one in night.answers if one.classifier == classifier], night)
        for classifier in sorted({one.classifier for one in night.answers})
    ]
    last_jobs = {one.classifier: one for one in night.verdicts}
    compared = [_compared(name, last) for name, last in sorted(last_jobs.items())]
    cascades = [_audited(name, found) for name, found in sorted(night.audits.items()) if found.reports]
    return "\n\n".join(["## What was scored", told, *compared, *cascades, *pictures])


def _compared(classifier: str, last: Told) -> str:
    """Whether the promise of its sure answers stands for the last job."""
    found, of = last.verdict, f"{classifier}: the reports of job {last.job_id}"
    sides = f"{found.patients or 0:,} patients beside {found.calibration_patients or 0:,} that calibrated"
    if found.state == "untested":
        why = {
            "off": "`scoring.shift_level` is 0, or the job was cut before there were tests",
            "few_calibration": f"{sides}, and {PATIENTS_MIN} are needed of them",
            "few_reports": f"{sides}, and {PATIENTS_MIN} are needed on either side",
        }.get(found.because or "", "see the alarm")
        return f"{of}: whether they are another population was **not tested** ({why})"
    told = "no difference from them was found"
    if found.state == "shifted":
        told = "**another population**, of which no sure answer is given"
    by = found.seen_in or "vectors"
    least = rings_from(by, found.calibration_patients or 1, found.patients or 1, found.level or 1e-4)
    seen = f"AUROC {found.auroc:.2f} by {by}, 0.50 is chance; so many ring from {least:.2f} on"
    return f"{of}, {sides} the champion: {told} ({seen})"


def _audited(classifier: str, found: Agreement) -> str:
    return (
        f"{classifier}, its cascade over all nights: of {found.reports:,} audited answers {found.answered:,} "
        f"were a student's; the champion decides {found.other_decisions:,} of them otherwise, and "
        f"{found.critical_lost:,} of the {found.critical:,} that it calls critical had got another label"
    )


def _waits(night: Night) -> str:
    header = ("classifier", "champion", "answered in all", "waiting for a person", "waiting to be scored")
    rows = [
        (
            one.classifier,
            "-" if one.champion is None else f"model {one.champion}",
            f"{one.predicted:,}",
            f"**{one.for_review:,}**",
            "-" if one.backlog is None else f"{one.backlog:,}",
        )
        for one in night.classifiers
    ]
    refused = [(one.source, f"`{one.reason}`", f"{one.waiting:,}") for one in night.quarantine]
    quarantine = (
        _table(("source", "in quarantine because", "rows"), refused)
        + "\n\n`laudos quarantine list` shows them."
        if refused
        else "Nothing is in quarantine."
    )
    return f"## What waits\n\n{_table(header, rows)}\n\n{quarantine}"


def _picture(classifier: str, answers: Sequence[Answers], night: Night) -> str:
    today = night.until.astimezone(night.zone).date()
    first = min(one.at for one in answers).astimezone(night.zone).date()
    back = min(max((today - first).days, 6), PICTURED_DAYS - 1)
    days = [today - timedelta(days=ago) for ago in range(back, -1, -1)]
    counts: Counter[tuple[date, str]] = Counter()
    for one in answers:
        kind = one.label if one.decision == "auto" else ""
        counts[one.at.astimezone(night.zone).date(), kind] += one.reports
    labels = sorted({one.label for one in answers})
    drawn = nights(
        days,
        {label: [counts[day, label] for day in days] for label in labels},
        [counts[day, ""] for day in days],
        f"{classifier}: what was answered, day by day",
    )
    return f"![answers of {classifier} by day](data:image/png;base64,{base64.b64encode(drawn).decode()})"


def _figure(figure: Metric | None) -> str:
    if figure is None or figure.value is None:
        return "-"
    ends = "" if figure.low is None or figure.high is None else f" ({figure.low:.2f}-{figure.high:.2f})"
    return f"{figure.value:.3f}{ends}" if figure.subject == "model" else f"{figure.value:.3f}"


def _moment(at: datetime | None, zone: ZoneInfo) -> str:
    return "never" if at is None else f"{at.astimezone(zone):%d %b %H:%M}"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    # a bar inside a cell would end it
    return "\n".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines
    )
