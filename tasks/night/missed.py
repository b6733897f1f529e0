"""Whether nights still come when `schedules.nightly` asks for them: one that never began tells nothing."""

from __future__ import annotations

from datetime import datetime, timedelta

from cronsim import CronSim, CronSimError
from sqlalchemy import Connection

from db import status
from tasks.settings.settings import Settings

# so late a night may still begin by its schedule: behind another, or once a server is up again
LATE = timedelta(hours=1)
ADVICE = (
    "see that what starts it still runs (`make ui`, a worker or cron), and in `laudos status` what the last "
    'one says; or set schedules.nightly to when one is wanted ("": never)'
)


def missed_nights(c: Connection, settings: Settings, now: datetime) -> str | None:
    """A sentence where two times of `schedules.nightly` have passed since the last whole night began.

    None before the first night by that schedule: whoever starts each by hand knows when there was none.
    """
    line, nights = settings.schedules.nightly, status.nights(c)
    try:
        if not line or not any(_times(settings, at - LATE, 1)[0] <= at for at, _ in nights):
            return None
        since = max((at for at, state in nights if state == "completed"), default=nights[0][0])
        # one that is under way may yet be done
        begun = max([since, *(at for at, state in nights if state == "running")])
        if now < _times(settings, begun, 2)[1]:
            return None
    except CronSimError:  # no such day, as the 30th of February: nobody starts one
        return None
    return (
        f"no night has ended without a fault since that of {since.astimezone(settings.zone):%Y-%m-%d %H:%M}, "
        f'and schedules.nightly = "{line}" asks for them'
    )


def _times(settings: Settings, after: datetime, count: int) -> list[datetime]:
    times = CronSim(settings.schedules.nightly, after.astimezone(settings.zone))
    return [next(times) for _ in range(count)]
