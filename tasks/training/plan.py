"""What a retraining has to do: the whole network, the head only, or nothing."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Engine

from db import models
from db.engine import reading
from db.errors import NothingToWorkOn
from db.models import Model, Trained
from tasks.models.encoders import content_sha
from tasks.models.strayed import strayed_from_body
from tasks.models.usable import unusable
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.training.train_body import pooling_for

How = Literal["auto", "full", "head"]

# raise when the same data and settings would give another model
TRAINING_REVISION = 2
# settings of training that came later, and what models were trained with until then: recorded as ever
BEFORE_THERE_WAS_A_CHOICE = {
    "pooling": "network",
    "last_layers": None,
    "windows": "even",
    "layer_decay": 1.0,
    "loss": "plain",
    "early_stopping": None,
    "max_minutes": None,
    "mixed_precision": False,
    "batch_tokens": 16_384,  # there was no limit, and no batch of the default size is larger
    "linear_reader": False,
}
# what decides the body; the rest of the configuration only moves the head or its thresholds
BODY_KEYS = ("labels", "encoder", "revision", "training", "training_revision")
ENCODER_SHA = "encoder_content_sha"  # of an encoder that lies in a folder, where another may come to lie


@dataclass(frozen=True)
class Plan:
    """What to train (`trained`), on which body (`base`: the champion, for a head), or what to reuse.

    A head without `base` stands on the pretrained encoder as it was loaded, frozen.
    """

    trained: Trained
    config: dict[str, Any]
    config_sha: str
    base: Model | None = None
    reused: Model | None = None
    notes: tuple[str, ...] = ()


def training_config(settings: Settings, asked: ClassifierSettings) -> dict[str, Any]:
    """Everything in the configuration that decides what a training gives."""
    keep = {"labels", "critical", "encoder", "revision", "training", "review_error", "critical_review_error"}
    decisive = asked.model_dump(mode="json", include=keep)
    decisive["training"] |= {
        "linear_reader": asked.has_linear_reader,
        "pooling": pooling_for(asked),
    }
    for setting, before in BEFORE_THERE_WAS_A_CHOICE.items():
        if decisive["training"][setting] == before:
            del decisive["training"][setting]
    content = content_sha(settings, asked)
    if content is not None:
        decisive[ENCODER_SHA] = content
    return decisive | {"seed": settings.seed, "training_revision": TRAINING_REVISION}


def config_sha(config: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def plan(
    engine: Engine, settings: Settings, classifier: str, snapshot_id: int, how: How, now: datetime
) -> Plan:
    """Decide. A champion that is altered, that knows other labels, or that this version of transformers reads
    otherwise, cannot carry a new head: full then.

    Raises NothingToWorkOn where "head" was asked for and there is no body to put it on: no champion,
    and no pretrained encoder either.
    """
    asked = settings.classifier(classifier)
    config = training_config(settings, asked)
    sha = config_sha(config)
    base, notes = _usable_champion(engine, settings, classifier, snapshot_id, config, now)
    if how == "head" and base is None and asked.encoder == "scratch":
        why = f" ({notes[0]})" if notes else ""
        raise NothingToWorkOn(
            f"no champion of {classifier!r} whose encoder a new head could use{why}; "
            'run "laudos retrain --how full" first'
        )
    trained: Trained = "full" if how == "full" or (base is None and how != "head") else "head"
    with reading(engine) as c:
        same = models.trained_on(c, snapshot_id, sha)
        every = models.of_classifier(c, classifier)
    # bodies that were trained so; a folder that serves as an encoder may be that of a model trained otherwise
    whole = {one.encoder_sha for one in every if one.trained == "full" and not changed_since(one, config)}
    for known in same:
        if not (known.trained == "full" if trained == "full" else _same_body(known, base, whole)):
            continue
        why_not = unusable(engine, settings, known, "retrain", now)
        if why_not is None:
            note = f"already trained: model {known.id} on snapshot {snapshot_id}"
            return Plan(trained, config, sha, base, reused=known, notes=(*notes, note))
        notes = (*notes, f"model {known.id} cannot be used again: it {why_not}")
    return Plan(trained, config, sha, base if trained == "head" else None, notes=notes)


def _usable_champion(
    engine: Engine,
    settings: Settings,
    classifier: str,
    snapshot_id: int,
    config: dict[str, Any],
    now: datetime,
) -> tuple[Model | None, tuple[str, ...]]:
    """The champion, if a new head fits its body; else None and why."""
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
    if champion is None:
        return None, ()
    model = champion.model
    why_not = unusable(engine, settings, model, "retrain", now)
    if why_not is not None:
        return None, (f"champion model {model.id} {why_not}; training the whole network",)
    what = changed_since(model, config)
    if what:
        return None, (
            f"{what} changed since champion model {model.id} was trained; training the whole network",
        )
    strayed = strayed_from_body(engine, model, snapshot_id)
    if strayed is not None:
        return None, (
            f"champion model {model.id} cannot carry a new head: {strayed}; training the whole network",
        )
    return model, ()


def changed_since(model: Model, config: dict[str, Any]) -> str:
    """What decides a body and is another than the model was trained with, in words; "" for nothing."""
    changed = [key for key in BODY_KEYS if model.config.get(key) != config[key]]
    # models of before it was recorded, and folders that are not there now, say nothing
    then, today = model.config.get(ENCODER_SHA), config.get(ENCODER_SHA)
    if "encoder" not in changed and None not in (then, today) and then != today:
        changed.append("what lies in the encoder's folder")
    return ", ".join(changed)


def _same_body(known: Model, base: Model | None, whole: Collection[str]) -> bool:
    """Without a base the body is the encoder as it was loaded: none of those that were trained whole."""
    if base is not None:
        return known.encoder_sha == base.encoder_sha
    return known.trained == "head" and known.encoder_sha not in whole
