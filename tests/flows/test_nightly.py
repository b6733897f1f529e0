"""A whole night with its real parts: what comes in is answered, once, and one failure stops nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from sqlalchemy import func, select

from db import audit, erasure, lock
from db.engine import reading, writing
from db.errors import Busy, ConfigurationError, LaudosError, NothingToWorkOn
from db.lessons import BEGUN
from db.tables import prediction, run
from flows.nightly import NightlySummary, nightly
from tasks.classifiers import the_champion
from tasks.database import open_database
from tasks.night.nightly import Attempts
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.flows import town

pytestmark = pytest.mark.usefixtures("prefect_harness")


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAUDOS_CONFIG", str(town.build(tmp_path_factory.mktemp("night"), patients=25)))
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        yield Settings.load()
        torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def first(prefect_harness: None, settings: Settings) -> NightlySummary:
    return nightly()


@pytest.fixture(scope="module")
def second(settings: Settings, first: NightlySummary) -> NightlySummary:
    with writing(open_database(settings)) as c:  # as an erasure that was killed leaves it
        audit.record(c, actor="dpo", action=BEGUN, subject="run 0", detail={}, now=datetime.now(UTC))
    return nightly()


def _predictions(settings: Settings) -> int:
    with reading(open_database(settings)) as c:
        return int(c.scalar(select(func.count()).select_from(prediction)) or 0)


def test_a_night_takes_in_trains_answers_and_measures(settings: Settings, first: NightlySummary) -> None:
    [came] = first.ingested
    counts = came.counts
    assert counts.read == counts.new + counts.updated + counts.unchanged + counts.quarantined
    assert counts.new > 250
    assert counts.quarantined > 0
    [trained], [answered] = first.retrained, first.classified
    assert (trained.decision, trained.trained) == ("promoted", "full")
    assert answered.written >= counts.new
    assert first.monitored is not None
    [measured] = first.monitored.measured
    assert measured.labelled_reports > 0
    assert first.skipped == []


def test_every_promise_holds_after_a_night(settings: Settings, first: NightlySummary) -> None:
    assert doctor(settings) == []


def test_the_night_is_shown_in_prefect(first: NightlySummary) -> None:
    with get_client(sync_client=True) as client:
        keys = ArtifactFilter(key=ArtifactFilterKey(any_=["tonight", "model-1"]))
        shown = {one.key: str(one.data) for one in client.read_artifacts(artifact_filter=keys)}
        names = {one.name.rsplit(" ", 1)[0] for one in client.read_flow_runs()}
    assert "## What came in" in shown["tonight"]
    assert "data:image/png;base64," in shown["model-1"]
    assert {"nightly", "ingest hospital", "monitor", f"classify {town.CLASSIFIER}"} <= names


def test_the_parts_of_a_night_are_its_children_in_the_ledger(
    settings: Settings, first: NightlySummary
) -> None:
    with reading(open_database(settings)) as c:
        kinds = list(c.scalars(select(run.c.kind).where(run.c.parent_id == first.run_id).order_by(run.c.id)))
    assert kinds == ["ingest", "synthesize", "retrain", "classify", "monitor"]


def test_a_second_night_finds_nothing_new_and_encodes_nothing(
    settings: Settings, first: NightlySummary, second: NightlySummary
) -> None:
    [came], [trained], [answered] = second.ingested, second.retrained, second.classified
    assert (came.counts.new, came.counts.updated) == (0, 0)
    assert (trained.decision, trained.encoded, trained.model_id) == (
        "unchanged",
        0,
        first.retrained[0].model_id,
    )
    assert (answered.encoded, answered.written) == (0, 0)
    assert all(one.counts.new == 0 and one.retired == 0 for one in second.synthesized[0].sets)


def test_a_night_ends_an_erasure_that_was_killed(settings: Settings, second: NightlySummary) -> None:
    with reading(open_database(settings)) as c:
        assert erasure.unfinished(c) == []
        assert audit.holds(c, action=erasure.FINISHED, subject="run 0")


def test_only_what_changed_is_answered_the_night_after(settings: Settings, second: NightlySummary) -> None:
    before = _predictions(settings)
    rows = "(SELECT id FROM laudos WHERE resultado IS NULL AND id LIKE 'CIT%' ORDER BY id DESC LIMIT 3)"
    hospital = Path(settings.folder).parent / "hospital.db"
    assert town.write(hospital, f"UPDATE laudos SET texto = texto || ' Adendo.' WHERE id IN {rows}") == 3
    third = nightly()
    assert third.ingested[0].counts.updated == 3
    assert (third.classified[0].written, _predictions(settings) - before) == (3, 3)


def test_a_source_that_fails_stops_nothing_else_and_ends_the_night_failed(
    settings: Settings, second: NightlySummary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (
        '\n[sources.broken]\nurl = "sqlite:///{}/empty.db"\ntable = "laudos"\nid = "id"\ntext = "texto"\n'
    )
    home = Path(settings.folder).parent
    path = tmp_path / "laudos.toml"
    path.write_text((home / "laudos.toml").read_text() + broken.format(tmp_path))
    (tmp_path / "empty.db").touch()
    monkeypatch.setenv("LAUDOS_CONFIG", str(path))
    with pytest.raises(LaudosError, match="did all it could, but: ingest broken: "):
        nightly()
    with reading(open_database(Settings.load())) as c:
        last = select(run.c.id, run.c.state).where(run.c.kind == "nightly").order_by(run.c.id.desc()).limit(1)
        night = c.execute(last).one()
        parts = c.execute(
            select(run.c.kind, run.c.state).where(run.c.parent_id == night.id).order_by(run.c.id)
        )
        states = [tuple(row) for row in parts]
    assert night.state == "failed"
    assert ("ingest", "completed") in states
    assert states[-3:] == [("retrain", "completed"), ("classify", "completed"), ("monitor", "completed")]


def test_a_night_before_any_label_came_says_what_it_waits_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = town.build(tmp_path, patients=2)
    path.write_text(path.read_text().replace('["synthetic", "source"]', '["feedback"]'))
    monkeypatch.setenv("LAUDOS_CONFIG", str(path))
    told = nightly()
    assert (told.synthesized, told.retrained, told.classified) == ([], [], [])
    assert [one.split(":")[0] for one in told.skipped] == [
        f"retrain {town.CLASSIFIER}",
        f"classify {town.CLASSIFIER}",
    ]
    assert told.monitored is not None


def test_a_first_night_that_refuses_its_challenger_has_nothing_to_score_and_no_failed_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = town.build(tmp_path, patients=8)
    path.write_text(path.read_text().replace("sensitivity_floor = 0.3", "sensitivity_floor = 1.0"))
    monkeypatch.setenv("LAUDOS_CONFIG", str(path))
    told = nightly()
    [trained] = told.retrained
    assert (trained.decision, trained.champion_id, told.classified) == ("refused", None, [])
    assert [one.split(":")[0] for one in told.skipped] == [f"classify {town.CLASSIFIER}"]
    assert f'"laudos models show {trained.model_id}"' in told.skipped[0]
    assert told.monitored is not None
    assert not any("failed" in alarm for alarm in told.monitored.alarms)
    settings = Settings.load()
    with reading(open_database(settings)) as c:
        assert set(c.scalars(select(run.c.state))) == {"completed"}
        with pytest.raises(NothingToWorkOn, match=f'"laudos models show {trained.model_id}" says what'):
            the_champion(c, town.CLASSIFIER)


def test_two_nights_at_once_are_refused(settings: Settings, second: NightlySummary) -> None:
    with lock.exclusive(open_database(settings), "nightly"), pytest.raises(Busy):
        nightly()


def test_what_is_busy_is_waited_for_but_not_for_ever() -> None:
    tries: list[str] = []

    def busy_until(third: str) -> str:
        tries.append(third)
        if len(tries) < 3:
            raise Busy("run 7 holds it")
        return third

    attempt = Attempts(patience_s=60, pause_s=0)
    assert attempt.each("ingest", busy_until, ["his"]) == ["his"]
    assert (attempt.failed, len(tries)) == ([], 3)
    impatient = Attempts(patience_s=0, pause_s=0)
    tries.clear()
    assert impatient("ingest", busy_until, "his") == []
    assert impatient.failed == ["ingest: run 7 holds it"]


def test_what_lacks_its_input_is_skipped_and_what_fails_is_told() -> None:
    def part(name: str) -> str:
        if name == "early":
            raise NothingToWorkOn('no labels yet; run "laudos synthesize" first')
        if name == "wrong":
            raise ConfigurationError("no table laudos")
        return name

    attempt = Attempts()
    assert attempt.each("retrain", part, ["early", "wrong", "sound"]) == ["sound"]
    assert attempt.skipped == ['retrain early: no labels yet; run "laudos synthesize" first']
    assert attempt.failed == ["retrain wrong: no table laudos"]
