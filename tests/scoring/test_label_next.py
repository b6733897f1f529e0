"""Whom `laudos labels next` asks for: training patients' reports that wait and that nobody labelled."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from sqlalchemy import insert, select, update

from db.engine import reading, writing
from db.tables import feature, label, prediction, report, report_version
from flows.cli.app import main
from tasks.labels.next import label_next
from tasks.ml.splits import split_of
from tests.scoring.hospital import CLASSIFIER, Hospital
from tests.scoring.test_classify import classify


def splits(hospital: Hospital) -> dict[int, str]:
    """Report version -> its patient's split."""
    query = select(report_version.c.id, report.c.patient_key).join(report)
    with reading(hospital.engine) as c:
        return {row.id: split_of(row.patient_key) for row in c.execute(query)}


def test_training_patients_reports_that_nobody_labelled_are_listed(both: Hospital) -> None:
    both.receive(60)
    both.crown()
    classify(both)
    of = splits(both)
    train = sorted(version for version, split in of.items() if split == "train")
    sure, said, told = train[0], train[1], train[2]
    statement = {"classifier": CLASSIFIER, "actor": "x", "value": "benigno", "at": both.now}
    with writing(both.engine) as c:
        c.execute(update(prediction).values(decision="review", review_because="unsure"))
        c.execute(update(prediction).where(prediction.c.report_version_id == sure).values(decision="auto"))
        rows = [(said, "source"), (told, "feedback")]
        c.execute(
            insert(label), [statement | {"report_version_id": at, "origin": origin} for at, origin in rows]
        )
    found = label_next(both.settings, None, 100)
    listed = [one.report_version_id for one in found.listed]
    assert sorted(listed) == train[3:]
    assert found.waiting == len(train) - 3
    assert found.of_others == len(of) - len(train)
    with reading(both.engine) as c:
        answers = {row.report_version_id: row.probabilities for row in c.execute(select(prediction))}
    margins = {at: abs(np.subtract(*answers[at].values())) for at in listed}
    assert listed[0] == min(listed, key=lambda at: margins[at])
    assert found.listed[0].uncertainty == pytest.approx(1 - margins[listed[0]])
    assert found.listed[0].because == "unsure"
    few = label_next(both.settings, None, 5)
    assert len({one.report_version_id for one in few.listed}) == 5

    # of two a vector is left: they come first, and the others by the margin alone
    by_margin = sorted(listed, key=lambda at: margins[at])
    with writing(both.engine) as c:
        c.execute(feature.delete().where(feature.c.report_version_id.not_in(by_margin[2:4])))
    told = [one.report_version_id for one in label_next(both.settings, None, 5).listed]
    assert set(told[:2]) == set(by_margin[2:4])
    assert [margins[at] for at in told[2:]] == sorted(margins[at] for at in listed if at not in told[:2])[:3]


def test_the_command_prints_ids_and_nothing_where_nothing_waits(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", "labels", "next", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    hospital.receive(12)
    hospital.crown()
    assert json.loads(run("--json"))["listed"] == []
    classify(hospital)
    with writing(hospital.engine) as c:
        c.execute(update(prediction).values(decision="review"))
    capsys.readouterr()
    told = json.loads(run("--limit", "3", "--json"))["listed"]
    printed = run("--limit", "3")
    assert len(told) == 3
    assert all(f"his {one['external_id']}" in printed for one in told)
    assert "pleomorfismo" not in printed
