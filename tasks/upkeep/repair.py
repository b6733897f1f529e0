"""`laudos doctor --repair`: what can be put right without anybody's judgement, each said before it is done.

Nothing is rebuilt by guessing. A broken promise about what is stored keeps its advice: a person decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine

from db import audit, erasure, house, ledger, lock, models, scoring, takeover
from db import doctor as promises
from db.engine import reading, writing
from db.errors import Busy
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.published import pretraining_facts
from tasks.model_folders import point_at_champion, pointer_path, points_at
from tasks.pretraining.record import record, unrecorded
from tasks.settings.settings import Settings
from tasks.upkeep import retention
from tasks.upkeep.doctor_machine import gone_runs
from tasks.upkeep.erase import finish

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Desk:
    """Who repairs, and what every repair needs."""

    engine: Engine
    settings: Settings
    actor: str
    now: datetime
    say: Say

    def record(self, c: Connection, subject: str, **detail: Any) -> None:
        audit.record(
            c, actor=self.actor, action="repaired", subject=subject[:128], detail=detail, now=self.now
        )


def repair(engine: Engine, settings: Settings, actor: str, say: Say) -> int:
    """Put right what is safe to; how many things. Each has a row of the audit."""
    desk = _Desk(engine, settings, actor, datetime.now(UTC), say)
    parts = (_crashed_runs, _silent_workers, _finished_jobs, _pointers, _encoders, _leftovers, _erasures)
    return sum(part(desk) for part in parts)


def _crashed_runs(desk: _Desk) -> int:
    with writing(desk.engine) as c:
        gone = gone_runs(c)
        for run_id in gone:
            desk.say(f"run {run_id}: its process is gone; marking it as crashed")
            desk.record(c, f"run {run_id}", state="crashed")
        ledger.mark_crashed(c, gone, desk.now)
    return len(gone)


def _silent_workers(desk: _Desk) -> int:
    """Opened as the next scorer would: what kills its workers is narrowed down."""
    with reading(desk.engine) as c:
        late = list(c.scalars(house.expired_leases(scoring.lease_clock(c))))
    opened = 0
    for job_id in sorted({int(one.split("/")[0]) for one in late}):
        with writing(desk.engine) as c:
            job = scoring.get(c, job_id)
            asked = desk.settings.classifiers.get(job.classifier) if job else None
            if job is None or asked is None:
                desk.say(f"job {job_id}: its classifier is not in laudos.toml; its leases are left alone")
                continue
            desk.say(f"job {job_id}: opening the chunks whose worker is silent for longer than its lease")
            clock, lease = scoring.lease_clock(c), desk.settings.scoring.lease
            done = takeover.take_over(c, job, (), lease=lease, sources=asked.sources, now=clock)
            desk.record(c, f"job {job_id}", opened=done.opened, given_up=len(done.given_up))
        opened += done.opened
    return opened


def _finished_jobs(desk: _Desk) -> int:
    with writing(desk.engine) as c:
        finished = house.finished_but_open(c)
        for job_id in finished:
            desk.say(f"job {job_id}: all its chunks are done; ending it")
            desk.record(c, f"job {job_id}", state="done")
            scoring.end_if_complete(c, job_id, desk.now)
    return len(finished)


def _pointers(desk: _Desk) -> int:
    with reading(desk.engine) as c:
        champions = [found for name in promises.champions(c) if (found := models.champion_of(c, name))]
    wrong = [one.model for one in champions if not points_at(desk.settings, one)]
    for model in wrong:
        path = pointer_path(desk.settings, model.classifier)
        desk.say(f"{path.name}: writing it anew, for model {model.id}")
        with writing(desk.engine) as c:
            desk.record(c, path.name, model=model.id)
        point_at_champion(desk.engine, desk.settings, model.classifier)
    return len(wrong)


def _encoders(desk: _Desk) -> int:
    """What was pre-trained and not recorded. A folder that was altered since says nothing that may stand."""
    with reading(desk.engine) as c:
        folders = unrecorded(c, desk.settings)
    done = 0
    for folder in folders:
        try:
            facts = pretraining_facts(folder)
        except BrokenArtifact as broken:
            desk.say(f"encoder {folder.name}: its audit row cannot be written: {broken}")
            continue
        desk.say(f"encoder {folder.name}: writing its audit row, by what its folder says")
        with writing(desk.engine) as c:
            record(c, folder.name, facts, desk.now)
            desk.record(c, f"encoder {folder.name}", run=facts["run"])
        done += 1
    return done


def _leftovers(desk: _Desk) -> int:
    with reading(desk.engine) as c:
        found = list(retention.left_behind(c, desk.settings, desk.now))
    if not found:
        return 0
    try:
        with lock.exclusive(desk.engine, "model"):
            return retention.take_away(
                desk.engine, desk.settings, found, desk.actor, desk.now, desk.say
            ).leftovers
    except Busy:
        desk.say("a model is being trained: what killed runs left is not touched now")
        return 0


def _erasures(desk: _Desk) -> int:
    with reading(desk.engine) as c:
        pending = erasure.unfinished(c)
    done, left = finish(desk.engine, desk.settings, desk.actor, desk.now, desk.say)
    for sentence in left:
        desk.say(sentence)
    return len(pending) if done else 0
