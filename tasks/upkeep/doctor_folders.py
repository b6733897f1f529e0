"""The doctor on the model folder: each model as it was published, and nothing that belongs to nobody."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from db import doctor as promises
from db import house, models
from db.models import Champion, Model
from tasks.ml.encoders.folder import found_in
from tasks.ml.network.published import pretrained_in
from tasks.model_folders import (
    encoders_folder,
    fault_of,
    gist_fault_of,
    models_folder,
    pointer_path,
    points_at,
    pretrained_folder,
)
from tasks.models.encoders import named
from tasks.pretraining.record import unrecorded
from tasks.settings.settings import Settings
from tasks.upkeep.findings import Finding, finding, told, violation
from tasks.upkeep.leftovers import Leftover, leftovers, strangers


def examine(c: Connection, settings: Settings, now: datetime) -> Iterator[Finding]:
    """Champions, the other models, the pointer files, what was left behind, and encoders by name."""
    every = models.of_classifier(c)
    champions = [found for name in promises.champions(c) if (found := models.champion_of(c, name))]
    yield from (_as_published(settings, champion) for champion in champions)
    yield _others_there(settings, every, {champion.model.id for champion in champions})
    broken = promises.violations(c, house.champions_that_may_not_answer())
    yield finding(
        "champions_may_answer",
        "no champion is marked as altered, retired or removed",
        broken,
        f"classifier {told(broken)}",
        'one whose folder was restored answers from the next "laudos classify" on; else let another answer: '
        '"laudos models rollback CLASSIFIER", or "laudos retrain"',
        "house",
    )
    yield from (_pointed_at(settings, champion) for champion in champions)
    yield _no_leftovers(settings, leftovers(c, settings, every, now), strangers(c, settings))
    yield from _encoders_here(settings)
    yield from _encoders_recorded(c, settings)
    yield from _encoders_made_here(settings)
    broken = promises.violations(c, house.encoders_without_a_model(now - settings.retention.leftovers_after))
    yield finding(
        "vectors_have_a_model",
        "the encoder of every stored vector belongs to a model",
        broken,
        f"encoder {told(broken)}",
        'they only take room; "laudos models gc" removes them',
        "house",
    )


def _as_published(settings: Settings, champion: Champion) -> Finding:
    classifier, fault = champion.model.classifier, fault_of(settings, champion.model)
    return Finding(
        f"champion_as_published ({classifier})",
        fault is None,
        fault or f"model {champion.model.id} is what was published, file by file",
        "" if fault is None else f'restore its folder, or run "laudos models rollback {classifier}"',
    )


def _others_there(settings: Settings, every: Sequence[Model], champions: set[int]) -> Finding:
    others = [one for one in every if one.state in ("ready", "retired") and one.id not in champions]
    faults = [f"{one.id} ({fault})" for one in others if (fault := gist_fault_of(settings, one))]
    broken = violation(faults)
    return finding(
        "models_as_published",
        f"{len(others):,} other models are there, with the manifest that was recorded "
        "(their files are read before one of them answers)",
        broken,
        f"model {told(broken)}",
        "restore these folders from a back-up; none of these models can be rolled back to until then",
    )


def _pointed_at(settings: Settings, champion: Champion) -> Finding:
    classifier, path = champion.model.classifier, pointer_path(settings, champion.model.classifier)
    pointed = points_at(settings, champion)
    return Finding(
        f"pointer_names_champion ({classifier})",
        pointed,
        f"{path.name} names model {champion.model.id}"
        if pointed
        else f"{path} is missing or names another model than the champion, {champion.model.id}",
        "" if pointed else '"laudos doctor --repair" writes it anew; "laudos predict" reads it',
        "house",
    )


def _encoders_here(settings: Settings) -> Iterator[Finding]:
    """By names and sizes: each training reads every byte of its encoder."""
    if not (asked := named(settings)):
        return
    found = dict(found_in(encoders_folder(settings)))
    broken = violation([name for name in asked if found.get(name) is None])
    yield finding(
        "encoders_are_here",
        "every encoder that a classifier names was imported, and has its files",
        broken,
        f"encoder {told(broken)}",
        'the next training of the whole network would fail; "laudos encoders" says which to import',
        "house",
    )


def _encoders_recorded(c: Connection, settings: Settings) -> Iterator[Finding]:
    if not pretrained_folder(settings).is_dir():
        return
    broken = violation([folder.name for folder in unrecorded(c, settings)])
    yield finding(
        "pretrained_encoders_recorded",
        "the audit says of every encoder that was pre-trained here what it read",
        broken,
        f"encoder {told(broken)}",
        'a run was killed before it was recorded; "laudos doctor --repair" writes what its folder says',
        "house",
    )


def _encoders_made_here(settings: Settings) -> Iterator[Finding]:
    """By names and sizes, too."""
    if not (made := dict(pretrained_in(pretrained_folder(settings)))):
        return
    broken = violation([name for name, whole in made.items() if not whole])
    yield finding(
        "pretrained_as_published",
        f"{len(made):,} encoders that were pre-trained here have their files",
        broken,
        f"encoder {told(broken)}",
        'restore its folder from a back-up, or remove it and run "laudos pretrain" again',
        "house",
    )


def _no_leftovers(settings: Settings, found: Sequence[Leftover], others: Sequence[Path]) -> Finding:
    root = models_folder(settings)

    def name(one: Leftover) -> str:
        place = one.path.relative_to(root) if one.path.is_relative_to(root) else one.path.name
        age = "" if one.age == timedelta.max else f", {one.age.total_seconds() / 3600:,.1f} h old"
        return f"{place} ({one.why}{age})"

    old = violation([name(one) for one in found if one.old(settings)])
    young = violation([name(one) for one in found if not one.old(settings)])
    grace = settings.retention.leftovers_after
    waits = f"; younger than {grace} and left alone: {told(young)}" if young else ""
    if others:
        told_of = told(violation([str(path.relative_to(root)) for path in others]))
        waits += f"; made by no run of this database, left alone, and yours to remove: {told_of}"
    return finding(
        "no_orphan_folders",
        f"every model folder has its row{waits}",
        old,
        f"{told(old)}{waits}",
        'a run was killed before it was recorded; "laudos models gc" removes them',
        "house",
    )
