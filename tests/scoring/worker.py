"""A worker in a process of its own; in a file of its own so that starting one imports no Prefect."""

from __future__ import annotations

import os
from multiprocessing.connection import Connection

from db import scoring
from db.engine import open_engine, reading
from tasks.scorer import work_on
from tasks.settings import Settings


def worker(config: str, job_id: int, tell: Connection) -> None:
    """A worker as `laudos classify` runs it, which says when it starts and after each chunk."""
    os.environ["LAUDOS_CONFIG"] = config
    settings = Settings.load()
    engine = open_engine(settings.database)
    with reading(engine) as c:
        job = scoring.get(c, job_id)
    assert job is not None
    tell.send(0)
    work_on(engine, settings, job, lambda done, _: tell.send(done))
