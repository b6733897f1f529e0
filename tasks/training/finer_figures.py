"""What the whole holdout does not show of a model: its slices, what it is good for, other calibrations."""

from __future__ import annotations

import numpy as np
from sqlalchemy import Engine

from db import slices
from db.engine import reading
from db.metrics import Metric
from db.models import Model
from tasks.ml.arrays import Bools, Floats
from tasks.ml.judging.fairness import Gap, gap_figures, gaps_of
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.net_benefit import net_benefit_figures
from tasks.ml.judging.recalibration import Calibration, compared, recalibrated
from tasks.ml.judging.slice_fields import Field, fields_of
from tasks.ml.judging.slices import slice_figures
from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.conformal import decide
from tasks.models.figures import metrics_of
from tasks.training.learning_data import Part


def finer_figures(
    model: Model,
    facts: LaudosJson,
    fields: list[Field],
    holdout: Part,
    answers: Floats,
    unfamiliar: Bools,
    calibration: Calibration,
    seed: int,
) -> list[Metric]:
    """The rows for the table `metric`, population `holdout`: subject `model`, and for calibrations compared
    uncalibrated, platt and isotonic. answers: (reports, labels); unfamiliar: (reports,).
    """
    labels, critical = model.config["labels"], model.config["critical"]
    given = Sample.of(answers, holdout.labels_idx, holdout.patients, len(labels))
    to_person = going_to_person(answers, unfamiliar, facts)
    at = list(labels).index(critical)
    ours = slice_figures(given, fields, labels, critical, to_person, seed=seed)
    ours += gap_figures(gaps_of(given, fields, at, to_person, seed=seed))
    ours += net_benefit_figures(given, at, seed=seed)
    heat = facts.temperature if facts.pool is None else 1.0  # two that are pooled have none in common
    others = compared(given, recalibrated(calibration, answers, heat), seed=seed)
    rows = metrics_of("model", "holdout", ours)
    return rows + [row for way, theirs in others.items() for row in metrics_of(way, "holdout", theirs)]


def holdout_fields(engine: Engine, snapshot_id: int, holdout: Part) -> list[Field]:
    """What a holdout can be cut by. A hospital's report that tells no institution has its source."""
    with reading(engine) as c:
        known = slices.kinds(c, snapshot_id, "holdout")
    kinds = [known[version_id] for version_id in holdout.ids]
    return fields_of(
        holdout.texts,
        [kind.institution or kind.source for kind in kinds],
        holdout.origins,
        [kind.report_date for kind in kinds],
        {
            "sex": [kind.sex for kind in kinds],
            "age": [kind.age_band for kind in kinds],
            "race": [kind.race for kind in kinds],
        },
    )


def gaps_on(
    engine: Engine,
    model: Model,
    facts: LaudosJson,
    holdout: Part,
    answers: Floats,
    unfamiliar: Bools,
    n_boot: int,
    seed: int,
) -> list[Gap]:
    """How far apart a model treats the protected groups of the holdout of its snapshot."""
    labels = model.config["labels"]
    given = Sample.of(answers, holdout.labels_idx, holdout.patients, len(labels))
    fields = holdout_fields(engine, model.snapshot_id, holdout)
    to_person = going_to_person(answers, unfamiliar, facts)
    at = list(labels).index(model.config["critical"])
    return gaps_of(given, fields, at, to_person, n_boot=n_boot, seed=seed)


def going_to_person(answers: Floats, unfamiliar: Bools, facts: LaudosJson) -> Bools:
    """(reports,) which of them a person must look at."""
    unsure = np.array([decision == "review" for decision in decide(answers, facts.thresholds)])
    return unsure | unfamiliar
