"""A signal at any line of a run: the ledger says how it ended, and the database can be written at once."""

from __future__ import annotations

import contextvars
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from types import FrameType

import pytest
from sqlalchemy import Engine, event, insert, select, update

import db.engine
from db import ledger
from db.engine import open_engine, reading, writing
from db.errors import LaudosError
from db.tables import run
from tasks.ledger import recorded_run
from tasks.settings.settings import Settings

OURS = {"db", "tasks", "contextlib"}  # a context manager of ours is both its own and the library's


@pytest.fixture
def engine(engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """One that soon says that somebody else holds the lock."""
    monkeypatch.setattr(db.engine, "SQLITE_BUSY_TIMEOUT_S", 0.5)
    impatient = open_engine(database_url)
    yield impatient
    impatient.dispose()


@pytest.fixture
def settings(database_url: str, configure: Callable[..., Settings]) -> Settings:
    return configure(database=database_url)


@pytest.fixture(autouse=True)
def _signals_are_raised_and_forgotten() -> Iterator[None]:
    """A test before may have run the command, which remembers every signal from then on."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Stop:
    """Ctrl-C at a line of ours, counted from where it is set; without `at` it only counts."""

    def __init__(self, at: int = -1) -> None:
        self.at, self.lines = at, 0

    def __call__(self, frame: FrameType, event: str, _told: object) -> Stop:
        package = frame.f_globals.get("__name__", "").split(".")[0]
        self.lines += event == "line" and package in OURS
        if self.lines == self.at:
            sys.settrace(None)
            self.lines += 1
            signal.raise_signal(signal.SIGINT)
        return self

    def within(self, work: Callable[[Engine, Settings], None], engine: Engine, settings: Settings) -> str:
        """What the work raised, by its type's name; empty where nothing."""
        sys.settrace(self)
        try:
            contextvars.copy_context().run(work, engine, settings)  # what a stop leaves in one dies with it
        except BaseException as error:
            return type(error).__name__
        finally:
            sys.settrace(None)
        return ""


def test_a_stop_in_a_statement_lets_go_of_the_database(engine: Engine) -> None:
    """Its cursor lives in the traceback: an SQLite connection closed beside it goes on to hold the lock."""
    statement = insert(run).values(kind="monitor", state="running", code_revision="", config_sha="")

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        with writing(engine) as c:
            event.listen(engine, "after_cursor_execute", stop)
            c.execute(statement.values(started_at=datetime.now(UTC)).returning(run.c.id))

    with pytest.raises(KeyboardInterrupt) as stopped:
        work()
    event.remove(engine, "after_cursor_execute", stop)
    with writing(engine) as c:
        assert ledger.running(c) == []
        c.execute(update(run).values(code_revision="one"))
    assert stopped.value is not None  # until here


def two_runs(engine: Engine, settings: Settings) -> None:
    outer, inner = recorded_run(engine, settings, "nightly"), recorded_run(engine, settings, "monitor")
    with outer, inner, writing(engine) as c:
        c.execute(update(run).values(code_revision="another"))


def stopped_at_every_line(settings: Settings) -> tuple[list[str], set[str]]:
    """Where a run was left running, and what was raised, by name."""
    db.engine.SQLITE_BUSY_TIMEOUT_S = 0.5
    engine = open_engine(settings.database)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for _ in range(3):
        counting = Stop()
        counting.within(two_runs, engine, settings)  # what is done only once is, at the last
    left, raised = [], set()
    for at in range(1, counting.lines + 1):
        raised.add(Stop(at).within(two_runs, engine, settings))
        with writing(engine) as c:
            if ledger.running(c):
                left.append(f"line {at} of {counting.lines}")
            c.execute(update(run).values(code_revision="one", state="failed"))
    return left, raised


@pytest.mark.slow
@pytest.mark.usefixtures("engine")
def test_a_run_stopped_at_any_line_of_ours_has_ended(settings: Settings) -> None:
    """In a process of its own: Python's list of exceptions under way does not bear all these stops."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:
        left, raised = apart.submit(stopped_at_every_line, settings).result()
    assert left == []
    assert "KeyboardInterrupt" in raised


def stopped_while_told(engine: Engine, settings: Settings, error: BaseException) -> None:
    """A run that ends in the error, and a signal while that is written."""

    def stop(*_: object) -> None:
        signal.raise_signal(signal.SIGINT)

    with recorded_run(engine, settings, "nightly"):
        event.listen(engine, "before_cursor_execute", stop, once=True)
        raise error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyboardInterrupt(), "KeyboardInterrupt: stopped from outside"),
        (LaudosError("source 'his' is away"), "LaudosError: source 'his' is away"),
    ],
    ids=["a_stop", "a_failure"],
)
def test_a_signal_while_an_end_is_told_leaves_it_told_and_ends_the_program(
    engine: Engine, settings: Settings, error: BaseException, told: str
) -> None:
    """Ctrl-C twice, or one that a finalizer met and that comes again."""
    with pytest.raises(KeyboardInterrupt):
        stopped_while_told(engine, settings, error)
    with reading(engine) as c:
        assert list(c.scalars(select(run.c.failure))) == [told]
