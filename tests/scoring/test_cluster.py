"""Scoring on a Dask cluster of real processes: they join, are killed, and carry no report anywhere."""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed import Client

from db import scoring, shift
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError
from db.scoring import Job
from db.tables import prediction, score_chunk, score_job
from tasks.scoring import cluster, cluster_member
from tasks.scoring.claims import work_on
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.cluster_hand import LOADING_S, Hand
from tasks.scoring.cluster_member import Answer, greet
from tasks.scoring.scorer import ScoreSummary
from tasks.upkeep.doctor import doctor
from tests.scoring import member
from tests.scoring.hospital import CLASSIFIER, Hospital

REPORTS = 96
# an invented word: nothing else on the machine holds it
CANARY = "zqxvwlaudo"
PLANTED = "mjkrcvazamento"


@dataclass
class Cluster:
    """A scheduler on loopback, and whatever workers a test starts; each writes a log."""

    folder: Path
    processes: ForkServerContext
    scheduler: BaseProcess
    workers: dict[str, BaseProcess] = field(default_factory=dict)

    @property
    def address(self) -> str:
        told = re.search(r"Scheduler at: +(tcp://\S+)", self.log("scheduler"))
        assert told is not None
        return told[1]

    def settle(self) -> None:
        """Workers find in their laudos.toml what this process finds."""
        shutil.copyfile(os.environ["LAUDOS_CONFIG"], self.folder / "laudos.toml")

    def start(self) -> str:
        """One more worker; its name."""
        name = f"w{len(self.workers)}"
        asked = (self.address, name, self.folder / f"{name}.log", self.folder / "laudos.toml", self.hold)
        self.workers[name] = self.processes.Process(target=member.join, args=asked)
        self.workers[name].start()
        return name

    def alive(self) -> list[str]:
        return [name for name, process in self.workers.items() if process.is_alive()]

    @property
    def hold(self) -> Path:
        """While it is there no worker ends a chunk."""
        return self.folder / "hold"

    def log(self, name: str) -> str:
        path = self.folder / f"{name}.log"
        return path.read_text("utf-8") if path.exists() else ""

    def told(self, name: str, what: str) -> int:
        return self.log(name).splitlines().count(what)


def until(met: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "what was waited for did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def dask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("dask")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([member.__name__])
    scheduler = context.Process(target=member.schedule, args=(folder / "scheduler.log",))
    scheduler.start()
    made = Cluster(folder, context, scheduler)
    until(lambda: "Scheduler at" in made.log("scheduler"))
    yield made
    for process in (*made.workers.values(), made.scheduler):
        process.kill()
        process.join()


@pytest.mark.slow
def test_workers_that_are_killed_and_join_late_score_every_report_once(
    both: Hospital, dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "SLICE_S", 0.3)
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    both.receive(REPORTS - 1)
    both.receive(1, text=f"Laudo {CANARY} com nucleos regulares.")
    both.crown()
    job_id = cut_backlog.fn(both.run("classify"), CLASSIFIER)
    dask.settle()
    alive = dask.alive()
    while len(alive) < 2:
        alive.append(dask.start())
    before = {name: dask.told(name, "loads") for name in alive}

    with ThreadPoolExecutor(1) as pool:
        under_way = pool.submit(score.fn, job_id, dask.address)
        read = {name: dask.told(name, "reads") for name in alive}
        until(lambda: under_way.done() or all(dask.told(name, "reads") > read[name] for name in alive))
        assert not under_way.done(), under_way.result()
        dask.hold.touch()
        try:
            until(lambda: both.count(score_chunk, score_chunk.c.state == "leased") == 2)
            dask.workers[alive[0]].kill()  # while it holds a chunk
            late = dask.start()
            until(lambda: dask.told(late, "reads"))  # it was asked, with the job half done, and holds a chunk
        finally:
            dask.hold.unlink()
        told = under_way.result(timeout=120)
    with Client(dask.address, set_as_default=False) as client:
        assert client.submit(len, PLANTED).result() == len(PLANTED)

    assert (told.written, told.elsewhere, told.quarantined) == (REPORTS, 0, 0)
    assert both.count(prediction) == REPORTS
    assert both.count(score_job, score_job.c.state == "done") == 1
    assert both.count(score_chunk, score_chunk.c.fence > 1) == 1, "the one that the killed worker held"
    assert both.count(score_chunk, score_chunk.c.deaths > 0) == 1
    loads = {name: dask.told(name, "loads") - before.get(name, 0) for name in (*alive, late)}
    assert set(loads.values()) == {1}, "a process loaded its model more than once"
    assert doctor(both.settings) == []
    assert dask.scheduler.pid is not None
    memory = _memory(dask.scheduler.pid)
    assert PLANTED.encode() in memory, "the search is blind: it does not find what was sent"
    for carried in (memory, *(path.read_bytes() for path in dask.folder.glob("*.log"))):
        assert CANARY.encode() not in carried


def test_what_is_written_after_the_last_look_is_counted(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(6)
    hospital.crown()
    job_id = cut_backlog.fn(hospital.run("classify"), CLASSIFIER)
    with reading(hospital.engine) as c:
        job = scoring.get(c, job_id)
    assert job is not None

    def nothing_is_left(*_: object) -> bool:
        work_on(hospital.engine, hospital.settings, job)  # as another worker, just then
        return False

    monkeypatch.setattr(cluster._Crew, "_look", nothing_is_left)
    crew = cluster._Crew(None, hospital.engine, hospital.settings, job)
    crew.work(lambda *_: None)
    assert (crew.total.written, hospital.count(prediction)) == (6, 6)


def _memory(process: int) -> bytes:
    """All that a child of this process has in its writable memory."""
    held = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text("ascii").splitlines():
            ends, rights = line.split()[:2]
            first, last = (int(end, 16) for end in ends.split("-"))
            if rights.startswith("rw"):
                memory.seek(first)
                held.append(memory.read(last - first))
    return b"".join(held)


@pytest.mark.slow
def test_workers_of_another_version_are_left_out_by_name(
    hospital: Hospital, dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(4)
    hospital.crown()
    dask.settle()
    if not dask.alive():
        dask.start()
    ours = cluster_member.versions()
    monkeypatch.setattr(cluster, "versions", lambda: {**ours, "torch": "1.0"})
    job_id = cut_backlog.fn(hospital.run("classify"), CLASSIFIER)
    with pytest.raises(ConfigurationError, match=rf"its versions are others: torch {ours['torch'][:4]}"):
        score.fn(job_id, dask.address)
    assert hospital.count(prediction) == 0


@pytest.mark.slow
def test_an_answer_that_is_lost_with_its_worker_is_not_waited_for(
    hospital: Hospital, dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, process_at = _at_dask(hospital, dask, monkeypatch)
    hear, killed = cluster._Crew._hear, list[str]()

    def heard(self: cluster._Crew) -> None:
        for address, hand in self._hands.items():
            if not killed and hand.name is not None and hand.doing is not None and hand.doing.done():
                os.kill(process_at[address], signal.SIGKILL)
                killed.append(address)
        hear(self)

    monkeypatch.setattr(cluster._Crew, "_hear", heard)
    told = _while(lambda: score.fn(job.id, dask.address)).result(timeout=60)
    assert killed
    assert (told.written, told.elsewhere, hospital.count(prediction)) == (REPORTS, 0, REPORTS)


@pytest.mark.slow
def test_two_commands_at_one_job_know_each_worker_by_its_own_name(
    hospital: Hospital, dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, process_at = _at_dask(hospital, dask, monkeypatch)
    at = list(process_at)[:2]
    with cluster._connected(dask.address) as one, cluster._connected(dask.address) as another:
        crews = [cluster._Crew(c, hospital.engine, hospital.settings, job) for c in (one, another)]
        for crew, address in zip(crews, at, strict=True):  # each meets them in another order
            crew._hands[address] = Hand()
            crew._ask(address, greet)
        until(lambda: all(hand.doing.done() for crew in crews for hand in crew._hands.values()))
        for crew, address in zip(crews, at, strict=True):
            crew._hear()
            name = crew._hands[address].name
            assert name is not None
            assert int(name.split(":")[1]) == process_at[address]


@pytest.mark.slow
def test_a_scheduler_that_is_frozen_ends_the_command(
    hospital: Hospital, dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, _ = _at_dask(hospital, dask, monkeypatch)
    under_way = _while(lambda: score.fn(job.id, dask.address))
    until(lambda: hospital.count(prediction) > 0)
    assert dask.scheduler.pid is not None
    os.kill(dask.scheduler.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LaudosError, match="scheduler is gone, or does not answer"):
            under_way.result(timeout=60)
    finally:
        os.kill(dask.scheduler.pid, signal.SIGCONT)


def _at_dask(
    hospital: Hospital, dask: Cluster, monkeypatch: pytest.MonkeyPatch
) -> tuple[Job, dict[str, int]]:
    """A job, and the processes of the two workers or more that are there, by their addresses."""
    monkeypatch.setattr(cluster, "SLICE_S", 0.3)
    monkeypatch.setattr(cluster, "POLL_S", 0.1)
    monkeypatch.setattr(cluster, "ANSWER_S", 10.0)
    hospital.receive(REPORTS)
    job = hospital.cut(hospital.crown())
    dask.settle()
    while len(dask.alive()) < 2:
        dask.start()
    alive = {dask.workers[name].pid for name in dask.alive()}
    with Client(dask.address, set_as_default=False) as client:
        # of one that was killed the scheduler hears a little later
        until(lambda: set(client.run(os.getpid, on_error="ignore").values()) == alive)
        return job, client.run(os.getpid)


def _while(body: Callable[[], ScoreSummary]) -> Future[ScoreSummary]:
    """Begun in a thread that keeps no process from ending."""
    told = Future[ScoreSummary]()

    def run() -> None:
        try:
            told.set_result(body())
        except BaseException as error:
            told.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return told


class CallsOff:
    """A client whose line to the scheduler breaks: whatever is asked is called off."""

    status = "cancelled"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def submit(self, what: Callable[..., Answer], *_: object, **__: object) -> CallsOff:
        self.asked.append(what.__name__)
        return self

    def nthreads(self, **_: object) -> dict[str, int]:
        return {"tcp://127.0.0.1:9": 1}

    def done(self) -> bool:
        return True

    def add_done_callback(self, _: Callable[[object], None]) -> None: ...
    def cancel(self) -> None: ...
    def release(self) -> None: ...


def test_a_worker_whose_greeting_was_called_off_is_greeted_again(hospital: Hospital) -> None:
    client = CallsOff()
    crew = cluster._Crew(client, hospital.engine, hospital.settings, _job(hospital))
    crew._muster()
    crew._hear()
    assert client.asked == ["greet", "greet"]


def test_the_test_for_a_shift_of_a_worker_that_left_is_free_at_once(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, lease = _job(both), both.settings.scoring.lease
    crew = cluster._Crew(CallsOff(), both.engine, both.settings, job)

    def claimed(worker: str) -> int:
        with writing(both.engine) as c:
            return shift.claim(c, job.id, worker, lease, scoring.lease_clock(c))

    crew._muster()
    (hand,) = crew._hands.values()
    hand.name = "elsewhere:17:1:m"
    assert (claimed(hand.name), claimed("another:18:1:m")) == (1, 0)
    monkeypatch.setattr(CallsOff, "nthreads", lambda *_, **__: {})
    crew._muster()
    assert claimed("another:18:1:m") == 2, "the second try: somebody left over it"


def test_where_nobody_listens_the_address_is_told(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_S", 0.2)
    job = _job(hospital)
    with pytest.raises(ConfigurationError, match=r"no Dask scheduler answers at 'tcp://127\.0\.0\.1:9'"):
        score.fn(job.id, "tcp://127.0.0.1:9")


def test_without_the_extra_it_is_told_what_to_install(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.setenv("LAUDOS_SCORING__DASK", "tcp://127.0.0.1:9")
    job = _job(hospital)
    with pytest.raises(ConfigurationError, match=r"pip install 'laudos\[dask\]'"):
        score.fn(job.id)


def _job(hospital: Hospital) -> Job:
    hospital.receive(4)
    return hospital.cut(hospital.crown_row())


class Hangs(CallsOff):
    """A client whose worker never answers."""

    status = "pending"

    def done(self) -> bool:
        return False


def test_a_worker_that_hangs_is_not_waited_for_without_end_unless_it_holds_a_chunk(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(cluster, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    job, lease = _job(both), both.settings.scoring.lease
    crew = cluster._Crew(Hangs(), both.engine, both.settings, job)
    crew._muster()
    (hand,) = crew._hands.values()
    clock[0] = lease.total_seconds() - 1
    crew._listen()
    crew._require_somebody()
    clock[0] += 2
    crew._listen()
    with pytest.raises(LaudosError, match=r"1 workers .* hold no chunk \(tcp://127\.0\.0\.1:9\): they hang"):
        crew._require_somebody()

    hand.name, hand.silent, hand.since = "its process", False, clock[0]
    with writing(both.engine) as c:
        chunk = scoring.claim(c, job.id, hand.name, lease, scoring.lease_clock(c))
    assert chunk is not None
    clock[0] += 10 * LOADING_S
    crew._listen()
    crew._require_somebody()
    with writing(both.engine) as c:
        scoring.give_back(c, chunk)
    for passes_s, silent in ((LOADING_S, False), (lease.total_seconds() + 1, True)):
        clock[0] += passes_s
        crew._listen()
        assert hand.silent is silent
