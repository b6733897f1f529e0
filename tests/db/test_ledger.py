"""Runs end in the state they deserve, batches add up, and locks die with their holders."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from asyncio import CancelledError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from sqlalchemy import Engine, insert, select

from db import ledger, lock, sources
from db.engine import reading, writing
from db.errors import Busy, ConfigurationError, DatabaseFailure, LaudosError
from db.ledger import Counts
from db.tables import run, source
from tasks.database import open_database, upgrade_database
from tasks.ledger import code_revision, recorded_run
from tasks.settings.settings import Settings
from tests.runs import begin


@pytest.fixture
def settings(engine: Engine, database_url: str, configure: Callable[..., Settings]) -> Settings:
    return configure(database=database_url)


def runs(engine: Engine) -> list[tuple[str, str, str | None]]:
    with reading(engine) as c:
        query = select(run.c.kind, run.c.state, run.c.failure).order_by(run.c.id)
        return [tuple(row) for row in c.execute(query)]


def test_a_run_that_returns_is_completed(engine: Engine, settings: Settings) -> None:
    with recorded_run(engine, settings, "monitor"):
        assert runs(engine) == [("monitor", "running", None)]
    assert runs(engine) == [("monitor", "completed", None)]


def test_a_run_that_raises_is_failed_and_tells_no_text(engine: Engine, settings: Settings) -> None:
    with pytest.raises(ValueError, match="CANARIO"), recorded_run(engine, settings, "monitor"):
        raise ValueError("CANARIO")
    with pytest.raises(LaudosError), recorded_run(engine, settings, "monitor"):
        raise LaudosError("source 'his' is away")
    with pytest.raises(KeyboardInterrupt), recorded_run(engine, settings, "monitor"):
        raise KeyboardInterrupt
    with pytest.raises(CancelledError), recorded_run(engine, settings, "monitor"):
        raise CancelledError
    ended = runs(engine)
    assert [state for _, state, _ in ended] == ["failed"] * 4
    unforeseen, told, stopped, cancelled = (failure for _, _, failure in ended)
    assert unforeseen is not None
    assert unforeseen.startswith("ValueError")
    assert "CANARIO" not in unforeseen
    assert told == "LaudosError: source 'his' is away"
    assert stopped == "KeyboardInterrupt: stopped from outside"
    # by a person, or by Prefect itself where its server was gone too long
    assert cancelled == "CancelledError: stopped from outside; Prefect's log of the run may say why"


def test_a_run_inside_another_is_its_child(engine: Engine, settings: Settings) -> None:
    with recorded_run(engine, settings, "nightly") as night:
        with recorded_run(engine, settings, "ingest") as child:
            pass
        with recorded_run(engine, settings, "classify"):
            pass
    with reading(engine) as c:
        parents = c.execute(select(run.c.parent_id).order_by(run.c.id)).scalars().all()
    assert parents == [None, night.id, night.id]
    assert child.id != night.id


def test_what_excludes_itself_is_refused_naming_who_is_at_work(engine: Engine, settings: Settings) -> None:
    with recorded_run(engine, settings, "retrain", exclusive="model") as first:
        busy = pytest.raises(Busy, match=rf"'model'.*retrain run {first.id} since")
        with busy, recorded_run(engine, settings, "retrain", exclusive="model"):
            pass
        with recorded_run(engine, settings, "ingest", exclusive="ingest"):
            pass
    with recorded_run(engine, settings, "retrain", exclusive="model"):
        pass


def test_a_run_whose_process_lives_is_not_called_crashed(engine: Engine, settings: Settings) -> None:
    with recorded_run(engine, settings, "classify"), recorded_run(engine, settings, "classify"):
        assert [state for _, state, _ in runs(engine)] == ["running", "running"]


def test_a_run_that_was_taken_for_crashed_and_ends_has_ended(engine: Engine, settings: Settings) -> None:
    """As where the connection that held its lock broke."""
    with recorded_run(engine, settings, "retrain") as ref:
        with writing(engine) as c:
            ledger.mark_crashed(c, [ref.id], datetime.now(UTC))
        assert [state for _, state, _ in runs(engine)] == ["crashed"]
    assert runs(engine) == [("retrain", "completed", None)]


HOLD = """
import sys
from db import lock
from db.engine import open_engine
with lock.exclusive(open_engine(sys.argv[1]), "model"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_dies_with_its_holder(engine: Engine, database_url: str) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, database_url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ,
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"held\n"
    with pytest.raises(Busy), lock.exclusive(engine, "model"):
        pass
    holder.kill()
    holder.communicate()
    for _ in range(100):  # the server may need a moment to notice
        if lock.is_free(engine, "model"):
            break
    with lock.exclusive(engine, "model"):
        assert not lock.is_free(engine, "model")


def test_batches_add_up_to_their_run(engine: Engine, settings: Settings, now: datetime) -> None:
    with recorded_run(engine, settings, "ingest") as ref, writing(engine) as c:
        one = sources.ensure_source(c, "um", "database")
        two = sources.ensure_source(c, "dois", "database")
        ledger.add_batch(c, ref.id, one, Counts(3, 1, 1, 1, 0), now)
        ledger.add_batch(c, ref.id, two, Counts(2, 0, 0, 1, 1), now)
        ledger.add_batch(c, ref.id, one, Counts(1, 1), now)
        assert ledger.counts_of(c, ref.id) == Counts(6, 2, 1, 2, 1)
        assert ledger.counts_of_source(c, ref.id, one) == Counts(4, 2, 1, 1, 0)
        assert ledger.counts_of_source(c, ref.id, 999) == Counts()


def test_counts_that_do_not_balance_are_refused_by_the_database(
    engine: Engine, settings: Settings, now: datetime
) -> None:
    with recorded_run(engine, settings, "ingest") as ref:
        with writing(engine) as c:
            source_id = sources.ensure_source(c, "his", "database")
        with pytest.raises(LaudosError, match=r"CHECK|CheckViolation"), writing(engine) as c:
            ledger.add_batch(c, ref.id, source_id, Counts(read=2, new=1), now)
        with reading(engine) as c:
            assert ledger.counts_of(c, ref.id) == Counts()


def test_a_clock_that_jumped_back_ends_no_run_before_it_began(engine: Engine, now: datetime) -> None:
    run_id = begin(engine, "ingest", now)
    with writing(engine) as c:
        ledger.end_run(c, run_id, "completed", now=now - timedelta(hours=2))
        assert c.execute(select(run.c.ended_at)).scalar_one() == now


def test_a_source_keeps_its_number(engine: Engine) -> None:
    with writing(engine) as c:
        first = sources.ensure_source(c, "his", "database", 60)
        assert sources.ensure_source(c, "his", "database", 3600) == first


def test_an_embedded_database_gets_its_tables_by_itself(configure: Callable[..., Settings]) -> None:
    settings = configure()
    engine = open_database(settings)
    assert runs(engine) == []
    assert open_database(settings) is engine


@pytest.mark.postgres
def test_a_server_gets_its_tables_only_when_told(
    postgres_url: str, configure: Callable[..., Settings]
) -> None:
    settings = configure(database=postgres_url)
    with pytest.raises(ConfigurationError, match="laudos db upgrade"):
        open_database(settings)
    upgrade_database(settings)
    assert runs(open_database(settings)) == []


def test_the_code_is_known_by_its_own_commit_and_by_its_version_in_a_tree_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hospital keeps laudos.toml in git, with the environment that laudos is installed in beside it."""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
        asked = ["git", "-C", str(tmp_path), *identity, *words]
        return subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip()

    installed = tmp_path / "ledger.py"
    installed.touch()
    monkeypatch.setattr("tasks.ledger.__file__", str(installed))
    revision = code_revision.__wrapped__  # not the answer that is kept
    git("init")
    git("commit", "--allow-empty", "-m", "laudos.toml")
    assert revision() == version("laudos")
    git("add", "ledger.py")
    git("commit", "-m", "laudos itself")
    assert revision() == git("rev-parse", "HEAD")


def test_what_the_database_refuses_leaves_nothing_of_its_row_in_the_chain_of_errors(engine: Engine) -> None:
    """PostgreSQL's DETAIL quotes the row, and whoever prints an error prints what it came from."""
    with pytest.raises(DatabaseFailure) as refused, writing(engine) as c:
        c.execute(insert(source), [{"name": "CANARY", "kind": "neither"}])
    assert "CANARY" not in "".join(traceback.format_exception(refused.value))
    assert refused.value.__context__ is None
    assert refused.value.__cause__ is None
