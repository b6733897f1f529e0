"""What happens while a chunk is read: amended, deleted and erased reports, other workers, lost leases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select, update

from db import features, models, scoring, takeover
from db.engine import reading, writing
from db.errors import StaleLease
from db.features import Feature
from db.lessons import ERASED_SHA
from db.tables import feature, prediction, quarantine, report_version, score_chunk
from db.takeover import TakenOver
from tasks.ml.network.predictor import Predictor
from tasks.scoring.worker import score_job
from tasks.settings.settings import Settings
from tasks.upkeep.doctor import doctor
from tests.scoring.hospital import TABLES, Hospital, text_of
from tests.scoring.test_classify import classify, fail_on


def meanwhile(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Any]) -> None:
    """Something happens while the model reads its first chunk."""
    read, waits = Predictor.vectors, iter([happens])

    def vectors(self: Predictor, texts: list[str], **options: Any) -> Any:
        next(waits, lambda: None)()
        return read(self, texts, **options)

    monkeypatch.setattr(Predictor, "vectors", vectors)


def test_a_report_amended_while_it_is_read_is_read_again(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.receive(4)
    both.crown()
    meanwhile(monkeypatch, lambda: both.amend("L1"))
    first = classify(both)
    assert first is not None
    assert first.written == 4, "what was said of the former text stays on record"
    second = classify(both)
    assert second is not None
    assert (second.written, second.encoded) == (1, 1)
    assert classify(both) is None
    assert doctor(both.settings) == []


def test_a_report_deleted_at_its_source_while_it_is_read_is_no_more_in_the_backlog(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.receive(4)
    both.crown()
    meanwhile(monkeypatch, lambda: both.change("L1", deleted_at=both.now))
    summary = classify(both)
    assert summary is not None
    assert summary.written == 4
    assert classify(both) is None
    assert doctor(both.settings) == []


def test_a_report_erased_while_it_is_read_leaves_no_trace(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.receive(4)
    both.crown()

    def erase() -> None:
        both.change("L1", erased_at=both.now)
        gone = {"text": None, "raw_sha": ERASED_SHA}
        with writing(both.engine) as c:
            c.execute(update(report_version).where(report_version.c.id == 2).values(gone))

    meanwhile(monkeypatch, erase)
    summary = classify(both)
    assert summary is not None
    assert summary.written == 3
    for table in (prediction, feature):
        assert both.count(table, table.c.report_version_id == 2) == 0
    assert classify(both) is None
    assert doctor(both.settings) == []


def test_a_report_erased_while_it_makes_the_model_fail_is_not_named_in_quarantine(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.receive(4)
    both.crown()
    fail_on(monkeypatch, lambda text: text == text_of(1))

    def erase() -> None:
        with writing(both.engine) as c:
            c.execute(update(report_version).where(report_version.c.id == 2).values(text=None))

    meanwhile(monkeypatch, erase)
    summary = classify(both)
    assert summary is not None
    assert (summary.written, summary.quarantined, both.count(quarantine)) == (3, 0, 0)


def test_a_vector_that_another_worker_stored_meanwhile_is_no_obstacle(
    both: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    both.receive(4)
    model_id = both.crown()

    def store() -> None:
        with reading(both.engine) as c:
            model = models.get(c, model_id)
        assert model is not None
        with writing(both.engine) as c:
            features.put(c, model.encoder_sha, [Feature(2, b"theirs", 1, 1, b"")], both.now)

    meanwhile(monkeypatch, store)
    summary = classify(both)
    assert summary is not None
    assert summary.written == both.count(feature) == 4
    with reading(both.engine) as c:
        assert c.scalar(select(feature.c.vector).where(feature.c.report_version_id == 2)) == b"theirs"


def test_ctrl_c_gives_the_chunk_back(hospital: Hospital, monkeypatch: pytest.MonkeyPatch) -> None:
    hospital.receive(8)
    hospital.crown()

    def interrupted(self: Predictor, texts: list[str], **options: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Predictor, "vectors", interrupted)
        with pytest.raises(KeyboardInterrupt):
            classify(hospital)
    assert hospital.count(score_chunk, score_chunk.c.state == "open") == 2
    summary = classify(hospital)
    assert summary is not None
    assert summary.written == 8


def test_a_worker_that_lost_its_chunk_goes_on_with_the_next(
    hospital: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(12)
    job = hospital.cut(hospital.crown())
    read, lost = Predictor.vectors, []

    def vectors(self: Predictor, texts: list[str], **options: Any) -> Any:
        if not lost:
            lost.append(True)
            stolen = update(score_chunk).where(score_chunk.c.seq == 1)
            with writing(hospital.engine) as c:
                c.execute(stolen.values(fence=score_chunk.c.fence + 1, leased_by="elsewhere:1"))
        return read(self, texts, **options)

    monkeypatch.setattr(Predictor, "vectors", vectors)
    summary = score_job(hospital.engine, hospital.settings, job)
    assert (summary.written, summary.elsewhere) == (8, 1)


def test_a_long_chunk_renews_its_lease_and_notices_when_it_is_lost(
    hospital: Hospital, configure: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.receive(4)
    model_id = hospital.crown()
    impatient = {**TABLES, "scoring": {"lease": "0s", "batch_tokens": 64}}
    settings = configure(database=hospital.settings.database, **impatient)
    renewed: list[int] = []

    monkeypatch.setattr(scoring, "renew", lambda c, chunk, lease, now: renewed.append(chunk.seq))
    assert classify(hospital) is not None
    assert len(renewed) > 1

    def lost(*_: Any) -> None:
        raise StaleLease("lost")

    hospital.receive(4)
    monkeypatch.setattr(scoring, "renew", lost)
    monkeypatch.setattr(scoring, "claim", once(scoring.claim))
    monkeypatch.setattr(takeover, "take_over", lambda *_, **__: TakenOver())
    summary = score_job(hospital.engine, settings, hospital.cut(model_id))
    assert (summary.written, hospital.count(prediction)) == (0, 4)


def once(function: Callable[..., Any]) -> Callable[..., Any]:
    calls = iter([function])
    return lambda *arguments, **more: next(calls, lambda *_, **__: None)(*arguments, **more)
