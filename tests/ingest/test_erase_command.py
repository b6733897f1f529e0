"""`laudos erase` asks, takes ids from where no history keeps them, and prints none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select
from typer.testing import CliRunner, Result

from db.tables import audit, run
from flows.cli.app import app
from tests.ingest.conftest import Desk, Hospital, row

WHY = ("--because", "request 17/2026")
PATIENT = "52998224725"


@pytest.fixture
def two(desk: Desk, hospital: Hospital, now: object) -> Desk:
    hospital.add(row("1", now, "Um laudo", paciente=PATIENT), row("2", now, "Outro laudo"))  # type: ignore[arg-type]
    desk.ingest(now)  # type: ignore[arg-type]
    return desk


def laudos(*words: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["erase", *words], input=stdin)


def test_a_dry_run_tells_counts_and_changes_nothing(two: Desk) -> None:
    told = laudos("--patient", PATIENT, "--dry-run")
    assert told.exit_code == 0
    assert "to be erased: 1 reports" in told.output
    assert two.texts()["1"] == ["Um laudo"]


def test_it_asks_before_it_does(two: Desk) -> None:
    assert laudos("--source", "his", "--report", "1", *WHY, stdin="n\n").exit_code == 1
    assert two.texts()["1"] == ["Um laudo"]
    assert laudos("--source", "his", "--report", "1", *WHY, stdin="y\n").exit_code == 0
    assert two.texts() == {"1": [None], "2": ["Outro laudo"]}


@pytest.mark.parametrize("how", ["option", "file", "stdin"])
def test_a_patients_id_is_read_from_anywhere_and_printed_nowhere(two: Desk, tmp_path: Path, how: str) -> None:
    lines = f"\ufeff{PATIENT}\n\n  999\n"
    (tmp_path / "ids").write_text(lines, encoding="utf-8")
    words = {
        "option": ("--patient", PATIENT, "--patient", "999"),
        "file": ("--patients-from", str(tmp_path / "ids")),
        "stdin": ("--patients-from", "-"),
    }[how]
    told = laudos(*words, *WHY, "--yes", "--actor", "dra. Lima", "--json", stdin=lines.lstrip("\ufeff"))
    assert told.exit_code == 1, "nothing is known of one of them"
    found = json.loads(told.stdout)
    assert (found["held"]["reports"], found["unknown_patients"], found["finished"]) == (1, [2], True)
    assert two.texts() == {"1": [None], "2": ["Outro laudo"]}
    kept = repr(two.rows(select(audit))) + repr(two.rows(select(run)))
    assert "dra. Lima" in kept
    assert PATIENT not in told.output + kept
    assert "999" not in told.output


def test_what_is_unclear_is_refused_and_nothing_is_done(two: Desk, tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"\xff\xfe529")
    for words in (
        (),
        ("--report", "1", *WHY),
        ("--source", "his", *WHY),
        ("--source", "his", "--report", "1"),
        ("--patients-from", "-", *WHY),
        ("--patients-from", "-", "--source", "his", "--reports-from", "-", *WHY, "--yes"),
        ("--patients-from", str(tmp_path / "missing"), *WHY),
        ("--patients-from", str(tmp_path / "bytes"), *WHY),
        ("--lift", "--dry-run", "--source", "his", "--report", "1", *WHY),
    ):
        assert laudos(*words, stdin="1\n").exit_code == 2, words
    assert two.texts() == {"1": ["Um laudo"], "2": ["Outro laudo"]}


def test_an_erasure_is_lifted_by_command(two: Desk) -> None:
    named = ("--source", "his", "--report", "1", *WHY)
    assert laudos(*named, "--yes").exit_code == 0
    told = laudos(*named, "--lift", "--json")
    assert (told.exit_code, json.loads(told.stdout)) == (0, {"lifted": 1})
    actions = [row.action for row in two.rows(select(audit).order_by(audit.c.id))]
    assert actions == ["erased", "erasure_finished", "erasure_lifted"]
