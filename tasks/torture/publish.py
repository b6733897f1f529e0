"""`publish`: champions are published, promoted and removed by processes that die, while others load them."""

from __future__ import annotations

import itertools
import time

from db import models
from db.engine import reading
from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.artifact import verify
from tasks.model_folders import folder_of, models_folder, point_at_champion
from tasks.torture import controls_publishing, learning, publishing, scoring
from tasks.torture.children import Child
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scoring import Doom
from tasks.torture.scratch import CLASSIFIER, Scratch
from tasks.upkeep.retention import collect

PLACES = (
    "pointer.written",
    "publish.fsynced",
    "publish.weights.written",
    "publish.renamed",
    "publish.manifest.written",
)
LIVES_S = (0.05, 1.0)
RETENTION = {"rollbacks": 2, "models": 1, "leftovers_after": "0s"}
TORN_BYTES = 64


def run(world: Scratch, load: Load) -> Result:
    learning.teach(world)
    world.configure(**learning.keys(world.hospital.url), retention=RETENTION)
    readers = [world.start(publishing.reader) for _ in range(load.workers)]
    places = itertools.cycle(PLACES)
    kills = loads = 0
    for number in range(load.kills):
        world.progress(f"{kills} of {load.kills} kills")
        # every second one at a named place, the others at any moment
        doom = Doom(next(places), 3) if number % 2 == 0 else None
        published = _publish_until_killed(world, doom)
        kills += 1
        loads += sum(_listen(world, one) for one in readers)
        if not published or published[-1] != publishing.GC:
            _look_at_folders(world)
    for one in readers:
        loads += _listen(world, one)
        one.kill()
    _mend(world)
    _tear(world)
    return Result({"SIGKILLs of the publisher": kills, "loads": loads, **_models(world)})


def _publish_until_killed(world: Scratch, doom: Doom | None) -> list[str]:
    """What the publisher told before it died, last thing last."""
    rng = world.rng
    seed = str(rng.random())
    if doom is None:
        child = world.start(publishing.publisher, seed)
        child.hear()
        time.sleep(rng.uniform(*LIVES_S))
        child.kill()
    else:
        child = world.start(scoring.dying, doom, publishing.publisher, seed)
        child.join()
    if child.ended is not None:
        world.complain("unexpected_error", f"{child.ended.error}: {child.ended.message}")
    return child.told


def _listen(world: Scratch, reader: Child) -> int:
    """How often a reader loaded since it was last asked; what went wrong is a violation."""
    heard = len(reader.told)
    while reader.hear(0.0) is not None:
        pass
    # of the next two loads one has begun after the publisher's death, however slow this machine is
    reader.hear()
    reader.hear()
    faults = [fault for fault in reader.told[heard:] if fault]
    if faults:
        world.complain("readers_find_a_champion", f"{len(faults)} times: {faults[0]}")
    return len(reader.told) - heard


def _look_at_folders(world: Scratch) -> None:
    """Whatever bears a name is whole, whether it has its row yet or not: nothing was being removed."""
    with reading(world.engine) as c:
        every = models.of_classifier(c, CLASSIFIER)
    removed = {folder_of(world.settings, one) for one in every if one.state == "removed"}
    for folder in (models_folder(world.settings) / CLASSIFIER).iterdir():
        if folder.name.startswith(".") or folder in removed:
            continue
        try:
            verify(folder)
        except BrokenArtifact as broken:
            world.complain("named_folders_are_whole", str(broken))


def _mend(world: Scratch) -> None:
    """As the next night does: the pointer, and what was left half-way; then nothing is left over."""
    point_at_champion(world.engine, world.settings, CLASSIFIER)
    learning.patiently(lambda: collect(world.settings, lambda _: None))
    with reading(world.engine) as c:
        standing = {one.path.partition("/")[2] for one in models.of_classifier(c) if one.state != "removed"}
    here = {folder.name for folder in (models_folder(world.settings) / CLASSIFIER).iterdir()}
    if here != standing:
        world.complain(
            "folders_have_their_rows", f"{len(here - standing)} without, {len(standing - here)} gone"
        )


def _tear(world: Scratch) -> None:
    """The champion's weights lose their end, as after a power cut without fsync: nobody may load them."""
    with reading(world.engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
    assert champion is not None
    weights = folder_of(world.settings, champion.model) / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:-TORN_BYTES] + bytes(TORN_BYTES))
    child = world.start(publishing.load_once)
    if child.hear() == "":
        world.complain("torn_folders_are_refused", f"model {champion.model.id} was loaded without its end")
    world.expect(child)
    weights.write_bytes(whole)


def _models(world: Scratch) -> dict[str, int]:
    with reading(world.engine) as c:
        every = models.of_classifier(c, CLASSIFIER)
    removed = sum(one.state == "removed" for one in every)
    return {"champions published": len(every), "removed by the retention rules": removed}


PUBLISH = Scenario(
    name="publish",
    what="champions are published, promoted and removed by processes that die, while others load them",
    run=run,
    small=Load(kills=6, workers=2),
    full=Load(kills=100, workers=4),
    controls=(
        Control(
            name="rename",
            what="a folder is written under its name, file by file",
            switch_off=controls_publishing.rename,
            noticed_by=("named_folders_are_whole",),
            load=Load(kills=3, workers=1),
        ),
        Control(
            name="manifest",
            what="a folder is loaded without being held against its manifest",
            switch_off=controls_publishing.manifest,
            noticed_by=("torn_folders_are_refused",),
            load=Load(),
        ),
        Control(
            name="pointer",
            what="the file that names the champion is written in place",
            switch_off=controls_publishing.pointer,
            noticed_by=("readers_find_a_champion",),
            load=Load(kills=1, workers=1),
        ),
    ),
)
