"""What must always be true of the database, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select

from db import audit, erasure, offenders
from db.tables import champion, run, run_batch

SHOWN = 5  # of what breaks a promise


@dataclass(frozen=True)
class Invariant:
    """A named promise: `query` selects what breaks it, `ids` says what the ids are of."""

    name: str
    holds: str
    ids: str
    advice: str
    query: Callable[[], Select[Any]]


@dataclass(frozen=True)
class Violation:
    """What breaks a promise: the first ids and how many there are."""

    ids: tuple[str, ...]
    count: int


def violations(c: Connection, query: Select[Any]) -> Violation | None:
    """The offenders that a query returns; None = sound."""
    broken = query.subquery()
    count = c.scalar(select(func.count()).select_from(broken)) or 0
    if count == 0:
        return None
    first = c.scalars(select(broken).order_by(broken.c[0]).limit(SHOWN))
    return Violation(tuple(str(one) for one in first), count)


_BACKUP = "the database was changed by hand or is damaged; compare with the last back-up"

INVARIANTS = (
    Invariant(
        "ledger_balances",
        "read = new + updated + unchanged + quarantined in every run",
        "run",
        _BACKUP,
        lambda: offenders.unbalanced(run, run.c.id),
    ),
    Invariant(
        "batch_ledger_balances",
        "the same in every batch",
        "run/batch",
        _BACKUP,
        lambda: offenders.unbalanced(run_batch, run_batch.c.run_id, run_batch.c.seq),
    ),
    Invariant(
        "batches_add_up",
        "a run's counts are its batches' sum",
        "run",
        _BACKUP,
        offenders.runs_unlike_their_batches,
    ),
    Invariant(
        "versions_in_the_ledger",
        "a run wrote as many first and later versions as it counts new and updated reports",
        "run",
        _BACKUP,
        offenders.runs_unlike_their_versions,
    ),
    Invariant(
        "versions_without_gaps",
        "a report's versions are 1, 2, 3...",
        "report",
        _BACKUP,
        offenders.versions_with_gaps,
    ),
    Invariant(
        "current_version_is_last",
        "a report's current version is its highest",
        "report",
        _BACKUP,
        offenders.not_the_last_version,
    ),
    Invariant(
        "erased_leave_nothing",
        "of a report that was erased no text, nothing read off it and no row in quarantine is held",
        "report",
        'something brought it back; run "laudos erase" with its id again',
        erasure.with_something_left,
    ),
    Invariant(
        "predictions_written_once",
        "no report version has two predictions by one model",
        "model/report version",
        _BACKUP,
        offenders.written_twice,
    ),
    Invariant(
        "predictions_under_their_lease",
        "every prediction was written under its chunk's last lease, by its job's model",
        "model/report version",
        _BACKUP,
        offenders.written_under_another_lease,
    ),
    Invariant(
        "chunks_wrote_what_they_say",
        "a chunk has as many predictions as it says it wrote",
        "job/chunk",
        _BACKUP,
        offenders.chunks_with_other_counts,
    ),
    Invariant(
        "jobs_end_with_their_chunks",
        "a scoring job is done when its last chunk is",
        "job",
        _BACKUP,
        offenders.jobs_ended_wrongly,
    ),
    Invariant(
        "chunks_do_not_overlap",
        "no two chunks of a scoring job hold the same report version",
        "job/chunk",
        _BACKUP,
        offenders.overlapping_chunks,
    ),
    Invariant(
        "one_open_job",
        "a classifier has one unfinished scoring job at most",
        "classifier",
        _BACKUP,
        offenders.classifiers_with_two_open_jobs,
    ),
    Invariant(
        "champion_is_last_promotion",
        "the champion is the model of the last promotion or rollback, and none where a classifier was ended",
        "classifier",
        'somebody changed it by hand; see "laudos models list", then "laudos models rollback CLASSIFIER"',
        offenders.champions_nobody_promoted,
    ),
    Invariant(
        "training_sets_whole",
        "a training set has as many reports as it says",
        "snapshot",
        _BACKUP,
        offenders.snapshots_unlike_their_items,
    ),
    Invariant(
        "synthetic_set_whole",
        "of what is written here as many reports teach as the set in force has",
        "source",
        'another set\'s reports may teach beside it; run "laudos synthesize", then "laudos retrain"',
        offenders.sources_unlike_their_set,
    ),
    Invariant(
        "vectors_fit_their_encoder",
        "all vectors of an encoder are equally long",
        "encoder",
        "heads read wrong numbers from them; compare with the last back-up",
        offenders.encoders_with_unequal_vectors,
    ),
    Invariant(
        "patients_in_one_split",
        "no patient stands in two splits of a training set",
        "snapshot/a report of the patient",
        'figures from these training sets are not honest; run "laudos retrain" for a new one',
        offenders.patients_in_two_splits,
    ),
)


def champions(c: Connection) -> Mapping[str, int]:
    """classifier -> model id."""
    return {row.classifier: row.model_id for row in c.execute(select(champion))}


def broken_audit(c: Connection) -> Violation | None:
    """Rows where the audit chain does not hold."""
    broken = audit.broken(c)
    if not broken:
        return None
    return Violation(tuple(f"{one.audit_id}: {one.what}" for one in broken[:SHOWN]), len(broken))
