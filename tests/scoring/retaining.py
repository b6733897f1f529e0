"""Models, folders and rows that the retention rules may take away, and the rules applied."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import insert

from db import models
from db.engine import reading, writing
from db.tables import feature
from tasks.upkeep.retention import Removed, apply
from tests.scoring.hospital import CLASSIFIER, Hospital

Configured = Callable[..., Hospital]
NOW = datetime.now(UTC)


def champions(hospital: Hospital, number: int) -> list[int]:
    """So many in a row, each with a folder, of which the last answers."""
    made = []
    for head in range(number):
        made.append(hospital.crown_row(head))
        folder = hospital.folder_of(made[-1])
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"0" * 2**20)
    return made


def refused(hospital: Hospital, number: int) -> list[int]:
    """Challengers that never answered."""
    before = champions(hospital, 1)[0]
    with writing(hospital.engine) as c:
        first = models.get(c, before)
        assert first is not None
        made = []
        for head in range(number):
            path = f"{CLASSIFIER}/refused{head}"
            added = {key: getattr(first, key) for key in ("manifest_sha", "encoder_sha", "snapshot_id")}
            made.append(
                models.add(
                    c,
                    classifier=CLASSIFIER,
                    path=path,
                    trained="head",
                    config={},
                    config_sha="0",
                    run_id=first.run_id,
                    now=hospital.now,
                    **added,
                )
            )
            (hospital.settings.folder / "models" / path).mkdir(parents=True)
    return made


def states(hospital: Hospital) -> dict[int, str]:
    with reading(hospital.engine) as c:
        return {one.id: one.state for one in models.of_classifier(c)}


def tidied(hospital: Hospital, said: list[str] | None = None) -> Removed:
    told = [] if said is None else said
    return apply(hospital.engine, hospital.settings, hospital.run("retention"), "test", NOW, told.append)


def age(path: Path, hours: float) -> None:
    then = NOW.timestamp() - hours * 3600
    os.utime(path, (then, then))


def vectors(hospital: Hospital, encoder: str, versions: list[int], when: datetime) -> None:
    with writing(hospital.engine) as c:
        row = {"vector": b"1234", "sketch": b"12", "tokens_seen": 1, "tokens_total": 1, "created_at": when}
        rows = [{"encoder_sha": encoder * 64, "report_version_id": one, **row} for one in versions]
        c.execute(insert(feature), rows)
