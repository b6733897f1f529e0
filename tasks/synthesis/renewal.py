"""Which synthetic reports the champion finds hard: those stay when their set is replaced."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from sqlalchemy import Engine

from db import models, synthetic_sets
from db.engine import reading
from db.synthetic_sets import RecordedSet
from tasks.ml.network.artifact import read_facts
from tasks.ml.network.conformal import decide
from tasks.ml.splits import split_of
from tasks.ml.synthesis.renewal import Candidate
from tasks.model_folders import folder_of
from tasks.models.usable import unreadable
from tasks.settings.settings import Settings
from tasks.training.evaluate import answers_on
from tasks.training.learning_data import Part


def hard_reports(
    engine: Engine, settings: Settings, classifier: str, standing: RecordedSet, now: datetime
) -> list[Candidate]:
    """Training reports of the set in force that the champion gets wrong, or would show to a person.

    Its stored vectors answer; only what none is stored for is encoded. Empty without a champion, or where
    its folder is not what was published or cannot be read here: no reason to write no set.
    """
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
    if champion is None or unreadable(settings, champion.model) is not None:
        return []
    model, labels = champion.model, champion.model.config["labels"]
    with reading(engine) as c:
        found = synthetic_sets.in_force(c, classifier)
    taught = [one for one in found if split_of(one.row_key) == "train" and one.label in labels]
    if not taught:
        return []
    part = Part(
        [one.report_version_id for one in taught],
        [one.text for one in taught],
        np.array([labels.index(one.label) for one in taught], np.int64),
        [one.row_key for one in taught],
        ["synthetic"] * len(taught),
    )
    probabilities, _ = answers_on(engine, settings, model, part, now)
    right = np.argmax(probabilities, axis=1) == part.labels_idx
    sure = decide(probabilities, read_facts(folder_of(settings, model)).thresholds)
    return [
        Candidate(
            one.external_id,
            float(probabilities[at, part.labels_idx[at]]),
            standing.kept.get(one.external_id, 0),
        )
        for at, one in enumerate(taught)
        if not right[at] or sure[at] == "review"
    ]
