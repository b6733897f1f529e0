"""What report versions were said to be, by whom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, bindparam, delete, select

from db.among import among, chunks
from db.engine import insert_into
from db.load import load
from db.tables import label

Origin = Literal["source", "feedback", "synthetic"]


@dataclass(frozen=True, slots=True)
class Label:
    """One statement about a report version; `actor` is a source's name or a person's login."""

    report_version_id: int
    classifier: str
    origin: Origin
    actor: str
    value: str


def put_labels(c: Connection, labels: Iterable[Label], now: datetime) -> None:
    """Write labels; one that says the same as before keeps its time."""
    rows = [
        {
            "report_version_id": one.report_version_id,
            "classifier": one.classifier,
            "origin": one.origin,
            "actor": one.actor,
            "value": one.value,
            "at": now,
        }
        for one in labels
    ]
    if not rows:
        return
    statement = insert_into(c, label)
    c.execute(
        statement.on_conflict_do_update(
            index_elements=["report_version_id", "classifier", "origin", "actor"],
            set_={"value": statement.excluded.value, "at": statement.excluded.at},
            where=label.c.value != statement.excluded.value,
        ),
        rows,
    )


def add_labels(c: Connection, labels: Sequence[Label], now: datetime) -> None:
    """Write labels of report versions that were written in the same transaction, and so had none."""
    load(
        c,
        label,
        {
            "report_version_id": [one.report_version_id for one in labels],
            "classifier": [one.classifier for one in labels],
            "origin": [one.origin for one in labels],
            "actor": [one.actor for one in labels],
            "value": [one.value for one in labels],
        },
        every={"at": now},
    )


def labels_of(
    c: Connection, report_version_ids: Sequence[int], origin: Origin, actor: str
) -> dict[tuple[int, str], str]:
    """(report version, classifier) -> what this actor said."""
    found: dict[tuple[int, str], str] = {}
    query = select(label.c.report_version_id, label.c.classifier, label.c.value).where(
        label.c.origin == origin, label.c.actor == actor
    )
    for some in chunks(report_version_ids):
        rows = c.execute(query.where(among(c, label.c.report_version_id, some)))
        found.update(((row.report_version_id, row.classifier), row.value) for row in rows)
    return found


def withdraw(c: Connection, keys: Sequence[tuple[int, str]], origin: Origin, actor: str) -> None:
    """Delete what an actor no longer says; `keys` are (report version, classifier)."""
    if keys:
        c.execute(
            delete(label).where(
                label.c.report_version_id == bindparam("version"),
                label.c.classifier == bindparam("of"),
                label.c.origin == origin,
                label.c.actor == actor,
            ),
            [{"version": version, "of": classifier} for version, classifier in keys],
        )
