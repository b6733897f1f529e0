"""The monitor: champions on hospital labels, alarms, and a page without text."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, update

import flows.monitor
from db import audit, ledger, metrics, models, monitoring
from db.engine import reading, writing
from db.metrics import Metric
from db.tables import (
    label,
    metric,
    prediction,
    quarantine,
    report,
    report_version,
    run,
    score_chunk,
    score_job,
    snapshot,
    snapshot_item,
    source,
)
from tasks.database import open_database
from tasks.errors import LaudosError
from tasks.ledger import recorded_run
from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.conformal import Thresholds
from tasks.model_folders import folder_of
from tasks.night import alarms
from tasks.night.monitor import Told, look_back, measure_champion
from tasks.night.tonight import tonight
from tasks.settings.settings import Settings
from tests.learning.world import CLASSIFIER, LABELS, TABLES, TELLING, World, patient_key, text_of
from tests.runs import begin, ran

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def world(engine: Engine, database_url: str, configure: Callable[..., Settings], now: datetime) -> World:
    return World(engine, configure(database=database_url, **TABLES), now)


def crown(
    world: World,
    *,
    taught: Iterable[int] = (),
    wrong: Iterable[int] = (),
    at: datetime = NOW,
    epoch: int = 1,
) -> int:
    """A champion that answered every report, wrongly about some patients; `taught` stood in its training."""
    run_id, mistaken = world.run("retrain"), {patient_key(number) for number in wrong}
    keys = {patient_key(number) for number in taught}
    with writing(world.engine) as c:
        query = select(report_version.c.id, report.c.patient_key, report_version.c.text).join(
            report, report.c.id == report_version.c.report_id
        )
        versions = c.execute(query).all()
        frozen = {"classifier": CLASSIFIER, "sha": f"{epoch - 1}" * 64, "recipe": {}, "reports": len(keys)}
        added = insert(snapshot).values(**frozen, run_id=run_id, created_at=at).returning(snapshot.c.id)
        snapshot_id = c.execute(added).scalar_one()
        items = [
            {"snapshot_id": snapshot_id, "report_version_id": row.id, "label": "benigno", "origin": "source",
             "split": "train"}
            for row in versions if row.patient_key in keys
        ]  # fmt: skip
        if items:
            c.execute(insert(snapshot_item), items)
        config = {"labels": LABELS, "critical": "maligno"}
        model_id = models.add(
            c, classifier=CLASSIFIER, path=f"achado/{epoch}", manifest_sha="0", encoder_sha="0",
            config_sha="0", snapshot_id=snapshot_id, trained="full", config=config, run_id=run_id, now=at,
        )  # fmt: skip
        models.crown(c, CLASSIFIER, model_id, expected_epoch=epoch - 1 or None, now=at)
        reasons = [{"rule": "sensitivity", "passed": True, "found": ".97", "asked": ".85"}]
        models.add_promotion(
            c, classifier=CLASSIFIER, decision="promoted", model_id=model_id, previous_model_id=None,
            epoch=epoch, reasons=reasons, plan_sha="0", actor="test", run_id=run_id, now=at,
        )  # fmt: skip
        _answer(c, model_id, run_id, {row for row in versions if row.patient_key in mistaken}, versions, at)
    return model_id


def _answer(
    c: Connection, model_id: int, run_id: int, mistaken: set[Any], versions: Sequence[Any], at: datetime
) -> None:
    job = {"classifier": CLASSIFIER, "model_id": model_id, "reports": len(versions), "run_id": run_id}
    job_id = c.execute(insert(score_job).values(**job, created_at=at).returning(score_job.c.id)).scalar_one()
    span = {"first_version_id": 1, "last_version_id": 1, "reports": len(versions)}
    c.execute(insert(score_chunk).values(job_id=job_id, seq=1, **span))
    for row in versions:
        malign = any(word in row.text for word in TELLING["maligno"]) != (row in mistaken)
        p = 0.9 if malign else 0.1
        c.execute(
            insert(prediction).values(
                model_id=model_id, report_version_id=row.id, label=LABELS[int(malign)],
                probabilities={"benigno": 1 - p, "maligno": p}, decision="auto" if row.id % 5 else "review",
                tokens_seen=9, tokens_total=9, backend="torch-fp32",
                job_id=job_id, chunk_seq=1, fence=1, at=at,
            )
        )  # fmt: skip


def figures(world: World, model_id: int) -> dict[str, Metric]:
    with reading(world.engine) as c:
        return {one.name: one for one in metrics.of_model(c, model_id, "source") if one.slice == "all"}


def test_a_champion_is_measured_on_labels_of_the_hospital(world: World) -> None:
    world.add(range(40))
    model_id = crown(world, wrong=[1, 3])
    measured = measure_champion.fn(world.run("monitor"), CLASSIFIER)
    assert (measured.model_id, measured.labelled_reports) == (model_id, 40)
    found = figures(world, model_id)
    assert found["sensitivity"].value == pytest.approx(18 / 20)
    assert found["specificity"].value == 1
    assert found["sensitivity"].n == 20


def test_patients_it_was_trained_on_do_not_count(world: World) -> None:
    world.add(range(40))
    crown(world, taught=range(10))
    assert measure_champion.fn(world.run("monitor"), CLASSIFIER).labelled_reports == 30


def test_what_a_person_said_counts_more_than_the_source(world: World) -> None:
    world.add(range(40))
    model_id = crown(world)
    world.say([1, 3, 5, 7], "benigno")
    measure_champion.fn(world.run("monitor"), CLASSIFIER)
    assert figures(world, model_id)["specificity"].value == pytest.approx(20 / 24)


def test_the_same_labels_again_write_nothing(world: World) -> None:
    world.add(range(20))
    crown(world)
    assert measure_champion.fn(world.run("monitor"), CLASSIFIER).figures > 0
    before = world.count(metric)
    assert measure_champion.fn(world.run("monitor"), CLASSIFIER).figures == 0
    assert world.count(metric) == before


def test_figures_on_labels_of_the_hospital_go_with_the_last_label(world: World) -> None:
    world.add(range(40))
    model_id = crown(world, wrong=[1, 3])
    measure_champion.fn(world.run("monitor"), CLASSIFIER)
    with writing(world.engine) as c:
        c.execute(delete(label))
    assert measure_champion.fn(world.run("monitor"), CLASSIFIER).labelled_reports == 0
    assert figures(world, model_id) == {}
    with reading(world.engine) as c:
        assert [one.population for one in look_back(c, world.settings, world.now).figures[CLASSIFIER]] == []
        told = select(metric.c.value, metric.c.n).where(metric.c.name == "sensitivity").order_by(metric.c.id)
        assert c.execute(told).all() == [(pytest.approx(0.9), 20), (None, 0)]
    before = world.count(metric)
    measure_champion.fn(world.run("monitor"), CLASSIFIER)
    assert world.count(metric) == before


def test_without_champion_or_labels_there_is_nothing_to_measure(world: World) -> None:
    assert measure_champion.fn(world.run("monitor"), CLASSIFIER).model_id is None
    crown(world)
    measured = measure_champion.fn(world.run("monitor"), CLASSIFIER)
    assert (measured.labelled_reports, measured.figures) == (0, 0)


def test_the_page_tells_the_night_and_no_text(world: World) -> None:
    world.add(range(40))
    crown(world, at=NOW - timedelta(hours=2))
    measure_champion.fn(world.run("monitor"), CLASSIFIER)
    with writing(world.engine) as c:
        source_id = c.scalar(select(source.c.id))
        c.execute(
            insert(quarantine).values(
                source_id=source_id, external_id="L99", raw_sha="0", reason="no_letters", payload=b"{}",
                first_run_id=1, first_seen_at=NOW - timedelta(hours=3), last_seen_at=NOW,
            )
        )  # fmt: skip
        tried = [("all", 0.75, 40), ("cues_unseen", 0.5, 12), ("kind=typos", 1.0, 9)]
        rows = [Metric("model", "behaviour", part, "right", share, 0.1, 1, n) for part, share, n in tried]
        metrics.put(c, 1, 1, rows, NOW)
        counts = ledger.Counts(read=42, new=40, updated=0, unchanged=1, quarantined=1)
        ledger.add_batch(c, 1, source_id, counts, NOW - timedelta(hours=3))
        removed = {"models": 2, "leftovers": 0, "checkpoints": 0, "mebibytes": 9.5, "features": 7, "texts": 0}
        for hours in (1, 2, 30):
            audit.record(
                c, actor="retention", action="retention", subject="run 1", detail=removed,
                now=NOW - timedelta(hours=hours),
            )  # fmt: skip
        night = look_back(c, world.settings, NOW)
    page = tonight(night)
    for told in (
        "| his | 42 | 40 | 0 | 1 | 1 |",
        "model 1 was promoted",
        "- held: sensitivity",
        "| hospital's labels (40) | 1.000 (",
        "one thing: all pairs 75% of 40 right; negation, in words never taught 50% of 12 right\n",
        "| achado | model 1 | 40 | **8** | 0 |",
        "| his | `no_letters` | 1 |",
        "models: 4, stored vectors: 14 (19.0 MiB on the disk)",
        "![answers of achado by day](data:image/png;base64,",
        "outro: nothing ever came in",
        "no clinical validation",
    ):
        assert told in page
    assert len(page.encode()) < 60_000
    assert not any(text_of(number, LABELS[number % 2]) in page for number in range(40))


def test_a_page_before_anything_happened_names_the_first_command(world: World) -> None:
    with reading(world.engine) as c:
        page = tonight(look_back(c, world.settings, NOW))
    for told in ("`laudos ingest`", "`laudos retrain`", "Nothing is in quarantine"):
        assert told in page


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        (["no_letters"] * 10, "his: 10 of 50 new rows (20%) went to quarantine, usually 0%"),
        # these reports are among the new ones already
        (["unknown_label"] * 10, "his: 10 of 40 new rows (25%) went to quarantine, usually 0%"),
        (["no_letters"] * 2, None),
    ],
)
def test_a_jump_of_a_sources_share_in_quarantine_is_told_by_the_night(
    world: World, reasons: list[str], told: str | None
) -> None:
    world.add(range(40))
    with writing(world.engine) as c:
        source_id = c.scalar(select(source.c.id))
        for number, reason in enumerate(reasons):
            row = {"source_id": source_id, "external_id": f"Q{number}", "raw_sha": "0", "reason": reason}
            at = {"first_seen_at": NOW - timedelta(hours=3), "last_seen_at": NOW}
            c.execute(insert(quarantine).values(**row, **at, payload=b"{}", first_run_id=1))
        for days, new in ((0.1, 40), (3, 400)):
            counts = ledger.Counts(read=new, new=new)
            ledger.add_batch(c, 1, source_id, counts, NOW - timedelta(days=days))
        alarmed = [one for one in look_back(c, world.settings, NOW).alarms if "quarantine" in one]
    assert [one.split(";")[0] for one in alarmed] == ([told] if told else [])


def test_only_what_the_present_champion_left_to_a_person_is_held_against_the_limit(world: World) -> None:
    world.add(range(40))
    crown(world, at=NOW - timedelta(hours=3))
    second = crown(world, at=NOW - timedelta(hours=2), epoch=2)
    with writing(world.engine) as c:
        # 32 of its 40, and with the former's 8 of 40 no more than half
        most = (prediction.c.model_id == second) & (prediction.c.report_version_id % 10 > 2)
        c.execute(update(prediction).where(most).values(decision="review"))
        [told] = _about_indecision(c, world)
    assert "80% of 40 answers were left to a person, more than 50%; the reports may have changed" in told


def test_an_alarm_of_indecision_names_the_label_that_too_few_calibration_reports_bear(world: World) -> None:
    world.add(range(40))
    model_id = crown(world, at=NOW - timedelta(hours=2))
    facts = LaudosJson(
        CLASSIFIER, tuple(LABELS), "maligno", 64, 16, "0", "0", 0, NOW,
        Thresholds((0.5, math.inf), (100, 7), (0.05, 0.02)),
    )  # fmt: skip
    with writing(world.engine) as c:
        c.execute(update(prediction).values(decision="review"))
        folder = folder_of(world.settings, models.existing(c, model_id))
        folder.mkdir(parents=True)
        (folder / "laudos.json").write_text(json.dumps(facts.as_json()))
        [told] = _about_indecision(c, world)
    assert (
        "maligno: 7 calibration reports are too few to promise 2.0% wrong sure answers (49 are need" in told
    )
    assert "`critical_review_error`" in told
    assert "the reports may have changed" not in told


def _about_indecision(c: Connection, world: World) -> list[str]:
    return [one for one in look_back(c, world.settings, NOW).alarms if "left to a person" in one]


@pytest.mark.parametrize(("high", "alarmed"), [(0.44, True), (0.55, False), (None, False)])
def test_sensitivity_surely_below_the_floor_is_told(world: World, high: float | None, alarmed: bool) -> None:
    found = Metric("model", "source", "all", "sensitivity", 0.4, 0.3, high, 50)
    told = list(alarms.misses({CLASSIFIER: [found]}, world.settings.classifiers))
    assert bool(told) == alarmed


def test_a_night_that_was_killed_is_told_by_the_next_one(world: World) -> None:
    """A day later, when it began longer ago than the page looks back; and once, not by the night after."""
    now = datetime.now(UTC)
    begin(world.engine, "nightly", now - timedelta(days=1, minutes=30))
    begin(world.engine, "retrain", now - timedelta(days=1, minutes=25))
    with recorded_run(world.engine, world.settings, "nightly"), reading(world.engine) as c:
        for hours, told in ((0, ["nightly run 1 crashed", "retrain run 2 crashed"]), (25, [])):
            alarmed = look_back(c, world.settings, datetime.now(UTC) + timedelta(hours=hours)).alarms
            assert [one.split(":")[0] for one in alarmed if "crashed" in one] == told


def troubles(world: World, since: datetime) -> list[str]:
    with reading(world.engine) as c:
        return [one.failure or "" for one in monitoring.troubles(c, since)]


def test_a_trouble_is_told_until_a_whole_night_did_the_same_without_a_fault(world: World) -> None:
    def at(minute: int) -> datetime:
        return NOW + timedelta(minutes=minute)

    first = ran(world.engine, "nightly", at(0), "in part")
    ran(world.engine, "ingest", at(1), "his", first)
    ran(world.engine, "ingest", at(2), None, first)
    ran(world.engine, "classify", at(3), "achado", first)
    ran(world.engine, "ingest", at(4))  # perhaps the other source
    assert troubles(world, NOW) == ["his", "achado"]
    second = ran(world.engine, "nightly", at(5), "in part")
    ran(world.engine, "ingest", at(6), None, second)
    ran(world.engine, "classify", at(7), None, second)
    ran(world.engine, "classify", at(8), "outro", second)
    assert troubles(world, NOW) == ["achado", "outro"]


def test_a_failed_night_that_none_of_its_parts_tells_is_told_until_another_is_done(world: World) -> None:
    night = ran(world.engine, "nightly", NOW, "ingest his: Prefect's server does not answer")
    ran(world.engine, "monitor", NOW, None, night)
    assert troubles(world, NOW) == ["ingest his: Prefect's server does not answer"]
    with reading(world.engine) as c:
        assert f"nightly run {night} failed: ingest his: " in "".join(
            look_back(c, world.settings, NOW).alarms
        )
    ran(world.engine, "nightly", NOW + timedelta(days=1), "and again")
    assert len(troubles(world, NOW)) == 2
    ran(world.engine, "nightly", NOW + timedelta(days=2))
    assert troubles(world, NOW) == []


@pytest.mark.usefixtures("prefect_harness")
def test_an_audit_that_fails_fails_the_run_once_the_page_is_there(
    configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = configure(**TABLES | {"scoring": {"cascade": True}})
    told: list[int] = []

    def fail(_run_id: int, classifier: str) -> None:
        raise LaudosError(f"the champion of {classifier} cannot be used")

    def tell(run_id: int) -> Told:
        told.append(run_id)
        return Told((), 0, 0)

    monkeypatch.setattr(flows.monitor, "audit_cascade", fail)
    monkeypatch.setattr(flows.monitor, "tell_the_night", tell)
    with pytest.raises(LaudosError, match="the champion of achado cannot be used"):
        flows.monitor.monitor()
    assert len(told) == 1
    with reading(open_database(settings)) as c:
        assert c.scalar(select(run.c.state)) == "failed"
