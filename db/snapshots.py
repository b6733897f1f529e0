"""Frozen training sets: which report versions, with which label, in which split."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, case, func, insert, or_, select

from db.among import among, chunks
from db.errors import LaudosError
from db.reports import CURRENT, PRESENT
from db.tables import label, report, report_version, snapshot, snapshot_item, source

TEXTS_AT_ONCE, ROWS_AT_ONCE = 1_000, 10_000  # of a streamed result, in memory


@dataclass(frozen=True)
class Labelled:
    """A current report version and the label that counts for it."""

    report_version_id: int
    source: str
    external_id: str
    raw_sha: str
    patient_key: str
    label: str
    origin: str


@dataclass(frozen=True)
class Snapshot:
    """A frozen set's row; `recipe` says how it was made and holds its counts."""

    id: int
    classifier: str
    sha: str
    recipe: dict[str, Any]
    reports: int
    run_id: int
    created_at: datetime


def labelled(
    c: Connection, classifier: str, origins: Collection[str], sources: Collection[str] | None
) -> list[Labelled]:
    """Current, present, labelled report versions, one row each.

    Where several labels exist, feedback counts before the source and the source before synthetic;
    within one origin the latest counts. `sources` limits the hospital's sources (None: all);
    what was written here for the classifier is always read.
    """
    rank = case({"feedback": 0, "source": 1, "synthetic": 2}, value=label.c.origin)
    query = (
        select(
            report_version.c.id,
            source.c.name,
            report.c.external_id,
            report_version.c.raw_sha,
            report.c.patient_key,
            label.c.value,
            label.c.origin,
        )
        .join(report_version, report_version.c.id == label.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .where(
            label.c.classifier == classifier,
            label.c.origin.in_(list(origins)),
            CURRENT,
            report_version.c.text.is_not(None),
            PRESENT,
        )
        .order_by(report_version.c.id, rank, label.c.at.desc(), label.c.actor)
    )
    if sources is not None:
        query = query.where(or_(source.c.kind == "synthetic", source.c.name.in_(list(sources))))
    chosen: dict[int, Labelled] = {}
    for row in c.execute(query):
        chosen.setdefault(row.id, Labelled(*row))
    return list(chosen.values())


def freeze(
    c: Connection,
    *,
    classifier: str,
    sha: str,
    recipe: Mapping[str, Any],
    items: Sequence[Mapping[str, Any]],
    run_id: int,
    now: datetime,
) -> int:
    """Write a snapshot and its items; the same content again gives the row that is there.

    An item has report_version_id, label, origin and split.
    """
    known = select(snapshot.c.id).where(snapshot.c.classifier == classifier, snapshot.c.sha == sha)
    found = c.scalar(known)
    if found is not None:
        return int(found)
    added = insert(snapshot).values(
        classifier=classifier, sha=sha, recipe=dict(recipe), reports=len(items), run_id=run_id, created_at=now
    )
    snapshot_id = int(c.execute(added.returning(snapshot.c.id)).scalar_one())
    c.execute(insert(snapshot_item), [dict(item) | {"snapshot_id": snapshot_id} for item in items])
    return snapshot_id


def get(c: Connection, snapshot_id: int) -> Snapshot | None:
    row = c.execute(select(snapshot).where(snapshot.c.id == snapshot_id)).one_or_none()
    return None if row is None else Snapshot(**row._mapping)


def existing(c: Connection, snapshot_id: int) -> Snapshot:
    """`get`. Raises LaudosError where there is none of that number."""
    found = get(c, snapshot_id)
    if found is None:
        raise LaudosError(
            f'there is no snapshot {snapshot_id}; "laudos models show MODEL" names those of one'
        )
    return found


def items(c: Connection, snapshot_id: int) -> list[tuple[Labelled, str, bool]]:
    """Every item as it was frozen, its split, and whether its text is still there."""
    query = (
        select(
            report_version.c.id,
            source.c.name,
            report.c.external_id,
            report_version.c.raw_sha,
            report.c.patient_key,
            snapshot_item.c.label,
            snapshot_item.c.origin,
            snapshot_item.c.split,
            report_version.c.text.is_not(None),
        )
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .where(snapshot_item.c.snapshot_id == snapshot_id)
        .order_by(report_version.c.id)
    )
    return [(Labelled(*told), split, there) for *told, split, there in c.execute(query)]


def counts(c: Connection, snapshot_id: int) -> list[tuple[str, str, str, int, int]]:
    """(origin, label, split, reports, patients) of a snapshot, in this order."""
    kind = (snapshot_item.c.origin, snapshot_item.c.label, snapshot_item.c.split)
    query = (
        select(*kind, func.count(), func.count(report.c.patient_key.distinct()))
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(snapshot_item.c.snapshot_id == snapshot_id)
        .group_by(*kind)
        .order_by(*kind)
    )
    return [tuple(row) for row in c.execute(query)]


def holdout_patients(c: Connection, snapshot_ids: Collection[int]) -> dict[int, int]:
    """How many patients the holdout of each snapshot holds; one without any is left out."""
    query = (
        select(snapshot_item.c.snapshot_id, func.count(report.c.patient_key.distinct()))
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(snapshot_item.c.snapshot_id.in_(list(snapshot_ids)), snapshot_item.c.split == "holdout")
        .group_by(snapshot_item.c.snapshot_id)
    )
    return {row[0]: row[1] for row in c.execute(query)}


def taught_patients(classifier: str) -> Select[tuple[str]]:
    """Patients who ever stood in a training or calibration split of the classifier, whatever the snapshot: a
    body outlives the snapshot it was trained on."""
    return (
        select(report.c.patient_key)
        .join(report_version, report_version.c.report_id == report.c.id)
        .join(snapshot_item, snapshot_item.c.report_version_id == report_version.c.id)
        .join(snapshot, snapshot.c.id == snapshot_item.c.snapshot_id)
        .where(snapshot.c.classifier == classifier, snapshot_item.c.split != "holdout")
    )


def strayed(
    c: Connection,
    snapshot_id: int,
    held: Collection[str],
    taught_by: Collection[int],
    taught: Collection[str],
) -> set[int]:
    """Report versions in these splits of a snapshot, of patients who stand in those splits of others."""

    def stand(column: Any, snapshot_ids: Collection[int], splits: Collection[str]) -> Select[Any]:
        return (
            select(column)
            .select_from(report)
            .join(report_version, report_version.c.report_id == report.c.id)
            .join(snapshot_item, snapshot_item.c.report_version_id == report_version.c.id)
            .where(snapshot_item.c.snapshot_id.in_(list(snapshot_ids)))
            .where(snapshot_item.c.split.in_(list(splits)))
        )

    patients = stand(report.c.patient_key, taught_by, taught)
    here = stand(snapshot_item.c.report_version_id, [snapshot_id], held)
    return set(c.scalars(here.where(report.c.patient_key.in_(patients))))


def with_texts(c: Connection, snapshot_id: int, split: str) -> list[dict[str, Any]]:
    """A split's rows with their texts, by report version; an erased text is None."""
    query = (
        select(
            snapshot_item.c.report_version_id,
            report_version.c.text,
            snapshot_item.c.label,
            snapshot_item.c.origin,
            report.c.patient_key,
        )
        .join(report_version, report_version.c.id == snapshot_item.c.report_version_id)
        .join(report, report.c.id == report_version.c.report_id)
        .where(snapshot_item.c.snapshot_id == snapshot_id, snapshot_item.c.split == split)
        .order_by(snapshot_item.c.report_version_id)
    )
    # streamed: a driver's own copy of all texts would lie beside ours
    return [dict(row._mapping) for row in c.execute(query.execution_options(yield_per=TEXTS_AT_ONCE))]


def hospital_reports(
    c: Connection, snapshot_id: int, sources: Collection[str] | None
) -> Iterator[tuple[int, str, bool]]:
    """(report version, patient key, whether the snapshot holds it) of every readable current report of these
    hospital sources (None: all), by report version."""
    held = (snapshot_item.c.report_version_id == report_version.c.id) & (
        snapshot_item.c.snapshot_id == snapshot_id
    )
    query = (
        select(report_version.c.id, report.c.patient_key, snapshot_item.c.snapshot_id.is_not(None))
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .outerjoin(snapshot_item, held)
        .where(
            source.c.kind == "database",
            CURRENT,
            report_version.c.text.is_not(None),
            PRESENT,
        )
        .order_by(report_version.c.id)
        .execution_options(yield_per=ROWS_AT_ONCE)
    )
    if sources is not None:
        query = query.where(source.c.name.in_(list(sources)))
    for version_id, patient, is_held in c.execute(query):
        yield version_id, patient, bool(is_held)


def erased(c: Connection, report_version_ids: Sequence[int]) -> int:
    """How many of these report versions were removed on request, or are no longer there at all."""
    there = 0
    for some in chunks(report_version_ids):
        query = (
            select(func.count())
            .select_from(report_version.join(report, report.c.id == report_version.c.report_id))
            .where(
                among(c, report_version.c.id, some),
                report_version.c.text.is_not(None),
                report.c.erased_at.is_(None),
            )
        )
        there += c.execute(query).scalar_one()
    return len(report_version_ids) - there
