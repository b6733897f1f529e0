"""Migrations lose nothing: with rows in every table, up and down, half-way failures, and a copy first."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, text

from db import lock, schema
from db.doctor import INVARIANTS, violations
from db.engine import open_engine, reading, writing
from db.errors import DatabaseFailure
from tasks.model_folders import point_at_champion
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.db.rows_0001 import ROWS

ROOT = Path(__file__).parents[2]
Rows = dict[str, list[dict[str, Any]]]

FAILING = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "9999", "{below}", None, None


def upgrade():
    op.create_table("half_way", sa.Column("id", sa.Integer, primary_key=True))
    op.execute("DELETE FROM label")
    with op.batch_alter_table("source") as table:
        table.drop_column("overlap_s")
    {end}
"""
SAYS_NO = 'op.execute("SELECT 1 FROM no_such_table")'
DIES = "import os; os.kill(os.getpid(), 9)"
UPGRADE = """
import sys
from pathlib import Path
from db import schema
schema.MIGRATIONS = Path(sys.argv[1])
schema.upgrade(sys.argv[2])
"""

# the rows are of a day long gone: that no night came since is no fault
NO_NIGHTS = {"nightly": ""}


@pytest.fixture
def oldest(database_url: str) -> Iterator[Engine]:
    """A database at the first released schema, with a row in every table."""
    with filled(database_url) as engine:
        yield engine


@contextmanager
def filled(database_url: str) -> Iterator[Engine]:
    engine = open_engine(database_url)
    with writing(engine) as c:
        schema.migrate(c, "0001")
        for table, rows in ROWS.items():
            for row in rows:
                names = ", ".join(f'"{name}"' for name in row)
                values = ", ".join(f":{name}" for name in row)
                c.execute(text(f'INSERT INTO "{table}" ({names}) VALUES ({values})'), row)
        if engine.dialect.name == "postgresql":
            for table, rows in ROWS.items():
                if "id" in rows[0]:
                    c.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), 100)"))
    yield engine
    engine.dispose()


def content(engine: Engine) -> Rows:
    """The values of the columns that the first schema had, table by table."""
    with reading(engine) as c:
        return {
            table: sorted(
                (
                    dict(row._mapping)
                    for row in c.execute(text(f'SELECT {", ".join(map(_quoted, rows[0]))} FROM "{table}"'))
                ),
                key=str,
            )
            for table, rows in ROWS.items()
        }


def _quoted(name: str) -> str:
    return f'"{name}"'


def test_the_fixture_has_a_row_in_every_table_of_the_first_schema(oldest: Engine) -> None:
    assert set(ROWS) == set(inspect(oldest).get_table_names()) - {"alembic_version"}
    columns = {table: {column["name"] for column in inspect(oldest).get_columns(table)} for table in ROWS}
    assert {table: set(rows[0]) for table, rows in ROWS.items()} == columns


def test_every_row_survives_the_way_up_down_and_up_again(
    oldest: Engine, database_url: str, configure: Callable[..., Settings]
) -> None:
    settings = _house_of(oldest, configure(database=database_url, schedules=NO_NIGHTS, **_CLASSIFIER))
    before = content(oldest)
    schema.upgrade(database_url)
    assert content(oldest) == before
    schema.downgrade(database_url, "0001")
    assert content(oldest) == before
    assert schema.upgrade(database_url).revision == schema.head()
    assert content(oldest) == before
    point_at_champion(oldest, settings, "paaf")
    assert doctor(settings) == []
    with writing(oldest) as c:  # and the tables still number their rows and keep their promises
        c.execute(text("INSERT INTO source (name, kind) VALUES ('another', 'database')"))
    with pytest.raises(DatabaseFailure), writing(oldest) as c:
        c.execute(text("INSERT INTO run_batch (run_id, seq, source_id, at) VALUES (2, 9, 77, '2026-03-02')"))


def test_groups_and_candidates_go_with_the_way_down_and_nothing_else_does(
    oldest: Engine, database_url: str
) -> None:
    schema.upgrade(database_url)
    before = content(oldest)
    with writing(oldest) as c:
        c.execute(
            text("INSERT INTO patient_group (report_version_id, sex, race) VALUES (1, 'female', 'parda')")
        )
    with pytest.raises(DatabaseFailure), writing(oldest) as c:
        c.execute(text("INSERT INTO patient_group (report_version_id, sex) VALUES (2, 'Dona Maria')"))
    with writing(oldest) as c:
        c.execute(
            text(
                "INSERT INTO candidate (id, classifier, model_id, state, reasons, plan_sha, shadow_reports, "
                "run_id, since, until) VALUES "
                "(1, 'paaf', 1, 'waiting', '[]', 'p', 5, 1, '2026-03-02', '2026-03-09')"
            )
        )
        c.execute(
            text(
                "INSERT INTO shadow_prediction (candidate_id, report_version_id, label, probabilities, "
                "decision, at) VALUES (1, 1, 'benigno', '{}', 'auto', '2026-03-02')"
            )
        )
    schema.downgrade(database_url, "0005")
    assert not {"patient_group", "candidate"} & set(inspect(oldest).get_table_names())
    assert content(oldest) == before
    schema.upgrade(database_url)
    with reading(oldest) as c:
        assert c.execute(text("SELECT * FROM patient_group")).all() == []


def test_of_two_that_wait_the_first_stays_and_from_then_on_none_comes_in_beside_it(
    oldest: Engine, database_url: str
) -> None:
    def waits(number: int) -> None:
        with writing(oldest) as c:
            c.execute(
                text(
                    "INSERT INTO candidate (id, classifier, model_id, state, reasons, plan_sha, "
                    "shadow_reports, run_id, since, until) VALUES "
                    "(:id, 'paaf', 1, 'waiting', '[]', 'p', 0, 1, '2026-03-02', '2026-03-09')"
                ),
                {"id": number},
            )

    def states() -> list[tuple[int, str]]:
        with reading(oldest) as c:
            return [tuple(row) for row in c.execute(text("SELECT id, state FROM candidate ORDER BY id"))]

    schema.upgrade(database_url)
    schema.downgrade(database_url, "0008")
    for number in (1, 2):  # what nothing but a lock kept out
        waits(number)
    schema.upgrade(database_url)
    assert states() == [(1, "waiting"), (2, "overtaken")]
    with pytest.raises(DatabaseFailure):
        waits(3)
    schema.downgrade(database_url, "0008")
    waits(3)
    assert states() == [(1, "waiting"), (2, "overtaken"), (3, "waiting")]


def test_whose_model_or_label_a_row_is_about_is_found_and_of_two_classifiers_one_row_stays_on_the_way_down(
    oldest: Engine, database_url: str
) -> None:
    def waits(number: int, reason: str, payload: dict[str, str], run_id: int, **more: str) -> None:
        row = {
            "id": number, "source_id": 1, "external_id": "L2", "raw_sha": "a", "reason": reason,
            "payload": json.dumps(payload).encode(), "first_run_id": run_id, "first_seen_at": "2026-03-02",
            "last_seen_at": "2026-03-02", **more,
        }  # fmt: skip
        names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
        with writing(oldest) as c:
            c.execute(text(f"INSERT INTO quarantine ({names}) VALUES ({values})"), row)

    def rows(*columns: str) -> list[tuple[Any, ...]]:
        asked = f"SELECT {', '.join(columns)} FROM quarantine WHERE external_id = 'L2' ORDER BY id"
        with reading(oldest) as c:
            return [tuple(row) for row in c.execute(text(asked))]

    scored = next(row["run_id"] for row in ROWS["score_job"])
    schema.upgrade(database_url)
    schema.downgrade(database_url, "0010")
    waits(10, "scoring_failed", {}, scored)
    waits(11, "unknown_label", {"classifier": "birads", "value": "\x00"}, 2)
    waits(12, "pdf", {"text": "x"}, 2)
    waits(13, "scoring_failed", {}, 2, raw_sha="b")  # of no scoring job that is known
    schema.upgrade(database_url)
    assert rows("id", "classifier") == [(10, "paaf"), (11, "birads"), (12, ""), (13, "")]
    waits(14, "scoring_failed", {}, scored, classifier="birads")
    with writing(oldest) as c:
        c.execute(text("UPDATE quarantine SET state = 'resolved', closed_because = 'x' WHERE id = 10"))
    schema.downgrade(database_url, "0010")
    assert rows("id", "state") == [(number, "waiting") for number in (10, 11, 12, 13)]
    with pytest.raises(DatabaseFailure):
        waits(15, "scoring_failed", {}, scored)


def test_an_ended_classifier_answers_again_on_the_way_down_for_an_earlier_version_knows_no_end(
    oldest: Engine, database_url: str
) -> None:
    end = (
        "INSERT INTO promotion (id, classifier, decision, model_id, epoch, reasons, plan_sha, actor, at) "
        "VALUES (50, 'paaf', 'ended', 1, 2, '[]', '', 'dra. Lima', '2026-03-09')"
    )

    def rows(asked: str) -> list[tuple[Any, ...]]:
        with reading(oldest) as c:
            return [tuple(row) for row in c.execute(text(asked))]

    schema.upgrade(database_url)
    with writing(oldest) as c:
        c.execute(text("DELETE FROM champion"))
        c.execute(text(end))
    assert doctor_says_nothing_of_champions(oldest)
    schema.downgrade(database_url, "0011")
    assert rows("SELECT classifier, model_id, epoch FROM champion") == [("paaf", 1, 2)]
    assert rows("SELECT decision, epoch FROM promotion WHERE id = 50") == [("rolled_back", 2)]
    with pytest.raises(DatabaseFailure), writing(oldest) as c:
        c.execute(text(end.replace("50", "51").replace("1, 2, ", "1, 3, ")))
    schema.upgrade(database_url)
    assert doctor_says_nothing_of_champions(oldest)


def doctor_says_nothing_of_champions(engine: Engine) -> bool:
    [promise] = [one for one in INVARIANTS if one.name == "champion_is_last_promotion"]
    with reading(engine) as c:
        return violations(c, promise.query()) is None


def test_a_migration_that_fails_half_way_leaves_the_database_as_it_was(
    oldest: Engine, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema.upgrade(database_url)
    before, views = content(oldest), inspect(oldest).get_view_names()
    monkeypatch.setattr(schema, "MIGRATIONS", _with_a_failing_one(tmp_path, SAYS_NO))
    with pytest.raises(DatabaseFailure):
        schema.upgrade(database_url)
    assert (content(oldest), inspect(oldest).get_view_names()) == (before, views)
    assert "half_way" not in inspect(oldest).get_table_names()
    monkeypatch.undo()
    assert schema.upgrade(database_url).revision == schema.revision_of(oldest) == schema.head()


def test_an_upgrade_that_is_killed_half_way_leaves_the_database_as_it_was(
    oldest: Engine, database_url: str, tmp_path: Path
) -> None:
    before = content(oldest)
    program = [sys.executable, "-c", UPGRADE, str(_with_a_failing_one(tmp_path, DIES)), database_url]
    assert subprocess.run(program, cwd=ROOT, timeout=120).returncode == -signal.SIGKILL
    assert (schema.revision_of(oldest), content(oldest)) == ("0001", before)
    while not lock.is_free(oldest, "schema"):  # a server may need a moment to see that its client is gone
        time.sleep(0.05)
    assert schema.upgrade(database_url).revision == schema.head()
    assert content(oldest) == before


def test_references_are_heeded_again_after_a_migration_and_dangling_ones_stop_it(
    sqlite_url: str,
) -> None:
    with filled(sqlite_url) as oldest:
        with closing(sqlite3.connect(str(oldest.url.database))) as raw, raw:  # heeds nothing by itself
            raw.execute("UPDATE model SET snapshot_id = 99 WHERE id = 2")
        with pytest.raises(DatabaseFailure, match="1 rows would refer to what is not there"):
            schema.upgrade(sqlite_url)
        assert schema.revision_of(oldest) == "0001"
        with pytest.raises(DatabaseFailure), writing(oldest) as c:
            c.execute(text("UPDATE model SET snapshot_id = 98 WHERE id = 3"))


def test_a_view_that_somebody_else_wrote_on_our_tables_survives(oldest: Engine, database_url: str) -> None:
    with writing(oldest) as c:
        c.execute(
            text("CREATE VIEW theirs AS SELECT m.id, j.state FROM model m JOIN score_job j ON m.id = 1")
        )
    schema.upgrade(database_url)
    schema.downgrade(database_url, "0001")
    schema.upgrade(database_url)
    with reading(oldest) as c:
        assert c.scalar(text("SELECT count(*) FROM theirs")) == 2


def test_a_view_that_somebody_else_wrote_on_our_views_survives_in_an_sqlite_file(sqlite_url: str) -> None:
    with filled(sqlite_url) as oldest:
        schema.upgrade(sqlite_url)
        with writing(oldest) as c:
            c.exec_driver_sql(
                "CREATE VIEW \"their own\" AS SELECT label FROM current_prediction WHERE label <> ':x'"
            )
        schema.downgrade(sqlite_url, "0001")
        schema.upgrade(sqlite_url)
        schema.upgrade(sqlite_url)
        with reading(oldest) as c:
            assert c.execute(text('SELECT * FROM "their own"')).all() == [("benigno",)]


# ------------------------------------------------------------------ the copy of an SQLite file


_CLASSIFIER = {"classifiers": {"paaf": {"labels": ["benigno", "maligno"], "critical": "maligno"}}}


def _house_of(engine: Engine, settings: Settings) -> Settings:
    """The champion's folder, whole by its manifest, so that the doctor has nothing to say."""
    facts = b"{}\n"
    entry = {"sha256": hashlib.sha256(facts).hexdigest(), "bytes": len(facts)}
    manifest = json.dumps({"format": 1, "files": {"laudos.json": entry}}).encode()
    for number in (1, 2):
        folder = settings.folder / "models" / "paaf" / f"run{number}-full"
        folder.mkdir(parents=True)
        (folder / "laudos.json").write_bytes(facts)
        (folder / "MANIFEST.json").write_bytes(manifest)
    with writing(engine) as c:
        sha = hashlib.sha256(manifest).hexdigest()
        c.execute(text("UPDATE model SET manifest_sha = :sha"), {"sha": sha})
    return settings


def _with_a_failing_one(tmp_path: Path, end: str) -> Path:
    """The migrations, and one more that changes much before it comes to this end."""
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    failing = FAILING.format(below=schema.head(), end=end)
    (folder / "versions" / "9999_fails.py").write_text(failing, encoding="utf-8")
    return folder
