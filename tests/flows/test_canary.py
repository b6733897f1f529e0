"""No report text, patient or identifier in anything Prefect, a log or a temporary file keeps."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.flows import canary
from tests.flows.conftest import Ui

MARKS = (canary.TEXT.split()[0], canary.TEXT.split()[1], canary.PATIENT.split("-")[0])


def do(ui: Ui, what: str) -> int:
    """Run one of canary's doings in a process; its output is kept among what is searched."""
    own = {"PREFECT_API_URL": f"{ui.address}/api", "PREFECT_HOME": str(ui.folder / "laudos-data" / "prefect")}
    with (ui.folder / "out" / what).open("wb") as out:
        command = [sys.executable, "-m", "tests.flows.canary", what]
        return subprocess.run(
            command, env=ui.environment | own, stdout=out, stderr=out, timeout=240
        ).returncode


def searched(ui: Ui) -> Iterator[Path]:
    """Everything written but the two databases that are there to hold reports."""
    for path in ui.folder.rglob("*"):
        if path.is_file() and not path.name.startswith(("hospital.db", "laudos.db")):
            yield path


def traces(paths: Iterator[Path], mark: str) -> list[str]:
    """Files that hold the mark: plain, in UTF-16, or in base64 (which Prefect wraps pickles in)."""
    wanted = [mark.lower().encode(), mark.encode(), mark.encode("utf-16-le"), mark.capitalize().encode()]
    # base64 spells the same bytes in three ways, by where they begin; the ends depend on the neighbours
    for plain in (mark.encode(), mark.lower().encode()):
        wanted += [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return [str(path) for path in paths if any(one in path.read_bytes() for one in wanted)]


@pytest.mark.slow
@pytest.mark.timeout(420)
def test_marked_reports_leave_no_trace_through_success_failure_and_crash(ui: Ui, night: list[str]) -> None:
    assert night == ["COMPLETED"]
    assert all(traces(ui.folder.glob("laudos.db*"), mark) for mark in MARKS[:2]), "no marked report came in"
    assert do(ui, "crash") == -9
    assert do(ui, "failures") == 0
    said = {"source": f"{canary.TEXT} of {canary.PATIENT}"}  # into a form of the UI
    with pytest.raises(urllib.error.HTTPError, match="409"):
        ui.ask(f"deployments/{ui.deployments()['hourly']}/create_flow_run", parameters=said)
    # the server writes a moment later
    deadline = time.monotonic() + 60
    while len(found := traces(searched(ui), canary.PLANTED)) < 2 and time.monotonic() < deadline:
        time.sleep(1)
    places = {Path(path).name.removesuffix("-wal") for path in found}
    assert {"prefect.db", "failures"} <= places, "the search is blind: it does not find what was planted"
    for mark in MARKS:
        assert traces(searched(ui), mark) == []


@pytest.mark.parametrize("shift", range(3))
def test_the_search_sees_through_base64(tmp_path: Path, shift: int) -> None:
    wrapped = base64.b64encode(b"y" * shift + canary.PATIENT.encode() + b" said")
    (tmp_path / "result").write_bytes(b'{"data": "' + wrapped + b'"}')
    assert traces(tmp_path.rglob("*"), MARKS[2]) == [str(tmp_path / "result")]
