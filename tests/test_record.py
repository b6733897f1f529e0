"""Results that several benchmarks read together keep what each has read, and say so on their page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import record
from benchmarks.record import Figure


def test_parts_of_a_benchmark_stay_until_they_are_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record, "RESULTS", tmp_path)
    record.write("synthesis", "one", {"a": Figure(1, "x"), "b": Figure(2, "x")})
    record.add("synthesis", "other", {"b": Figure(3, "x"), "c": Figure(4, "x", low=3, high=5)})
    kept = json.loads((tmp_path / "synthesis.json").read_text())["figures"]
    assert {name: (figure["value"], figure["command"]) for name, figure in kept.items()} == {
        "a": (1, "one"),
        "b": (3, "other"),
        "c": (4, "other"),
    }
    page = record.page()
    assert page.count("## synthesis") == 1
    assert page.index("`one`, ") < page.index("`other`, ") < page.index("| a | 1 |")
    record.write("synthesis", "alone", {"d": Figure(5, "x")})  # the negative control
    assert set(json.loads((tmp_path / "synthesis.json").read_text())["figures"]) == {"d"}
