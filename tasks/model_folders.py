"""Where models lie on disk, whether they are still what was published, and which one answers.

<folder>/models/<classifier>/run7-full/      one published model
<folder>/champion-<classifier>.json          which one answers, for predictions without a database
<folder>/training/<classifier>/<key>/        checkpoints of a training that has not ended
<folder>/encoders/<name>/                    one encoder that was imported
<folder>/pretrained/<name>/                  one encoder that was pre-trained here
<folder>/pretraining/<classifier>/<key>/     checkpoints of a pre-training that has not ended, and the reports
                                             it reads, by number and, for its owner only, as token ids
<folder>/backends/<model>-<machine>.json     what was found of back ends and of a cascade on one machine
<folder>/reports/model-3.md, .html           what a physician reads
<folder>/reports/model-3-card.pt.md, .html   its card, in each language
<folder>/reports/model-3-<sha>-baselines.npz what baselines answered on that very model's holdout
<folder>/reports/training-set-2.md, .html    what a training set is made of
<folder>/reports/pretraining-<name>.md,.html whether a pre-training helped
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Literal

from sqlalchemy import Connection, Engine

from db import audit, models
from db.engine import reading, writing
from db.errors import ConfigurationError
from db.models import Champion, Model, Promotion
from tasks.ml.errors import BrokenArtifact, ClosedArtifact
from tasks.ml.faultpoints import reach
from tasks.ml.network.published import verify
from tasks.ml.sealed import manifest_sha_of
from tasks.settings.settings import Settings

STUDENT = "student"  # below a <key>: of a distillation
REMOVED = 'its folder was removed under the retention rules; "laudos models list" shows which are left'


def models_folder(settings: Settings) -> Path:
    return settings.folder / "models"


def folder_of(settings: Settings, model: Model) -> Path:
    return models_folder(settings) / model.path


def checkpoints_of(settings: Settings, classifier: str) -> Path:
    return settings.folder / "training" / classifier


def pretrained_folder(settings: Settings) -> Path:
    return settings.folder / "pretrained"


def encoders_folder(settings: Settings) -> Path:
    return settings.folder / "encoders"


def trials_folder(settings: Settings) -> Path:
    return settings.folder / "backends"


def pretraining_of(settings: Settings, classifier: str) -> Path:
    return settings.folder / "pretraining" / classifier


def pretraining_page_path(settings: Settings, name: str, ending: Literal["md", "html"]) -> Path:
    return settings.folder / "reports" / f"pretraining-{name}.{ending}"


def pointer_path(settings: Settings, classifier: str) -> Path:
    return settings.folder / f"champion-{classifier}.json"


def report_path(settings: Settings, model_id: int, ending: Literal["md", "html"]) -> Path:
    return settings.folder / "reports" / f"model-{model_id}.{ending}"


def data_card_path(settings: Settings, snapshot_id: int, ending: Literal["md", "html"]) -> Path:
    return settings.folder / "reports" / f"training-set-{snapshot_id}.{ending}"


def model_card_path(settings: Settings, model_id: int, language: str, ending: Literal["md", "html"]) -> Path:
    return settings.folder / "reports" / f"model-{model_id}-card.{language}.{ending}"


def baselines_path(settings: Settings, model: Model) -> Path:
    """Of this very model: a restored database gives its number out again."""
    return settings.folder / "reports" / f"model-{model.id}-{model.manifest_sha[:16]}-baselines.npz"


def every_baselines(settings: Settings) -> list[Path]:
    """What baselines answered, whether or not a model has it; older laudos named the file by the number."""
    return sorted((settings.folder / "reports").glob("model-*baselines.npz"))


def fault_of(settings: Settings, model: Model) -> str | None:
    """What is wrong with the model's folder, in words; None where it is what was published."""
    broken = _broken(settings, model)
    return None if broken is None else str(broken)


def _broken(settings: Settings, model: Model) -> BrokenArtifact | None:
    if model.state == "removed":
        return BrokenArtifact(REMOVED)
    try:
        verify(folder_of(settings, model), model.manifest_sha)
    except BrokenArtifact as broken:
        return broken
    return None


def gist_fault_of(settings: Settings, model: Model) -> str | None:
    """`fault_of` by the manifest alone: quick however large the model is; its other files are not read."""
    folder = folder_of(settings, model)
    if not folder.is_dir():
        return f"{folder} is not there"
    try:
        found = manifest_sha_of(folder)
    except ClosedArtifact as closed:
        return str(closed)
    if found != model.manifest_sha:
        return f"the manifest in {folder} is missing or was altered"
    return None


def require_within_reach(settings: Settings, model: Model) -> None:
    """Raises ConfigurationError where this machine does not see the model as it was published.

    For whoever only helps: asked before anything is loaded, for `intact` would mark the model as altered for
    everybody, the machines that see it included.
    """
    if fault := gist_fault_of(settings, model):
        raise ConfigurationError(
            f"model {model.id} cannot be read there ({fault}); let `folder` in its laudos.toml lead to the "
            "folder of models that all machines share"
        )


def intact(engine: Engine, settings: Settings, model: Model, actor: str, now: datetime) -> str | None:
    """None where the model can be used; else what is wrong, and the model is marked tainted, on record.

    A tainted one whose folder is again what was published, file by file, is no longer: it was restored. A
    machine that sees no folder of models at all, or a user who may not read this one, is told so, and
    nothing is marked.
    """
    if not models_folder(settings).is_dir():
        return f"{models_folder(settings)} is not there; let `folder` in laudos.toml lead to where models lie"
    broken = _broken(settings, model)
    if isinstance(broken, ClosedArtifact):
        return str(broken)
    fault = None if broken is None else str(broken)
    if fault is not None and model.state not in ("tainted", "removed"):
        with writing(engine) as c:
            models.set_state(c, model.id, "tainted")
            _record(c, model, "tainted", {"fault": fault}, actor, now)
    if fault is None and model.state == "tainted":
        _restore(engine, model, actor, now)
    return fault


def _restore(engine: Engine, model: Model, actor: str, now: datetime) -> None:
    with writing(engine) as c:
        state = _state_besides(models.promotions(c, model.classifier), model.id)
        if models.untaint(c, model.id, state):
            _record(c, model, "restored", {"state": state}, actor, now)


def _state_besides(history: Sequence[Promotion], model_id: int) -> Literal["ready", "retired"]:
    """What it is by the decisions about it, newest first: one rolled back from stays so until it answers."""
    for past in history:
        if past.decision == "rolled_back" and past.previous_model_id == model_id:
            return "retired"
        if past.decision != "refused" and past.model_id == model_id:
            return "ready"
    return "ready"


def _record(
    c: Connection, model: Model, action: str, detail: dict[str, str], actor: str, now: datetime
) -> None:
    audit.record(c, actor=actor, action=action, subject=f"model {model.id}", detail=detail, now=now)


def point_at_champion(engine: Engine, settings: Settings, classifier: str) -> None:
    """Make champion-<classifier>.json say what the database says; atomic, and nothing where it does."""
    with reading(engine) as c:
        champion = models.champion_of(c, classifier)
    if champion is not None and not points_at(settings, champion):
        write_atomically(pointer_path(settings, classifier), _pointer(champion))


def points_at(settings: Settings, champion: Champion) -> bool:
    """Whether champion-<classifier>.json says what the database says."""
    path = pointer_path(settings, champion.model.classifier)
    return path.is_file() and path.read_bytes() == _pointer(champion)


def _pointer(champion: Champion) -> bytes:
    content = {
        "classifier": champion.model.classifier,
        "model_id": champion.model.id,
        "epoch": champion.epoch,
        # relative to the folder this file stands in, so that the whole folder can be moved
        "path": f"models/{champion.model.path}",
        "manifest_sha": champion.model.manifest_sha,
    }
    return (json.dumps(content, indent=2) + "\n").encode()


def write_atomically(path: Path, content: bytes) -> None:
    """A reader sees the old content or the new, never half of it, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    reach("pointer.written")
    temporary.replace(path)


def note_use(path: Path) -> None:
    """Let a kept file's age be the time since its last use; one that may not be touched keeps its age."""
    with suppress(OSError):
        os.utime(path)
