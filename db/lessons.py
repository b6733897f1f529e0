"""Which models some reports taught, and which were taught by reports that were erased since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from db.among import among, chunks
from db.models import Model
from db.tables import audit, report_version, snapshot, snapshot_item

# in the place of a text's hash, which would let a guess at the text be tried
ERASED_SHA: Final = "0" * 64

BEGUN: Final = "erased"  # the action of the audit

# training set -> split -> numbers of reports
Lessons = dict[int, dict[str, set[int]]]


def lessons(c: Connection, report_ids: Sequence[int] | None = None) -> Lessons:
    """Training set -> split -> which of these reports it holds; None: of all that were erased."""
    if report_ids is None and c.scalar(select(audit.c.id).where(audit.c.action == BEGUN).limit(1)) is None:
        return {}  # spares nearly every hospital a look at all versions
    query = (
        select(snapshot_item.c.snapshot_id, snapshot_item.c.split, report_version.c.report_id)
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .distinct()
    )
    parts = (
        [query.where(report_version.c.raw_sha == ERASED_SHA)]
        if report_ids is None
        else [query.where(among(c, report_version.c.report_id, some)) for some in chunks(report_ids)]
    )
    found: Lessons = defaultdict(lambda: defaultdict(set))
    for part in parts:
        for snapshot_id, split, report_id in c.execute(part):
            found[snapshot_id][split].add(report_id)
    return found


def shas_of(c: Connection, snapshot_ids: Collection[int]) -> set[str]:
    """Of these training sets."""
    return set(c.scalars(select(snapshot.c.sha).where(snapshot.c.id.in_(snapshot_ids))))


def taught(every: Sequence[Model], of: Lessons) -> dict[int, int]:
    """Model -> how many of some reports (`of`) taught it: itself, the body it was given, or its teacher.

    `every`: all models there ever were; those that were removed are left out of the answer.
    """
    learnt: dict[int, set[int]] = {}
    bodies: dict[str, set[int]] = defaultdict(set)
    for one in sorted(every, key=lambda one: one.id):
        splits = of.get(one.snapshot_id, {})
        teacher = one.config.get("distilled", {}).get("teacher")
        mine = splits.get("train", set()) | learnt.get(teacher, set())
        if one.trained == "full":
            bodies[one.encoder_sha] |= mine
        learnt[one.id] = mine | bodies[one.encoder_sha] | splits.get("calibration", set())
    return {one.id: len(learnt[one.id]) for one in every if one.state != "removed" and learnt[one.id]}


def pretrained_since(c: Connection, report_ids: Sequence[int]) -> list[str]:
    """Encoders pre-trained after the first of these came in: which reports they read is not on record."""
    first = [
        c.scalar(
            select(func.min(report_version.c.created_at)).where(among(c, report_version.c.report_id, some))
        )
        for some in chunks(report_ids)
    ]
    came = min((one for one in first if one is not None), default=None)
    if came is None:
        return []
    made = select(audit.c.subject).where(audit.c.action == "pretrained", audit.c.at >= came)
    return [subject.removeprefix("encoder ") for subject in c.scalars(made.order_by(audit.c.id))]
