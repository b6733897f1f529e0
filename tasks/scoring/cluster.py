"""A scoring job on the workers of a Dask cluster, which come, go and are killed while it runs.

    whoever runs the job            a worker of the cluster (tasks.scoring.cluster_member)
    connect ---- greet -----------> the same database, settings, versions, model? else it is left out
    each is asked, again and again: score chunks for SLICE_S seconds, by leases and fences
    who is there? ----------------> who joined is greeted; what one held that left is opened for others

Dask says who is there and carries numbers. Which chunk is whose, and what may be written, the database
decides as it does for any other worker (db.scoring), so a scheduler that is wrong about a worker, or dies,
costs time and nothing else.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import astuple, replace
from typing import Any

from sqlalchemy import Engine

from db import scoring, shift, takeover
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError
from db.scoring import Job
from tasks.progress import progress_bar
from tasks.scoring.claims import take_over_silent, what_is_left
from tasks.scoring.cluster_hand import Hand, differences
from tasks.scoring.cluster_member import Answer, Asked, greet, help_with, versions
from tasks.scoring.scorer import ScoreSummary
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)

SLICE_S = 10.0  # so long a worker is asked for at a time; until it is asked again takes milliseconds
POLL_S = 1.0  # how often it is seen who is there
CONNECT_S = 20.0
ANSWER_S = 30.0  # for what takes a scheduler milliseconds; one that is frozen keeps its connections
WAIT_S = 60.0  # for a first worker, or another one after the last has left
FAULTS_MAX = 3  # in a row, of a kind that passes by itself, before a worker is left out


def score_on_cluster(engine: Engine, settings: Settings, job: Job, address: str) -> ScoreSummary:
    """Have the cluster work on a job until no chunk of it is free; safe to repeat, beside any other worker.

    `written` and `encoded` are what the job gained meanwhile, by the database: a worker that is killed cannot
    tell; the rest of the counts is what workers told. Raises ConfigurationError without distributed, where
    nobody listens at the address, or where no worker may help; LaudosError where all of them left.
    """
    with (
        _connected(address) as client,
        progress_bar(f"{job.classifier}: reports scored") as progress,
    ):
        crew = _Crew(client, engine, settings, job)
        try:
            crew.work(progress)
        finally:
            crew.dismiss()
    return crew.total + what_is_left(engine, job)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    try:
        from distributed import Client
    except ImportError:
        raise ConfigurationError(
            "scoring on Dask needs the package distributed: pip install 'laudos[dask]', here and wherever "
            "the scheduler and its workers run"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_S, set_as_default=False, name="laudos")
    except (OSError, ValueError, TypeError, RuntimeError) as error:  # TimeoutError is an OSError
        raise ConfigurationError(
            f"no Dask scheduler answers at {address!r} ({type(error).__name__}); it looks like "
            'tcp://host:8786, and "dask scheduler" prints it'
        ) from None
    with client:
        yield client


class _Crew:
    """The workers of a cluster at one job."""

    def __init__(self, client: Any, engine: Engine, settings: Settings, job: Job) -> None:
        self._client, self._engine, self._settings, self._job = client, engine, settings, job
        self._asked = astuple(Asked.of(engine, settings, job))
        self._ours = versions()
        self._hands: dict[str, Hand] = {}  # by their address
        self._gone: set[str] = set()  # names on leases
        # Dask knows a call by its name: those of another command at this job, to another worker, are others
        self._name, self._calls = f"laudos-job-{job.id}-{secrets.token_hex(8)}", 0
        self._heard = threading.Event()
        self._someone_at = time.monotonic()
        self.total = ScoreSummary()

    def work(self, progress: Callable[[int, int | None], None]) -> None:
        """Until the job is done or stopped, or what is left of it is with workers that are none of ours."""
        before = self._standing()
        look_at = time.monotonic()
        while True:
            self._heard.clear()
            self._hear()
            if time.monotonic() >= look_at:
                if not self._look(before, progress):
                    self._count(before, self._standing())  # more was written since it looked
                    return
                look_at = time.monotonic() + POLL_S
            self._heard.wait(max(0.0, look_at - time.monotonic()))

    def _look(self, before: scoring.Progress, progress: Callable[[int, int | None], None]) -> bool:
        """See who is there and what is left, and give it out; False where nothing is left to wait for."""
        self._muster()
        left = self._standing()
        self._count(before, left)
        progress(left.written, self._job.reports)
        if not self._open() or not (left.open or left.leased):
            return False
        if not left.open:
            given_up = take_over_silent(self._engine, self._settings, self._job, gone=self._gone)
            self.total += ScoreSummary(quarantined=given_up)
            left = self._standing()
        self._assign(left.open)
        self._listen()
        if not left.open and not any(hand.doing and not hand.silent for hand in self._hands.values()):
            return False
        self._require_somebody()
        return True

    def _count(self, before: scoring.Progress, left: scoring.Progress) -> None:
        written, encoded = left.written - before.written, left.encoded - before.encoded
        self.total = replace(self.total, written=written, encoded=encoded)

    def dismiss(self) -> None:
        """Nobody is asked any more; who computes a chunk ends it, and keeps to its lease."""
        with suppress(Exception):  # a scheduler that is gone has nothing left to be told
            self._client.cancel([hand.doing for hand in self._hands.values() if hand.doing is not None])

    def _muster(self) -> None:
        """Greet who came, and note who left."""
        there = self._there()
        for address in self._hands.keys() - there:
            left = self._hands.pop(address)
            if left.name is not None:
                self._gone.add(left.name)
                with writing(self._engine) as c:  # all others wait for its test, if it was at one
                    shift.left(c, self._job.id, left.name)
                log.warning("job %d: the Dask worker at %s left", self._job.id, address)
            if left.doing is not None:
                left.doing.cancel()
        for address in there - self._hands.keys():
            self._hands[address] = Hand()
            self._ask(address, greet)

    def _there(self) -> set[str]:
        """The addresses of all workers at the scheduler. Raises LaudosError where it does not answer."""
        try:
            return set(self._client.nthreads(callback_timeout=ANSWER_S))
        except (OSError, RuntimeError) as error:  # TimeoutError is an OSError
            raise LaudosError(
                f"the Dask scheduler is gone, or does not answer ({type(error).__name__}): does it run? "
                'What was finished is kept, and "laudos classify" goes on with the rest'
            ) from None

    def _assign(self, free: int) -> None:
        """Ask so many of those who have nothing to do."""
        idle = [address for address, hand in self._hands.items() if hand.is_idle]
        for address in idle[:free]:
            self._ask(address, help_with, SLICE_S)

    def _ask(self, address: str, what: Callable[..., Answer], *more: float) -> None:
        self._calls += 1
        doing = self._client.submit(
            what,
            self._asked,
            *more,
            key=f"{self._name}-{what.__name__}-{self._calls}",
            workers=[address],
            allow_other_workers=False,
            pure=False,
        )
        doing.add_done_callback(lambda _: self._heard.set())
        self._hands[address].ask(doing, time.monotonic())

    def _hear(self) -> None:
        """Take in what was answered."""
        for address, hand in self._hands.items():
            if hand.doing is None or not hand.doing.done():
                continue
            doing, hand.doing = hand.doing, None
            answer = self._fetched(address, doing)
            if answer is not None:
                self._take_in(address, hand, answer)
            elif doing.status == "error":
                kind = type(doing.exception()).__name__
                self._refuse(address, hand, f"it cannot run laudos ({kind}); install the same version there")
            elif hand.name is None:
                # called off when the line to the scheduler broke: never greeted, it would never be asked
                self._ask(address, greet)
            doing.release()

    def _fetched(self, address: str, doing: Any) -> Answer | None:
        """What a worker answered; None where it was called off, failed, or lost.

        An answer lies with its worker until it is fetched, and is lost with it: Dask would wait without end
        for another worker that may be asked the same.
        """
        if doing.status != "finished":
            return None
        try:
            told: Answer = doing.result(timeout=ANSWER_S)
        except Exception as error:
            self._there()  # raises where it is the scheduler that does not answer
            kind = type(error).__name__
            log.warning(
                "job %d: an answer of the Dask worker at %s was lost (%s)", self._job.id, address, kind
            )
            return None
        return told

    def _take_in(self, address: str, hand: Hand, answer: Answer) -> None:
        if others := differences(self._ours, answer.get("versions", self._ours)):
            self._refuse(address, hand, f"its versions are others: {others}")
        elif "fault" in answer:
            hand.faults += 1
            if not answer["passing"] or hand.faults >= FAULTS_MAX:
                self._refuse(address, hand, answer["fault"])
            elif hand.name is None:
                self._ask(address, greet)
        elif "worker" in answer:
            hand.name = answer["worker"]
            self._gone.discard(answer["worker"])  # a line broke, and the process lives
        else:
            hand.faults = 0
            self.total += ScoreSummary(**answer["counts"])
            if answer["more"]:
                self._ask(address, help_with, SLICE_S)

    def _refuse(self, address: str, hand: Hand, because: str) -> None:
        hand.refused = because
        log.warning("job %d: the Dask worker at %s is not asked any more: %s", self._job.id, address, because)

    def _listen(self) -> None:
        """Note who hangs: it does not answer, and no chunk in its hands says that it computes.

        A worker renews its lease while it does, and the process of its own that reads what workers died over
        (tasks.scoring.apart) bears another name. A silent one is not waited for; what it answers after all
        counts, and it is asked again.
        """
        with reading(self._engine) as c:
            computing = takeover.at_work(c, self._job.id, scoring.lease_clock(c))
        others = computing - {hand.name for hand in self._hands.values()}
        for address, hand in self._hands.items():
            computes = bool(others) or hand.name in computing
            if hand.falls_silent(time.monotonic(), self._settings.scoring.lease, computes=computes):
                log.warning(
                    "job %d: the Dask worker at %s does not answer and holds no chunk: it is not waited for",
                    self._job.id,
                    address,
                )

    def _require_somebody(self) -> None:
        refused = {hand.refused for hand in self._hands.values() if hand.refused is not None}
        silent = sorted(at for at, hand in self._hands.items() if hand.silent and hand.refused is None)
        if any(hand.refused is None and not hand.silent for hand in self._hands.values()):
            self._someone_at = time.monotonic()
        elif silent:
            raise LaudosError(
                f"{len(silent)} workers of the Dask cluster do not answer and hold no chunk "
                f"({', '.join(silent[:3])}{', ...' if len(silent) > 3 else ''}): they hang; see what they "
                "wait for (database, folder of models), end them and start others. What was finished is "
                'kept, and "laudos classify" goes on with the rest'
            )
        elif refused:
            raise ConfigurationError(f"no worker of the Dask cluster may help: {'; '.join(sorted(refused))}")
        elif time.monotonic() - self._someone_at > WAIT_S:
            raise LaudosError(
                f"no worker was at the Dask scheduler for {WAIT_S:.0f} s; start some with "
                '"dask worker ADDRESS --nthreads 1". What was finished is kept, and "laudos classify" '
                "goes on with the rest"
            )

    def _standing(self) -> scoring.Progress:
        with reading(self._engine) as c:
            return scoring.progress(c, self._job.id)

    def _open(self) -> bool:
        with reading(self._engine) as c:
            job = scoring.get(c, self._job.id)
        return job is not None and job.state == "open"
