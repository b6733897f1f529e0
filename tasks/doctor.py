"""`laudos doctor`: every promise of DESIGN's, held against the database and the model folders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from db import doctor as promises
from db import models, offenders, scoring
from db.doctor import Violation
from db.engine import reading
from tasks.database import open_database
from tasks.model_folders import fault_of, folder_of, models_folder
from tasks.settings import Settings


@dataclass(frozen=True)
class Finding:
    """One promise and whether it is kept; `found` names ids and counts, `advice` what to do next."""

    name: str
    ok: bool
    found: str
    advice: str


def doctor(settings: Settings) -> list[Finding]:
    """What is not as it must be; empty = sound."""
    return [finding for finding in examine(settings) if not finding.ok]


def examine(settings: Settings) -> list[Finding]:
    """Every promise, kept or not, on one state of the database."""
    with reading(open_database(settings)) as c:
        return [*_invariants(c), *_backlogs(c, settings), *_artifacts(c, settings), *_folders(c, settings)]


def _invariants(c: Connection) -> Iterator[Finding]:
    for one in promises.INVARIANTS:
        broken = promises.violations(c, one.query())
        yield _finding(one.name, one.holds, broken, f"{one.ids} {_ids(broken)}", one.advice)
    broken = promises.broken_audit(c)
    yield _finding(
        "audit_chain",
        "no row of the audit was altered or taken out",
        broken,
        f"audit row {_ids(broken)}",
        "somebody changed the audit; compare with the last back-up",
    )
    broken = promises.violations(c, offenders.expired_leases(scoring.lease_clock(c)))
    yield _finding(
        "no_expired_leases",
        "every leased chunk has a worker that answers",
        broken,
        f"job/chunk {_ids(broken)}",
        'a worker died; "laudos classify" takes its chunks over',
    )


def _backlogs(c: Connection, settings: Settings) -> Iterator[Finding]:
    for classifier, model_id in promises.champions(c).items():
        asked = settings.classifiers.get(classifier)
        if asked is None:
            continue  # not configured any more: nobody wants its predictions
        broken = promises.violations(c, offenders.left_behind(model_id, asked.sources))
        yield _finding(
            f"done_jobs_left_nothing ({classifier})",
            f"done jobs of model {model_id} left no current report without a prediction",
            broken,
            f"report version {_ids(broken)}",
            f'run "laudos classify --classifier {classifier}"',
        )


def _artifacts(c: Connection, settings: Settings) -> Iterator[Finding]:
    for classifier in promises.champions(c):
        champion = models.champion_of(c, classifier)
        assert champion is not None  # listed a line above, in the same transaction
        fault = fault_of(settings, champion.model)
        yield Finding(
            f"champion_as_published ({classifier})",
            fault is None,
            fault or f"model {champion.model.id} is what was published",
            "" if fault is None else f'restore its folder, or run "laudos models rollback {classifier}"',
        )


def _folders(c: Connection, settings: Settings) -> Iterator[Finding]:
    known = {folder_of(settings, model) for model in models.of_classifier(c)}
    root = models_folder(settings)
    orphans = sorted(path for path in root.glob("*/*") if path.is_dir() and path not in known)
    broken = (
        Violation(tuple(str(path.relative_to(root)) for path in orphans[:5]), len(orphans))
        if orphans
        else None
    )
    yield _finding(
        "no_orphan_folders",
        "every model folder has its row",
        broken,
        f"folder {_ids(broken)}",
        "unless a training is under way now, one was killed before it was recorded; remove these folders",
    )


def _finding(name: str, holds: str, broken: Violation | None, found: str, advice: str) -> Finding:
    return Finding(name, True, holds, "") if broken is None else Finding(name, False, found, advice)


def _ids(broken: Violation | None) -> str:
    if broken is None:
        return ""
    more = f" and {broken.count - len(broken.ids)} more" if broken.count > len(broken.ids) else ""
    return ", ".join(broken.ids) + more
