"""Which models some reports taught, or perhaps did; where no reports are named, those that were erased."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, func, select

from db import models
from db.among import among, chunks
from db.models import Model
from db.tables import audit, report, report_version, run, snapshot, snapshot_item

# in the place of a text's hash, which would let a guess at the text be tried
ERASED_SHA: Final = "0" * 64

BEGUN: Final = "erased"  # the action of the audit

# training set -> split -> numbers of reports
Lessons = dict[int, dict[str, set[int]]]

_LATE: Final = timedelta(hours=1)  # an erasure is committed after its moment, and clocks differ
_PERHAPS: Final = 0  # among the numbers of what taught a model: reports that nobody counted


@dataclass(frozen=True)
class Taught:
    """So many reports taught a model: itself, the body it was given, or its teacher. `perhaps`: others may
    have, without a label."""

    reports: int
    perhaps: bool

    def __str__(self) -> str:
        if self.perhaps:
            return f"{self.reports:,} and perhaps others" if self.reports else "perhaps some"
        return f"{self.reports:,}"


def taught_by(c: Connection, report_ids: Sequence[int] | None = None) -> tuple[dict[int, Taught], list[str]]:
    """What these reports (None: all that were erased) are to each model that is left and has learnt from any;
    and the encoders pre-trained here that may have read some."""
    beside = _runs_beside(c, report_ids)
    encoders = _encoders(c, beside)
    return taught(models.of_classifier(c), lessons(c, report_ids), beside, encoders), encoders


def lessons(c: Connection, report_ids: Sequence[int] | None = None) -> Lessons:
    """Training set -> split -> which of these reports it holds; None: of all that were erased."""
    query = (
        select(snapshot_item.c.snapshot_id, snapshot_item.c.split, report_version.c.report_id)
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .distinct()
    )
    found: Lessons = defaultdict(lambda: defaultdict(set))
    for snapshot_id, split, report_id in _of(c, query, report_ids):
        found[snapshot_id][split].add(report_id)
    return found


def shas_of(c: Connection, snapshot_ids: Collection[int]) -> set[str]:
    """Of these training sets."""
    return set(c.scalars(select(snapshot.c.sha).where(snapshot.c.id.in_(snapshot_ids))))


def taught(
    every: Sequence[Model], of: Lessons, beside: Collection[int] = (), encoders: Collection[str] = ()
) -> dict[int, Taught]:
    """`taught_by`, of all models there ever were; those that were removed are left out of the answer.

    `beside`: runs that may have read some of the reports without a label; `encoders`: that such runs made.
    """
    learnt: dict[int, set[int]] = {}
    bodies: dict[str, set[int]] = defaultdict(set)
    for one in sorted(every, key=lambda one: one.id):
        splits, made = of.get(one.snapshot_id, {}), one.config.get("distilled", {})
        mine = splits.get("train", set()) | learnt.get(made.get("teacher"), set())
        begun_with = Path(str(one.config.get("encoder"))).name
        if begun_with in encoders or (made.get("unlabelled") and one.run_id in beside):
            mine = mine | {_PERHAPS}
        if one.trained == "full":
            bodies[one.encoder_sha] |= mine
        learnt[one.id] = mine | bodies[one.encoder_sha] | splits.get("calibration", set())
    return {
        one.id: Taught(len(learnt[one.id] - {_PERHAPS}), _PERHAPS in learnt[one.id])
        for one in every
        if one.state != "removed" and learnt[one.id]
    }


def _of(c: Connection, query: Any, report_ids: Sequence[int] | None) -> Iterator[Any]:
    """Rows of a query over report versions that are of these reports, or were erased."""
    if report_ids is not None:
        for some in chunks(report_ids):
            yield from c.execute(query.where(among(c, report_version.c.report_id, some)))
    # spares nearly every hospital a look at all versions
    elif c.scalar(select(audit.c.id).where(audit.c.action == BEGUN).limit(1)) is not None:
        yield from c.execute(query.where(report_version.c.raw_sha == ERASED_SHA))


def _runs_beside(c: Connection, report_ids: Sequence[int] | None) -> set[int]:
    """Pre-trainings and distillations that ran while one of the reports was here, and so may have read it:
    which ones they read without a label is on no record."""
    came = func.min(report_version.c.created_at)
    query = select(came, report.c.erased_at).join(report, report.c.id == report_version.c.report_id)
    here = [tuple(row) for row in _of(c, query.group_by(report.c.erased_at), report_ids)]
    runs = select(run.c.id, run.c.started_at, run.c.ended_at).where(run.c.kind.in_(("pretrain", "distill")))
    now = datetime.now(UTC)
    return {
        row.id
        for row in (c.execute(runs) if here else ())
        for came, gone in here
        if came <= (row.ended_at or now) and row.started_at - _LATE <= (gone or now)
    }


def _encoders(c: Connection, beside: Collection[int]) -> list[str]:
    """What these runs pre-trained, and what was pre-trained from that on; the oldest first."""
    found: list[str] = []
    made = select(audit.c.subject, audit.c.detail).where(audit.c.action == "pretrained").order_by(audit.c.id)
    for subject, detail in c.execute(made) if beside else ():
        if detail["run"] in beside or detail.get("start") in found:
            found.append(subject.removeprefix("encoder "))
    return found
