"""`laudos explain` and `laudos verify` on real champions: what is kept, shown and told, and what never is."""

from __future__ import annotations

import json
import logging
import os
import re
import stat
import sys
from pathlib import Path

import pytest
from rich.console import Console
from sqlalchemy import func, insert, select, text, update

from db import audit, tables
from db.engine import reading, writing
from db.errors import ConfigurationError, LaudosError, NothingToWorkOn
from db.tables import evidence, prediction, report_version
from flows.cli.app import main
from flows.cli.evidence_words import marked
from tasks.inspection.explain import explain
from tasks.inspection.marked_page import write_page
from tasks.inspection.verify import verify_prediction, verify_report
from tasks.ledger import code_revision
from tasks.ml.network.evidence import sentences
from tasks.ml.network.predictor import Predictor
from tasks.scoring.claims import work_on
from tests.scoring.hospital import CLASSIFIER, LABELS, Hospital

CANARY = "zqxvwlaudo"
TEXT = f"Paciente {CANARY}.\nNucleos lisos; pleomorfismo acentuado [b]. Exame <b>realizado</b> & fim."


@pytest.fixture
def answered(hospital: Hospital) -> Hospital:
    return with_answers(hospital)


def with_answers(hospital: Hospital) -> Hospital:
    """Two reports and the champion's answers for them."""
    model_id = hospital.crown()
    hospital.receive(2, text=TEXT)
    work_on(hospital.engine, hospital.settings, hospital.cut(model_id))
    return hospital


def actions(hospital: Hospital) -> list[str]:
    with reading(hospital.engine) as c:
        assert audit.broken(c) == []
        return list(c.scalars(select(tables.audit.c.action).order_by(tables.audit.c.id)))


def everything_in(hospital: Hospital, *names: str) -> str:
    with reading(hospital.engine) as c:
        return str([c.execute(text(f"SELECT * FROM {name}")).all() for name in names])


def test_evidence_is_kept_as_places_and_scores_and_who_asked_is_on_record(both: Hospital) -> None:
    with_answers(both)
    explained, told = explain(both.settings, "1")
    assert told == TEXT
    with reading(both.engine) as c:
        query = select(evidence.c.begins, evidence.c.ends, evidence.c.score).order_by(evidence.c.begins)
        kept = [tuple(row) for row in c.execute(query)]
    assert kept == [(one.start, one.end, one.score) for one in explained.passages]
    assert len(kept) == 4
    assert actions(both) == ["explained"]
    assert "report version 1" in everything_in(both, "audit")
    assert CANARY not in everything_in(both, "evidence", "audit")
    assert CANARY not in str(explained)


def test_what_was_computed_once_is_read_again_and_every_asking_is_on_record(
    answered: Hospital, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = explain(answered.settings, "L0", source="his", classifier=CLASSIFIER)
    monkeypatch.setattr(Predictor, "load", lambda *_: pytest.fail("computed twice"))
    assert explain(answered.settings, "1")[0] == first
    assert actions(answered) == ["explained"] * 2
    with pytest.raises(pytest.fail.Exception):  # another report was not computed yet
        explain(answered.settings, "2")


def test_a_text_that_was_removed_is_neither_shown_nor_computed_from(answered: Hospital) -> None:
    explain(answered.settings, "1")
    with writing(answered.engine) as c:
        c.execute(update(report_version).where(report_version.c.id == 1).values(text=None))
    with pytest.raises(LaudosError, match="was removed"):
        explain(answered.settings, "1")
    with pytest.raises(LaudosError, match="was removed"):
        verify_prediction(answered.settings, "1:1")
    assert actions(answered) == ["explained"]


def test_a_report_without_an_answer_or_of_no_such_name_is_said_to_be_so(answered: Hospital) -> None:
    answered.amend("L0")
    with pytest.raises(NothingToWorkOn, match="laudos classify"):
        explain(answered.settings, "1")
    with pytest.raises(LaudosError, match="no report of this id"):
        explain(answered.settings, "L9", source="his")
    with pytest.raises(ConfigurationError, match="--source"):
        explain(answered.settings, "L0")
    assert verify_prediction(answered.settings, "1:1").trace.current_version == 2
    assert actions(answered) == []


def test_the_page_holds_the_whole_report_escaped_and_only_its_owner_reads_it(
    answered: Hospital, tmp_path: Path
) -> None:
    explained, told = explain(answered.settings, "1")
    before = os.umask(0)
    try:
        write_page(tmp_path / "page.html", explained, told)
    finally:
        os.umask(before)
    page = (tmp_path / "page.html").read_text("utf-8")
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o600
    assert "&lt;b&gt;realizado&lt;/b&gt; &amp; fim" in page
    assert "<b>" not in page
    assert "http" not in page.replace("http-equiv", "")
    assert "text of a patient" in page
    assert '<mark class="strong"' in page
    with pytest.raises(LaudosError, match="there already"):
        write_page(tmp_path / "page.html", explained, told)
    (tmp_path / "link.html").symlink_to(tmp_path / "theirs")
    with pytest.raises(LaudosError, match="there already"):
        write_page(tmp_path / "link.html", explained, told)
    assert not (tmp_path / "theirs").exists()


def test_the_terminal_shows_the_text_as_it_is_with_marks_where_the_evidence_stands(
    answered: Hospital,
) -> None:
    explained, told = explain(answered.settings, "1")
    shown = marked(explained, told)
    assert shown.plain == TEXT
    styled = {(span.start, span.end) for span in shown.spans}
    assert styled == {(one.start, one.end) for one in explained.passages if one.degree != "none"}
    assert styled
    console = Console(width=200, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(shown)
    assert "[b]" in console.export_text()


def ran(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    monkeypatch.setattr(sys, "argv", ["laudos", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_pipe_a_log_and_an_error_get_no_text_and_the_exit_code_says_what_happened(
    answered: Hospital,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.DEBUG)
    assert ran(monkeypatch, "explain", "1", "--html", str(tmp_path / "page.html")) == 0
    assert "--html FILE" not in capsys.readouterr().err, "it was just written"
    assert CANARY in (tmp_path / "page.html").read_text("utf-8"), "the search would be blind"
    assert ran(monkeypatch, "explain", "1", "--html", str(tmp_path / "page.html")) == 1
    assert ran(monkeypatch, "explain", "L0") == 2
    assert ran(monkeypatch, "explain", "9") == 3
    assert ran(monkeypatch, "verify") == 2
    assert ran(monkeypatch, "verify", "1:1", "--source", "his") == 2
    assert ran(monkeypatch, "verify", "--report", "L1", "--source", "his") == 0
    monkeypatch.setattr(Predictor, "predict", lambda _self, texts, **_: int(texts[0]))
    assert ran(monkeypatch, "--debug", "verify", "1:1") == 1
    told = capsys.readouterr()
    assert "unforeseen ValueError" in told.err
    assert CANARY not in told.out + told.err + caplog.text
    assert ran(monkeypatch, "explain", "1", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {(one["start"], one["end"]) for one in found["passages"]} == {
        (span.start, span.end) for span in sentences(TEXT)
    }


def test_the_person_at_the_terminal_sees_the_report(
    answered: Hospital, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert ran(monkeypatch, "explain", "1") == 0
    shown = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert TEXT in shown
    assert "not what is true" in shown


def test_a_prediction_is_computed_again_and_traced_to_all_that_it_stands_on(both: Hospital) -> None:
    with_answers(both)
    verified = verify_report(both.settings, "L1", source="his")
    assert verified.same
    assert verified.largest_difference is not None
    assert verified.largest_difference <= 1e-4
    of = verified.trace
    assert (of.report_id, of.report_version_id, of.model_id, of.snapshot_id) == (2, 2, 1, 1)
    assert (of.scoring_code_revision, of.training_code_revision) == (code_revision(),) * 2
    assert len(of.manifest_sha) == len(of.snapshot_sha) == 64
    assert verified == verify_prediction(both.settings, "1:2")
    assert CANARY not in str(verified)


def test_an_altered_model_text_or_row_makes_verification_fail_and_is_named(answered: Hospital) -> None:
    said = verify_prediction(answered.settings, "1:1").trace
    with writing(answered.engine) as c:
        c.execute(
            update(report_version).where(report_version.c.id == 1).values(text="Outro texto, grosseira.")
        )
    assert not verify_prediction(answered.settings, "1:1").same
    other = "auto" if said.decision == "review" else "review"
    shifted = {label: value + 2e-4 for label, value in said.probabilities.items()}
    with writing(answered.engine) as c:
        c.execute(
            update(prediction)
            .where(prediction.c.report_version_id == 2)
            .values(decision=other, review_because=None, probabilities=shifted)
        )
    verified = verify_prediction(answered.settings, "1:2")
    assert [one.what for one in verified.differences] == [
        "decision",
        *(f"probability of {x}" for x in LABELS),
    ]
    assert verified.largest_difference == pytest.approx(2e-4, rel=0.1)
    folder = answered.folder_of(1)
    config = folder / "config.json"
    config.write_text(config.read_text("utf-8") + " ", encoding="utf-8")
    (difference,) = verify_prediction(answered.settings, "1:2").differences
    assert difference.what == "model folder"
    assert "config.json" in difference.now


def test_the_database_refuses_evidence_of_no_prediction_and_of_no_place(both: Hospital) -> None:
    with_answers(both)
    row = {"model_id": 1, "report_version_id": 1, "score": 0.0, "method": "m", "at": both.now}
    for wrong in (
        {"begins": 3, "ends": 3},
        {"begins": -1, "ends": 3},
        {"begins": 0, "ends": 3, "report_version_id": 9},
    ):
        with pytest.raises(LaudosError), writing(both.engine) as c:
            c.execute(insert(evidence).values({**row, **wrong}))
    with writing(both.engine) as c:
        c.execute(insert(evidence).values({**row, "begins": 0, "ends": 3}))
        assert c.scalar(select(func.count()).select_from(evidence)) == 1
