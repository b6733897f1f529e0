"""Prices by the token and by the hour become dollars as anybody would reckon them."""

from __future__ import annotations

import pytest

from benchmarks.dollars import Api, Machine, dollars_by_the_hour


def test_an_api_is_paid_for_what_it_reads_and_what_it_writes() -> None:
    api = Api("any", read=2.0, written=8.0, source="made up")
    assert api.dollars(1_000_000, read_tokens=500, written_tokens=10) == pytest.approx(500 * 2 + 10 * 8)


def test_a_machine_is_paid_by_the_hour_for_all_its_cores() -> None:
    machine = Machine("any", dollars_per_hour=3.0, cores=4, source="made up")
    # 3,600 reports of 100 tokens at 100 tokens a second: an hour of one core, a quarter of four
    assert dollars_by_the_hour(machine, 3600, 100, 100.0) == pytest.approx(0.75)
