"""`network`: the connection to PostgreSQL breaks in the middle of each kind of transaction, and at COMMIT."""

from __future__ import annotations

from datetime import UTC, datetime

from db import models
from db.engine import reading
from db.trial_scores import MARKS
from tasks.model_folders import points_at
from tasks.torture import controls_scoring, ingesting, learning, networking, oracle
from tasks.torture.networking import Break, Command
from tasks.torture.oracle_scores import answered
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scratch import CLASSIFIER, Scratch

ARRIVE = 24
PATIENCE_S = 30.0
POINTS: dict[Command, tuple[str, ...]] = {
    "classify": ("score.finish.predictions", "score.chunk.encoded", "score.finish.features"),
    "ingest": ("ingest.page.labels", "ingest.page.decided", "ingest.page.ledger"),
    "retrain": ("promote.crowned", "train.row.written", "promote.recorded"),
}


def breaks() -> list[Break]:
    """The most telling first: an answer to COMMIT that never came, silence with locks held, a plain cut."""
    marks: list[tuple[Command, bytes]] = [(name, mark) for name in POINTS for mark in MARKS[name]]
    unknown = [Break(command, "after_commit", mark=mark) for command, mark in marks]
    silent = [Break(command, "silence", point=points[0]) for command, points in POINTS.items()]
    unheard = [Break(command, "before_commit", mark=mark) for command, mark in marks]
    reset = [Break(command, "reset", point=point) for command, points in POINTS.items() for point in points]
    return [*silent[:1], *unknown, *silent[1:], *unheard, *reset]


def run(world: Scratch, load: Load) -> Result:
    learning.teach(world, chunk_reports_min=4)
    chosen = breaks()[: load.rounds]
    cuts = 0
    for number, at in enumerate(chosen):
        world.progress(f"{number} of {len(chosen)}: {at}")
        new = learning.rows(range(ARRIVE), prefix=f"n{number}-", labelled=True)
        world.hospital.put(new)
        world.hospital.amend(str(new[0].id), f"Laudo {new[0].id} revisto: regulares.", datetime.now(UTC))
        if at.command != "ingest":
            world.run(ingesting.once, False)
        cuts += _break(world, at)
        _look(world, at)
    world.run(ingesting.once, True)
    return Result({"breaks": len(chosen), "connections they cost": cuts}, tuple(oracle.compare(world)))


def _break(world: Scratch, at: Break) -> int:
    """The command with its connection broken, then the same undisturbed; how many connections it cost."""
    assert world.server is not None
    child = world.start(networking.broken, at, world.server.socket)
    ended = child.join(PATIENCE_S)
    cuts = int(sum(child.told))
    if ended is None or ended.error not in (None, "DatabaseFailure"):
        world.complain("the_rest_goes_on", f"{at}: {ended.error if ended else 'no word'}")
    elif not cuts:
        world.complain("connections_are_cut", f"{at}: it never came to that")
    world.run(networking.undisturbed, at.command)
    return cuts


def _look(world: Scratch, at: Break) -> None:
    if at.command == "ingest":
        for violation in oracle.compare(world):
            world.complain(violation.check, f"after {at}: {violation.found}")
    elif at.command == "classify":
        answered(world)
    else:
        with reading(world.engine) as c:
            newest, champion = models.of_classifier(c, CLASSIFIER)[0], models.champion_of(c, CLASSIFIER)
        mended = champion is not None and champion.model.id == newest.id
        if champion is None or not mended or not points_at(world.settings, champion):
            world.complain("retraining_mends", f"after {at}: model {newest.id} does not answer")


NETWORK = Scenario(
    name="network",
    what="the connection to PostgreSQL breaks in the middle of each kind of transaction, and at COMMIT",
    run=run,
    small=Load(rounds=6),
    full=Load(rounds=len(breaks())),
    databases=("postgres",),
    controls=(
        Control(
            name="fence",
            what="a worker that tries again does not look whether its chunk was written after all",
            switch_off=controls_scoring.fence,
            noticed_by=("chunks_wrote_what_they_say", "predictions_under_their_lease"),
            databases=("postgres",),
            load=Load(rounds=3),
        ),
        Control(
            name="idle_transaction",
            what="PostgreSQL waits for a client that vanished as long as the system does",
            switch_off=controls_scoring.idle_transaction,
            noticed_by=("the_rest_goes_on",),
            databases=("postgres",),
            load=Load(rounds=1),
        ),
    ),
)
