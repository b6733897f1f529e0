"""Chunks that workers died over, read in a process of their own: `python -m tasks.scoring.apart JOB`.

A report that kills whatever reads it then ends that process and not the night. This one sees it end,
starts the next, and the chunk is halved from death to death (see db.takeover) until the report stands
alone: one run is enough to find it. Here the champion reads alone: whether a student or a back end that
`auto` chose killed the first worker is not known, and no report is given up for one of them.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from dataclasses import asdict
from typing import IO

from sqlalchemy import Engine

from db import scoring, takeover
from db.engine import reading
from db.errors import LaudosError
from db.scoring import Job
from tasks.database import open_database
from tasks.ml.network.isolation import PROBE
from tasks.processes import as_a_process
from tasks.scoring.claims import each_chunk, take_over_silent
from tasks.scoring.scorer import ScoreSummary, load_scorer
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)


# what reads apart; it is given the job's number
COMMAND = (sys.executable, "-m", __name__)


def work_apart(engine: Engine, settings: Settings, job: Job) -> ScoreSummary:
    """Score what workers died over, until nothing of it is free; what is left is not counted.

    Raises LaudosError where a process fails in good order, or is killed before it had a chunk.
    """
    total = ScoreSummary()
    while _suspects(engine, job):
        process = subprocess.Popen([*COMMAND, str(job.id)], stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            ready, scored = _heard(process.stdout)
            code = process.wait()
        finally:
            # Ctrl-C, or the end of this process: the other one gives its chunk back
            process.terminate()
            process.wait()
        total += scored
        if code == 0:
            break
        if code > 0 or not ready:
            ended = f"ended with code {code}" if code > 0 else f"was killed by signal {-code} at its start"
            raise LaudosError(
                f"what workers died over in job {job.id} could not be read in a process of its own: that "
                f'{ended}; see its last line, free some memory, and run "laudos classify" again'
            )
        log.warning("job %d: a process was killed by signal %d over a chunk", job.id, -code)
        total += ScoreSummary(quarantined=take_over_silent(engine, settings, job))
    return total


def _suspects(engine: Engine, job: Job) -> int:
    with reading(engine) as c:
        return takeover.suspects(c, job.id)


def _heard(lines: IO[str]) -> tuple[bool, ScoreSummary]:
    """Whether it could read at all, and the sum of the chunks that it ended."""
    total, ready = ScoreSummary(), False
    for line in lines:
        ready = True
        total += ScoreSummary(**json.loads(line))
    return ready, total


def main(job_id: int) -> None:
    """Score whatever is free of the job, and tell the process that waits of each chunk."""
    settings = Settings.load()
    engine = open_database(settings)
    with reading(engine) as c:
        job = scoring.existing(c, job_id)
    scorer = load_scorer(engine, settings, job, alone=True)
    # with nothing claimed yet: a machine too small for the model, or a model that kills whatever it is
    # asked, is no report's fault
    scorer.predictor.vectors([PROBE])
    _tell(ScoreSummary())
    for _, scored in each_chunk(engine, settings, job, scorer=scorer):
        _tell(scored)


def _tell(scored: ScoreSummary) -> None:
    print(json.dumps(asdict(scored)), flush=True)


if __name__ == "__main__":
    as_a_process(lambda: main(int(sys.argv[1])))
