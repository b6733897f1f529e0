"""What one worker of a Dask cluster says: whether it may help, what it scored, and what failed."""

from __future__ import annotations

import shutil
from dataclasses import astuple, replace

import pytest

from db.tables import model, prediction
from tasks.scoring import cluster_member
from tasks.scoring.cluster_member import Answer, Asked, greet, help_with
from tests.scoring.hospital import Hospital

# an invented word
CANARY = "zqxvwlaudo"


@pytest.fixture
def asked(hospital: Hospital) -> Asked:
    hospital.receive(8)
    return Asked.of(hospital.engine, hospital.settings, hospital.cut(hospital.crown()))


def test_a_worker_of_the_same_house_is_welcome_and_scores(
    hospital: Hospital, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LAUDOS_SCORING__DASK", "tcp://127.0.0.1:9")  # which only whoever runs the job needs
    assert "fault" not in greet(astuple(asked))
    answer = help_with(astuple(asked), 60.0)
    assert (answer["counts"]["written"], answer["more"]) == (8, False)
    assert hospital.count(prediction) == 8


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"machine": "0" * 16}, "SQLite file, which processes of other machines"),
        ({"settings_sha": "0" * 64}, "its settings are others"),
        ({"fingerprint": "0" * 16}, "its database is another one"),
        ({"job_id": 99}, "its database is another one"),
    ],
)
def test_a_worker_of_another_house_says_what_differs(
    hospital: Hospital, asked: Asked, change: dict[str, str], found: str
) -> None:
    other = astuple(replace(asked, **change))  # type: ignore[arg-type]
    assert found in greet(other)["fault"]
    assert found in help_with(other, 60.0)["fault"]
    assert hospital.count(prediction) == 0


def test_a_worker_without_the_folder_of_models_leaves_the_model_its_good_name(
    hospital: Hospital, asked: Asked
) -> None:
    shutil.rmtree(hospital.settings.folder / "models")
    assert "folder of models that all machines share" in greet(astuple(asked))["fault"]
    assert "is not there" in help_with(astuple(asked), 60.0)["fault"]
    assert hospital.count(model, model.c.state == "tainted") == 0


def test_what_fails_with_a_report_in_its_words_travels_without_them(
    hospital: Hospital, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> Answer:
        raise ValueError(f"cannot read {CANARY}")

    monkeypatch.setattr(cluster_member, "each_chunk", fails)
    told = help_with(astuple(asked), 60.0)
    assert "unforeseen ValueError" in told["fault"]
    assert CANARY not in str(told)
