"""Which synthetic sets were audited, and what came of it; which is in force, and its texts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, insert, select, update

from db.reports import CURRENT, PRESENT
from db.tables import label, report, report_version, source, synthetic_set

State = Literal["accepted", "refused"]


@dataclass(frozen=True)
class SetRecipe:
    """All that decides what a set says, but for the hard reports of earlier sets that it keeps.

    `grammar_sha` stands for the words and the code that writes them.
    """

    source_id: int
    seed: int
    exam: str
    mode: str
    reports_per_row: int
    reserved_share: float
    grammar_sha: str


@dataclass(frozen=True)
class AuditedSet(SetRecipe):
    """A set and its audit; `audit` holds figures and names of checks.

    `kept`: id of a hard report of an earlier set -> how many sets it has outlived.
    """

    sha: str
    kept: Mapping[str, int]
    rows: int
    reports: int
    state: State
    audit: Mapping[str, Any]


@dataclass(frozen=True)
class RecordedSet(AuditedSet):
    """One as the table has it; `written_at`: when it last stood whole, None where it never did."""

    id: int
    run_id: int
    created_at: datetime
    written_at: datetime | None


@dataclass(frozen=True)
class Taught:
    """One report of the set in force."""

    text: str
    label: str
    row_key: str
    external_id: str
    report_version_id: int


def record(c: Connection, run_id: int, audited: AuditedSet, now: datetime) -> None:
    """Keep what an audit found. A set is audited once: the pair of source and sha is new."""
    c.execute(insert(synthetic_set).values(**asdict(audited), run_id=run_id, created_at=now))


def state_of(c: Connection, source_id: int, sha: str) -> State | None:
    """What an earlier audit of exactly this set came to; None where there was none."""
    ours = (synthetic_set.c.source_id == source_id, synthetic_set.c.sha == sha)
    found: State | None = c.scalar(select(synthetic_set.c.state).where(*ours))
    return found


def came_into_force(c: Connection, source_id: int, sha: str, now: datetime) -> None:
    """Say that every report of this set stands, and none of another."""
    ours = (synthetic_set.c.source_id == source_id, synthetic_set.c.sha == sha)
    c.execute(update(synthetic_set).where(*ours).values(written_at=now))


def standing(c: Connection, classifier: str) -> RecordedSet | None:
    """The classifier's set in force; None before the first stood whole."""
    query = (
        select(synthetic_set)
        .join(source, source.c.id == synthetic_set.c.source_id)
        .where(source.c.name == f"synthetic:{classifier}", synthetic_set.c.written_at.is_not(None))
        .order_by(synthetic_set.c.written_at.desc(), synthetic_set.c.id.desc())
        .limit(1)
    )
    found = c.execute(query).one_or_none()
    return None if found is None else RecordedSet(**found._mapping)


def kept_of(c: Connection, like: SetRecipe) -> dict[str, int] | None:
    """What the set of this recipe kept when it was accepted last; None where it never was."""
    ours = [synthetic_set.c[name] == value for name, value in asdict(like).items()]
    query = select(synthetic_set.c.kept).where(*ours, synthetic_set.c.state == "accepted")
    found = c.scalar(query.order_by(synthetic_set.c.id.desc()).limit(1))
    return None if found is None else dict(found)


def get(c: Connection, set_id: int) -> RecordedSet | None:
    found = c.execute(select(synthetic_set).where(synthetic_set.c.id == set_id)).one_or_none()
    return None if found is None else RecordedSet(**found._mapping)


def in_force(c: Connection, classifier: str) -> list[Taught]:
    """Every report of the classifier's current synthetic set, by its id; empty before the first."""
    query = (
        select(
            report_version.c.text,
            label.c.value,
            report.c.patient_key,
            report.c.external_id,
            report_version.c.id,
        )
        .join(report, report.c.id == report_version.c.report_id)
        .join(source, source.c.id == report.c.source_id)
        .join(label, label.c.report_version_id == report_version.c.id)
        .where(
            source.c.name == f"synthetic:{classifier}",
            source.c.kind == "synthetic",
            PRESENT,
            CURRENT,
            label.c.classifier == classifier,
            label.c.origin == "synthetic",
        )
        .order_by(report_version.c.id)
    )
    return [Taught(*row) for row in c.execute(query)]
