"""`laudos reproduce`: train a model again from what was recorded of it, and tell whether it is the same.

Reads the training and the calibration split of its snapshot, never the holdout. Nothing is written but a
folder that goes away again: no row, no vector, no model; and no model's standing changes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Engine

from db import ledger, models, snapshots
from db.engine import reading
from db.models import Model
from db.snapshots import Snapshot
from tasks.database import open_database
from tasks.inspection.recorded_training import as_recorded, lost, network_of
from tasks.inspection.verify import Difference
from tasks.ledger import code_revision
from tasks.ml.errors import MlError
from tasks.ml.machine import BATCHES, THREADS, as_many_threads, machine_of
from tasks.ml.network.artifact import LaudosJson, publish, read_facts
from tasks.ml.network.bfloat16 import device_here, no_bfloat16
from tasks.ml.network.sameness import Comparison, compare_folders
from tasks.model_folders import fault_of, folder_of
from tasks.settings.settings import Settings
from tasks.training.fitting import facts_of_fit, fit_on_body, versions
from tasks.training.plan import BEFORE_THERE_WAS_A_CHOICE, TRAINING_REVISION, config_sha, training_config
from tasks.training.train import taught_by
from tasks.training.train_body import short_of
from tasks.training.training_set import content_sha

TAUGHT_BY = ("train", "calibration")
# two words: no classifier's checkpoints can lie there, and the retention rules clear away what a kill leaves
FOLDER = "reproduced models"


@dataclass(frozen=True)
class Reproduced:
    """`same`: the weights bit for bit, and all that decides an answer; else `differences` say what is not.

    `circumstances`: what is another than when it was trained, such as a version or the processor; no
    difference by itself. `largest_difference`: of any weight; None where nothing could be compared.
    `body`: whose, and whether it was trained again: a head stands on a frozen one. `encoded`: reports whose
    vector was not stored any more.
    """

    model_id: int
    trained: str
    same: bool
    differences: list[Difference]
    circumstances: list[Difference]
    largest_difference: float | None = None
    body: str = "-"
    encoded: int = 0


def reproduce_model(settings: Settings, model_id: int) -> Reproduced:
    """Train it again from its snapshot and recorded settings. Raises LaudosError for an unknown model."""
    return reproduce(open_database(settings), settings, model_id)


def reproduce(engine: Engine, settings: Settings, model_id: int) -> Reproduced:
    """`reproduce_model`, on an open database."""
    with reading(engine) as c:
        model = models.existing(c, model_id)
        snapshot = snapshots.existing(c, model.snapshot_id)
    kind = "distilled" if "distilled" in model.config else model.trained
    in_the_way = list(_in_the_way(engine, settings, model, snapshot))
    if in_the_way:
        return Reproduced(model_id, kind, False, in_the_way, [])
    facts = read_facts(folder_of(settings, model))
    try:
        recorded = as_recorded(engine, settings, model, snapshot)
        with _folder(settings, snapshot) as folder, as_many_threads(facts.machine):
            made = _train_again(engine, recorded, model, facts, folder)
    except (ValidationError, KeyError):
        gone = Difference("settings", "those of an older laudos", "no longer understood")
        return Reproduced(model_id, kind, False, [gone], [])
    except MlError as failed:
        return Reproduced(model_id, kind, False, [Difference("training", "ended", str(failed))], [])
    found = [Difference(one.what, one.first, one.second) for one in made.compared.unlike]
    told = list(_circumstances(engine, settings, model, facts, made.machine))
    apart = made.compared.weights_apart
    return Reproduced(model_id, kind, not found, found, told, apart, made.body, made.encoded)


@dataclass(frozen=True)
class _Made:
    compared: Comparison
    machine: dict[str, str]
    body: str
    encoded: int


def _train_again(engine: Engine, recorded: Settings, model: Model, facts: LaudosJson, folder: Path) -> _Made:
    """Body, head, limits and folder, in the order of a training; nothing of it is kept."""
    asked = recorded.classifier(model.classifier)
    snapshot, taught, calibration = taught_by(engine, asked, model.snapshot_id)
    network, beside, body, stages = network_of(engine, recorded, asked, model, taught, folder)
    fitted = fit_on_body(
        engine,
        recorded,
        asked,
        network,
        taught,
        calibration,
        facts.long_reports,
        facts.created_at,
        beside,
        keep=False,
    )
    again = facts_of_fit(recorded, model.classifier, snapshot, network, fitted, stages, facts.created_at)
    published = publish(folder, "again", *network, fitted.head, again, fitted.familiarity, fitted.beside)
    compared = compare_folders(folder_of(recorded, model), published.path)
    return _Made(compared, machine_of(network[0], short_of(asked, stages)), body, fitted.encoded)


def _in_the_way(engine: Engine, settings: Settings, model: Model, snapshot: Snapshot) -> Iterator[Difference]:
    """Why there is nothing to train again, or nothing to compare with."""
    if fault := fault_of(settings, model):
        yield Difference("model folder", f"manifest {model.manifest_sha[:12]}", fault)
    if config_sha(model.config) != model.config_sha:
        yield Difference("settings", f"sha {model.config_sha[:12]}", f"sha {config_sha(model.config)[:12]}")
    with reading(engine) as c:
        items = snapshots.items(c, snapshot.id)
    sha = content_sha([item for item, _, _ in items], [split for _, split, _ in items])
    if sha != snapshot.sha:
        yield Difference("training set", f"sha {snapshot.sha[:12]}", f"sha {sha[:12]}")
    gone = sum(split in TAUGHT_BY and not there for _, split, there in items)
    if gone:
        told = f"{gone:,} of those that taught it were erased or emptied since"
        yield Difference("texts", f"{len(items):,} reports", told)
    if missing := lost(engine, settings, model):
        yield missing
    yield from _other_arithmetic(settings, model)


def _other_arithmetic(settings: Settings, model: Model) -> Iterator[Difference]:
    """A network that was trained in bfloat16 comes out another where that would be float32."""
    try:
        stages = read_facts(folder_of(settings, model)).training.values()
    except MlError:  # told of already
        return
    why = no_bfloat16(device_here())
    if why is not None and any(stage.get("precision") == "bfloat16" for stage in stages):
        told = f"{why}, without which it cannot come to the same weights"
        yield Difference("precision", "trained in bfloat16", told)


def _circumstances(
    engine: Engine, settings: Settings, model: Model, facts: LaudosJson, machine: dict[str, str]
) -> Iterator[Difference]:
    """What is another than it was: told, because it is where to look when the weights differ."""
    for stage, ended in facts.training.items():
        if ended["ended"] == "time":
            told = f"ended its {stage} at step {ended['steps']:,} of {ended['planned_steps']:,}"
            yield Difference("limit of time", told, "ended at the same step, however long that took")
    installed = versions()
    for package in sorted(installed.keys() | facts.versions.keys()):
        if facts.versions.get(package) != installed.get(package):
            yield Difference(package, facts.versions.get(package, "-"), installed.get(package, "-"))
    for name in dict.fromkeys((*machine, *facts.machine)):
        # it was computed on as many threads as were recorded
        if name != THREADS and facts.machine.get(name) != machine.get(name):
            untold = "as asked for" if name == BATCHES and facts.machine else "not recorded"
            yield Difference(name, facts.machine.get(name, untold), machine.get(name, untold))
    with reading(engine) as c:
        code = ledger.code_revision_of(c, model.run_id)
    if code != code_revision():
        yield Difference("code", code, code_revision())
    if model.config["training_revision"] != TRAINING_REVISION:
        yield Difference("training revision", str(model.config["training_revision"]), str(TRAINING_REVISION))
    if model.classifier in settings.classifiers:
        today = training_config(settings, settings.classifier(model.classifier))
        for name, (then, now) in _changed(_spelt_out(model.config), _spelt_out(today)).items():
            yield Difference(f"laudos.toml: {name}", str(then), f"{now} (the recorded value was used)")


def _spelt_out(config: dict[str, Any]) -> dict[str, Any]:
    """With the settings that are recorded only where they are not as before there was a choice."""
    return config | {"training": BEFORE_THERE_WAS_A_CHOICE | config["training"]}


def _changed(then: dict[str, Any], now: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted names of the settings that are others today."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, value in now.items():
        before = then.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            found |= {f"{name}.{inner}": pair for inner, pair in _changed(before, value).items()}
        elif value != before and name != "training_revision":
            found[name] = before, value
    return found


@contextmanager
def _folder(settings: Settings, snapshot: Snapshot) -> Iterator[Path]:
    """A folder of the owner's alone that is gone afterwards; its name tells an erasure whose it is."""
    root = settings.folder / "training" / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{snapshot.sha[:12]}-again-", dir=root))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):  # another one is at work in it
            root.rmdir()
