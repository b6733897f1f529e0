"""`laudos db backup` and `laudos db restore`: the database and the model folders, which belong together.

What cannot be made again from these lies with them: the encoders, and the pages for physicians.

    BACKUP.json                         what lies here, with the sha256 of the database's file; written last
    database.sqlite or database.dump    one state of the database
    models/<classifier>/<name>/         every model that may answer, as its manifest says
    pretrained/<name>/ encoders/<name>/ encoders that were pre-trained here, and those that were imported
    reports/                            the pages for physicians

Backed up, the database comes first: a folder without its row is harmless, a row without its folder is not.
Brought back, it comes last, for the same reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import backup as database
from db import doctor as promises
from db import ledger, lock, schema, scoring
from db.engine import open_engine, reading
from db.errors import Busy, ConfigurationError, LaudosError, NothingToWorkOn
from tasks.database import open_database, upgrade_database
from tasks.ledger import code_revision
from tasks.ml.disk import room_in
from tasks.model_folders import point_at_champion
from tasks.scoring.workers import is_dead
from tasks.settings.settings import Settings
from tasks.upkeep.backup_folders import bring_back, bring_to_disk, copy_encoders, copy_models, models_in
from tasks.upkeep.doctor import Finding, doctor

FACTS = "BACKUP.json"
FORMAT = 1
# what must not run while the database is replaced: these write to it for longer than one transaction
_LOCKS = ("nightly", "ingest", "synthesize", "model", "schema")
# a back-up under way, and when one that was killed is taken for dead
_PARTIAL, _DEAD_AFTER_S = ".laudos-backup-", 24 * 3600
# a page under way: it is renamed, and gone under this name, at any moment
_HALF_WRITTEN = shutil.ignore_patterns(".*")


@dataclass(frozen=True)
class BackedUp:
    """Where the back-up lies and what it holds.

    `left_out`: models and encoders whose folder is not what was published.
    """

    folder: str
    revision: str
    database_bytes: int
    models: int
    encoders: int
    left_out: list[str]


@dataclass(frozen=True)
class Restored:
    """What came back, and what the doctor finds; nothing where all is sound.

    `left_out`: views and indexes of somebody else's on laudos' tables that cannot be made here.
    """

    taken_at: str
    revision: str
    rows: Mapping[str, int]
    models: int
    encoders: int
    left_out: Sequence[str]
    findings: Sequence[Finding]


def back_up(settings: Settings, folder: Path) -> BackedUp:
    """Write a back-up into a new folder, which appears whole or not at all; also while laudos runs.

    The folder is its owner's alone: it holds report text. Raises ConfigurationError where the folder
    exists, NothingToWorkOn without tables, and as db.backup.write does.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigurationError(f"{folder} exists already; name a new folder for each back-up")
    with _engine(settings) as engine, room_in(folder):
        revision = schema.revision_of(engine)
        if revision is None:
            raise NothingToWorkOn('there are no tables to back up yet; run "laudos db upgrade" first')
        schema.refuse_newer(revision)
        _remove_leftovers(folder.parent)
        partial = folder.with_name(f"{_PARTIAL}{folder.name}-{os.getpid()}")
        partial.mkdir(mode=0o700, parents=True)
        try:
            facts, left_out = _write_parts(engine, settings, partial, revision)
            bring_to_disk(partial)
            os.rename(partial, folder)  # over an empty folder, too
            bring_to_disk(folder.parent, below=False)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    held = (facts["database"]["bytes"], len(facts["models"]), len(facts["encoders"]))
    return BackedUp(str(folder), revision, *held, left_out)


def restore(settings: Settings, folder: Path, *, overwrite: bool) -> Restored:
    """Bring a back-up's models, encoders and database back, upgrade the tables, and ask the doctor.

    What is there and whole is left alone. Raises ConfigurationError for a folder that is no
    whole back-up, for one of the other kind of database, and where the database holds rows unless
    `overwrite`; Busy while a run is under way or a worker holds a lease.
    """
    facts = _facts(folder)
    file = folder / facts["database"]["file"]
    with _engine(settings) as engine:
        if file.name != database.FILES[engine.dialect.name]:
            raise ConfigurationError(
                f"{file} is no back-up of a {engine.dialect.name} database, and nothing is carried over from "
                "one kind to the other: name one of its kind in laudos.toml, or begin empty and give every "
                'erasure again (docs/operating.md, "PostgreSQL", says what that costs)'
            )
        schema.refuse_newer(facts["revision"])
        with ExitStack() as held, room_in(settings.folder):
            for name in _LOCKS:
                held.enter_context(lock.exclusive(engine, name))
            if not database.is_blank(engine):
                _refuse_to_replace(engine, overwrite)
            bring_back(folder, settings, models_in(facts["models"]))
            # back-ups of before there were encoders in them name none
            bring_back(folder, settings, facts.get("encoders", ()))
            _bring_pages_back(folder, settings)
            left_out = database.read_into(engine, file)
    upgrade_database(settings)
    engine = open_database(settings)
    with reading(engine) as c:
        rows, champions = database.contents(c), promises.champions(c)
    for classifier in champions:
        point_at_champion(engine, settings, classifier)
    brought = (len(facts["models"]), len(facts.get("encoders", ())))
    # that no night came since it was taken is no fault of a back-up
    findings = [one for one in doctor(settings) if one.name != "nights_come"]
    return Restored(facts["taken_at"], schema.head(), rows, *brought, left_out, findings)


@contextmanager
def _engine(settings: Settings) -> Iterator[Engine]:
    """An engine on the database whatever its revision."""
    engine = open_engine(settings.database)
    try:
        yield engine
    finally:
        engine.dispose()


def _refuse_to_replace(engine: Engine, overwrite: bool) -> None:
    """Raises ConfigurationError unless that is meant; Busy while anybody scores, who holds no such lock."""
    if not overwrite:
        raise ConfigurationError(
            "the database holds rows, which the back-up would replace; name an empty one in "
            "laudos.toml, or say --overwrite if that is meant"
        )
    with reading(engine) as c:
        runs = [one for one in ledger.running(c) if not lock.is_free(engine, ledger.life_of(one))]
        jobs = {job for job, worker in database.leases(c, scoring.lease_clock(c)) if not is_dead(worker)}
    if runs:
        raise Busy(f"run {', '.join(map(str, runs))} is under way; restore when it has ended")
    for job in sorted(jobs):
        raise Busy(
            f"a worker is at job {job}; restore when it has ended, or stop the job first: "
            f"laudos jobs stop {job}"
        )


def _write_parts(
    engine: Engine, settings: Settings, to: Path, revision: str
) -> tuple[dict[str, Any], list[str]]:
    """Database, models, encoders, pages, and at last what they are; that, and what was left out."""
    file = database.write(engine, to)
    models, left_out = copy_models(engine, settings, to)
    encoders, broken = copy_encoders(settings, to)
    if (settings.folder / "reports").is_dir():
        shutil.copytree(settings.folder / "reports", to / "reports", ignore=_HALF_WRITTEN)
    facts = {
        "format": FORMAT,
        "taken_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision,
        "code_revision": code_revision(),
        "database": {"file": file.name, "sha256": _sha_of(file), "bytes": file.stat().st_size},
        "models": models,
        "encoders": encoders,
    }
    (to / FACTS).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return facts, left_out + broken


def _bring_pages_back(folder: Path, settings: Settings) -> None:
    if (folder / "reports").is_dir():
        shutil.copytree(folder / "reports", settings.folder / "reports", dirs_exist_ok=True)


def _facts(folder: Path) -> dict[str, Any]:
    """What a back-up says of itself, its database's file being what was written."""
    path = folder / FACTS
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = facts["format"] == FORMAT
        sound = known and _sha_of(folder / facts["database"]["file"]) == facts["database"]["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigurationError(f'{folder} is no back-up of laudos; "laudos db backup" writes one') from None
    if not known:
        raise ConfigurationError(f"{path} is of format {facts['format']}; restore it with a newer laudos")
    if not sound:
        raise LaudosError(f"the database's file in {folder} was altered since; take another back-up")
    return facts


def _remove_leftovers(parent: Path) -> None:
    """What back-ups that were killed left there: it holds report text, and nobody looks for it."""
    for path in parent.glob(f"{_PARTIAL}*"):
        if time.time() - path.stat().st_mtime > _DEAD_AFTER_S:
            shutil.rmtree(path, ignore_errors=True)


def _sha_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
