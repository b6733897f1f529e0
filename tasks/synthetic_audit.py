"""Audits: of an exam's reports, of a classifier's synthetic set, of a user's own file; and the set's gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import synthetic_sets
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.synthetic_sets import AuditedSet, Taught
from tasks.database import open_database
from tasks.ml.audit.audit import REVISION, audit
from tasks.ml.audit.corpus import GROUPS_MAX, REPORTS_MAX, Corpus
from tasks.ml.audit.result import Audit, Check, Evidence
from tasks.ml.cleaning import clean
from tasks.ml.errors import Unreadable
from tasks.ml.splits import is_reserved, unit_interval
from tasks.ml.synthesis.audit import audit_reports
from tasks.ml.synthesis.exams import Mode, Row, generator
from tasks.ml.synthesis.reports import synthesize
from tasks.settings import ClassifierSettings, Settings, SyntheticSettings
from tasks.settings_errors import nearest
from tasks.table_files import pieces

__all__ = ["Audit", "Check", "Evidence"]  # what flows show, besides what is defined here

ROWS_A_PIECE = 2000


@dataclass(frozen=True)
class FileAudit:
    """A file's audit; `left_out` rows had no readable text, or no label."""

    audit: Audit
    left_out: int


@dataclass(frozen=True)
class Columns:
    """What a user's file calls them."""

    text: str
    label: str
    group: str | None = None
    split: str | None = None


def audit_exam(recipe: SyntheticSettings, seed: int) -> Audit:
    """Reports written as `laudos synthesize` would, audited; a sample where there are many."""
    rows = [row for row in generator(recipe.exam).rows() if not is_reserved(row.key, recipe.reserved_share)]
    return _audited(recipe, _sample(recipe, {}, seed, rows), len(rows))


def audit_classifier(settings: Settings, classifier: str) -> Audit:
    """The synthetic set that teaches the classifier now. Raises NothingToWorkOn where there is none."""
    recipe = settings.classifier(classifier).synthetic
    with reading(open_database(settings)) as c:
        reports = synthetic_sets.in_force(c, classifier)
    if not reports:
        raise NothingToWorkOn(f'{classifier!r} has no synthetic reports; "laudos synthesize" writes them')
    return _audit(recipe, reports)


def audit_file(path: Path, columns: Columns, label_words: Sequence[str] = ()) -> FileAudit:
    """A user's own reports, cleaned as an ingest would. Raises ConfigurationError for what is no such file.

    Without a group column every report is a group of its own.
    """
    texts: list[str] = []
    labels: list[str] = []
    groups: list[str] = []
    splits: list[str] = []
    left_out = 0
    for row in _rows(path, columns):
        label = row[columns.label]
        try:
            text = clean(row[columns.text]).text
        except Unreadable:
            text = ""
        if not text or label in (None, ""):
            left_out += 1
            continue
        texts.append(text)
        labels.append(str(label))
        groups.append(str(row[columns.group]) if columns.group else str(len(groups)))
        splits.append(str(row[columns.split]) if columns.split else "")
    corpus = Corpus(texts, labels, groups, None, splits if columns.split else None, None, label_words)
    return FileAudit(audit(corpus), left_out)


def require_sound(
    engine: Engine,
    run_id: int,
    source_id: int,
    classifier: str,
    asked: ClassifierSettings,
    seed: int,
    rows: Sequence[Row],
    now: datetime,
) -> None:
    """Audit a set before any of it is written, and keep what was found; a set seen before is not read again.

    Raises LaudosError, naming the checks that failed, for a set that must not teach.
    """
    recipe = asked.synthetic
    reports = _sample(recipe, asked.label_values, seed, rows)
    sha = _sha(reports)
    with reading(engine) as c:
        state = synthetic_sets.state_of(c, source_id, sha)
    if state == "accepted":
        return
    found = _audited(recipe, reports, len(rows))
    if state is None:
        kept = AuditedSet(
            source_id=source_id,
            sha=sha,
            seed=seed,
            exam=recipe.exam,
            mode=recipe.mode,
            reports_per_row=recipe.reports_per_row,
            rows=len(rows),
            reports=len(rows) * recipe.reports_per_row,
            state="accepted" if found.passed else "refused",
            audit=found.numbers,
        )
        with writing(engine) as c:
            synthetic_sets.record(c, run_id, kept, now)
    if not found.passed:
        failed = ", ".join(check.name for check in found.failed)
        raise LaudosError(
            f"{classifier}: the synthetic set of seed {seed} gives its labels or rows away ({failed}) and "
            "may not teach; nothing of it was written, and the set before stays. To see which phrases: "
            f'"laudos synth audit --exam {recipe.exam} --mode {recipe.mode} --seed {seed} '
            f'--reports-per-row {recipe.reports_per_row} --reserved-share {recipe.reserved_share}"'
        )


def _audited(recipe: SyntheticSettings, reports: Sequence[Taught], rows: int) -> Audit:
    return replace(_audit(recipe, reports), of_reports=rows * recipe.reports_per_row)


def _audit(recipe: SyntheticSettings, reports: Sequence[Taught]) -> Audit:
    return audit_reports(
        recipe.exam,
        recipe.mode,
        [one.text for one in reports],
        [one.label for one in reports],
        [one.row_key for one in reports],
    )


def _sample(
    recipe: SyntheticSettings, label_values: Mapping[str, str], seed: int, rows: Sequence[Row]
) -> list[Taught]:
    """The set's reports as they would be written, or of a large one so many that an audit takes seconds.

    Every report has a random stream of its own, so a part of a set is written as it stands in the whole.
    """
    mode: Mode = recipe.mode
    chosen = sorted(rows, key=lambda row: unit_interval(row.key, "audit"))[:GROUPS_MAX]
    each = min(recipe.reports_per_row, max(1, REPORTS_MAX // max(1, len(chosen))))
    reports = synthesize(
        recipe.exam,
        mode=mode,
        reports_per_row=each,
        seed=seed,
        rows=chosen,
        reserved_share=recipe.reserved_share,
    )
    return [
        Taught(clean(one.text).text, label_values.get(one.label, one.label), one.row_key) for one in reports
    ]


def _sha(reports: Sequence[Taught]) -> str:
    """Of what was audited and of the audit itself: either may change, and then it is a new question."""
    digest = hashlib.sha256(f"audit {REVISION}".encode())
    for one in reports:
        digest.update(json.dumps([one.row_key, one.label, one.text]).encode())
    return digest.hexdigest()


def _rows(path: Path, columns: Columns) -> list[dict[str, Any]]:
    asked = [name for name in vars(columns).values() if name is not None]
    found: list[dict[str, Any]] = []
    for table in pieces(path, ROWS_A_PIECE):
        for name in asked:
            if name not in table.column_names:
                raise ConfigurationError(
                    f"{path} has no column {name!r}{nearest(name, table.column_names)}; "
                    "--text, --label, --group and --split name its columns"
                )
        found += table.select(list(dict.fromkeys(asked))).to_pylist()
    if not found:
        raise NothingToWorkOn(f"{path} has no rows")
    return found
