"""Splits are a matter of the patient alone."""

from __future__ import annotations

import pytest

from tasks.ml.splits import SPLITS, is_reserved, split_of, unit_interval

PINNED = ["holdout"] * 3 + ["train"] * 8 + ["calibration"]
KEYS = [f"wdbc-{number}" for number in range(20_000)]


def test_known_patients_stay_where_they_have_always_been() -> None:
    # not computed from the code: a change of salt or of shares must break this test
    assert [split_of(f"wdbc-{n}") for n in range(12)] == PINNED


def test_the_shares_are_seventy_fifteen_fifteen() -> None:
    found = {split: sum(split_of(key) == split for key in KEYS) / len(KEYS) for split in SPLITS}
    assert found == pytest.approx({"train": 0.70, "calibration": 0.15, "holdout": 0.15}, abs=0.01)


def test_a_larger_reserve_keeps_those_of_a_smaller_one() -> None:
    small = {key for key in KEYS if is_reserved(key, 0.1)}
    large = {key for key in KEYS if is_reserved(key, 0.3)}
    assert small < large
    assert len(large) / len(KEYS) == pytest.approx(0.3, abs=0.01)


def test_nothing_and_everything_can_be_reserved() -> None:
    assert not any(is_reserved(key, 0.0) for key in KEYS)
    assert all(is_reserved(key, 1.0) for key in KEYS)


def test_being_reserved_says_nothing_about_the_split() -> None:
    reserved = [key for key in KEYS if is_reserved(key, 0.3)]
    train_share = sum(split_of(key) == "train" for key in reserved) / len(reserved)
    assert train_share == pytest.approx(0.70, abs=0.02)


@pytest.mark.parametrize("key", ["", "ção", "a\0b", "x" * 10_000])
def test_any_key_falls_inside_the_unit_interval(key: str) -> None:
    assert 0.0 <= unit_interval(key, "salt") < 1.0
