"""A job's test for a shift in a process of its own: `python -m tasks.scoring.shift_apart JOB WORKER`.

A worker died over the test before. If one of the reports in its sample kills whatever reads it, it ends this
process and not the night: WORKER, who holds the test's lease and waits, then records that nothing was tested.
"""

from __future__ import annotations

import sys

from db import models, scoring
from db.engine import reading
from tasks.database import open_database
from tasks.processes import as_a_process
from tasks.scoring.scorer import load_predictor
from tasks.scoring.shift import decide
from tasks.settings.settings import Settings


def main(job_id: int, worker: str) -> None:
    """Test in the name of the worker that waits."""
    settings = Settings.load()
    engine = open_database(settings)
    with reading(engine) as c:
        job = scoring.existing(c, job_id)
        model = models.existing(c, job.model_id)
    predictor = load_predictor(engine, settings, job.classifier, model)
    decide(engine, settings, job, model, predictor, worker)


if __name__ == "__main__":
    as_a_process(lambda: main(int(sys.argv[1]), sys.argv[2]))
