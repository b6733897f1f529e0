"""A training set's card: counts that are the set's own, whatever laudos.toml says now; no word of one."""

from __future__ import annotations

import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from db.engine import reading, writing
from db.errors import LaudosError
from db.tables import report, report_version, snapshot_item, synthetic_set
from tasks.ml.audit.result import Audit, Check
from tasks.model_folders import data_card_path
from tasks.synthesis.synthesize import write_set
from tasks.training.data_card import card_of, write_data_card
from tasks.training.training_set import export_snapshot, freeze
from tests.learning.world import CLASSIFIER, World, patient_key, text_of

MIXED = {
    "training_labels": ["synthetic", "source", "feedback"],
    "synthetic": {"reports_per_row": 2, "reserved_share": 0.87},
}


def frozen(world: World) -> int:
    asked = world.settings.classifier(CLASSIFIER)
    return freeze(world.engine, world.run("retrain"), CLASSIFIER, asked, world.now)


def taught(world: World, seed: int | None = None) -> None:
    asked = world.settings.classifier(CLASSIFIER)
    write_set(world.engine, world.run("synthesize"), CLASSIFIER, asked, 0, seed, world.now)


def lines(markdown: str, start: str) -> list[list[str]]:
    """The cells of each table row that starts so."""
    return [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith(f"| {start}")]


def counted(world: World, snapshot_id: int, *where: object) -> dict[str, int]:
    """split -> reports of the snapshot, by SQL of the test's own."""
    query = select(snapshot_item.c.split, func.count()).join(report_version).join(report)
    query = query.where(snapshot_item.c.snapshot_id == snapshot_id, *where).group_by(snapshot_item.c.split)  # type: ignore[arg-type]
    with reading(world.engine) as c:
        return {row[0]: row[1] for row in c.execute(query)}


def splits(cells: list[str]) -> dict[str, int]:
    counts = (int(cell.split(" ")[0]) for cell in cells)
    found = dict(zip(("train", "calibration", "holdout"), counts, strict=True))
    return {split: reports for split, reports in found.items() if reports}


def test_a_card_counts_what_its_set_holds_by_class_institution_seed_and_source(
    both: World, reconfigured: Callable[..., World]
) -> None:
    world = reconfigured(both, **MIXED)
    world.add(range(40))
    world.say([2], "maligno")
    with writing(world.engine) as c:
        dated = select(report.c.id).where(report.c.patient_key == patient_key(2))
        change = update(report_version).where(report_version.c.report_id.in_(dated))
        c.execute(change.values(report_date=date(2025, 3, 9)))
    taught(world)
    found = frozen(world)
    card = card_of(world.engine, found).markdown
    for label in ("benigno", "maligno"):
        [cells] = lines(card, f"{label} | synthetic")
        ours = (snapshot_item.c.label == label, snapshot_item.c.origin == "synthetic")
        assert splits(cells[2:]) == counted(world, found, *ours)
        told = {name: splits(rest) for name, of, *rest in _institutions(card) if of == label}
        assert set(told) == {"ditado", "telegrafico", "universitario"}
        for name, counts in told.items():
            ours = (snapshot_item.c.label == label, report_version.c.institution == name)
            assert counts == counted(world, found, *ours)
    [seed] = lines(card, "0 |")
    assert splits(seed[1:]) == counted(world, found, snapshot_item.c.origin == "synthetic")
    assert lines(card, "his | feedback") == [["his", "feedback", "1", "2025-03-09", "2025-03-09"]]
    assert lines(card, "his | source") == [["his", "source", "39", "-", "-"]]
    assert ["whole\\_text", "passed"] not in lines(card, "whole")  # underscores need no escape
    assert lines(card, "whole_text")[0][1] == "passed"
    assert "Exam paaf, mode findings" in card
    assert "nuclear measurements" in card


def _institutions(card: str) -> list[list[str]]:
    return [row for name in ("ditado", "telegrafico", "universitario") for row in lines(card, f"{name} |")]


def test_a_card_tells_the_snapshot_s_own_facts_after_the_settings_and_the_set_changed(
    world: World, reconfigured: Callable[..., World]
) -> None:
    before = reconfigured(world, **MIXED)
    before.add(range(40))
    taught(before)
    found = frozen(before)
    told = card_of(before.engine, found)
    after = reconfigured(world, **MIXED | {"synthetic": {"reports_per_row": 1, "mode": "full"}})
    with writing(after.engine) as c:  # another set is in force
        c.execute(update(synthetic_set).values(written_at=None))
    assert card_of(after.engine, found) == told


def test_a_card_says_where_its_synthetic_reports_are_not_those_of_one_whole_set(
    world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = Audit(1, 1, {}, 1, True, (Check("words", "passed", "p"),))
    monkeypatch.setattr("tasks.synthesis.audit._audit", lambda *_: sound)
    mixed = reconfigured(world, **MIXED)
    mixed.add(range(40))
    for seed in (0, 1):
        taught(mixed, seed)
    assert "another set's reports are among them" not in card_of(mixed.engine, frozen(mixed)).markdown
    with writing(mixed.engine) as c:
        held = c.scalar(select(func.count()).where(report.c.external_id.like("s1-%")))
        c.execute(update(report).where(report.c.external_id.like("s0-%-001")).values(deleted_at=None))
    card = card_of(mixed.engine, frozen(mixed)).markdown
    assert f"holds {3 * held // 2} synthetic reports and that set has {held}: another set's reports" in card
    with writing(mixed.engine) as c:
        c.execute(update(report).where(report.c.external_id.like("s1-%")).values(deleted_at=mixed.now))
        c.execute(update(synthetic_set).values(written_at=None))
    assert "a run that was cut off before its set was whole" in card_of(mixed.engine, frozen(mixed)).markdown


def test_no_text_and_no_patient_stands_in_a_card(world: World) -> None:
    world.add(range(40))
    card = card_of(world.engine, frozen(world))
    for number in range(40):
        words = text_of(number, ["benigno", "maligno"][number % 2])
        for page in (card.markdown, card.html):
            assert words not in page
            assert patient_key(number) not in page
            assert f"L{number}" not in page
    assert "nuclear measurements" not in card.markdown  # nothing here was written from any
    assert "counts reports of patients" in card.markdown


def test_a_card_is_written_once_beside_the_model_reports_and_goes_with_an_export(
    world: World, tmp_path: Path
) -> None:
    world.add(range(40))
    found = frozen(world)
    assert write_data_card.fn(found) is True
    assert write_data_card.fn(found) is False
    written = data_card_path(world.settings, found, "md").read_text(encoding="utf-8")
    assert "<h1>Training set" in data_card_path(world.settings, found, "html").read_text(encoding="utf-8")
    export_snapshot(world.settings, found, tmp_path / "out")
    beside = tmp_path / "out" / "data-card.md"
    assert beside.read_text(encoding="utf-8") == written
    assert stat.S_IMODE(beside.stat().st_mode) == 0o600


def test_there_is_no_card_of_a_set_there_is_not(world: World) -> None:
    with pytest.raises(LaudosError, match="there is no snapshot 7"):
        card_of(world.engine, 7)
