"""`laudos labels next`: of the reports that wait for a person, those whose label would teach the most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from db import features, review_queue
from db.engine import reading
from db.review_queue import Waiting
from tasks.classifiers import the_champion, the_classifier
from tasks.database import open_database
from tasks.ml.arrays import Floats
from tasks.ml.labels.review_order import POOL, review_order, uncertainty
from tasks.ml.splits import split_of
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Next:
    """A report to label. `label`: what the champion thinks; `uncertainty`: 0 where sure, 1 where torn."""

    source: str
    external_id: str
    version: int
    report_version_id: int
    label: str
    uncertainty: float
    because: str | None


@dataclass(frozen=True)
class LabelNext:
    """The order. `waiting`: training patients' reports in the queue that bear no label.

    `of_others`: those of calibration and holdout patients, which are in no order.
    """

    classifier: str
    model_id: int
    waiting: int
    of_others: int
    listed: list[Next]


def label_next(settings: Settings, classifier: str | None, limit: int) -> LabelNext:
    """Training patients' reports only, on stored vectors: the first to ask for at the front.

    Those without a stored vector come after them, the least sure first.

    Were calibration or holdout patients' reports chosen for being hard, what they promise and judge would be
    about hard reports. Raises NothingToWorkOn where there is no champion.
    """
    name, engine = the_classifier(settings, classifier), open_database(settings)
    with reading(engine) as c:
        model = the_champion(c, name).model
        queue = review_queue.unlabelled(c, name)
        ours = [one for one in queue if split_of(one.patient_key) == "train"]
        pool = _least_sure(ours, POOL * limit)
        # vectors are read of those alone that can be chosen
        stored = features.get(c, model.encoder_sha, [one.report_version_id for one in pool])
    known = [one for one in pool if one.report_version_id in stored]
    chosen: list[Waiting] = []
    if known:
        vectors = np.stack([np.frombuffer(stored[one.report_version_id].vector, "<f4") for one in known])
        chosen = [known[place] for place in review_order(vectors, _answers(known), limit)]
    # a back end in bfloat16 stores no vector, and retention rules remove some
    chosen += [one for one in pool if one.report_version_id not in stored]
    listed = [_next(one) for one in chosen[:limit]]
    return LabelNext(name, model.id, len(ours), len(queue) - len(ours), listed)


def _least_sure(waiting: Sequence[Waiting], most: int) -> list[Waiting]:
    if not waiting:
        return []
    places = np.argsort(-uncertainty(_answers(waiting)), kind="stable")
    return [waiting[place] for place in places[:most]]


def _answers(waiting: Sequence[Waiting]) -> Floats:
    """(reports, labels) probabilities."""
    return np.array([[*one.probabilities.values()] for one in waiting])


def _next(one: Waiting) -> Next:
    return Next(
        source=one.source,
        external_id=one.external_id,
        version=one.version,
        report_version_id=one.report_version_id,
        label=one.label,
        uncertainty=float(uncertainty(_answers([one]))[0]),
        because=one.review_because,
    )
