"""Scorers side by side on one job: what the herd says of a job that nobody can end."""

from __future__ import annotations

import pytest

from tasks.torture import controls_scoring, ingesting, learning, scoring
from tasks.torture.herd import Herd
from tasks.torture.scenario import Control, Database, Load
from tasks.torture.scoring import Doom
from tasks.torture.scratch import scratch

TORN = Control("finishing_transaction", "", controls_scoring.finishing_transaction, ())


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("database", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_a_job_that_nobody_can_end_is_told_at_once_and_not_waited_for(
    request: pytest.FixtureRequest, database: Database
) -> None:
    """A process ended its last chunk and died before it ended the job, which takes a torn transaction."""
    server = request.getfixturevalue("postgres_server") if database == "postgres" else None
    with scratch(database, server, "1", TORN, lambda _: None) as world:
        learning.teach(world)
        world.hospital.put(learning.rows(range(1), prefix="new"))
        ingesting.ingest(world.engine, world.settings, False, ingesting.now)
        job_id = scoring.cut(world.engine, world.settings)
        assert job_id is not None
        dies = world.start(scoring.work, job_id, "stand-in", Doom("score.finish.predictions"))
        assert dies.join() is None, "it was to die after the chunk's end and before the job's"
        Herd(world, job_id, Load(workers=2), "stand-in").drive()
        assert [one.check for one in world.violations] == ["jobs_end"]
