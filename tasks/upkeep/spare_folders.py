"""What no kept model needs: checkpoints, encoders pre-trained here beyond the quota, trials, baselines."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from db import models, retention
from tasks.model_folders import baselines_path, every_baselines, pretrained_folder, trials_folder
from tasks.settings.settings import Settings

Spare = tuple[Path, str]  # and why it may go
UNFINISHED = ("training", "pretraining")  # folders of checkpoints


def spare_checkpoints(c: Connection, settings: Settings, now: datetime) -> Iterator[Spare]:
    """Of trainings and pre-trainings that ended, or that nobody went on with."""
    ended = {f"{sha[:12]}-{config[:12]}" for sha, config in retention.finished_trainings(c)}
    limit = settings.retention.checkpoints_after
    for path in sorted(path for place in UNFINISHED for path in (settings.folder / place).glob("*/*")):
        if path.is_symlink() or not path.is_dir():
            continue
        newest = max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))
        if path.name in ended:
            yield path, "checkpoints of a training that ended"
        elif now - datetime.fromtimestamp(newest, UTC) >= limit:
            yield path, f"checkpoints that nobody went on with for {limit}"


def spare_encoders(c: Connection, settings: Settings) -> Iterator[Spare]:
    """Of each classifier the pre-trained encoders that neither laudos.toml nor a kept model names, but for
    the newest of these. The start of one that is kept is not needed to use it."""
    named = {one.encoder for one in settings.classifiers.values()}
    # a training that is to be reproduced begins with its encoder
    named |= {str(one.config.get("encoder")) for one in models.of_classifier(c) if one.state != "removed"}
    needed = {Path(one).resolve() for one in named}
    others: dict[str, list[Path]] = {}
    for path in pretrained_folder(settings).glob("[!.]*"):
        if path.is_dir() and not path.is_symlink() and path.resolve() not in needed:
            others.setdefault(path.name.rpartition("-")[0], []).append(path)
    for classifier, folders in sorted(others.items()):
        newest_first = sorted(folders, key=lambda path: (path.stat().st_mtime, path.name), reverse=True)
        why = f"beyond the {settings.retention.pretrained} pre-trained encoders that {classifier!r} keeps"
        yield from ((path, why) for path in newest_first[settings.retention.pretrained :])


def spare_trials(c: Connection, settings: Settings, now: datetime) -> Iterator[Spare]:
    """What was found of back ends with models that were removed, or that no run has used for long.

    Several machines may share the folder, and one that was upgraded is another: only use tells.
    """
    kept = {one.manifest_sha[:16] for one in models.of_classifier(c) if one.state != "removed"}
    limit = settings.retention.trials_after
    for path in sorted(trials_folder(settings).glob("[!.]*.json")):
        if path.is_symlink() or not path.is_file():
            continue
        if path.name.split("-")[0] not in kept:
            yield path, "what was found of back ends with a model that was removed"
        elif now - datetime.fromtimestamp(path.stat().st_mtime, UTC) >= limit:
            yield path, f"what was found of back ends, and used by no run for {limit}"


def spare_baselines(c: Connection, settings: Settings) -> Iterator[Spare]:
    """What baselines answered beside models that were removed, or that a restore took back."""
    kept = {baselines_path(settings, one) for one in models.of_classifier(c) if one.state != "removed"}
    for path in every_baselines(settings):
        if path not in kept and path.is_file() and not path.is_symlink():
            yield path, "what baselines answered beside a model that is not there"
