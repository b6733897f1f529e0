"""Freezing a training set: whose label counts, what stays out, and what is refused."""

from __future__ import annotations

import errno
import stat
from collections.abc import Callable
from pathlib import Path

import datasets
import pandas as pd
import pytest
from sqlalchemy import select, update

from db.engine import reading, writing
from db.errors import LaudosError, NothingToWorkOn
from db.tables import report, report_version, snapshot, snapshot_item
from tasks.labels.give import Said, label_give
from tasks.ml.splits import split_of
from tasks.training.training_set import export_snapshot, freeze
from tests.learning.world import CLASSIFIER, World, patient_key


def frozen(world: World) -> int:
    return freeze(
        world.engine,
        world.run("retrain"),
        CLASSIFIER,
        world.settings.classifier(CLASSIFIER),
        world.now,
    )


def label_of(world: World, snapshot_id: int, patient: int) -> tuple[str, str] | None:
    joined = snapshot_item.join(report_version).join(report)
    query = select(snapshot_item.c.label, snapshot_item.c.origin).select_from(joined)
    with reading(world.engine) as c:
        row = c.execute(
            query.where(
                snapshot_item.c.snapshot_id == snapshot_id, report.c.patient_key == patient_key(patient)
            )
        ).one_or_none()
    return None if row is None else (row.label, row.origin)


def patients_in(split: str, among: range) -> list[int]:
    return [number for number in among if split_of(patient_key(number)) == split]


def test_feedback_counts_before_the_source_and_the_source_before_synthetic(
    both: World, reconfigured: Callable[..., World]
) -> None:
    world = reconfigured(both, training_labels=["synthetic", "source", "feedback"])
    world.add(range(40))
    world.say([2, 4], "maligno", origin="synthetic")
    world.say([4], "maligno", origin="feedback")
    found = frozen(world)
    assert label_of(world, found, 2) == ("benigno", "source")
    assert label_of(world, found, 4) == ("maligno", "feedback")


def test_a_label_that_a_person_gives_teaches_the_next_training(
    both: World, reconfigured: Callable[..., World]
) -> None:
    both.add(range(40))
    assert label_of(both, frozen(both), 4) == ("benigno", "source")
    said = [Said("his", "L4", "maligno")]
    assert label_give(both.settings, None, said, "dra. Lima").teaches
    assert label_of(both, frozen(both), 4) == ("maligno", "feedback")
    deaf = reconfigured(both, training_labels=["source"])
    assert not label_give(deaf.settings, None, said, "dra. Lima").teaches
    assert label_of(deaf, frozen(deaf), 4) == ("benigno", "source")


def test_an_origin_that_is_not_configured_teaches_nothing(
    both: World, reconfigured: Callable[..., World]
) -> None:
    both.add(range(40))
    both.say([2], "maligno", origin="synthetic")
    assert label_of(both, frozen(both), 2) == ("benigno", "source")
    with pytest.raises(NothingToWorkOn, match="no labelled reports"):
        frozen(reconfigured(both, training_labels=["feedback"]))


def test_the_same_content_is_the_same_snapshot_and_another_label_is_not(both: World) -> None:
    both.add(range(40))
    first = frozen(both)
    assert frozen(both) == first
    both.say([2], "maligno")
    second = frozen(both)
    assert second != first
    assert both.count(snapshot) == 2


def test_only_current_present_reports_are_taken(both: World) -> None:
    both.add(range(40))
    both.forget([2])
    with writing(both.engine) as c:
        gone, amended = patient_key(4), patient_key(6)
        c.execute(update(report).where(report.c.patient_key == gone).values(deleted_at=both.now))
        c.execute(update(report).where(report.c.patient_key == amended).values(current_version=2))
    found = frozen(both)
    assert [label_of(both, found, number) for number in (2, 4, 6)] == [None] * 3
    assert both.count(snapshot_item) == 37


def test_only_the_sources_a_classifier_reads_teach_it(
    both: World, reconfigured: Callable[..., World]
) -> None:
    both.add(range(40))
    both.add(range(40, 80), name="outro")
    frozen(reconfigured(both, sources=["his"]))
    assert both.count(snapshot_item) == 40


def test_no_patient_stands_in_two_splits(both: World) -> None:
    both.add(range(60))
    both.add(range(30, 90), name="outro")
    frozen(both)
    joined = snapshot_item.join(report_version).join(report)
    query = select(report.c.patient_key, snapshot_item.c.split).select_from(joined).distinct()
    with reading(both.engine) as c:
        rows = c.execute(query).all()
    assert len(rows) == len({row.patient_key for row in rows}) == 90


def test_a_label_the_configuration_no_longer_names_is_left_out_and_counted(world: World) -> None:
    world.add(range(60), labels=["benigno", "maligno", "suspeito"])
    frozen(world)
    with reading(world.engine) as c:
        recipe = c.scalar(select(snapshot.c.recipe))
    assert recipe["left_out_labels"] == 20
    assert sum(sum(counts.values()) for counts in recipe["reports"].values()) == 40


def test_without_labels_the_refusal_names_the_command_that_helps(
    world: World, reconfigured: Callable[..., World]
) -> None:
    with pytest.raises(NothingToWorkOn, match='run "laudos ingest" first'):
        frozen(world)
    synthetic = reconfigured(world, training_labels=["synthetic"])
    with pytest.raises(NothingToWorkOn, match='run "laudos synthesize" first'):
        frozen(synthetic)


def test_one_patient_only_is_refused(world: World) -> None:
    world.add([1])
    world.add([1], name="outro")
    with pytest.raises(NothingToWorkOn, match="belong to one patient"):
        frozen(world)


def test_a_class_without_an_example_is_refused_by_name(world: World) -> None:
    world.add(range(40), labels=["benigno"])
    with pytest.raises(NothingToWorkOn, match="no example of 'maligno'"):
        frozen(world)


def test_an_empty_split_is_refused(world: World) -> None:
    world.add(patients_in("train", range(30)) + patients_in("holdout", range(30)))
    with pytest.raises(NothingToWorkOn, match="leave the calibration part"):
        frozen(world)


def test_an_export_reads_back_and_is_closed_to_others(both: World, tmp_path: Path) -> None:
    both.add(range(40))
    found = frozen(both)
    folder = tmp_path / "out"
    exported = export_snapshot(both.settings, found, folder)
    assert sum(exported.reports.values()) == 40
    loaded = datasets.load_from_disk(str(folder / "datasets"))
    for split, reports in exported.reports.items():
        table = pd.read_parquet(folder / "parquet" / f"{split}.parquet")
        assert len(table) == len(loaded[split]) == reports
        assert table["text"].tolist() == loaded[split]["text"][:]
        assert {split_of(patient) for patient in table["patient"]} == {split}
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {0o700, 0o600}
    with pytest.raises(LaudosError, match="exists already"):
        export_snapshot(both.settings, found, folder)


def test_an_export_that_finds_no_room_leaves_nothing_and_can_be_run_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.add(range(40))
    found = frozen(world)
    (tmp_path / "to").mkdir()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as scarce:
        scarce.setattr(datasets.DatasetDict, "save_to_disk", full)
        with pytest.raises(OSError, match="no space"):
            export_snapshot(world.settings, found, tmp_path / "to" / "out")
    assert list((tmp_path / "to").iterdir()) == []
    (tmp_path / "to" / ".out.partial").mkdir()  # of one that was killed
    export_snapshot(world.settings, found, tmp_path / "to" / "out")
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["out"]


def test_a_snapshot_with_a_report_erased_since_is_not_exported(world: World, tmp_path: Path) -> None:
    world.add(range(40))
    found = frozen(world)
    world.forget([2])
    with pytest.raises(NothingToWorkOn, match="1 reports of snapshot 1 were erased"):
        export_snapshot(world.settings, found, tmp_path / "out")
    assert not (tmp_path / "out").exists()
