"""Which models the retention rules take away, and above all which they never do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest
from sqlalchemy import insert, select, update

from db import lock, models, retention
from db.engine import reading, writing
from db.errors import Busy, LaudosError
from db.tables import audit, model, run, score_job
from tasks.database import open_database
from tasks.model_folders import point_at_champion, pointer_path
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tasks.upkeep.retention import Removed, collect
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital
from tests.scoring.retaining import Configured, champions, refused, states, tidied, vectors


def test_of_models_nobody_needs_the_newest_stay_and_each_removal_is_said_and_on_record(
    both: Hospital, kept: Configured
) -> None:
    hospital = kept(models=1)
    one, two, three = refused(hospital, 3)
    said: list[str] = []
    done = tidied(hospital, said)
    assert done.models == 2
    assert states(hospital) == {1: "ready", one: "removed", two: "removed", three: "ready"}
    assert not hospital.folder_of(one).exists()
    assert hospital.folder_of(three).exists()
    assert said == [
        f"removing {CLASSIFIER}/refused{head} (0.0 MiB): model {number}: beyond the 1 that 'achado' keeps "
        "besides its champions"
        for head, number in ((1, two), (0, one))
    ]
    with reading(hospital.engine) as c:
        rows = c.execute(select(audit.c.action, audit.c.subject).order_by(audit.c.id)).all()
    assert [tuple(row) for row in rows][:2] == [("removed", f"model {two}"), ("removed", f"model {one}")]
    assert rows[2].action == "retention"
    assert tidied(hospital) == Removed()


def test_the_champion_those_a_rollback_goes_to_and_the_reference_stay(kept: Configured) -> None:
    """The first champion is what every challenger is compared with, lest small steps down add up."""
    hospital = kept(models=0, rollbacks=1)
    first, second, third, fourth = champions(hospital, 4)
    assert tidied(hospital).models == 1
    assert states(hospital) == {first: "ready", second: "removed", third: "ready", fourth: "ready"}


def test_a_pointer_left_behind_by_a_killed_promotion_is_moved_on_before_its_model_goes(
    kept: Configured,
) -> None:
    hospital = kept(models=0, rollbacks=1)
    champions(hospital, 2)
    point_at_champion(hospital.engine, hospital.settings, CLASSIFIER)
    hospital.crown_row(8)  # promoted, and killed before the file; so was the next
    hospital.crown_row(9)
    assert tidied(hospital).models == 1
    pointer = json.loads(pointer_path(hospital.settings, CLASSIFIER).read_text())
    assert pointer["path"] == f"models/{CLASSIFIER}/none9"


def test_a_model_with_an_unfinished_job_or_named_as_an_encoder_stays(
    both: Hospital, kept: Configured, configure: Callable[..., Settings]
) -> None:
    hospital = kept(models=0)
    working, named, idle = refused(hospital, 3)
    for state, model_id in (("paused", working), ("stopped", idle)):
        job = {"classifier": CLASSIFIER, "model_id": model_id, "reports": 1, "run_id": 1, "state": state}
        with writing(hospital.engine) as c:
            c.execute(insert(score_job).values(**job, created_at=hospital.now))
    asked = {CLASSIFIER: TABLES["classifiers"][CLASSIFIER] | {"encoder": str(hospital.folder_of(named))}}
    settings = configure(
        **TABLES | {"classifiers": asked}, database=hospital.settings.database, retention={"models": 0}
    )
    tidied(Hospital(hospital.engine, settings, hospital.now))
    assert states(hospital) == {1: "ready", working: "ready", named: "ready", idle: "removed"}


def test_a_removed_model_is_listed_and_cannot_be_rolled_back_to(kept: Configured) -> None:
    from tasks.models.models import list_models, rollback

    hospital = kept(models=0, rollbacks=1)
    _, second, _, fourth = champions(hospital, 4)
    tidied(hospital)
    assert [one.state for one in list_models(hospital.settings)] == ["ready", "ready", "removed", "ready"]
    with pytest.raises(LaudosError, match=f"model {second} cannot answer again: its folder was removed"):
        rollback(hospital.settings, CLASSIFIER, second)
    assert states(hospital)[fourth] == "ready"


def test_a_rollback_at_the_same_moment_wins_or_is_refused_but_never_answers_from_an_empty_folder(
    kept: Configured, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows decide: whoever locks the model's row first. The folder is checked before that, too early."""
    from tasks.models import models as asked

    hospital = kept(models=0)
    (target,) = refused(hospital, 1)
    monkeypatch.setattr(asked, "_refuse_unfit", lambda *_: tidied(hospital))
    with pytest.raises(LaudosError, match="its folder was removed"):
        asked.roll_back(hospital.engine, hospital.settings, CLASSIFIER, target, "test", hospital.now)
    assert states(hospital) == {1: "ready", target: "removed"}
    other = hospital.crown_row(7)
    held, done = threading.Event(), threading.Event()

    def crown() -> None:
        with writing(hospital.engine) as c:
            assert models.reinstate(c, 1)
            models.crown(c, CLASSIFIER, 1, expected_epoch=2, now=hospital.now)
            held.set()
            done.wait(0.3)

    thread = threading.Thread(target=crown)
    thread.start()
    held.wait(10)
    with writing(hospital.engine) as c:
        assert not retention.remove_model(c, 1)
        assert retention.remove_model(c, other)
    thread.join()


def test_while_a_model_is_trained_nothing_is_removed(kept: Configured) -> None:
    hospital = kept(models=0)
    refused(hospital, 1)
    with lock.exclusive(hospital.engine, "model"), pytest.raises(Busy, match="'model'"):
        collect(hospital.settings, print)
    assert "removed" not in states(hospital).values()
    assert collect(hospital.settings, print).models == 1


def test_a_dry_run_says_everything_and_changes_nothing(kept: Configured) -> None:
    hospital = kept(models=0, superseded_text_after="1d")
    hospital.receive(2)
    refused(hospital, 1)
    with writing(hospital.engine) as c:
        c.execute(update(model).where(model.c.id == 2).values(encoder_sha="a" * 64))
    vectors(hospital, "a", [1, 2], hospital.now)
    said: list[str] = []
    found = collect(hospital.settings, said.append, dry_run=True)
    assert (found.dry_run, found.models, found.features) == (True, 1, 2)
    assert [one.split(" ")[:2] for one in said] == [
        ["would", "remove"],
        ["would", "remove"],
        ["would", "empty"],
    ]
    assert hospital.count(audit) == hospital.count(run, run.c.kind == "retention") == 0
    real = collect(hospital.settings, print)
    assert (real.models, real.features) == (found.models, found.features)


def test_after_it_the_doctor_is_content(both: Hospital, kept: Configured) -> None:
    both.crown(head=0)
    both.crown(head=1)
    both.crown(head=2)
    both.crown(head=3)
    hospital = kept(models=0, rollbacks=1)
    assert collect(hospital.settings, print).models == 1
    open_database(hospital.settings)
    assert doctor(hospital.settings) == []


def test_the_command_prints_one_document_with_json(
    kept: Configured, capsys: pytest.CaptureFixture[str]
) -> None:
    from flows.cli.models import gc

    hospital = kept(models=0)
    refused(hospital, 1)
    gc(dry_run=True, as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out)["models"] == 1
    assert "would remove" in printed.err
    gc(dry_run=False, as_json=False)
    assert "removing achado/refused0" in capsys.readouterr().out
