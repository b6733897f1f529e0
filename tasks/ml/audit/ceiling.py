"""The text must not know the label better than the measurements it was written from."""

from __future__ import annotations

import numpy as np

from tasks.ml.audit.family import LEVEL, MEASURE
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Check, untested, verdict
from tasks.ml.audit.shortcuts import mean_auroc
from tasks.ml.judging.ranking import ranked_areas
from tasks.ml.judging.resampling import lower_end, patient_weights

DRAWS = 1000
ONE_SIDED = 0.005
NO_CEILING = "there are no measurements to compare with"


def whole_text(ground: Ground) -> Check:
    """Whether all words together go with the label beyond what the measurements explain."""
    if ground.nulls.given is None or not len(ground.word_family):
        return untested("whole_text", NO_CEILING)
    scores = ground.text_scores
    tested = ground.nulls.given.test(np.log(np.clip(scores, 1e-6, 1)))
    p = float(min(1.0, tested.p.min() * scores.shape[1]))
    return Check("whole_text", verdict(p <= LEVEL), MEASURE, p, LEVEL, scores.shape[1])


def ceiling(ground: Ground) -> Check:
    """AUROC by the text less AUROC by the measurements: the lower end over groups must not lie above 0."""
    units, measured = ground.units, ground.probability
    if measured is None or not len(ground.word_family):
        return untested("ceiling", NO_CEILING)
    scores = ground.text_scores
    labels = [1] if len(units.labels) == 2 else list(range(len(units.labels)))
    blocks = []
    for weights in patient_weights(len(units), len(units), DRAWS, seed=11):
        areas = [
            ranked_areas(scores[:, label], units.truth == label, weights)[0]
            - ranked_areas(measured[:, label], units.truth == label, weights)[0]
            for label in labels
        ]
        blocks.append(np.mean(areas, axis=0))
    low = lower_end(np.concatenate(blocks), error=ONE_SIDED)
    state = verdict(low is not None and low > 0)
    note = f"by the text {mean_auroc(scores, units):.4f}, by them {mean_auroc(measured, units):.4f}"
    measure = f"AUROC by the text less AUROC by the measurements, lower end of {1 - ONE_SIDED:.1%}"
    return Check("ceiling", state, measure, low, 0.0, len(labels), note=note)
