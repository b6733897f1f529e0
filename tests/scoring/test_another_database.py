"""Models beside a database that did not make them: nothing of theirs is removed, nor written over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from db import schema
from db.engine import reading, writing
from db.errors import ConfigurationError
from db.tables import champion, model, promotion, run
from tasks.database import open_database
from tasks.settings.settings import Settings
from tasks.upkeep import doctor_folders
from tasks.upkeep.retention import collect
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital
from tests.scoring.retaining import NOW, Configured, age, tidied


def content(folder: Path) -> Mapping[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def elsewhere(both: Hospital, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """Another database of the same kind, which has run nothing yet."""
    if both.engine.dialect.name == "sqlite":
        return f"sqlite:///{tmp_path}/elsewhere.db"
    url: str = request.getfixturevalue("postgres_server").new_database()
    schema.upgrade(url)
    return url


def test_a_database_that_made_none_of_the_models_there_is_refused_before_anything_changes(
    both: Hospital, elsewhere: str, configure: Callable[..., Settings], tmp_path: Path
) -> None:
    age(both.folder_of(both.crown()), 72)
    before = content(both.settings.folder)
    settings = configure(database=elsewhere, **TABLES)
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"achado/body0-head0 is one.*LAUDOS_DATABASE"):
            collect(settings, print)
    assert not (tmp_path / "elsewhere.db").exists()
    assert content(settings.folder) == before
    open_database(both.settings)
    open_database(configure(database=elsewhere, folder=str(tmp_path / "anew"), **TABLES))


def lose_rows(hospital: Hospital) -> None:
    """As if the run had been killed before it wrote them."""
    with writing(hospital.engine) as c:
        for table in (promotion, champion, model):
            c.execute(table.delete())


def killed_after_publishing(hospital: Hospital) -> Path:
    """The folder of a model that a run published, and then did not live to record."""
    hospital.challenger()
    root = hospital.settings.folder / "models" / CLASSIFIER
    with reading(hospital.engine) as c:
        run_id = hospital.run_id(c)
    folder = (root / "body0-head0").rename(root / f"run{run_id}-full")
    lose_rows(hospital)
    return folder


def test_what_a_killed_run_published_is_its_databases_and_goes_after_the_grace_time(
    both: Hospital, kept: Configured
) -> None:
    folder = killed_after_publishing(both)
    hospital = kept()
    open_database(hospital.settings)
    assert tidied(hospital).leftovers == 0
    age(folder, 25)
    assert tidied(hospital).leftovers == 1
    assert not folder.exists()


def test_a_model_that_no_run_of_this_database_made_is_left_alone_and_told(
    both: Hospital, kept: Configured
) -> None:
    """Its folder names a run whose number this ledger has, too."""
    folder = killed_after_publishing(both)
    age(folder, 72)
    both.crown(head=1)
    hospital = kept()
    with writing(hospital.engine) as c:
        later = hospital.now + timedelta(days=1)
        c.execute(update(run).values(started_at=later, ended_at=later))
    assert tidied(hospital).leftovers == 0
    assert folder.is_dir()
    with reading(hospital.engine) as c:
        found = list(doctor_folders.examine(c, hospital.settings, NOW))
    (told,) = (one for one in found if one.name == "no_orphan_folders")
    assert told.ok
    assert told.found.endswith(f"left alone, and yours to remove: {CLASSIFIER}/{folder.name}")
