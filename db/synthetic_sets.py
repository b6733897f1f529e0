"""Which synthetic sets were audited, and what came of it; and the texts of the set in force."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select

from db.tables import label, report, report_version, source, synthetic_set

State = Literal["accepted", "refused"]


@dataclass(frozen=True)
class AuditedSet:
    """A set and its audit; `audit` holds figures and names of checks."""

    source_id: int
    sha: str
    seed: int
    exam: str
    mode: str
    reports_per_row: int
    rows: int
    reports: int
    state: State
    audit: Mapping[str, Any]


@dataclass(frozen=True)
class Taught:
    """One report of the set in force."""

    text: str
    label: str
    row_key: str


def record(c: Connection, run_id: int, audited: AuditedSet, now: datetime) -> None:
    """Keep what an audit found. A set is audited once: the pair of source and sha is new."""
    c.execute(insert(synthetic_set).values(**asdict(audited), run_id=run_id, created_at=now))


def state_of(c: Connection, source_id: int, sha: str) -> State | None:
    """What an earlier audit of exactly this set came to; None where there was none."""
    ours = (synthetic_set.c.source_id == source_id, synthetic_set.c.sha == sha)
    found: State | None = c.scalar(select(synthetic_set.c.state).where(*ours))
    return found


def in_force(c: Connection, classifier: str) -> list[Taught]:
    """Every report of the classifier's current synthetic set, by its id; empty before the first."""
    query = (
        select(report_version.c.text, label.c.value, report.c.patient_key)
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .join(label, label.c.report_version_id == report_version.c.id)
        .where(
            source.c.name == f"synthetic:{classifier}",
            source.c.kind == "synthetic",
            report.c.deleted_at.is_(None),
            report.c.erased_at.is_(None),
            report_version.c.version == report.c.current_version,
            label.c.classifier == classifier,
            label.c.origin == "synthetic",
        )
        .order_by(report_version.c.id)
    )
    return [Taught(*row) for row in c.execute(query)]
