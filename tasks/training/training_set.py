"""The training set: labelled reports, split by patient for ever, and frozen."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import snapshots, synthetic_sets
from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.snapshots import Labelled
from tasks.database import open_database
from tasks.ml.dataset_files import write_dataset
from tasks.ml.splits import SPLITS, split_of
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training.data_card import card_of
from tasks.training.learning_data import read_part


@step("freeze training set", run_name="freeze {classifier}", retries=2)
def freeze_training_set(run_id: int, classifier: str) -> int:
    """Freeze what is labelled now; returns the snapshot's id, an old one where nothing changed.

    Raises NothingToWorkOn, naming the command that helps, where a model cannot be taught or judged.
    """
    settings = Settings.load()
    engine = open_database(settings)
    return freeze(engine, run_id, classifier, settings.classifier(classifier), datetime.now(UTC))


def freeze(engine: Engine, run_id: int, classifier: str, asked: ClassifierSettings, now: datetime) -> int:
    """Read the labels, check that they suffice, write the snapshot; returns its id."""
    with reading(engine) as c:
        found = snapshots.labelled(c, classifier, asked.training_labels, asked.sources)
        written = synthetic_sets.standing(c, classifier)
    fitting = [one for one in found if one.label in asked.labels]
    splits = [split_of(one.patient_key) for one in fitting]
    check_sufficient(fitting, splits, classifier, asked)
    recipe: dict[str, Any] = {
        "labels": asked.labels,
        "origins": asked.training_labels,
        "reports": _counts(fitting, splits),
        "patients": dict(Counter(split_of(key) for key in {one.patient_key for one in fitting})),
        # the configuration no longer names these labels
        "left_out_labels": len(found) - len(fitting),
    }
    if written is not None and "synthetic" in asked.training_labels:
        recipe["synthetic_set"] = written.id
    items = [
        {"report_version_id": one.report_version_id, "label": one.label, "origin": one.origin, "split": split}
        for one, split in zip(fitting, splits, strict=True)
    ]
    sha = content_sha(fitting, splits)
    with writing(engine) as c:
        return snapshots.freeze(
            c, classifier=classifier, sha=sha, recipe=recipe, items=items, run_id=run_id, now=now
        )


def content_sha(labelled: Sequence[Labelled], splits: Sequence[str]) -> str:
    """sha256 over which report says what under which label in which split, in no particular order.

    Row ids are left out: the same reports in a restored or another database give the same sha.
    """
    lines = sorted(
        "\x1f".join((one.source, one.external_id, one.raw_sha, one.label, split))
        for one, split in zip(labelled, splits, strict=True)
    )
    return hashlib.sha256("\x1e".join(lines).encode()).hexdigest()


def check_sufficient(
    labelled: Sequence[Labelled], splits: Sequence[str], classifier: str, asked: ClassifierSettings
) -> None:
    """Raise NothingToWorkOn where a model could not be taught or judged on this."""
    if not labelled:
        raise NothingToWorkOn(
            f"no labelled reports for {classifier!r} (labels from {', '.join(asked.training_labels)}); "
            f"{_first_command(asked)} first"
        )
    patients = {one.patient_key for one in labelled}
    if len(patients) == 1:
        raise NothingToWorkOn(
            f"all {len(labelled)} labelled reports of {classifier!r} belong to one patient: nothing could be "
            f"held out for judging; label reports of other patients, or {_first_command(asked)}"
        )
    taught = {one.label for one, split in zip(labelled, splits, strict=True) if split == "train"}
    untaught = [label for label in asked.labels if label not in taught]
    if untaught:
        raise NothingToWorkOn(
            f"no example of {', '.join(map(repr, untaught))} among the {splits.count('train')} training "
            f"reports of {classifier!r}; label some, or take the label out of classifiers.{classifier}.labels"
        )
    empty = [split for split in SPLITS if split not in splits]
    if empty:
        raise NothingToWorkOn(
            f"{len(labelled)} labelled reports of {len(patients)} patients leave the {' and '.join(empty)} "
            f"part of {classifier!r} empty; label reports of more patients, or {_first_command(asked)}"
        )


@dataclass(frozen=True)
class ExportedSnapshot:
    """Where an export lies, and how many reports of each split it holds."""

    folder: str
    reports: dict[str, int]


def export_snapshot(settings: Settings, snapshot_id: int, folder: Path) -> ExportedSnapshot:
    """Write a snapshot, texts included, as Parquet files and a `datasets` folder into a new folder.

    Its data card goes with it, as data-card.md.

    This is the one place where laudos puts reports on disk outside the database, because a person
    asked for exactly that: the folder can be entered, and its files read, by its owner only.
    Raises LaudosError where the snapshot is unknown, the folder exists or a report was erased since.
    """
    engine = open_database(settings)
    with reading(engine) as c:
        snapshot = snapshots.existing(c, snapshot_id)
    if folder.exists():
        raise LaudosError(f"{folder} exists already; name a new folder")
    labels = snapshot.recipe["labels"]
    parts = {split: read_part(engine, snapshot_id, split, labels) for split in SPLITS}
    columns: dict[str, dict[str, Sequence[Any]]] = {
        split: {
            "report_version_id": part.ids,
            "text": part.texts,
            "label": [labels[index] for index in part.labels_idx],
            "origin": part.origins,
            "patient": part.patients,
        }
        for split, part in parts.items()
    }
    write_dataset(folder, columns, {"data-card.md": card_of(engine, snapshot_id).markdown})
    return ExportedSnapshot(str(folder), {split: len(part.ids) for split, part in parts.items()})


def _first_command(asked: ClassifierSettings) -> str:
    commands = ['"laudos ingest"'] if {"source", "feedback"} & set(asked.training_labels) else []
    commands += ['"laudos synthesize"'] if "synthetic" in asked.training_labels else []
    return f"run {' or '.join(commands)}"


def _counts(labelled: Sequence[Labelled], splits: Sequence[str]) -> dict[str, dict[str, int]]:
    """split -> label -> reports."""
    return {
        split: dict(
            sorted(
                Counter(one.label for one, at in zip(labelled, splits, strict=True) if at == split).items()
            )
        )
        for split in SPLITS
    }
