"""What is taken away, by which rule: model folders, what killed runs left, checkpoints, vectors, old texts.

Nothing goes silently: each folder is said before it is removed and bears a row of the audit, and so do
the counts of every run. The lock "model" is held throughout: no training can be under way.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine

from db import audit, lock, models, retention
from db.engine import reading, writing
from db.models import Model
from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.model_folders import folder_of, models_folder, point_at_champion
from tasks.models.models import before, reference, student_among
from tasks.person import person
from tasks.settings.settings import Settings
from tasks.step import step
from tasks.upkeep.leftovers import leftovers
from tasks.upkeep.spare_folders import (
    UNFINISHED,
    spare_baselines,
    spare_checkpoints,
    spare_encoders,
    spare_trials,
)

log = logging.getLogger(__name__)
Say = Callable[[str], None]
ACTOR = "retention"


@dataclass(frozen=True)
class Removal:
    """A folder or file to be removed, and why; `model_id` where it is a model's."""

    path: Path
    why: str
    model_id: int | None = None


@dataclass(frozen=True)
class Removed:
    """What was taken away. With `dry_run`: what would have been.

    `encoders`: pre-trained here; `trials`: files of what was found of back ends; `features`: stored vectors;
    `texts`: of superseded report versions.
    """

    dry_run: bool = False
    models: int = 0
    leftovers: int = 0
    checkpoints: int = 0
    encoders: int = 0
    trials: int = 0
    mebibytes: float = 0.0
    features: int = 0
    texts: int = 0


@step("tidy up", run_name="tidy up", retries=2)
def tidy_up(run_id: int) -> Removed:
    """The retention rules of laudos.toml, applied. Raises Busy while a model is being trained."""
    settings = Settings.load()
    engine = open_database(settings)
    with lock.exclusive(engine, "model"):
        return apply(engine, settings, run_id, ACTOR, datetime.now(UTC), log.info)


def collect(settings: Settings, say: Say, *, dry_run: bool = False) -> Removed:
    """`laudos models gc`: the rules applied by hand. Raises Busy while a model is being trained."""
    engine = open_database(settings)
    if dry_run:
        return look(engine, settings, datetime.now(UTC), say)
    with recorded_run(engine, settings, "retention", exclusive="model") as run:
        return apply(engine, settings, run.id, person(), datetime.now(UTC), say)


def apply(engine: Engine, settings: Settings, run_id: int, actor: str, now: datetime, say: Say) -> Removed:
    """Take away what the rules allow. The caller holds the lock "model"."""
    for classifier in settings.classifiers:
        # a run killed before it wrote this file left it naming a former champion, which may be about to go
        point_at_champion(engine, settings, classifier)
    with reading(engine) as c:
        folders = list(removals(c, settings, now))
    done = replace(
        take_away(engine, settings, folders, actor, now, say),
        features=_drop_vectors(engine, settings, now, say),
        texts=_forget_texts(engine, settings, now, say),
    )
    with writing(engine) as c:
        detail = {key: value for key, value in vars(done).items() if key != "dry_run"}
        audit.record(c, actor=actor, action="retention", subject=f"run {run_id}", detail=detail, now=now)
    return done


def take_away(
    engine: Engine, settings: Settings, folders: Iterable[Removal], actor: str, now: datetime, say: Say
) -> Removed:
    """Remove these, each said before. The caller holds the lock "model"."""
    done = Removed()
    for one in folders:
        size = size_of(one.path)
        say(f"removing {_told(settings, one, size)}")
        if _remove(engine, settings, one, size, actor, now):
            done = _counted(settings, done, one, size)
    return done


def look(engine: Engine, settings: Settings, now: datetime, say: Say) -> Removed:
    """What `apply` would take away now; changes nothing."""
    found = Removed(dry_run=True)
    with reading(engine) as c:
        for one in removals(c, settings, now):
            size = size_of(one.path)
            say(f"would remove {_told(settings, one, size)}")
            found = _counted(settings, found, one, size)
        gone = frozenset(one.model_id for one in removals(c, settings, now) if one.model_id is not None)
        limits = _limits(c, settings, now, without=gone)
        vectors = {encoder: retention.count_vectors(c, encoder, limit) for encoder, limit in limits.items()}
        for encoder, count in vectors.items():
            if count:
                say(f"would remove {count:,} vectors of encoder {encoder[:12]}")
        texts = 0
        if settings.retention.superseded_text_after is not None:
            texts = retention.count_superseded(c, now - settings.retention.superseded_text_after)
            say(f"would empty the texts of {texts:,} superseded report versions")
    return replace(found, features=sum(vectors.values()), texts=texts)


def removals(c: Connection, settings: Settings, now: datetime) -> Iterator[Removal]:
    """Every folder and file that the rules allow to go, with the reason."""
    yield from _unless_named(settings, _models(c, settings, models.of_classifier(c)))
    yield from left_behind(c, settings, now)
    for found in (
        spare_checkpoints(c, settings, now),
        spare_encoders(c, settings),
        spare_trials(c, settings, now),
        spare_baselines(c, settings),
    ):
        yield from _unless_named(settings, (Removal(path, why) for path, why in found))


def left_behind(c: Connection, settings: Settings, now: datetime) -> Iterator[Removal]:
    """What killed runs left, past its grace time."""
    found = leftovers(c, settings, models.of_classifier(c), now)
    old = (Removal(one.path, one.why) for one in found if one.old(settings))
    yield from _unless_named(settings, old)


def _unless_named(settings: Settings, found: Iterable[Removal]) -> Iterator[Removal]:
    """Those that no encoder in laudos.toml points at, into or around."""
    named = [Path(one.encoder).resolve() for one in settings.classifiers.values() if one.encoder != "scratch"]
    for one in found:
        own = one.path.resolve()
        if not any(path.is_relative_to(own) or own.is_relative_to(path) for path in named):
            yield one


def _models(c: Connection, settings: Settings, every: Sequence[Model]) -> Iterator[Removal]:
    """Of each classifier the models that neither answer, nor are needed by a rollback, nor are recent."""
    rules, used = settings.retention, retention.in_use(c)
    for classifier in sorted({one.classifier for one in every}):
        kept = used | _rolled_back_to(c, classifier, rules.rollbacks)
        compared_with = reference(models.promotions(c, classifier), [one.id for one in every])
        kept |= set() if compared_with is None else {compared_with}
        mine = [one for one in every if one.classifier == classifier]
        champion = models.champion_of(c, classifier)
        student = None if champion is None else student_among(mine, champion.model)
        # it may answer before the champion, and `laudos verify` asks it again
        kept |= {student.id} if student is not None and settings.scoring.cascade else set()
        others = [one for one in mine if one.id not in kept]
        for one in [other for other in others if other.state != "removed"][rules.models :]:
            why = f"model {one.id}: beyond the {rules.models} that {classifier!r} keeps besides its champions"
            yield Removal(folder_of(settings, one), why, one.id)


def _rolled_back_to(c: Connection, classifier: str, times: int) -> set[int]:
    """The models that so many rollbacks in a row would let answer again."""
    champion, history = models.champion_of(c, classifier), models.promotions(c, classifier)
    chain: set[int] = set()
    at = champion.model.id if champion else None
    for _ in range(times):
        at = before(history, at) if at is not None else None
        if at is not None:
            chain.add(at)
    return chain


def _remove(engine: Engine, settings: Settings, one: Removal, size: int, actor: str, now: datetime) -> bool:
    """The rows first, the folder then: a kill in between leaves a folder that the next run removes."""
    subject = f"folder {_place(settings, one.path)}" if one.model_id is None else f"model {one.model_id}"
    with writing(engine) as c:
        if one.model_id is not None and not retention.remove_model(c, one.model_id):
            return False
        detail = {"why": one.why, "bytes": size}
        audit.record(c, actor=actor, action="removed", subject=subject[:128], detail=detail, now=now)
    if one.path.is_dir():
        shutil.rmtree(one.path)
    else:
        one.path.unlink(missing_ok=True)
    return True


def _limits(
    c: Connection, settings: Settings, now: datetime, without: frozenset[int] = frozenset()
) -> dict[str, datetime]:
    """Encoder -> vectors stored before this moment may go; encoders whose vectors all stay are left out."""
    rules = settings.retention
    kept = {
        one.encoder_sha for one in models.of_classifier(c) if one.state != "removed" and one.id not in without
    }
    limits = {}
    for encoder in retention.encoders(c):
        if encoder not in kept:
            # the grace time: a training that was killed may be about to go on with them
            limits[encoder] = now - rules.leftovers_after
        elif rules.features_after is not None:
            limits[encoder] = now - rules.features_after
    return limits


def _drop_vectors(engine: Engine, settings: Settings, now: datetime, say: Say) -> int:
    with reading(engine) as c:
        limits = _limits(c, settings, now)
    total = 0
    for encoder, limit in limits.items():
        with reading(engine) as c:
            count = retention.count_vectors(c, encoder, limit)
        if count:
            say(f"removing {count:,} vectors of encoder {encoder[:12]}")
            total += _batches(engine, partial(retention.drop_vectors, encoder_sha=encoder, before=limit))
    return total


def _forget_texts(engine: Engine, settings: Settings, now: datetime, say: Say) -> int:
    after = settings.retention.superseded_text_after
    if after is None:
        return 0
    with reading(engine) as c:
        count = retention.count_superseded(c, now - after)
    if not count:
        return 0
    say(f"emptying the texts of {count:,} report versions that were superseded more than {after} ago")
    return _batches(engine, partial(retention.forget_texts, before=now - after))


def _batches(engine: Engine, batch: Callable[..., Sequence[int]]) -> int:
    """How many rows changed, one short transaction after the other."""
    total = last = 0
    while True:
        with writing(engine) as c:
            done = batch(c, after=last)
        if not done:
            return total
        total, last = total + len(done), done[-1]


def size_of(path: Path) -> int:
    """Bytes below a folder, or of a file; 0 where there is none."""
    inner = [path] if path.is_file() else path.rglob("*")
    return sum(one.stat().st_size for one in inner if one.is_file() and not one.is_symlink())


def _counted(settings: Settings, so_far: Removed, one: Removal, size: int) -> Removed:
    kind = _kind(settings, one)
    more = {kind: getattr(so_far, kind) + 1, "mebibytes": so_far.mebibytes + size / 2**20}
    return replace(so_far, **more)


def _kind(settings: Settings, one: Removal) -> str:
    """Which count of `Removed` it belongs to."""
    if one.model_id is not None:
        return "models"
    place = one.path.relative_to(settings.folder).parts[0]
    if one.path.name.startswith("."):
        return "leftovers"
    kinds = dict.fromkeys(UNFINISHED, "checkpoints") | {"pretrained": "encoders", "backends": "trials"}
    return kinds.get(place, "leftovers")


def _told(settings: Settings, one: Removal, size: int) -> str:
    return f"{_place(settings, one.path)} ({size / 2**20:,.1f} MiB): {one.why}"


def _place(settings: Settings, path: Path) -> Path:
    root = models_folder(settings)
    return path.relative_to(root if path.is_relative_to(root) else settings.folder)
