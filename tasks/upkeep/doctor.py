"""`laudos doctor`: every promise of DESIGN's, held against database, model folders and machine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine

from db import doctor as promises
from db import erasure, house, lessons, offenders
from db.engine import reading
from tasks.database import open_database
from tasks.night.missed import ADVICE, missed_nights
from tasks.settings.settings import Settings
from tasks.upkeep import doctor_folders, doctor_machine
from tasks.upkeep.findings import Finding as Finding
from tasks.upkeep.findings import finding, told, violation


def doctor(settings: Settings) -> list[Finding]:
    """What is not as it must be; empty = sound."""
    return [one for one in examine(open_database(settings), settings) if not one.ok]


def broken_promises(findings: list[Finding]) -> list[Finding]:
    """The broken promises among them: what no kill, no cut line and no clock may ever bring about."""
    return [one for one in findings if not one.ok and one.kind == "invariant"]


def examine(engine: Engine, settings: Settings) -> list[Finding]:
    """Every promise, kept or not.

    Raises DatabaseFailure where another program holds a table or the file for longer than a minute.
    """
    with reading(engine) as c:
        return list(checkup(c, settings))


def checkup(c: Connection, settings: Settings) -> Iterator[Finding]:
    """`examine` one promise after the other, in a transaction of the caller's."""
    house.prepare(c)
    yield from _invariants(c)
    yield from _backlogs(c, settings)
    yield _ended(c, settings)
    yield _nights(c, settings)
    yield from _erasures(c)
    yield from doctor_folders.examine(c, settings, datetime.now(UTC))
    yield from doctor_machine.examine(c, settings)


def _invariants(c: Connection) -> Iterator[Finding]:
    for one in promises.INVARIANTS:
        broken = promises.violations(c, one.query())
        yield finding(one.name, one.holds, broken, f"{one.ids} {told(broken)}", one.advice)
    broken = promises.broken_audit(c)
    yield finding(
        "audit_chain",
        "no row of the audit was altered or taken out",
        broken,
        f"audit row {told(broken)}",
        "somebody changed the audit; compare with the last back-up",
    )


def _backlogs(c: Connection, settings: Settings) -> Iterator[Finding]:
    for classifier, model_id in promises.champions(c).items():
        asked = settings.classifiers.get(classifier)
        if asked is None:
            continue  # not configured any more: nobody wants its predictions
        broken = promises.violations(c, offenders.left_behind(model_id, asked.sources))
        yield finding(
            f"done_jobs_left_nothing ({classifier})",
            f"done jobs of model {model_id} left no current report without a prediction",
            broken,
            f"report version {told(broken)}",
            f'run "laudos classify --classifier {classifier}"',
        )


def _ended(c: Connection, settings: Settings) -> Finding:
    """A notice: who was renamed or taken out on purpose breaks no promise, and still counts in the views."""
    ended = ", ".join(sorted(set(promises.champions(c)) - set(settings.classifiers)))
    notice = (
        f"{ended}: a champion, and not in laudos.toml; nothing new is scored, and current_prediction and "
        "review_queue still hold its answers; if it is done for good: laudos models end NAME"
    )
    kept = "every classifier that has a champion is in laudos.toml"
    return Finding("champions_are_configured", True, notice if ended else kept, "", "house")


def _nights(c: Connection, settings: Settings) -> Finding:
    missed = missed_nights(c, settings, datetime.now(UTC))
    kept = "a night came when schedules.nightly asked for it, or none ever began by it"
    return Finding("nights_come", missed is None, missed or kept, ADVICE if missed else "", "house")


def _erasures(c: Connection) -> Iterator[Finding]:
    """Whether the last ones were finished; and, which breaks no promise, which models learnt what is gone."""
    broken = violation(erasure.unfinished(c))
    yield finding(
        "erasures_finished",
        "what was erased is gone from free pages and files, too",
        broken,
        f"erasure of {told(broken)}",
        '"laudos doctor --repair" does the rest of an erasure',
        "house",
    )
    taught, _ = lessons.taught_by(c)
    learnt = ", ".join(f"model {number} ({one})" for number, one in sorted(taught.items()))
    notice = f'taught by reports that were erased since: {learnt}; "laudos retrain --how full" replaces them'
    yield Finding(
        "models_and_erasures",
        True,
        notice if taught else "no model was taught by a report that was erased since",
        "",
        "house",
    )
