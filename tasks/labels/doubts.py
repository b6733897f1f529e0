"""`laudos labels doubt`: labels that are probably wrong, for a person to look at; nothing is changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db import reports
from db.engine import reading
from db.snapshots import Labelled
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.labels.vectors import LabelledVectors, key_of, labelled_vectors, labels_of_body
from tasks.ml.arrays import Floats
from tasks.ml.labels.label_noise import Noise, find_noise, out_of_fold
from tasks.ml.splits import Split, split_of
from tasks.progress import progress_bar
from tasks.settings.settings import Settings

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


def label_doubts(settings: Settings, classifier: str | None, limit: int) -> Doubts:
    """Current labels of training and calibration patients, judged out of fold on the champion's vectors.

    Of the holdout nothing is read: labels corrected where the model disagrees would flatter the model. Raises
    NothingToWorkOn where there is no champion, or too little to judge.
    """
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        model = the_champion(c, name).model
        judged = labelled_vectors(c, model, settings.classifier(name))
        body_saw = labels_of_body(c, model)
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


def _doubt(
    judged: LabelledVectors,
    noise: Noise,
    found: Floats,
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
        label_seen=key_of(one) in body_saw,
    )


def _parts(labels: Sequence[str], noise: Noise) -> list[NoisePart]:
    return [
        NoisePart(given, true, float(noise.joint[row, column]))
        for row, given in enumerate(labels)
        for column, true in enumerate(labels)
    ]


def _seen(judged: Sequence[Labelled], noise: Noise, body_saw: set[tuple[int, str]]) -> list[SeenPart]:
    doubted = {key_of(judged[place]) for place in noise.doubted}
    parts = []
    for seen in (True, False):
        keys = {key_of(one) for one in judged if (key_of(one) in body_saw) == seen}
        if keys:
            parts.append(SeenPart(seen, len(keys), len(keys & doubted)))
    return parts
