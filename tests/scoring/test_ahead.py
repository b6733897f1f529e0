"""The next chunk is tokenised while the model reads this one, and nothing depends on it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import select, update

from db import scoring
from db.engine import reading, writing
from db.tables import feature, prediction, report_version, score_chunk
from tasks.ml.network import features
from tasks.ml.network.predictor import Predictor
from tasks.scoring import claims
from tasks.scoring.workers import worker_name
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import Hospital, text_of
from tests.scoring.test_classify import classify, probabilities


@pytest.fixture
def cut_by(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """By which thread which texts are cut into windows; what is begun ahead has ended when a chunk has."""
    told: list[tuple[str, list[str]]] = []
    windows_of = features.windows_of

    def watched(tokenizer: Any, texts: list[str], *how: Any) -> Any:
        by = "ahead" if threading.current_thread().name.startswith("ahead") else "main"
        told.append((by, list(texts)))
        return windows_of(tokenizer, texts, *how)

    class Patient(ThreadPoolExecutor):
        def submit(self, *asked: Any, **more: Any) -> Any:
            begun = super().submit(*asked, **more)
            begun.exception()
            return begun

    monkeypatch.setattr(features, "windows_of", watched)
    monkeypatch.setattr(claims, "ThreadPoolExecutor", Patient)
    return told


def test_every_chunk_but_the_first_is_tokenised_ahead(
    both: Hospital, cut_by: list[tuple[str, list[str]]]
) -> None:
    both.receive(12)
    both.crown()
    summary = classify(both)
    assert summary is not None
    assert (summary.written, summary.encoded) == (12, 12)
    chunks = [[text_of(number) for number in range(first, first + 4)] for first in (0, 4, 8)]
    assert cut_by == [("main", chunks[0]), ("ahead", chunks[1]), ("ahead", chunks[2])]
    assert doctor(both.settings) == []


def test_what_was_read_ahead_changes_no_answer(both: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    both.receive(30)
    both.crown()
    classify(both)
    ahead = probabilities(both)
    with writing(both.engine) as c:
        c.execute(prediction.delete())
        c.execute(feature.delete())
    monkeypatch.setattr(Predictor, "prepare", lambda *_: None)
    classify(both)
    assert probabilities(both) == ahead


def test_a_text_that_changed_since_it_was_read_ahead_is_read_as_it_is_now(
    both: Hospital, cut_by: list[tuple[str, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is erased: no answer to it is written, and no other one is lost."""
    both.receive(8)
    both.crown()
    prepare = Predictor.prepare

    def prepared_and_then_erased(self: Predictor, texts: list[str]) -> None:
        prepare(self, texts)
        both.change("L6", erased_at=both.now)
        with writing(both.engine) as c:
            c.execute(update(report_version).where(report_version.c.id == 7).values(text=None))

    monkeypatch.setattr(Predictor, "prepare", prepared_and_then_erased)
    summary = classify(both)
    assert summary is not None
    assert summary.written == 7
    assert both.count(prediction, prediction.c.report_version_id == 7) == 0
    left = [text_of(number) for number in (4, 5, 7)]
    assert cut_by[-1] == ("main", left)


def test_reading_ahead_that_fails_harms_no_answer(both: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    both.receive(12)
    both.crown()

    def fails(*_: Any) -> None:
        raise RuntimeError("of patient Maria")

    monkeypatch.setattr(Predictor, "prepare", fails)
    summary = classify(both)
    assert summary is not None
    assert (summary.written, summary.quarantined) == (12, 0)


def test_nobody_reads_ahead_where_another_may_claim_it(
    both: Hospital, cut_by: list[tuple[str, list[str]]]
) -> None:
    both.receive(16)
    job = both.cut(both.crown())
    with writing(both.engine) as c:
        assert scoring.claim(c, job.id, "other", both.settings.scoring.lease, scoring.lease_clock(c))
    claims.work_on(both.engine, both.settings, job)
    assert [by for by, _ in cut_by] == ["main"] * 3


def test_what_a_worker_died_over_is_not_read_ahead(both: Hospital) -> None:
    """It might kill this one as well, over a chunk that has no fault."""
    both.receive(12)
    job = both.cut(both.crown())
    with writing(both.engine) as c:
        mine = scoring.claim(c, job.id, worker_name(), both.settings.scoring.lease, scoring.lease_clock(c))
    assert mine is not None
    with reading(both.engine) as c:
        assert scoring.next_free(c, job.id, worker_name()) == (5, 8)
    with writing(both.engine) as c:
        c.execute(update(score_chunk).where(score_chunk.c.seq == mine.seq + 1).values(deaths=1))
    with reading(both.engine) as c:
        assert scoring.next_free(c, job.id, worker_name()) == (9, 12)
    with writing(both.engine) as c:
        c.execute(update(score_chunk).where(score_chunk.c.state == "open").values(deaths=1))
    with reading(both.engine) as c:
        assert scoring.next_free(c, job.id, worker_name()) is None
        assert c.execute(select(score_chunk.c.seq).where(score_chunk.c.state == "open")).all()
