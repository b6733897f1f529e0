"""The sealed folders of a back-up: each held against its manifest before it goes, and after it came.

Paths are relative to laudos' own folder, and lie in the back-up as they lie there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from db import backup as database
from db.engine import reading
from db.errors import LaudosError
from tasks.ml.encoders.folder import checked
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.published import verify as verify_model
from tasks.ml.network.published import verify_pretrained
from tasks.model_folders import encoders_folder, models_folder, pretrained_folder
from tasks.settings.settings import Settings

# folder of laudos' -> what tells, and returns the manifest's sha, whether one in it is what was published
CHECKS: dict[str, Callable[[Path, str | None], str]] = {
    "models": verify_model,
    "pretrained": verify_pretrained,
    "encoders": checked,
}

Kept = Mapping[str, Any]  # path, manifest_sha


def copy_models(engine: Engine, settings: Settings, to: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Copy every model that may answer; what was copied, and which were not what was published."""
    copied, left_out = [], []
    with reading(engine) as c:
        kept = database.folders(c)
    for number, path, manifest_sha in kept:
        try:
            _copy(models_folder(settings) / path, to / "models" / path, verify_model, manifest_sha)
        except BrokenArtifact as broken:
            left_out.append(f"model {number}: {broken}")
        else:
            copied.append({"model": number, "path": path, "manifest_sha": manifest_sha})
    return copied, left_out


def copy_encoders(settings: Settings, to: Path) -> tuple[list[dict[str, Any]], list[str]]:
    """Copy every encoder that was pre-trained here or imported, as `copy_models` does."""
    copied, left_out = [], []
    for root in (pretrained_folder(settings), encoders_folder(settings)):
        for folder in sorted(path for path in root.glob("[!.]*") if path.is_dir()):
            path = f"{root.name}/{folder.name}"
            try:
                sha = _copy(folder, to / path, CHECKS[root.name], None)
            except BrokenArtifact as broken:
                left_out.append(f"encoder {folder.name}: {broken}")
            else:
                copied.append({"path": path, "manifest_sha": sha})
    return copied, left_out


def models_in(told: Iterable[Kept]) -> list[Kept]:
    """A back-up's models, whose paths it tells from the folder of models on."""
    return [{**one, "path": f"models/{one['path']}"} for one in told]


def bring_back(folder: Path, settings: Settings, kept: Sequence[Kept]) -> None:
    """Each under its name, whole; a folder of that name that is not what was published is replaced.

    Raises BrokenArtifact for one that is not what was backed up, LaudosError for a path that leads away
    and where something else that is whole has the name.
    """
    for one in kept:
        target, root = settings.folder / one["path"], one["path"].split("/")[0]
        if root not in CHECKS or not target.resolve().is_relative_to((settings.folder / root).resolve()):
            raise LaudosError(f"{folder} was altered: {one['path']} would leave {settings.folder}")
        check = CHECKS[root]
        try:
            check(target, one["manifest_sha"])
            continue
        except BrokenArtifact:
            partial = target.with_name(f".partial-restore-{target.name}")
        _refuse_to_replace(target, check)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(folder / one["path"], partial)
        try:
            check(partial, one["manifest_sha"])
            bring_to_disk(partial)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _refuse_to_replace(target: Path, check: Callable[[Path, str | None], str]) -> None:
    """Raises LaudosError for a folder that is what was published: the only copy, perhaps, of another's."""
    try:
        check(target, None)
    except BrokenArtifact:
        return
    raise LaudosError(
        f"{target} is whole, and not what lies in the back-up under that name: another database's, perhaps. "
        "Move it away, or let `folder` in laudos.toml lead to a new folder, and restore again"
    )


def bring_to_disk(folder: Path, *, below: bool = True) -> None:
    """fsync a folder, and with `below` all that it holds."""
    paths = [folder, *(folder.rglob("*") if below else ())]
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _copy(folder: Path, to: Path, check: Callable[[Path, str | None], str], sha: str | None) -> str:
    """Copy a folder that is what was published; its manifest's sha. BrokenArtifact leaves no copy."""
    try:
        found = check(folder, sha)
        shutil.copytree(folder, to)
        return check(to, found)
    except BrokenArtifact:
        shutil.rmtree(to, ignore_errors=True)
        raise
    except OSError:
        shutil.rmtree(to, ignore_errors=True)
        check(folder, sha)  # fails where the retention rules, which wait for no back-up, took it away
        raise
