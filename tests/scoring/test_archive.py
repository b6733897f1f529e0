"""The archive that the doctor is measured on must be sound, or its benchmark measures something else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select, update

from benchmarks.archive import CLASSIFIER, LABELS, publish_model, write_archive
from benchmarks.doctor import examined
from db.engine import reading, writing
from db.tables import feature, prediction, report, report_version, snapshot_item
from tasks.model_folders import models_folder, point_at_champion
from tasks.settings.settings import Settings


def test_the_archive_of_the_benchmark_is_sound_and_as_large_as_asked_for(
    engine: Engine, database_url: str, configure: Callable[..., Settings], tmp_path: Path
) -> None:
    asked = {CLASSIFIER: {"labels": list(LABELS), "critical": "maligno"}}
    settings = configure(database=database_url, classifiers=asked)
    root = models_folder(settings) / CLASSIFIER
    folders = {name: publish_model(root, name, layers=1, hidden_size=16) for name in ("older", "newer")}
    assert write_archive(engine, 2000, folders) == [1, 2]
    point_at_champion(engine, settings, CLASSIFIER)
    seconds = examined(engine, settings)
    assert {"ledger_balances", "done_jobs_left_nothing", "database_undamaged"} <= seconds.keys()
    with reading(engine) as c:
        rows = [
            c.scalar(select(func.count()).select_from(table))
            for table in (report, report_version, prediction, feature, snapshot_item)
        ]
    assert rows == [2000, 2200, 2000, 2000, 600]
    with writing(engine) as c:
        c.execute(update(prediction).where(prediction.c.report_version_id == 7).values(fence=0))
    with pytest.raises(SystemExit, match="predictions_under_their_lease"):
        examined(engine, settings)
