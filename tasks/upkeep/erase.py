"""`laudos erase`: reports that must go on request, out of the database, its free pages and laudos' files.

One transaction removes the rows. Files and free pages follow; until they are seen to the audit lacks a row,
`laudos doctor` says so, and the next erasure or `laudos doctor --repair` does the rest.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, Engine

from db import audit, erasure, lessons, lock, models, snapshots, wiping
from db.engine import reading, writing
from db.erasure import Found, Held
from db.errors import Busy, ConfigurationError
from db.source_values import as_key
from db.sqlite_copy import copies_beside, partial_beside, path_of
from tasks.database import open_database
from tasks.intake.rows import patient_key
from tasks.ledger import recorded_run
from tasks.ml.faultpoints import reach
from tasks.model_folders import STUDENT, baselines_path, every_baselines, model_card_path
from tasks.person import named, said_why
from tasks.settings.settings import Settings

log = logging.getLogger(__name__)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """Whose reports: by their ids at a source, and by patients as the hospital numbers them; never shown."""

    source: str | None = None
    reports: tuple[str, ...] = field(default=(), repr=False)
    patients: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class TaughtModel(lessons.Taught):
    """A model, and how many of a request's reports taught it."""

    id: int
    classifier: str
    champion: bool


@dataclass(frozen=True)
class Erasure:
    """What is held of a request's reports, or was until it was erased by `run_id`.

    `barred`: ids that lay in quarantine alone, and are never taken in. `unknown_*`: places in what was given,
    counted from 1, of which laudos holds nothing. `encoders`: pre-trained here while the reports were, and
    perhaps on them. `finished`: files and free pages were seen to. `left`: what a person has to do.
    """

    run_id: int | None
    held: Held
    barred: int
    unknown_reports: list[int]
    unknown_patients: list[int]
    models: list[TaughtModel]
    encoders: list[str]
    finished: bool
    left: list[str]


def look(settings: Settings, request: Request) -> Erasure:
    """What `erase` would remove. Changes nothing."""
    with reading(open_database(settings)) as c:
        return _story(c, request, *_find(c, request))


def erase(settings: Settings, request: Request, by: str | None, because: str, say: Say) -> Erasure:
    """Remove them, and finish what earlier erasures had to leave. Raises Busy while an ingest is at work."""
    actor, because = named(by), said_why(because)
    engine = open_database(settings)
    with recorded_run(engine, settings, "erase", exclusive="ingest") as run:
        with writing(engine) as c:
            erasure.alone(c)
            now = datetime.now(UTC)
            found, known = _find(c, request)
            story = _story(c, request, found, known)
            if found:
                erasure.erase(c, found, now)
                counts = {**asdict(story.held), "barred": story.barred, "models": len(story.models)}
                _record(c, actor, lessons.BEGUN, f"run {run.id}", now, **counts, because=because)
        reach("erase.rows.committed")
        finished, left = finish(engine, settings, actor, datetime.now(UTC), say)
    return replace(story, run_id=run.id, finished=finished, left=[*story.left, *left])


def lift(settings: Settings, request: Request, by: str | None, because: str) -> int:
    """Let the source's present content of erased reports in again, at the next full ingest; how many."""
    actor, because = named(by), said_why(because)
    if request.patients:
        raise ConfigurationError(
            "whose an erased report was is not known any more: name reports by their ids"
        )
    engine = open_database(settings)
    with lock.exclusive(engine, "ingest"), writing(engine) as c:
        done = erasure.lift(c, _source(c, request), request.reports)
        subject, now = f"source {request.source}", datetime.now(UTC)
        _record(c, actor, "erasure_lifted", subject, now, reports=done, because=because)
    return done


def finish(engine: Engine, settings: Settings, actor: str, now: datetime, say: Say) -> tuple[bool, list[str]]:
    """Files and free pages of erasures whose rows are gone: whether all is done, and what a person has to do.

    Raises as wiping.wipe does.
    """
    with reading(engine) as c:
        pending = erasure.unfinished(c)
    if not pending:
        return True, []
    left: list[str] = []
    files: int | None = None
    try:
        with lock.exclusive(engine, "model"), lock.exclusive(engine, "schema"):
            files = _remove_files(engine, settings, say)
    except Busy:
        left.append(
            "a model is being trained, or the database upgraded, whose files are left alone: then run "
            '"laudos doctor --repair"'
        )
    reach("erase.files.removed")
    say("giving up the pages that held what was erased; others who write wait meanwhile")
    wiped = wiping.wipe(engine)
    reach("erase.pages.freed")
    if not wiped:
        names = ", ".join(table.name for table in erasure.TOUCHED)
        left.append(
            f"this PostgreSQL user may not do that; the tables' owner may: VACUUM (ANALYZE) {names}; "
            "what statistics quote of a table that is empty now stays until an ANALYZE finds rows in it"
        )
    if files is not None:
        _tell_on_cards(engine, settings)
        with writing(engine) as c:
            for subject in pending:
                _record(c, actor, erasure.FINISHED, subject, now, files=files, wiped=wiped)
    return files is not None, left


def finish_left(settings: Settings) -> None:
    """`finish` of what an erasure that was killed has left, unattended. Raises as wiping.wipe does."""
    _, left = finish(open_database(settings), settings, "nightly", datetime.now(UTC), log.info)
    for sentence in left:
        log.warning(sentence)


def _remove_files(engine: Engine, settings: Settings, say: Say) -> int:
    """How many were removed. Looked for now: no training is under way that may write another."""
    with reading(engine) as c:
        paths = [*_copies(engine), *_read_off(c, settings)]
    for path in paths:
        say(f"removing {path.name}: it may hold what was erased")
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return len(paths)


def _tell_on_cards(engine: Engine, settings: Settings) -> None:
    """Write the cards of models anew that what was erased taught."""
    from tasks.pages.model_card import write_card  # torch comes with it

    with reading(engine) as c:
        models_taught, _ = lessons.taught_by(c)
    for model_id in models_taught:
        if model_card_path(settings, model_id, "en", "md").exists():
            write_card(engine, settings, model_id)


def _record(c: Connection, actor: str, action: str, subject: str, now: datetime, **detail: object) -> None:
    audit.record(c, actor=actor, action=action, subject=subject[:128], detail=detail, now=now)


def _source(c: Connection, request: Request) -> int:
    found = None if request.source is None else erasure.source_id(c, request.source)
    if found is None:
        raise ConfigurationError(
            f'no source {request.source!r} was ever read; "laudos status" lists those that were'
        )
    return found


def _find(c: Connection, request: Request) -> tuple[Found, set[str]]:
    """What the request is about, and which ids and keys of it are known."""
    of_source = _source(c, request) if request.reports else None
    return erasure.find(c, of_source, request.reports, _keys(request))


def _keys(request: Request) -> list[str]:
    """Hashed as an ingest does."""
    return [patient_key("", None, patient) for patient in request.patients]


def ids_in(lines: Iterable[str]) -> tuple[str, ...]:
    """Ids as an ingest reads them from a source's column; empty ones are passed over."""
    return tuple(one for line in lines if (one := as_key(line)) is not None)


def _story(c: Connection, request: Request, found: Found, known: set[str]) -> Erasure:
    every = models.of_classifier(c)
    champions = {
        row.model.id for name in {m.classifier for m in every} if (row := models.champion_of(c, name))
    }
    taught, encoders = lessons.taught_by(c, found.reports)
    return Erasure(
        None,
        erasure.held(c, found),
        len(found.barred),
        [place for place, one in enumerate(request.reports, 1) if one not in known],
        [place for place, one in enumerate(_keys(request), 1) if one not in known],
        [
            TaughtModel(
                **asdict(taught[one.id]), id=one.id, classifier=one.classifier, champion=one.id in champions
            )
            for one in every
            if one.id in taught
        ],
        encoders,
        not erasure.unfinished(c),
        [_coming_back(found.returning)] if found.returning else [],
    )


def _coming_back(rows: int) -> str:
    return (
        f"{rows:,} rows in quarantine bear the id of another patient's report, which goes on being read: "
        "they come back into quarantine unless the source leaves them out, or that report is erased, too"
    )


def _copies(engine: Engine) -> list[Path]:
    """Of an SQLite file, what upgrades have left beside it, whole or not: older states, reports and all."""
    database = path_of(engine) if engine.dialect.name == "sqlite" else None
    if database is None:
        return []
    return [*copies_beside(database), *partial_beside(database)]


def _read_off(c: Connection, settings: Settings) -> Iterator[Path]:
    """What was read off erased reports: checkpoints and tokens that a killed training or pre-training left,
    and what baselines answered."""
    found = lessons.lessons(c)
    begun = {sha[:12] for sha in lessons.shas_of(c, found)}
    for path in settings.folder.glob("training/*/*"):
        # on no record is which reports without a label taught a student
        if path.is_dir() and (path.name[:12] in begun or (path / STUDENT).is_dir()):
            yield path
    for path in settings.folder.glob("pretraining/*/*"):
        if path.is_dir() and _read_erased(c, path / "corpus.json"):
            yield path
    judged_on = {baselines_path(settings, one): one.snapshot_id for one in models.of_classifier(c)}
    for answers in every_baselines(settings):
        # on no record is whose reports a file of no model is about
        if answers not in judged_on or "holdout" in found.get(judged_on[answers], ()):
            yield answers


def _read_erased(c: Connection, corpus: Path) -> bool:
    """Whether a pre-training read what is gone; so it is taken where nothing says what it read."""
    try:
        told = json.loads(corpus.read_text())
        return snapshots.erased(c, [*told["taught"], *told["exam"]]) > 0
    except (OSError, ValueError, KeyError, TypeError):
        return True
