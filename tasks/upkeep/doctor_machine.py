"""The doctor on what laudos stands on: the database itself, its clock, the disk, Prefect's server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from db import doctor as promises
from db import house, ledger, lock, roles, scoring
from tasks.settings.settings import Settings, prefect_server
from tasks.upkeep.findings import Finding, finding, told, violation

SKEW_MAX = timedelta(seconds=30)
GIB = 2**30
PREFECT_TIMEOUT_S = 5.0


def examine(c: Connection, settings: Settings) -> Iterator[Finding]:
    """Damage, owners, silent workers and processes, clocks, room, and Prefect where a server is named."""
    broken = violation(house.damage(c))
    yield finding(
        "database_undamaged",
        "the database finds its own tables, indexes and references in order",
        broken,
        told(broken),
        "restore the last back-up into another database and compare",
    )
    if c.dialect.name == "postgresql":
        yield from _postgresql(c)
    broken = promises.violations(c, house.expired_leases(scoring.lease_clock(c)))
    yield finding(
        "no_expired_leases",
        "every leased chunk has a worker that answers",
        broken,
        f"job/chunk {told(broken)}",
        'a worker died; "laudos classify" takes its chunks over, and "laudos doctor --repair" opens them',
        "house",
    )
    broken = violation([str(run_id) for run_id in gone_runs(c)])
    yield finding(
        "running_runs_live",
        "every run that says it is running has a process",
        broken,
        f"run {told(broken)}",
        'its process is gone; the next run marks it as crashed, and so does "laudos doctor --repair"',
        "house",
    )
    yield from _clocks(c)
    yield from _room(c, settings)
    yield from _prefect()


def _postgresql(c: Connection) -> Iterator[Finding]:
    takes = house.takes_writing(c)
    yield Finding(
        "database_takes_writing",
        takes,
        "the database takes writing" if takes else "the database takes reading alone",
        ""
        if takes
        else "where it is a standby, name the primary server in laudos.toml; else somebody has set "
        "default_transaction_read_only for this user, the database or the server",
        "house",
    )
    strayed = roles.handing_back(c)
    yield finding(
        "tables_have_one_owner",
        "all tables and views are of one owner",
        violation(strayed),
        f"another user's upgrade has left {len(strayed)} tables and views that laudos' user cannot use",
        f"let an administrator run: {'; '.join(strayed)}",
        "house",
    )


def gone_runs(c: Connection) -> list[int]:
    """Runs that say they are running and whose process holds their lock no more."""
    return [run_id for run_id in ledger.running(c) if lock.is_free(c.engine, ledger.life_of(run_id))]


def _clocks(c: Connection) -> Iterator[Finding]:
    before = datetime.now(UTC)
    theirs = scoring.lease_clock(c)
    apart = abs(theirs - before - (datetime.now(UTC) - before) / 2)
    yield Finding(
        "clocks_agree",
        apart <= SKEW_MAX,
        f"the database's clock and this machine's are {apart.total_seconds():.1f} s apart",
        "" if apart <= SKEW_MAX else "let both machines keep time by NTP; leases and overlaps count on it",
        "house",
    )
    broken = promises.violations(c, house.moments_ahead(theirs + SKEW_MAX))
    yield finding(
        "nothing_from_the_future",
        "no run and no prediction bears a moment that has not come yet",
        broken,
        told(broken),
        "a clock was ahead and was put right since; look at what ran then",
        "house",
    )


def _room(c: Connection, settings: Settings) -> Iterator[Finding]:
    places = {"models": settings.folder}
    database = c.engine.url.database
    if c.dialect.name == "sqlite" and database and database != ":memory:":
        places["database"] = Path(database).parent
    asked = settings.monitoring.free_space_gib
    for what, folder in places.items():
        free = shutil.disk_usage(_existing(folder)).free / GIB
        yield Finding(
            f"room_on_the_disk ({what})",
            free >= asked,
            f"{free:,.1f} GiB free in {folder}",
            ""
            if free >= asked
            else f"less than free_space_gib = {asked:g} in laudos.toml; free some, or see its [retention]",
            "house",
        )


def _existing(folder: Path) -> Path:
    """The folder, or what it would be made in."""
    return next(one for one in (folder, *folder.parents) if one.exists())


def _prefect() -> Iterator[Finding]:
    address = prefect_server()
    if address is None:
        return  # every command starts a server of its own, which is of its own version
    # importing Prefect takes seconds
    import prefect
    from httpx import HTTPError, InvalidURL
    from packaging.version import InvalidVersion, Version
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_KEY

    auth, key = PREFECT_API_AUTH_STRING.value(), PREFECT_API_KEY.value()
    ours, theirs = Version(prefect.__version__), None
    try:
        with SyncPrefectClient(
            address,
            auth_string=auth.get_secret_value() if auth else None,
            api_key=key.get_secret_value() if key else None,
            httpx_settings={"timeout": PREFECT_TIMEOUT_S},
        ) as client:
            theirs = Version(client.api_version())
    except (HTTPError, InvalidURL, InvalidVersion, ValueError, TypeError, OSError) as error:
        # the address may hold a password: it is not repeated
        told_so = f"the server in PREFECT_API_URL gave no version ({type(error).__name__})"
    else:
        told_so = f"the server is Prefect {theirs}, this is {ours}"
    fits = theirs is not None and theirs.major == ours.major and theirs >= ours
    yield Finding(
        "prefect_server_fits",
        fits,
        told_so,
        "" if fits else f"start a server of Prefect {ours} or a newer {ours.major}.x, and see it answer",
        "house",
    )
