"""The demo's hospital: as troublesome as a real one, and made of specimens that never teach."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db import quarantine
from db.engine import reading
from db.errors import ConfigurationError
from db.hospital import HospitalRow
from db.ledger import Counts
from tasks.database import open_database
from tasks.demo.demo import RESERVED_SHARE, make_hospital, write_demo_settings
from tasks.demo.mishaps import MISHAPS
from tasks.intake.ingest import ingest_from
from tasks.ml.reading.cleaning import clean
from tasks.ml.splits import is_reserved
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import synthesize
from tasks.settings.settings import Settings
from tests.runs import begin

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BROKEN = sum(mishap.rows for mishap in MISHAPS) + 3  # those under one id are two rows each


def rows_of(path: Path, query: str = "SELECT * FROM laudos ORDER BY rowid") -> list[Any]:
    with closing(sqlite3.connect(path)) as c:
        return c.execute(query).fetchall()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    make_hospital(tmp_path / "hospital.db", seed=0, now=NOW, patients=12)
    return tmp_path / "hospital.db"


def test_a_hospital_has_thousands_of_reports_dozens_of_them_broken(tmp_path: Path) -> None:
    facts = make_hospital(tmp_path / "hospital.db", seed=0, now=NOW)
    rows = rows_of(facts.path)
    assert 2_300 < facts.rows == len(rows) < 2_500
    assert 40 <= facts.broken == BROKEN
    assert 0.25 < facts.with_result / facts.rows < 0.40
    assert facts.patients == len({row[3] for row in rows}) > 150


def test_no_report_of_the_hospital_teaches(small: Path) -> None:
    taught = [row for row in generator("paaf").rows() if not is_reserved(row.key, RESERVED_SHARE)]
    recipe = {"mode": "findings", "reports_per_row": 2, "reserved_share": RESERVED_SHARE}
    teaching = {one.text for one in synthesize("paaf", seed=0, rows=taught, **recipe)}  # type: ignore[arg-type]
    assert not teaching & {row[1] for row in rows_of(small)}


def test_the_same_seed_and_clock_make_the_same_hospital(small: Path, tmp_path: Path) -> None:
    make_hospital(tmp_path / "again.db", seed=0, now=NOW, patients=12)
    assert rows_of(tmp_path / "again.db") == rows_of(small)
    make_hospital(tmp_path / "other.db", seed=1, now=NOW, patients=12)
    assert rows_of(tmp_path / "other.db") != rows_of(small)


def test_an_existing_hospital_is_left_alone(small: Path) -> None:
    before = rows_of(small)
    with pytest.raises(ConfigurationError, match="exists and was left alone"):
        make_hospital(small, seed=1, now=NOW)
    assert rows_of(small) == before


# --- and as laudos reads it


@pytest.fixture
def ingest(small: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[datetime], Counts]]:
    monkeypatch.setenv("LAUDOS_CONFIG", str(write_demo_settings(small.parent)))
    settings = Settings.load()
    engine = open_database(settings)

    def read(now: datetime) -> Counts:
        return ingest_from(engine, settings, "hospital", begin(engine, "ingest", now), False, now)

    yield read
    engine.dispose()


def test_some_broken_rows_are_repaired_and_some_wait_for_a_person(
    small: Path, ingest: Callable[[datetime], Counts]
) -> None:
    counts = ingest(NOW)
    assert counts.read == len(rows_of(small))
    assert counts.read == counts.new + counts.updated + counts.unchanged + counts.quarantined
    with reading(open_database(Settings.load())) as c:
        reasons = Counter(row.reason for row in quarantine.entries(c))
    assert reasons.keys() == {
        *("conflicting_content", "empty", "no_id", "no_letters", "no_text", "pdf", "too_long"),
        "unknown_label",  # of these the text is taken in, only the label waits
    }
    assert sum(reasons.values()) < BROKEN


REPAIRED = (
    "nul_bytes",
    "mojibake",
    "latin1_bytes",
    "utf16_bytes",
    "rtf",
    "html",
    "hl7_escapes",
    "invisible_marks",
)


@pytest.mark.parametrize("name", REPAIRED)
def test_what_can_be_repaired_reads_like_the_original(name: str) -> None:
    text = "Núcleos volumosos; relação núcleo-citoplasma aumentada. Não há necrose.\nNota: correlacionar."
    row = HospitalRow("CIT-1", text, "2026-03-02 09:00:00", "P1", "2026-03-02", None)
    (mishap,) = (one for one in MISHAPS if one.name == name)
    damaged = mishap.damage(row).texto
    assert damaged != text
    cleaned = clean(damaged)
    assert cleaned.text.split() == text.split()
    assert cleaned.repairs


def test_the_settings_of_the_demo_stay_as_a_person_changed_them(tmp_path: Path) -> None:
    path = write_demo_settings(tmp_path)
    path.write_text(path.read_text() + "# mine\n")
    assert write_demo_settings(tmp_path) == path
    assert path.read_text().endswith("# mine\n")
