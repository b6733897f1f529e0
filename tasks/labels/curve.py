"""`laudos labels curve`: what more labels would buy a head on the champion's body."""

from __future__ import annotations

from dataclasses import dataclass

from db.engine import reading
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.labels.vectors import LabelledVectors, labelled_vectors, labels_of_body
from tasks.ml.arrays import Ints
from tasks.ml.errors import UnfitData
from tasks.ml.labels.learning_curve import Estimate as Estimate
from tasks.ml.labels.learning_curve import Forecast, forecast, learning_curve, measured, reports_max
from tasks.ml.network.features import Vectors
from tasks.ml.splits import Split, split_of
from tasks.progress import progress_bar
from tasks.settings.settings import Settings

CAVEAT = (
    "The body was trained on labels of these reports: heads on it look good with few of them, and the curve "
    "is too flat. More labels may buy more in a training of the whole network than is told here."
)


@dataclass(frozen=True)
class Point:
    """So many labelled reports, and the macro F1 of heads that they taught."""

    reports: int
    macro_f1: Estimate


@dataclass(frozen=True)
class LabelCurve:
    """The points read, and what `more` reports would give; `no_forecast`: why that cannot be told.

    `more_max`: how many more a forecast may be asked for. `rare`: label -> reports left out.
    """

    classifier: str
    model_id: int
    repeats: int
    points: list[Point]
    more: int
    more_max: int
    forecast: Estimate | None
    gain: Estimate | None
    check_error: float | None
    no_forecast: str | None
    rare: dict[str, int]
    caveat: str | None


def label_curve(settings: Settings, classifier: str | None, more: int, repeats: int) -> LabelCurve:
    """Heads on growing shares of the training patients' stored vectors, scored on calibration patients.

    Of the holdout nothing is read, so it does not wear. Raises NothingToWorkOn where there is no champion or
    there are too few labels, UnfitData where a label has too few patients.
    """
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        model = the_champion(c, name).model
        found = labelled_vectors(c, model, settings.classifier(name))
        body_saw = labels_of_body(c, model)
    with progress_bar("fitting heads on growing shares") as progress:
        curve = learning_curve(
            _part(found, "train"),
            _part(found, "calibration"),
            len(found.labels),
            repeats=repeats,
            seed=settings.seed,
            progress=progress,
        )
    told: Forecast | None = None
    refused: str | None = None
    try:
        told = forecast(curve, more, seed=settings.seed)
    except UnfitData as beyond:
        refused = str(beyond)
    return LabelCurve(
        classifier=name,
        model_id=model.id,
        repeats=repeats,
        points=[Point(int(n), one) for n, one in zip(curve.reports, measured(curve), strict=True)],
        more=more,
        more_max=reports_max(curve),
        forecast=None if told is None else told.score,
        gain=None if told is None else told.gain,
        check_error=None if told is None else told.check_error,
        no_forecast=refused,
        rare=found.rare,
        caveat=CAVEAT if body_saw else None,
    )


def _part(found: LabelledVectors, split: Split) -> tuple[Vectors, Ints, list[str]]:
    places = [at for at, one in enumerate(found.reports) if split_of(one.patient_key) == split]
    return found.vectors[places], found.labels_idx[places], [found.reports[at].patient_key for at in places]
