"""`faultpoints`: at each named place a process dies once; the same command again must mend it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from db import doctor, models, offenders, synthetic_sets
from db.engine import reading
from tasks.ml.faultpoints import POINTS
from tasks.model_folders import pointer_path, points_at
from tasks.torture import controls_scoring, ingesting, learning, oracle, scoring
from tasks.torture.children import Work
from tasks.torture.oracle_scores import answered
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scoring import Doom
from tasks.torture.scratch import CLASSIFIER, Scratch

ROOMS = ("ingest", "synthesize", "publish", "train", "promote", "pointer", "score")
# the most telling first: a small load takes so many from the front
FIRST = (
    "promote.recorded",
    "ingest.page.ledger",
    "score.finish.features",
    "publish.renamed",
    "ingest.deletions.found",
    "pointer.written",
    "score.chunk.claimed",
    "train.row.written",
)
ORDER = (*FIRST, *(point for point in POINTS if point not in FIRST and point.split(".")[0] in ROOMS))
ARRIVE, AMEND, REMOVE = 12, 2, 2


def run(world: Scratch, load: Load) -> Result:
    learning.teach(world, chunk_reports_min=8)
    keys = learning.keys(world.hospital.url, chunk_reports_min=8)
    world.configure(**keys | {"classifiers": keys["classifiers"] | {learning.WRITTEN: learning.WRITTEN_KEYS}})
    points = ORDER[: load.kills]
    for number, point in enumerate(points):
        world.progress(f"{number} of {len(points)}: {point}")
        _change(world, number)
        room, _, _ = point.partition(".")
        {"ingest": _ingest, "synthesize": _synthesize, "score": _classify}.get(room, _retrain)(world, point)
    world.run(ingesting.once, True)
    return Result({"places to die at": len(points)}, tuple(oracle.compare(world)))


def _change(world: Scratch, number: int) -> None:
    """A little of everything that the next night has to deal with."""
    prefix = f"n{number}-"
    new = learning.rows(range(ARRIVE), prefix=prefix, labelled=True)
    world.hospital.put(new)
    ids = [str(row.id) for row in new]
    for external_id in ids[:AMEND]:
        world.hospital.amend(
            external_id, f"Laudo {external_id} revisto: nucleos regulares.", datetime.now(UTC)
        )
    if number:
        before = learning.rows(range(ARRIVE), prefix=f"n{number - 1}-")
        world.hospital.remove([str(row.id) for row in before[-REMOVE:]])


def _ingest(world: Scratch, point: str) -> None:
    _die(world, point, ingesting.once, True)
    world.run(ingesting.once, True)
    for violation in oracle.compare(world):
        world.complain(violation.check, f"after {point}: {violation.found}")


def _synthesize(world: Scratch, point: str) -> None:
    """Another seed at each place: the set of the one before must stand whole until the new one does."""
    seed = POINTS.index(point)
    _die(world, point, learning.write, seed)
    for state in ("cut off", "finished"):
        if state == "finished":
            world.run(learning.write, seed)
        with reading(world.engine) as c:
            standing = synthetic_sets.standing(c, learning.WRITTEN)
            broken = doctor.violations(c, offenders.sources_unlike_their_set())
        in_force = standing is not None and standing.seed == seed
        if broken is not None or in_force != (state == "finished"):
            world.complain("synthetic_set_whole", f"after {point}, {state}")


def _retrain(world: Scratch, point: str) -> None:
    world.run(ingesting.once, False)
    _die(world, point, learning.once)
    world.run(learning.once)
    with reading(world.engine) as c:
        newest, champion = models.of_classifier(c, CLASSIFIER)[0], models.champion_of(c, CLASSIFIER)
    if champion is None or champion.model.id != newest.id:
        world.complain("retraining_mends", f"after {point}: model {newest.id} does not answer")
    elif not points_at(world.settings, champion):
        world.complain("retraining_mends", f"after {point}: {pointer_path(world.settings, CLASSIFIER).name}")


def _classify(world: Scratch, point: str) -> None:
    world.run(ingesting.once, False)
    _die(world, point, scoring.classify)
    world.run(scoring.classify)
    answered(world)


def _die(world: Scratch, point: str, work: Work, *arguments: Any) -> None:
    ended = world.start(scoring.dying, Doom(point), work, *arguments).join()
    if ended is not None:
        world.complain("every_point_is_reached", f"a process that was to die at {point} ended by itself")


FAULTPOINTS = Scenario(
    name="faultpoints",
    what="a process dies at each place of ingest, synthesize, publish, promote and score; the next mends it",
    run=run,
    small=Load(kills=len(FIRST)),
    full=Load(kills=len(ORDER)),
    controls=(
        Control(
            name="promoting_transaction",
            what="a new champion is committed before the promotion that says why",
            switch_off=controls_scoring.promoting_transaction,
            noticed_by=("champion_is_last_promotion",),
            load=Load(kills=1),
        ),
    ),
)
