"""`late`: rows whose transactions end long after the moment they bear, while ingest runs throughout.

Time is quickened, half a second for a day, so that hours and days pass in a test. A writer stamps its rows
when it begins and commits them later: most within the overlap, some far beyond it. The first must be
found by any ingest that begins after their commit, the others by the next comparison of every row.
SQLite has one writer at a time, so there a row is held back before its transaction instead of within
it: laudos sees the same, a row that appears with a moment long past.
"""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection

from db.engine import writing
from db.trial import Hospital, TrialRow, put
from tasks.database import open_database
from tasks.settings.settings import Settings
from tasks.torture import controls, ingesting, oracle
from tasks.torture.scenario import Control, Load, Result, Scenario, Violation
from tasks.torture.scratch import SOURCE, Scratch, source_keys

DAY_S = 0.5  # a day at this hospital, in seconds of ours
LONG_AGO = timedelta(days=1000)  # when its days began: none of them lies in our future
OVERLAP = timedelta(days=4)
# how long a writer takes, in days of its hospital: well within the overlap, or far beyond
WITHIN_DAYS, BEYOND_DAYS, BEYOND_SHARE = (0.05, 3.0), (6.0, 9.0), 0.15


@dataclass(frozen=True)
class Written:
    """A row and how long after its own moment it was there to be seen, at the latest."""

    id: str
    late_by: timedelta


def run(world: Scratch, load: Load) -> Result:
    world.configure(sources={SOURCE: source_keys(world.hospital.url, overlap="4d", page_rows=50)})
    began = time.time()
    reader = world.start(read, began)
    reader.hear()
    writers = world.beside(write, str(world.rng.random()), began, load.writers, load.seconds)
    rows: list[Written] = []
    while (said := writers.hear()) is not None:
        rows.append(said)
        world.progress(f"{len(rows)} rows")
    world.expect(writers)
    world.stop(reader)  # in the middle of a pass, as it comes
    world.run(pass_once, began, False)
    missing = set(oracle.missing(world))
    lost = sorted(row.id for row in rows if row.late_by <= OVERLAP and row.id in missing)
    found = [Violation("overlap_finds_late_rows", ", ".join(lost[:5]))] if lost else []
    world.run(pass_once, began, True)
    beyond = sum(row.late_by > OVERLAP for row in rows)
    counts = {
        "concurrent writers": load.writers,
        "late rows": len(rows),
        "of them later than the overlap": beyond,
        "missed until the full comparison": len(missing),
    }
    if not beyond:
        found.append(Violation("enough_was_tried", "no row came later than the overlap"))
    return Result(counts, (*found, *oracle.compare(world)))


def quickened(began: float) -> datetime:
    """The moment at this hospital, whose days are short."""
    days = (time.time() - began) / DAY_S
    return datetime.fromtimestamp(began, UTC) - LONG_AGO + timedelta(days=days)


def read(settings: Settings, tell: Connection, began: float) -> None:
    """Ingest all the time, by the hospital's clock."""
    engine = open_database(settings)
    tell.send("ready")
    while True:
        ingesting.ingest(engine, settings, False, lambda: quickened(began))


def pass_once(settings: Settings, tell: Connection, began: float, full: bool) -> None:
    ingesting.ingest(open_database(settings), settings, full, lambda: quickened(began))


def write(
    settings: Settings, tell: Connection, seed: str, began: float, writers: int, seconds: float
) -> None:
    """So many writers at once, each with a session of its own; tells of every row once it is there."""
    hospital = Hospital.open(settings.source(SOURCE).url, sessions=writers)
    speaks = threading.Lock()
    ends = time.time() + seconds

    def writer(number: int) -> None:
        rng = random.Random(f"{seed}/{number}")
        written = 0
        while time.time() < ends:
            stamp = quickened(began).replace(minute=0, second=0, microsecond=0)  # many rows share a moment
            takes_s = rng.uniform(*WITHIN_DAYS) * DAY_S
            if rng.random() < BEYOND_SHARE and time.time() + BEYOND_DAYS[1] * DAY_S < ends:
                takes_s = rng.uniform(*BEYOND_DAYS) * DAY_S  # while others move the watermark on
            rows = [
                TrialRow(f"w{number:02}-{written + one:05}", f"Laudo {rng.getrandbits(48)}, tardio", stamp)
                for one in range(rng.randint(1, 4))
            ]
            written += len(rows)
            _commit_late(hospital, rows, takes_s)
            late_by = quickened(began) - stamp
            with speaks:
                for row in rows:
                    tell.send(Written(str(row.id), late_by))

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(writers)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()


def _commit_late(hospital: Hospital, rows: list[TrialRow], takes_s: float) -> None:
    if hospital.engine.dialect.name == "sqlite":
        time.sleep(takes_s)
        hospital.put(rows)
        return
    with writing(hospital.engine) as c:
        put(c, rows)
        time.sleep(takes_s)


LATE = Scenario(
    name="late",
    what="writers at the hospital commit rows long after the moment they bear; ingest runs throughout",
    run=run,
    small=Load(writers=30, seconds=7),
    full=Load(writers=40, seconds=60),
    controls=(
        Control(
            "overlap",
            "no overlap and no nightly comparison",
            controls.overlap,
            ("source_is_here",),
        ),
    ),
)
