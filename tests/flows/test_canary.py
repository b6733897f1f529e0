"""No report text, patient or identifier in anything Prefect, a log or a temporary file keeps."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.flows import canary, town
from tests.flows.conftest import Server

MARKS = (canary.TEXT.split()[0], canary.TEXT.split()[1], canary.PATIENT.split("-")[0])


@dataclass(frozen=True)
class Ward:
    """A hospital with marked reports, a Prefect server, and every folder anything could be written to."""

    server: Server
    folder: Path

    def do(self, what: str) -> subprocess.CompletedProcess[bytes]:
        """Run one of canary's doings in a process; its output is kept among what is searched."""
        own = {"LAUDOS_CONFIG": str(self.folder / "laudos.toml"), "TMPDIR": str(self.folder / "tmp")}
        quiet = {"OMP_NUM_THREADS": "1", "PREFECT_LOGGING_LEVEL": "DEBUG"}
        done = subprocess.run(
            [sys.executable, "-m", "tests.flows.canary", what],
            env=self.server.environment | own | quiet,
            capture_output=True,
            timeout=240,
        )
        (self.folder / "out" / what).write_bytes(done.stdout + done.stderr)
        return done

    def searched(self) -> Iterator[Path]:
        """Everything written but the two databases that are there to hold reports."""
        for root in (self.server.home, self.folder):
            for path in root.rglob("*"):
                holds_reports = path.name.startswith(("hospital.db", "laudos.db"))
                if path.is_file() and not holds_reports:
                    yield path


def traces(paths: Iterator[Path], mark: str) -> list[str]:
    """Files that hold the mark: plain, in UTF-16, or in base64 (which Prefect wraps pickles in)."""
    wanted = [mark.lower().encode(), mark.encode(), mark.encode("utf-16-le"), mark.capitalize().encode()]
    # base64 spells the same bytes in three ways, by where they begin; the ends depend on the neighbours
    for plain in (mark.encode(), mark.lower().encode()):
        wanted += [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return [str(path) for path in paths if any(one in path.read_bytes() for one in wanted)]


@pytest.fixture
def ward(prefect_server: Server, tmp_path: Path) -> Ward:
    for name in ("tmp", "out"):
        (tmp_path / name).mkdir()
    town.build(tmp_path, patients=12)
    hospital = tmp_path / "hospital.db"
    few = "(SELECT DISTINCT paciente FROM laudos ORDER BY paciente LIMIT 3)"
    marked = f"UPDATE laudos SET texto = texto || ' {canary.TEXT}.' WHERE typeof(texto) = 'text'"
    assert town.write(hospital, f"{marked} AND (paciente IN {few} OR id LIKE 'EXT%')") > 40
    assert town.write(hospital, f"UPDATE laudos SET paciente = '{canary.PATIENT}' WHERE id LIKE 'CIT%7'")
    return Ward(prefect_server, tmp_path)


@pytest.mark.slow
def test_marked_reports_leave_no_trace_through_success_failure_and_crash(ward: Ward) -> None:
    assert ward.do("night").returncode == 0, (ward.folder / "out" / "night").read_text()[-3000:]
    assert ward.do("parameters").returncode == 0
    assert ward.do("step").returncode == 1
    assert ward.do("database").returncode == 1
    assert ward.do("crash").returncode == -9
    assert ward.do("planted").returncode == 1
    # the server writes events a moment later: once it holds the last thing done, it holds all before
    deadline = time.monotonic() + 60
    while len(found := traces(ward.searched(), canary.PLANTED)) < 2 and time.monotonic() < deadline:
        time.sleep(1)
    places = {Path(path).name.removesuffix("-wal") for path in found}
    assert "prefect.db" in places, "the search is blind: it does not find what was planted"
    assert "planted" in places
    for mark in MARKS:
        assert traces(ward.searched(), mark) == []


@pytest.mark.parametrize("shift", range(3))
def test_the_search_sees_through_base64(tmp_path: Path, shift: int) -> None:
    wrapped = base64.b64encode(b"y" * shift + canary.PATIENT.encode() + b" said")
    (tmp_path / "result").write_bytes(b'{"data": "' + wrapped + b'"}')
    assert traces(tmp_path.rglob("*"), MARKS[2]) == [str(tmp_path / "result")]
