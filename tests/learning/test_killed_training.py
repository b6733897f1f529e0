"""A training that is killed goes on where it stopped, and nothing of the half-done is ever used."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from db.tables import champion, model
from tasks.model_folders import checkpoints_of, models_folder
from tests.learning.retraining import champion_of, retrain
from tests.learning.world import CLASSIFIER, TRAINING, World

# some 340 steps, a checkpoint every hundred; the same words must come again when the training goes on
LONG = TRAINING | {"batch_reports": 1, "epochs": 4.0, "augment": ["clauses", "noise"]}

CHILD = """
import torch
from datetime import UTC, datetime
from tasks.database import open_database
from tasks.settings.settings import Settings
from tests.learning.retraining import challenge
from tests.learning.world import World

torch.set_num_threads(1)
settings = Settings.load()
challenge(World(open_database(settings), settings, datetime.now(UTC)))
"""


def kill_after_a_checkpoint(child: subprocess.Popen[bytes], folder: Path) -> None:
    give_up = time.monotonic() + 120
    # an empty mark is one about to be written: such a checkpoint does not count as whole, and rightly so
    while not any(mark.stat().st_size for mark in folder.glob("*/reports/checkpoint-*/COMPLETE")):
        assert child.poll() is None, "the training ended before it could be killed"
        assert time.monotonic() < give_up, "no checkpoint was written"
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_checkpoint(
    world: World, reconfigured: Callable[..., World]
) -> None:
    world = reconfigured(world, training=LONG)
    world.add(range(120))
    folder = checkpoints_of(world.settings, CLASSIFIER)
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen([sys.executable, "-c", CHILD], cwd=root, env=environment)
    kill_after_a_checkpoint(child, folder)
    assert world.count(model) == world.count(champion) == 0
    assert not list(models_folder(world.settings).rglob("MANIFEST.json"))

    resumed = retrain(world)
    [note] = resumed.trained.notes
    assert note.startswith("a training that was interrupted went on at step ")
    assert int(note.split(" step ")[1].split()[0]) >= 100
    assert resumed.decided.decision == "promoted"
    assert champion_of(world).model.id == resumed.trained.model_id
    assert not folder.exists()
