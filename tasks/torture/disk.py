"""`disk`: the disk fills up during ingest, scoring, training and publishing; then there is room again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from db import models
from db.engine import reading
from tasks.torture import controls_publishing, ingesting, learning, oracle, scoring
from tasks.torture.children import Work
from tasks.torture.disks import Disk, small_disk, within
from tasks.torture.oracle_scores import answered
from tasks.torture.scenario import Control, Load, Result, Scenario
from tasks.torture.scratch import CLASSIFIER, Scratch
from tasks.upkeep.doctor import broken_promises, doctor

ARRIVE, TEACH = 80, 8
FILLER = "Material processado e descrito conforme o protocolo do laboratorio. " * 20
PAGE_ROWS = 20
HIDDEN = 64  # weights of some 250 KiB: the disk can fill up half-way through them
ROOMS_KIB = (120, 0, 40, 240, 8, 80, 300, 16, 160, 24, 200, 4)
# command -> what it runs, its arguments, and the table that it cannot do without
COMMANDS: dict[str, tuple[Work, tuple[Any, ...], str]] = {
    "ingest": (ingesting.once, (False,), "report_version"),
    "classify": (scoring.classify, (), "prediction"),
    "retrain": (learning.once, (), "feature"),
    "retrain --how full": (learning.once, ("full",), "feature"),
}


def run(world: Scratch, load: Load) -> Result:
    full = dict.fromkeys(COMMANDS, 0)
    with small_disk(world) as disk:
        learning.teach(world, hidden=HIDDEN, page_rows=PAGE_ROWS, chunk_reports_min=8)
        for number, room_kib in enumerate(ROOMS_KIB[: load.rounds]):
            for command in COMMANDS:
                world.progress(f"{command} with {room_kib} KiB left")
                _receive(world, number, command)
                full[command] += _run_full(world, disk, command, room_kib)
        world.run(ingesting.once, True)
        violations = tuple(oracle.compare(world))
    for command, times in full.items():
        if not times:
            world.complain("disks_fill_up", f"{command} always had room enough")
    how = "emulated full disk" if not disk.mounts else "full tmpfs"
    return Result({f"{command}, {how}": times for command, times in full.items()}, violations)


def _receive(world: Scratch, number: int, command: str) -> None:
    """Many long reports for a database to choke on; few, short and labelled ones to learn from."""
    prefix = f"{command[-4:]}{number}-"
    if command.startswith("retrain"):
        world.hospital.put(learning.rows(range(TEACH), prefix=prefix, labelled=True))
    else:
        rows = learning.rows(range(ARRIVE), prefix=prefix)
        world.hospital.put([replace(row, text=f"{row.text} {FILLER}") for row in rows])


def _run_full(world: Scratch, disk: Disk, command: str, room_kib: int) -> bool:
    """The command with the disk nearly full, and again with room; whether the disk was full."""
    work, arguments, table = COMMANDS[command]
    if command != "ingest":
        world.run(ingesting.once, False)
    needs = None if command.startswith("retrain") and room_kib else table
    with disk.full(room_kib, needs) as limit:
        ended = world.start(within, limit, work, *arguments).join()
    # once the room is used up PostgreSQL may end or refuse a session itself, for which there is no code
    named = (
        ("is full", "without a code", "cannot be reached") if world.database == "postgres" else ("is full",)
    )
    if ended is None:
        world.complain("unexpected_end", f"{command} ended without a word")
    elif ended.error is not None and not any(words in ended.message for words in named):
        world.complain("full_disks_are_named", f"{command}, {room_kib} KiB: {ended.error}: {ended.message}")
    for finding in broken_promises(doctor(world.settings)):
        world.complain(finding.name, f"{command} with {room_kib} KiB left: {finding.found}")
    world.run(work, *arguments)
    _look(world, command)
    return ended is not None and ended.error is not None


def _look(world: Scratch, command: str) -> None:
    """With room again, the command has done what it should have."""
    if command == "ingest":
        for missing in oracle.missing(world)[:1]:
            world.complain("source_is_here", f"{missing} is missing after a second ingest")
    elif command == "classify":
        answered(world)
    else:
        with reading(world.engine) as c:
            newest, champion = models.of_classifier(c, CLASSIFIER)[0], models.champion_of(c, CLASSIFIER)
        if champion is None or champion.model.id != newest.id:
            world.complain("retraining_mends", f"model {newest.id} does not answer")


DISK = Scenario(
    name="disk",
    what="the disk fills up during ingest, scoring, training and publishing; then there is room again",
    run=run,
    small=Load(rounds=2),
    full=Load(rounds=len(ROOMS_KIB)),
    controls=(
        Control(
            name="full_disk",
            what="a publisher goes on where the weights could not be written",
            switch_off=controls_publishing.full_disk,
            noticed_by=("full_disks_are_named",),  # the next retraining mends what it left
            load=Load(rounds=1),
        ),
    ),
)
