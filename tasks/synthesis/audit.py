"""Audits: of an exam's reports, of a classifier's synthetic set, of a user's own file; and the set's gate."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import synthetic_sets
from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.synthetic_sets import AuditedSet, SetRecipe, Taught
from tasks.database import open_database
from tasks.ml.audit.audit import REVISION, audit
from tasks.ml.audit.corpus import GROUPS_MAX, REPORTS_MAX, Corpus
from tasks.ml.audit.result import Audit, Check, Evidence
from tasks.ml.errors import Unreadable
from tasks.ml.reading.cleaning import clean
from tasks.ml.splits import is_reserved, unit_interval
from tasks.ml.synthesis.audit import audit_reports
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.renewal import Recipe, renewed, sampled
from tasks.settings.sections import SyntheticSettings
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.table_files import pieces, require_column

__all__ = ["Audit", "Check", "Evidence"]  # what flows show, besides what is defined here

ROWS_A_PIECE = 2000


@dataclass(frozen=True)
class FileAudit:
    """A file's audit; `left_out` rows had no readable text, or no label."""

    audit: Audit
    left_out: int


@dataclass(frozen=True)
class _Report:
    """One of a set that is about to be written."""

    text: str
    label: str
    row_key: str


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


@dataclass(frozen=True)
class Sound:
    """A set that may teach: its sha, and the hard reports of earlier sets that it keeps."""

    sha: str
    kept: Mapping[str, int]


def require_sound(
    engine: Engine,
    run_id: int,
    planned: SetRecipe,
    classifier: str,
    asked: ClassifierSettings,
    rows: Sequence[Row],
    kept: Mapping[str, int],
    now: datetime,
) -> Sound:
    """Audit a set before any of it is written, and keep what was found; a set seen before is not read again.

    What is hard is chosen by looking at labels, so it could tell them; a set that is sound only without its
    kept reports goes without. Raises LaudosError, naming the checks that failed, for one that must not teach.
    """
    recipe = asked.synthetic
    failed: tuple[str, ...] = ()
    for mixed in [kept, {}] if kept else [{}]:
        reports = _sample(recipe, asked.label_values, planned.seed, rows, mixed)
        sha = _sha(reports, planned, mixed)
        failed = _failed_checks(engine, run_id, planned, recipe, sha, reports, len(rows), mixed, now)
        if not failed:
            return Sound(sha, mixed)
    raise LaudosError(
        f"{classifier}: the synthetic set of seed {planned.seed} gives its labels or rows away "
        f"({', '.join(failed)}) and may not teach; nothing of it was written, and the set before stays. "
        f'To see which phrases: "laudos synth audit --exam {recipe.exam} --mode {recipe.mode} '
        f"--seed {planned.seed} --reports-per-row {recipe.reports_per_row} "
        f'--reserved-share {recipe.reserved_share}"'
    )


def _failed_checks(
    engine: Engine,
    run_id: int,
    planned: SetRecipe,
    recipe: SyntheticSettings,
    sha: str,
    reports: Sequence[_Report],
    rows: int,
    kept: Mapping[str, int],
    now: datetime,
) -> tuple[str, ...]:
    """Names of checks, none where the set was accepted, now or before; what was found is recorded once."""
    with reading(engine) as c:
        state = synthetic_sets.state_of(c, planned.source_id, sha)
    if state == "accepted":
        return ()
    found = _audited(recipe, reports, rows)
    if state is None:
        audited = AuditedSet(
            **vars(planned),
            sha=sha,
            kept=kept,
            rows=rows,
            reports=rows * recipe.reports_per_row,
            state="accepted" if found.passed else "refused",
            audit=found.numbers,
        )
        with writing(engine) as c:
            synthetic_sets.record(c, run_id, audited, now)
    return tuple(check.name for check in found.failed)


def _audited(recipe: SyntheticSettings, reports: Sequence[_Report], rows: int) -> Audit:
    return replace(_audit(recipe, reports), of_reports=rows * recipe.reports_per_row)


def _audit(recipe: SyntheticSettings, reports: Sequence[_Report | Taught]) -> Audit:
    return audit_reports(
        recipe.exam,
        recipe.mode,
        [one.text for one in reports],
        [one.label for one in reports],
        [one.row_key for one in reports],
    )


def _sample(
    recipe: SyntheticSettings,
    label_values: Mapping[str, str],
    seed: int,
    rows: Sequence[Row],
    kept: Collection[str] = (),
) -> list[_Report]:
    """The set's reports as they would be written, or of a large one so many that an audit takes seconds.

    Every report has a random stream of its own, so a part of a set is written as it stands in the whole.
    """
    chosen = sorted(rows, key=lambda row: unit_interval(row.key, "audit"))[:GROUPS_MAX]
    each = min(recipe.reports_per_row, max(1, REPORTS_MAX // max(1, len(chosen))))
    reports = renewed(
        Recipe(recipe.exam, recipe.mode, each, recipe.reserved_share),
        seed,
        chosen,
        sampled(kept, recipe.reports_per_row, each),
    )
    return [
        _Report(clean(one.text).text, label_values.get(one.label, one.label), one.row_key) for one in reports
    ]


def _sha(reports: Sequence[_Report], planned: SetRecipe, kept: Mapping[str, int]) -> str:
    """Of the set and of the audit itself: either may change, and then it is a new question.

    The source is left out: the same set in another database has the same sha.
    """
    facts = {name: value for name, value in vars(planned).items() if name != "source_id"}
    digest = hashlib.sha256(f"audit {REVISION}".encode())
    digest.update(json.dumps([facts, sorted(kept.items())]).encode())
    for one in reports:
        digest.update(json.dumps([one.row_key, one.label, one.text]).encode())
    return digest.hexdigest()


def _rows(path: Path, columns: Columns) -> list[dict[str, Any]]:
    asked = [name for name in vars(columns).values() if name is not None]
    found: list[dict[str, Any]] = []
    for table in pieces(path, ROWS_A_PIECE):
        for name in asked:
            require_column(path, table, name, "--text, --label, --group and --split name its columns")
        found += table.select(list(dict.fromkeys(asked))).to_pylist()
    if not found:
        raise NothingToWorkOn(f"{path} has no rows")
    return found
