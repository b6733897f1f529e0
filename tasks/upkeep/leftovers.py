"""What killed runs leave among the model folders: folders without a row, and half-written ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from db.models import Model
from tasks.made_here import made_here, published_in
from tasks.model_folders import encoders_folder, folder_of, models_folder, pretrained_folder
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Leftover:
    """A folder or file that no run will come back for; `why` says whose it was."""

    path: Path
    why: str
    age: timedelta

    def old(self, settings: Settings) -> bool:
        """Past the grace time: until then a training under way may be about to write its row."""
        return self.age >= settings.retention.leftovers_after


def leftovers(c: Connection, settings: Settings, models: Sequence[Model], now: datetime) -> list[Leftover]:
    """All of them, by path. A link is somebody's own doing and is left alone, and so are `strangers`."""
    return sorted(_found(c, settings, models, now), key=lambda one: one.path)


def strangers(c: Connection, settings: Settings) -> list[Path]:
    """Published models that no run of this database made: the only copy, perhaps, of another's."""
    return [path for path in published_in(models_folder(settings)) if not made_here(c, path)]


def _found(c: Connection, settings: Settings, models: Sequence[Model], now: datetime) -> Iterator[Leftover]:
    others = set(strangers(c, settings))
    removed = {folder_of(settings, model) for model in models if model.state == "removed"}
    known = {folder_of(settings, model) for model in models} - removed
    root = models_folder(settings)
    for path in root.glob("*/*"):
        if path.is_symlink() or not path.is_dir() or path in known | others:
            continue
        if path.name.startswith(".partial-"):
            yield Leftover(path, "a publish was killed half-way", _age(path, now))
        elif path in removed:
            # the row was changed first: whoever removed the folder was killed in between
            yield Leftover(path, "its model was removed", timedelta.max)
        else:
            yield Leftover(path, "no model has this folder", _age(path, now))
    for place in (pretrained_folder(settings), encoders_folder(settings)):
        for path in place.glob(".partial-*"):
            if path.is_dir() and not path.is_symlink():
                yield Leftover(path, "a publish was killed half-way", _age(path, now))
    for path in settings.folder.glob("pretraining/*/*/tokens"):
        if path.is_dir() and not path.is_symlink():
            # the age of the whole: every checkpoint touches the folder that holds both
            age = min(_age(path, now), _age(path.parent, now))
            yield Leftover(path, "reports as token ids, of a pre-training that was killed", age)
    half_written = (".champion-*.json.*", "reports/.model-*", "backends/.*.json.*")
    for path in (path for pattern in half_written for path in settings.folder.glob(pattern)):
        if path.is_file() and not path.is_symlink():
            yield Leftover(path, "a write was killed half-way", _age(path, now))


def _age(path: Path, now: datetime) -> timedelta:
    return now - datetime.fromtimestamp(path.stat().st_mtime, UTC)
