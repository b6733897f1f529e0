"""A classifier that a scratch world teaches: reports two words tell apart, and a network of a second."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from multiprocessing.connection import Connection
from typing import Any, TypeVar

from sqlalchemy import Engine

from db.errors import Busy
from db.trial import TrialRow
from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.ml.quiet import on_one_core
from tasks.promotion.promote import Decided, decide
from tasks.settings.settings import Settings
from tasks.synthesis.synthesize import write_set
from tasks.torture import ingesting, scoring
from tasks.torture.scratch import CLASSIFIER, SOURCE, Scratch, source_keys
from tasks.training.evaluate import evaluate_on_holdout
from tasks.training.plan import How, plan
from tasks.training.train import train_planned
from tasks.training.training_set import freeze

T = TypeVar("T")

LABELS = ("benigno", "maligno")
_COMMON = ("paciente", "acompanhamento", "sem", "queixas", "exame", "realizado", "com", "boa", "tecnica")
_TELLING = {
    "benigno": ("nucleos", "regulares", "fina", "lisos"),
    "maligno": ("pleomorfismo", "acentuado", "grosseira", "irregulares"),
}
# learns from a set that is written for it: a reserved share this large leaves one of seconds
WRITTEN = "escrito"
WRITTEN_KEYS = {
    "labels": list(LABELS),
    "critical": "maligno",
    "training_labels": ["synthetic"],
    "synthetic": {"reports_per_row": 2, "reserved_share": 0.87},
}
TAUGHT = 80
PAGE_ROWS = 2_000
PATIENCE_S = 20.0


def keys(url: str, *, hidden: int = 16, page_rows: int = PAGE_ROWS, **how: Any) -> dict[str, Any]:
    """What laudos.toml says of the classifier: tiny, and a challenger is promoted whatever it is worth."""
    return {
        "sources": {SOURCE: source_keys(url, page_rows=page_rows)},
        "classifiers": {
            CLASSIFIER: {
                "labels": list(LABELS),
                "critical": "maligno",
                "sensitivity_floor": 0.0,
                "training": {
                    "window_tokens": 24,
                    "stride_tokens": 4,
                    "hidden_size": hidden,
                    "layers": 1,
                    "attention_heads": 2,
                    "vocabulary": 200,
                    "epochs": 1.0,
                    "batch_reports": 16,
                },
                "promotion": {
                    "holdout_patients_min": 2,
                    "margin": 1.0,
                    "class_margin": 1.0,
                    "ece_margin": 1.0,
                    "beat_baselines": False,
                },
            }
        },
        "scoring": how,
    }


def rows(numbers: Iterable[int], *, prefix: str = "L", labelled: bool = False) -> list[TrialRow]:
    """A report a patient; its words tell its label, whether that is said or not."""
    return [_row(number, prefix, labelled) for number in numbers]


def _row(number: int, prefix: str, labelled: bool) -> TrialRow:
    name = f"{prefix}{number:06}"
    rng = random.Random(name)
    label = LABELS[number % 2]
    words = [*rng.sample(_COMMON, 7), *rng.sample(_TELLING[label], 3)]
    rng.shuffle(words)
    text = f"Laudo {name}. {' '.join(words)}."
    return TrialRow(
        name, text, datetime.now(UTC), f"patient {name}", "02/03/2026", label if labelled else None
    )


def teach(world: Scratch, **how: Any) -> None:
    """Labelled reports, taken in, learnt from and answered: from then on there is a champion.

    `how` as in `keys`.
    """
    world.configure(**keys(world.hospital.url, **how))
    world.hospital.put(rows(range(TAUGHT), labelled=True))
    ingesting.ingest(world.engine, world.settings, True, ingesting.now)
    retrain(world.engine, world.settings)
    job_id = scoring.cut(world.engine, world.settings)
    if job_id is not None:
        world.run(scoring.work, job_id, "real")


def once(settings: Settings, _tell: Connection, how: How = "auto") -> None:
    """One retraining, in a process of its own."""
    retrain(open_database(settings), settings, how)


def retrain(engine: Engine, settings: Settings, how: How = "auto") -> Decided:
    """As `laudos retrain` does it but for Prefect and the pages for people. Raises whatever it raises."""
    on_one_core()
    return patiently(partial(_retrain, engine, settings, how))


def write(settings: Settings, _tell: Connection, seed: int) -> None:
    """The set of this seed as `laudos synthesize` writes it, in a process of its own."""
    on_one_core()
    patiently(partial(_write, open_database(settings), settings, seed))


def patiently(work: Callable[[], T]) -> T:
    """The work's answer; a lock that a killed process held is waited for until the server notices."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return work()
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _write(engine: Engine, settings: Settings, seed: int) -> None:
    with recorded_run(engine, settings, "synthesize", exclusive="synthesize") as run:
        write_set(engine, run.id, WRITTEN, settings.classifier(WRITTEN), 0, seed, datetime.now(UTC))


def _retrain(engine: Engine, settings: Settings, how: How) -> Decided:
    with recorded_run(engine, settings, "retrain", exclusive="model") as run:
        now = datetime.now(UTC)
        snapshot_id = freeze(engine, run.id, CLASSIFIER, settings.classifier(CLASSIFIER), now)
        planned = plan(engine, settings, CLASSIFIER, snapshot_id, how, now)
        if planned.reused is not None:
            model_id = planned.reused.id
        else:
            trained = train_planned(engine, settings, run.id, CLASSIFIER, snapshot_id, planned, now)
            model_id = trained.model_id
        evaluate_on_holdout(engine, settings, run.id, model_id, now)
        return decide(engine, settings, run.id, model_id, now)
