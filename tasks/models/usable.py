"""Whether a model can be used where this runs: its folder is whole, and it reads reports as it did.

A whole folder may be one that this version of transformers, or of laudos, reads otherwise. That is no fault
of the folder's: nothing is marked, for a machine with the versions of then may still read it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine

from db.models import Model
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.predictor import Predictor
from tasks.model_folders import folder_of, intact
from tasks.settings.settings import Settings


def unusable(engine: Engine, settings: Settings, model: Model, actor: str, now: datetime) -> str | None:
    """Why the model cannot be used here, to be read after its name; None where it can. Loads it.

    One whose folder is not what was published is marked tainted, on record, as `intact` does.
    """
    fault = intact(engine, settings, model, actor, now)
    if fault is not None:
        return f"is tainted: {fault}"
    unread = unreadable(settings, model)
    return None if unread is None else f"cannot be read here: {unread}"


def unreadable(settings: Settings, model: Model) -> str | None:
    """What keeps the model from being loaded here, its folder's faults among it; None where nothing does."""
    try:
        Predictor.load(folder_of(settings, model), model.manifest_sha)
    except BrokenArtifact as broken:
        return str(broken)
    return None
