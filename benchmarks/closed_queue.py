"""Workers around one database, played event by event: a closed network of queues.

Each worker goes in circles: claim, read, compute, write. It never waits but for what all of them share:

server    so many cores of the database, each doing one thing at a time, first come first served
flush     a commit waits until its log is on the disk; all that came while one flush ran share the next
lock      the job's row, which whoever ends a chunk has alone from asking "was this the last?" to its commit

Mean value analysis cannot hold the lock while it waits for the flush, so the network is played, not solved.
Every step takes its mean time; who comes when is drawn once, at the start.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from itertools import count
from typing import Literal

Step = tuple[Literal["alone", "server", "client", "flush", "lock", "unlock"], float]


@dataclass(frozen=True)
class Costs:
    """Of one chunk, in seconds. `client_s` is of a station only where all workers share one process.

    `claim_s`, `read_s`, `write_s` (before the lock) and `held_s` (under it) are the server's processor time;
    `flush_s` is one flush of the log, `alone_s` all that a worker does by itself: the network, its own SQL.
    """

    claim_s: float
    read_s: float
    write_s: float
    held_s: float
    flush_s: float
    alone_s: float
    client_s: float = 0.0


@dataclass(frozen=True)
class Played:
    """What a run came to: chunks a second, and the share of time that each station was at work."""

    chunks_per_s: float
    busy: dict[str, float]

    @property
    def narrowest(self) -> str:
        return max(self.busy, key=lambda name: self.busy[name])


class _Station:
    """So many servers and one queue."""

    def __init__(self, servers: int) -> None:
        self.servers, self.free, self.busy_s = servers, servers, 0.0
        self.queue: deque[tuple[float, Callable[[], None]]] = deque()


class _Network:
    def __init__(self, cores: int) -> None:
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = count()
        self.server, self.client = _Station(cores), _Station(1)
        self._waiting: list[Callable[[], None]] = []  # for a flush
        self._flushing, self.flush_busy_s = False, 0.0
        self._held, self._held_since, self.lock_busy_s = False, 0.0, 0.0
        self._for_lock: deque[Callable[[], None]] = deque()

    def at(self, when: float, then: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._number), then))

    def run(self, until: Callable[[], bool]) -> None:
        while self._events and not until():
            self.now, _, then = heapq.heappop(self._events)
            then()

    def serve(self, station: _Station, seconds: float, then: Callable[[], None]) -> None:
        if not station.free:
            station.queue.append((seconds, then))
            return
        station.free -= 1
        station.busy_s += seconds

        def ended() -> None:
            station.free += 1
            if station.queue:
                self.serve(station, *station.queue.popleft())
            then()

        self.at(self.now + seconds, ended)

    def flush(self, seconds: float, then: Callable[[], None]) -> None:
        self._waiting.append(then)
        if not self._flushing:
            self._begin_flush(seconds)

    def _begin_flush(self, seconds: float) -> None:
        served, self._waiting, self._flushing = self._waiting, [], True
        self.flush_busy_s += seconds

        def ended() -> None:
            self._flushing = False
            if self._waiting:
                self._begin_flush(seconds)
            for then in served:
                then()

        self.at(self.now + seconds, ended)

    def lock(self, then: Callable[[], None]) -> None:
        if self._held:
            self._for_lock.append(then)
            return
        self._held, self._held_since = True, self.now
        then()

    def unlock(self) -> None:
        self.lock_busy_s += self.now - self._held_since
        self._held = False
        if self._for_lock:
            self.lock(self._for_lock.popleft())


def circle(costs: Costs) -> Generator[Step, None, None]:
    """One chunk's way."""
    yield "server", costs.claim_s
    yield "flush", costs.flush_s
    yield "server", costs.read_s
    yield "alone", costs.alone_s
    yield "client", costs.client_s
    yield "server", costs.write_s
    yield "lock", 0.0
    yield "server", costs.held_s
    yield "flush", costs.flush_s
    yield "unlock", 0.0


def play(costs: Costs, workers: int, cores: int, chunks: int, seed: int = 0) -> Played:
    """So many chunks by so many workers, the first tenth not counted: it is when all of them begin."""
    network, rng = _Network(cores), random.Random(seed)
    warm, ended = max(workers, chunks // 10), 0
    begun: tuple[float, dict[str, float]] | None = None

    def busy() -> dict[str, float]:
        return {
            "server": network.server.busy_s / cores,
            "client": network.client.busy_s,
            "flush": network.flush_busy_s,
            "lock": network.lock_busy_s,
        }

    def go(way: Generator[Step, None, None]) -> None:
        nonlocal ended, begun
        for what, seconds in way:
            on: Callable[[], None] = lambda: go(way)  # noqa: E731
            if what == "unlock":
                network.unlock()
                continue
            if what == "lock":
                return network.lock(on)
            if what == "flush":
                return network.flush(seconds, on)
            if what == "alone":
                return network.at(network.now + seconds, on)
            return network.serve(network.server if what == "server" else network.client, seconds, on)
        ended += 1
        if ended == warm:
            begun = (network.now, busy())
        go(circle(costs))

    for _ in range(workers):
        network.at(rng.uniform(0, costs.alone_s), lambda: go(circle(costs)))
    network.run(lambda: ended >= warm + chunks)
    assert begun is not None
    took = network.now - begun[0]
    return Played(
        (ended - warm) / took,
        {name: min(1.0, (told - begun[1][name]) / took) for name, told in busy().items()},
    )
