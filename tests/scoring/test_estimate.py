"""`laudos estimate`: it counts what scoring then does, scales a sample, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from itertools import islice
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, delete, select

from db import backlog, models
from db import forecast as tables
from db.cutting import levels
from db.engine import reading, writing
from db.errors import NothingToWorkOn
from db.tables import feature, metadata, prediction, report_version, score_chunk, score_job
from flows.cli.app import main
from tasks.ml.forecast import Reading, by_turns, forecast, groups
from tasks.ml.judging.shift import PATIENTS_MIN
from tasks.ml.network.predictor import Predictor
from tasks.scoring import estimate as estimated
from tasks.scoring.backends import on_its_backend
from tasks.scoring.claims import each_chunk, work_on
from tasks.scoring.estimate import as_cut, estimate
from tasks.scoring.scorer import ScoreSummary
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import CLASSIFIER, TABLES, Hospital

NORMAL = "Laudo normal. exame sem alteracoes."


def score(hospital: Hospital, model_id: int) -> ScoreSummary:
    return work_on(hospital.engine, hospital.settings, hospital.cut(model_id))


def rows(hospital: Hospital) -> dict[str, int]:
    return {table.name: hospital.count(table) for table in metadata.sorted_tables}


def test_it_counts_what_scoring_then_does_and_writes_nothing(both: Hospital) -> None:
    both.receive(20)
    score(both, both.crown())
    model_id = both.crown(head=1)
    both.receive(9)
    both.receive(8, text=NORMAL)
    before = rows(both)
    told = estimate(both.settings, sample_s=0.0)
    assert rows(both) == before
    assert told.writing_tried
    done = score(both, model_id)
    assert (told.to_encode, told.identical, told.from_features) == (
        done.encoded,
        done.identical,
        done.from_features,
    )
    assert (told.reports, told.from_features) == (done.written, 20) == (37, 20)
    assert 0 < done.identical < 8, "identical texts of two chunks are encoded once in each"
    with reading(both.engine) as c:
        tokens = c.scalars(
            select(prediction.c.tokens_seen).where(
                prediction.c.model_id == model_id, prediction.c.report_version_id > 20
            )
        ).all()
    assert told.tokens <= sum(tokens)
    assert doctor(both.settings) == []


def test_with_every_text_in_the_sample_the_tokens_are_exact(hospital: Hospital) -> None:
    hospital.receive(30)
    model_id = hospital.crown()
    told = estimate(hospital.settings)
    score(hospital, model_id)
    with reading(hospital.engine) as c:
        tokens = sum(c.scalars(select(prediction.c.tokens_seen)))
    assert (told.tokens, told.tried_texts) == (tokens, 30)


def test_reduced_precision_reads_again_what_is_stored(
    hospital: Hospital, configure: Callable[..., Settings]
) -> None:
    hospital.receive(8)
    score(hospital, hospital.crown())
    model_id = hospital.crown(head=1)
    reduced = {**TABLES, "scoring": {**TABLES["scoring"], "backend": "torch-bf16"}}
    settings = configure(database=hospital.settings.database, **reduced)
    with reading(hospital.engine) as c:
        model = models.get(c, model_id)
        assert model is not None
        found = [
            tables.waiting(c, as_cut(c, one, CLASSIFIER, model)) for one in (hospital.settings, settings)
        ]
    assert [(one.known, one.texts) for one in found] == [(8, 0), (0, 8)]


def test_identical_texts_of_a_chunk_get_one_vector_and_an_answer_each(both: Hospital) -> None:
    both.receive(2)
    both.receive(2, text=NORMAL)
    done = score(both, both.crown())
    assert (done.written, done.encoded, done.identical) == (4, 3, 1)
    with reading(both.engine) as c:
        vectors = dict(c.execute(select(feature.c.report_version_id, feature.c.vector)).all())
        answers = c.execute(select(prediction.c.report_version_id, prediction.c.probabilities)).all()
    told: dict[int, Any] = {row.report_version_id: row.probabilities for row in answers}
    assert vectors[3] == vectors[4] != vectors[2]
    assert told[3] == told[4] != told[2]
    assert doctor(both.settings) == []


def test_what_a_worker_holds_is_not_tried_to_be_written(both: Hospital) -> None:
    both.receive(8)
    job = both.cut(both.crown())
    with writing(both.engine) as c:
        held = {"state": "leased", "leased_by": "elsewhere:1", "leased_until": both.now.replace(year=2999)}
        c.execute(score_chunk.update().where(score_chunk.c.seq == 1).values(held))
    assert not estimate(both.settings, sample_s=0.0).writing_tried
    assert both.count(score_job, score_job.c.id == job.id, score_job.c.state == "open") == 1


@pytest.mark.parametrize(("chunks", "writing_tried"), [(7, True), (10, False)])
def test_what_others_score_meanwhile_ends_no_estimate(
    both: Hospital, monkeypatch: pytest.MonkeyPatch, chunks: int, writing_tried: bool
) -> None:
    both.receive(40)
    job = both.cut(both.crown())
    sample = tables.sample

    def sample_and_score(*asked: Any) -> dict[int, int]:
        found = sample(*asked)
        others = each_chunk(both.engine, both.settings, job)
        assert len(list(islice(others, chunks))) == chunks
        return found

    monkeypatch.setattr(tables, "sample", sample_and_score)
    told = estimate(both.settings)
    assert (told.reports, told.tried_texts, told.writing_tried) == (40, 40, writing_tried)
    assert (told.rest_s > 0) is writing_tried
    assert both.count(prediction) == 4 * chunks


def test_what_one_worker_reads_to_test_for_a_shift_is_shared_with_none(both: Hospital) -> None:
    both.receive(PATIENTS_MIN)
    model_id = both.crown()
    both.calibrate(model_id)
    score(both, model_id)
    both.receive(60)
    with writing(both.engine) as c:
        c.execute(delete(feature).where(feature.c.report_version_id <= 10))
    alone, many = (estimate(both.settings, sample_s=0.0, workers=workers) for workers in (1, 60))
    assert many.plan.seconds >= many.start_s + many.encode_s, "all of it is read before the first answer"
    text_s = many.encode_s / 60
    assert many.test_s == pytest.approx(70 * text_s)
    largest = 4 / 60
    assert many.plan.seconds == pytest.approx(many.start_s + 70 * text_s + many.rest_s * largest)
    text_s = alone.encode_s / 60
    assert alone.plan.seconds == pytest.approx(alone.start_s + 70 * text_s + alone.rest_s)

    stored, job = both.count(feature), both.cut(model_id)
    list(islice(each_chunk(both.engine, both.settings, job), 1))
    assert both.count(feature) == stored + 70, "as many as the test read"
    assert estimate(both.settings, sample_s=0.0, workers=60).test_s == 0, "it is decided"


def test_a_trial_that_is_made_meanwhile_and_kept_is_not_told_as_loading(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(8)
    hospital.crown()
    clock, trials = [0.0], iter([100.0])

    def tries_once(*asked: Any) -> Predictor:
        clock[0] += next(trials, 1.0)
        return on_its_backend(*asked)

    monkeypatch.setattr(estimated, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    monkeypatch.setattr(estimated, "on_its_backend", tries_once)
    assert estimate(hospital.settings).start_s == 1.0


def test_what_is_in_the_sample_stands_for_the_whole(both: Hospital) -> None:
    both.receive(40)
    model_id = both.crown_row()
    asked = tables.Backlog(model_id, "e" * 64, None, 40, levels(40, 8, 8))
    with reading(both.engine) as c:
        found = tables.waiting(c, asked)
        assert len(tables.sample(c, asked, found.texts, 1000)) == found.texts == 40
        some = tables.sample(c, asked, found.texts, 10)
    assert list(some) == list(range(2, 41, 4)), "evenly over the backlog"


def test_nothing_waiting_costs_nothing(hospital: Hospital) -> None:
    with pytest.raises(NothingToWorkOn, match="laudos retrain"):
        estimate(hospital.settings)
    hospital.crown_row()
    told = estimate(hospital.settings, price_per_hour=2.0)
    assert (told.reports, told.plan.seconds, told.plan.cost, told.saved_by_one_more_s) == (0, 0.0, 0.0, 0.0)


def test_what_arrives_while_it_is_counted_is_left_for_the_next_estimate(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL shows each statement what was committed before it; SQLite shows one state throughout."""
    both.crown_row()
    counted = backlog.count

    def count_and_receive(c: Connection, *asked: Any) -> int:
        found = counted(c, *asked)
        both.receive(3)
        return found

    monkeypatch.setattr(backlog, "count", count_and_receive)
    assert estimate(both.settings).plan.seconds == 0.0
    assert both.count(report_version) == 3


def test_the_command_tells_cost_and_what_one_more_machine_saves(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hospital.receive(40)
    hospital.crown()
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def laudos(*words: str) -> str:
        monkeypatch.setattr(sys, "argv", ["laudos", "estimate", "--sample-seconds", "0", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        return capsys.readouterr().out

    told = json.loads(laudos("--price-per-hour", "3600", "--json"))
    plan, one_more = told["plan"], told["one_more"]
    assert plan["cost"] == pytest.approx(plan["seconds"])
    assert one_more["cost"] == pytest.approx(2 * one_more["seconds"])
    work_s = told["encode_s"] + told["rest_s"]
    assert told["saved_by_one_more_s"] == pytest.approx(work_s / 2)
    assert plan["seconds"] == pytest.approx(told["start_s"] + work_s)
    words = laudos("--workers", "2")
    assert f"{CLASSIFIER}, model 1: 40 reports wait" in words
    assert "2 machines: " in words
    assert "Laudo" not in words


# ------------------------------------------------------------------ the sample and its scaling


def test_every_text_is_given_once_and_long_ones_do_not_all_come_first() -> None:
    characters = np.random.default_rng(1).integers(50, 5000, 1000)
    given = list(groups(characters, 1000, 50, np.random.default_rng(0)))
    assert sorted(np.concatenate(given)) == list(range(1000))
    assert max(np.ptp(characters[one]) for one in given) < 600, "neighbours in length"
    first = characters[np.concatenate(given[:4])].mean()
    assert first == pytest.approx(characters.mean(), rel=0.1)


def test_chunks_are_drawn_from_the_whole_sample_without_repeating_a_text() -> None:
    characters = np.random.default_rng(1).integers(50, 5000, 1000)
    given = np.concatenate(list(groups(characters, 100, 50, np.random.default_rng(0))))
    assert len(given) == len(set(given)) == 1000
    assert characters[given[:100]].mean() == pytest.approx(characters.mean(), rel=0.05)
    assert list(groups(characters[:0], 100, 50, np.random.default_rng(0))) == []


def test_any_first_few_turns_are_spread() -> None:
    assert by_turns(8) == [0, 5, 2, 7, 4, 1, 6, 3]
    assert sorted(by_turns(11)) == list(range(11))


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        characters = rng.integers(1000, 9000, 200)
        seconds = characters * rng.normal(1e-3, 2e-4, 200)
        drawn = rng.choice(200, 12, replace=False)
        told = forecast(
            [Reading(1, int(characters[at]), 1, float(seconds[at])) for at in drawn], float(characters.sum())
        )
        assert told.half_s is not None
        held += abs(told.seconds - seconds.sum()) <= told.half_s
    assert 0.92 <= held / 400 <= 0.99
    assert forecast([Reading(1, 10, 2, 1.0)], 100).half_s is None
