"""Ctrl-C, a real one, in every part of a night: one line, an honest ledger, and the next night completes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
from prefect.settings import PREFECT_API_URL
from sqlalchemy import Engine, func, select

from db import schema
from db.engine import open_engine, reading
from db.tables import prediction, report, run
from tasks.settings.settings import Settings
from tasks.step import flow
from tasks.stopping import deliver_again, stop_on_signals
from tasks.upkeep.doctor import doctor
from tests.bad_input.night import QUIET, night
from tests.flows import town
from tests.test_layers import ROOT

PARTS = ("ingest", "retrain", "classify")
STOPPED = "laudos: stopped; what was committed stays, and the next run does the rest\n"


@pytest.fixture(scope="module")
def processes() -> Iterator[ForkServerContext]:
    """Real processes that need not import torch and Prefect again each."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([night.__module__, "flows.nightly"])
    with pytest.MonkeyPatch.context() as patch:
        for name, value in QUIET.items():
            patch.setenv(name, value)
        yield context


def runs(engine: Engine, after: int = 0) -> list[tuple[int, str, str, str | None]]:
    """(id, kind, state, failure) of the runs after a number, oldest first."""
    columns = (run.c.id, run.c.kind, run.c.state, run.c.failure)
    with reading(engine) as c:
        return [(*row,) for row in c.execute(select(*columns).where(run.c.id > after).order_by(run.c.id))]


def stop_within(part: str, delay_s: float, process: ForkServerProcess, engine: Engine, before: int) -> None:
    """Ctrl-C, so long after the night has begun that part of it."""
    give_up = time.monotonic() + 120
    while not any(row[1:3] == (part, "running") for row in runs(engine, before)):
        assert process.is_alive(), f"the night ended before its {part} was seen"
        assert time.monotonic() < give_up, f"no {part} began"
        time.sleep(0.005)
    time.sleep(delay_s)
    os.kill(process.pid or 0, signal.SIGINT)


def test_ctrl_c_that_meets_a_finalizer_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python drops what a finalizer raises: without the hook this would sleep on."""

    class Finalized:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)

    def finalize_and_wait() -> None:
        Finalized()
        time.sleep(30)

    monkeypatch.setattr(sys, "unraisablehook", deliver_again)
    with pytest.raises(KeyboardInterrupt):
        finalize_and_wait()


STOPPED_IN_A_FINALIZER = """
import signal, sys, time
from tasks.processes import as_a_process

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGTERM)

def work():
    Finalized()
    time.sleep(float(sys.argv[1]))
    print("it worked on")

as_a_process(work)
"""


def test_a_process_apart_that_is_ended_in_a_finalizer_ends() -> None:
    """Whoever started it waits: it would have read the whole rest of the job first."""
    command = [sys.executable, "-c", STOPPED_IN_A_FINALIZER, "200"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")


@pytest.fixture
def signals_heeded() -> Iterator[None]:
    """As the command hears them, and afterwards as before."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook = sys.unraisablehook
    stop_on_signals()
    yield
    stop_on_signals()  # forgets what came
    sys.unraisablehook = hook
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("prefect_harness", "signals_heeded")
@pytest.mark.parametrize(
    ("number", "raised"),
    [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)],
    ids=["int", "term"],
)
def test_a_signal_that_prefect_drops_while_a_flow_ends_is_not_lost(
    number: signal.Signals, raised: type[BaseException]
) -> None:
    """Prefect waits up to a second for its heartbeat thread then, and drops what is raised meanwhile."""

    @flow("ending", run_name="ending {day}")
    def ending() -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), number)).start()

    def end_and_wait() -> None:
        ending()
        time.sleep(2)  # a slow machine may get here before the signal comes

    with pytest.raises(raised):
        end_and_wait()


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_harness")
def test_ctrl_c_in_any_part_of_a_night_is_told_in_one_line_and_the_next_night_completes(
    tmp_path: Path, processes: ForkServerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, told, rng = town.build(tmp_path, patients=30), tmp_path / "told", np.random.default_rng(20261123)
    monkeypatch.setenv("LAUDOS_CONFIG", str(config))
    settings, api = Settings.load(), PREFECT_API_URL.value()
    schema.upgrade(settings.database)
    engine = open_engine(settings.database)

    def started() -> ForkServerProcess:
        process = processes.Process(target=night, args=(str(config), api, told))
        process.start()
        return process

    for part in PARTS:
        before = max((row[0] for row in runs(engine)), default=0)
        process = started()
        stop_within(part, float(rng.uniform(0, 0.5)), process, engine, before)
        process.join(150)  # a signal that a step dropped is obeyed at its end
        assert (process.exitcode, told.read_text()) == (130, STOPPED)
        ended = runs(engine, before)
        assert ended[0][1:] == ("nightly", "failed", "KeyboardInterrupt: stopped from outside")
        assert {state for _, _, state, _ in ended} <= {"completed", "failed"}
        assert doctor(settings) == []

    before = max(row[0] for row in runs(engine))
    process = started()
    process.join(120)
    assert process.exitcode == 0, told.read_text()
    assert {state for _, _, state, _ in runs(engine, before)} == {"completed"}
    assert doctor(settings) == []
    with reading(engine) as c:
        reports = c.scalar(select(func.count()).select_from(report))
        assert c.scalar(select(func.count()).select_from(prediction)) > 0
        assert reports is not None
        assert reports > 300
    engine.dispose()
