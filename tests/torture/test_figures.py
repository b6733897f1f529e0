"""What the benchmark of torture adds up: what never ran has not passed; what is read again counts once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record, reliability, torture
from tasks.torture.registry import ALL
from tasks.torture.scenario import Outcome, Violation

ASKED = sum(len(one.databases) for one in ALL)


def outcome(**what: object) -> Outcome:
    given = {"scenario": "kill", "database": "sqlite", "size": "full", "seed": 1, **what}
    return Outcome(**given)  # type: ignore[arg-type]


def test_what_never_ran_has_not_passed() -> None:
    assert torture.summed({})["scenarios_passed_share"].value == 0
    one = torture.figures_of(outcome(counts={"SIGKILLs of ingest": 500}, controls={"a": True, "b": False}))
    figures = torture.summed(one)
    assert figures["scenarios_passed_share"].value == 0  # a control was missed
    assert figures["negative_controls_missed"].value == 1
    assert figures["ingest_kills"].value == 500
    assert figures["postgres_stops"].value == 0
    not_run = torture.figures_of(outcome(not_run="no binaries"))
    assert torture.summed(not_run)["scenarios_passed_share"].value == 0


def test_parts_are_kept_until_they_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (record, torture, reliability):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    assert torture.kept() == {}
    assert "| not run | | | |" in reliability.page()
    good = outcome(counts={"SIGKILLs of ingest": 500}, controls={"ledger_transaction": True}, seconds=12.4)
    bad = outcome(database="postgres", violations=(Violation("source_is_here", "7"),))
    parts = torture.figures_of(good) | torture.figures_of(bad)
    record.write("torture", torture.COMMAND, {**torture.summed(parts), **parts})
    assert torture.kept() == parts
    figures = json.loads((tmp_path / "torture.json").read_text())["figures"]
    assert figures["violations"]["value"] == 1
    assert figures["scenarios_passed_share"]["value"] == pytest.approx(1 / ASKED)
    page = reliability.page()
    assert "| [kill](#kill) | SQLite | 500 SIGKILLs of ingest | 0 | 1 of 1 | 12 |" in page
    assert "| caught | not run |" in page
