"""The learning curve of a hospital's labels, as the command tells it."""

from __future__ import annotations

import json
import sys

import pytest
from sqlalchemy import update

from db.engine import writing
from db.tables import label, report, report_version
from flows.cli.app import main
from tasks.ml.splits import split_of
from tests.learning.retraining import retrain
from tests.learning.world import World, patient_key

PATIENTS = range(160)


def test_the_command_tells_points_forecast_and_what_it_cannot_tell(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    world.add(PATIENTS)
    retrain(world)

    def run(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", "labels", "curve", "--repeats", "3", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    train = sum(split_of(patient_key(number)) == "train" for number in PATIENTS)
    told = json.loads(run("--more", "40", "--json"))
    assert told["points"][-1]["reports"] == told["more_max"] == train
    assert [one["reports"] for one in told["points"]] == sorted(one["reports"] for one in told["points"])
    assert told["gain"]["low"] <= told["gain"]["value"] <= told["gain"]["high"]
    assert told["caveat"]
    printed = run("--more", "500")
    assert "no forecast: 500 more labels" in printed
    assert f"at most {train}" in printed

    # of the holdout nothing is read: whatever its labels are, the curve is the same
    keys = [patient_key(number) for number in PATIENTS if split_of(patient_key(number)) == "holdout"]
    ids = report_version.join(report).select().where(report.c.patient_key.in_(keys))
    held = ids.with_only_columns(report_version.c.id).scalar_subquery()
    with writing(world.engine) as c:
        c.execute(update(label).where(label.c.report_version_id.in_(held)).values(value="benigno"))
    assert json.loads(run("--more", "40", "--json")) == told
