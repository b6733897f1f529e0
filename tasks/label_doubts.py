"""`laudos labels doubt`: labels that are probably wrong, for a person to look at; nothing is changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from db import features, models, reports, snapshots
from db.engine import reading
from db.errors import NothingToWorkOn
from db.models import Model
from db.snapshots import Labelled
from tasks.classify import the_champion, the_classifier
from tasks.database import open_database
from tasks.ml.features import Vectors
from tasks.ml.label_noise import PATIENTS_MIN, Noise, find_noise, out_of_fold
from tasks.ml.splits import Split, split_of
from tasks.progress import progress_bar
from tasks.settings import ClassifierSettings, Settings

CAVEAT = (
    "The network's body was trained on labels of these reports: a wrong one that it learnt by heart looks "
    "right to any head on it. Few doubts about labels that it saw prove nothing; believe the others' rate."
)


@dataclass(frozen=True)
class Doubt:
    """A report whose label may be wrong. `label_seen`: the champion's body was trained on it."""

    source: str
    external_id: str
    version: int
    report_version_id: int
    split: Split
    origin: str
    given: str
    suggested: str
    margin: float
    probabilities: dict[str, float]
    label_seen: bool


@dataclass(frozen=True)
class NoisePart:
    """`share`: estimated, of all judged reports, that were given one label and are truly of the other."""

    given: str
    true: str
    share: float


@dataclass(frozen=True)
class SeenPart:
    """How many of the reports whose label the body saw, or did not see, are in doubt."""

    label_seen: bool
    reports: int
    doubted: int


@dataclass(frozen=True)
class Doubts:
    """What confident learning says of a classifier's labels: ids, labels and figures, no text.

    `without_vector`: labelled reports that the champion never read. `rare`: label -> reports that were not
    judged, because too few patients bear it. `listed`: the widest margins first, of `doubted` in all.
    """

    classifier: str
    model_id: int
    reports: int
    patients: int
    without_vector: int
    rare: dict[str, int]
    thresholds: dict[str, float]
    wrong_share: float
    joint: list[NoisePart]
    seen: list[SeenPart]
    caveat: str | None
    doubted: int
    listed: list[Doubt]


@dataclass(frozen=True, eq=False)
class _Judged:
    """The reports that are judged, alike in order, and what was not."""

    reports: list[Labelled]
    vectors: Vectors  # (reports, hidden)
    labels: list[str]
    labels_idx: NDArray[np.int64]
    without_vector: int
    rare: dict[str, int]


def label_doubts(settings: Settings, classifier: str | None, limit: int) -> Doubts:
    """Current labels of training and calibration patients, judged out of fold on the champion's vectors.

    Of the holdout nothing is read: labels corrected where the model disagrees would flatter the model. Raises
    NothingToWorkOn where there is no champion, or too little to judge.
    """
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        model = the_champion(c, name).model
        judged = _judged(c, model, settings.classifier(name))
        body_saw = _labels_of_body(c, model)
    with progress_bar("judging labels out of fold") as progress:
        found = out_of_fold(
            judged.vectors,
            judged.labels_idx,
            [one.patient_key for one in judged.reports],
            len(judged.labels),
            seed=settings.seed,
            progress=progress,
        )
    noise = find_noise(found, judged.labels_idx)
    with reading(engine) as c:
        chosen = [judged.reports[place].report_version_id for place in noise.doubted[:limit]]
        numbers = reports.version_numbers(c, chosen)
    listed = [
        _doubt(judged, noise, found, place, numbers, body_saw) for place in noise.doubted[:limit].tolist()
    ]
    return Doubts(
        classifier=name,
        model_id=model.id,
        reports=len(judged.reports),
        patients=len({one.patient_key for one in judged.reports}),
        without_vector=judged.without_vector,
        rare=judged.rare,
        thresholds=dict(zip(judged.labels, noise.thresholds.tolist(), strict=True)),
        wrong_share=noise.share,
        joint=_parts(judged.labels, noise),
        seen=_seen(judged.reports, noise, body_saw),
        caveat=CAVEAT if body_saw else None,
        doubted=len(noise.doubted),
        listed=listed,
    )


def _judged(c: Connection, model: Model, asked: ClassifierSettings) -> _Judged:
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
    return _Judged(
        kept,
        np.stack([np.frombuffer(stored[one.report_version_id].vector, "<f4") for one in kept]),
        labels,
        np.array([labels.index(one.label) for one in kept], np.int64),
        len(found) - len(read),
        rare,
    )


def _common(read: Sequence[Labelled], asked: Sequence[str]) -> tuple[list[str], dict[str, int]]:
    """The labels that enough patients bear, and of the others how many reports there are."""
    patients: dict[str, set[str]] = defaultdict(set)
    for one in read:
        patients[one.label].add(one.patient_key)
    common = [label for label in asked if len(patients[label]) >= PATIENTS_MIN]
    rare = {label: sum(one.label == label for one in read) for label in asked if label not in common}
    return common, rare


def _labels_of_body(c: Connection, model: Model) -> set[tuple[int, str]]:
    """(report version, label) that this body was trained on; none where only heads were fitted on it.

    A head says nothing of what its body saw: that is asked of every model that ever had the same body.
    """
    same = [one for one in models.of_classifier(c, model.classifier) if one.encoder_sha == model.encoder_sha]
    return snapshots.lessons_of(c, {one.snapshot_id for one in same if one.trained == "full"})


def _key(one: Labelled) -> tuple[int, str]:
    return one.report_version_id, one.label


def _doubt(
    judged: _Judged,
    noise: Noise,
    found: NDArray[np.float64],
    place: int,
    numbers: dict[int, int],
    body_saw: set[tuple[int, str]],
) -> Doubt:
    one = judged.reports[place]
    return Doubt(
        source=one.source,
        external_id=one.external_id,
        version=numbers[one.report_version_id],
        report_version_id=one.report_version_id,
        split=split_of(one.patient_key),
        origin=one.origin,
        given=one.label,
        suggested=judged.labels[noise.suggested[place]],
        margin=float(noise.margin[place]),
        probabilities=dict(zip(judged.labels, found[place].tolist(), strict=True)),
        label_seen=_key(one) in body_saw,
    )


def _parts(labels: Sequence[str], noise: Noise) -> list[NoisePart]:
    return [
        NoisePart(given, true, float(noise.joint[row, column]))
        for row, given in enumerate(labels)
        for column, true in enumerate(labels)
    ]


def _seen(judged: Sequence[Labelled], noise: Noise, body_saw: set[tuple[int, str]]) -> list[SeenPart]:
    doubted = {_key(judged[place]) for place in noise.doubted}
    parts = []
    for seen in (True, False):
        keys = {_key(one) for one in judged if (_key(one) in body_saw) == seen}
        if keys:
            parts.append(SeenPart(seen, len(keys), len(keys & doubted)))
    return parts
