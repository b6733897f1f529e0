"""What `laudos labels` works on: current labels outside the holdout, and their reports' stored vectors."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from db import features, models, snapshots
from db.errors import NothingToWorkOn
from db.models import Model
from db.snapshots import Labelled
from tasks.ml.arrays import Ints
from tasks.ml.labels.label_noise import PATIENTS_MIN
from tasks.ml.network.features import Vectors
from tasks.ml.splits import split_of
from tasks.ml.training.held_out import drawn
from tasks.settings.settings import ClassifierSettings
from tasks.training.learning_data import Part


@dataclass(frozen=True, eq=False)
class LabelledVectors:
    """Reports, their vectors and their labels, alike in order.

    `without_vector`: labelled reports that the model never read. `rare`: label -> reports left out, because
    fewer than PATIENTS_MIN patients bear it.
    """

    reports: list[Labelled]
    vectors: Vectors  # (reports, hidden) of the network alone: what stands beside it was fitted on the labels
    labels: list[str]
    labels_idx: Ints
    without_vector: int
    rare: dict[str, int]


def labelled_vectors(c: Connection, model: Model, asked: ClassifierSettings) -> LabelledVectors:
    """Of training and calibration patients, under the encoder of `model`; nothing is encoded.

    Raises NothingToWorkOn where fewer than two labels are left.
    """
    found = [
        one
        for one in snapshots.labelled(c, model.classifier, asked.training_labels, asked.sources)
        if one.label in asked.labels and split_of(one.patient_key) != "holdout"
    ]
    stored = features.get(c, model.encoder_sha, [one.report_version_id for one in found])
    read = [one for one in found if one.report_version_id in stored]
    labels, rare = _common(read, asked.labels)
    if len(labels) < 2:
        raise NothingToWorkOn(
            f"fewer than two labels of {model.classifier!r} are borne by {PATIENTS_MIN} training or "
            f"calibration patients whose reports model {model.id} has read ({len(found):,} labelled reports, "
            f'{len(read):,} of them read); label reports of more patients, then run "laudos retrain"'
        )
    kept = [one for one in read if one.label in labels]
    vectors = np.stack([np.frombuffer(stored[one.report_version_id].vector, "<f4") for one in kept])
    beside = len(model.config["labels"]) if model.config["training"].get("linear_reader") else 0
    return LabelledVectors(
        kept,
        vectors[:, : vectors.shape[1] - beside],
        labels,
        np.array([labels.index(one.label) for one in kept], np.int64),
        len(found) - len(read),
        rare,
    )


def labels_of_body(c: Connection, model: Model) -> set[tuple[int, str]]:
    """(report version, label) that this body was trained on; none where only heads were fitted on it.

    A head says nothing of what its body saw: that is asked of every model that ever had the same body. Of a
    student's body what taught its teacher counts, too.
    """
    every = models.of_classifier(c, model.classifier)
    made = {one.encoder_sha: one for one in every if one.trained == "full"}
    seen: set[tuple[int, str]] = set()
    maker = made.get(model.encoder_sha)
    while maker is not None:
        seen |= _lessons_of(c, maker)
        teacher_id = maker.config.get("distilled", {}).get("teacher")
        teacher = next((one for one in every if one.id == teacher_id), None)
        maker = None if teacher is None else made.get(teacher.encoder_sha)
    return seen


def _lessons_of(c: Connection, model: Model) -> set[tuple[int, str]]:
    """What taught a whole network, of its snapshot's training split: neither reports that were left out, nor
    those that only told when to end."""
    items = [one for one, split, _ in snapshots.items(c, model.snapshot_id) if split == "train"]
    training, labels = model.config["training"], model.config["labels"]
    part = Part(
        [one.report_version_id for one in items],
        [""] * len(items),  # which reports, and not what they say
        np.array([labels.index(one.label) for one in items], np.int64),
        [one.patient_key for one in items],
        [one.origin for one in items],
    ).first(training.get("max_train_reports"))
    if training.get("early_stopping") is not None and "distilled" not in model.config:
        part = part.only(np.flatnonzero(~drawn(part.labels_idx, part.patients)).tolist())
    return {(at, labels[index]) for at, index in zip(part.ids, part.labels_idx.tolist(), strict=True)}


def key_of(one: Labelled) -> tuple[int, str]:
    """A report version and its label, as in `labels_of_body`."""
    return one.report_version_id, one.label


def _common(read: Sequence[Labelled], asked: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """The labels that enough patients bear, and of the others how many reports there are."""
    patients: dict[str, set[str]] = defaultdict(set)
    for one in read:
        patients[one.label].add(one.patient_key)
    common = [label for label in asked if len(patients[label]) >= PATIENTS_MIN]
    rare = {label: sum(one.label == label for one in read) for label in asked if label not in common}
    return common, rare
