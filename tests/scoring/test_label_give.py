"""Labels of a person: they empty the queue, replace that person's own, and are refused unless they fit."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import select, text, update
from typer.testing import CliRunner, Result

from db import audit
from db.engine import reading, writing
from db.tables import audit as audit_table
from db.tables import label, prediction, report, report_version
from flows.cli.app import app
from tests.scoring.hospital import CLASSIFIER, Hospital
from tests.scoring.test_classify import classify


def give(*words: str) -> Result:
    return CliRunner().invoke(app, ["labels", "give", *words])


def given(hospital: Hospital) -> set[tuple[str, int, str, str]]:
    """(report, version, person, label) of all feedback."""
    query = (
        select(report.c.external_id, report_version.c.version, label.c.actor, label.c.value)
        .join_from(label, report_version)
        .join(report, report.c.id == report_version.c.report_id)
        .where(label.c.origin == "feedback", label.c.classifier == CLASSIFIER)
    )
    with reading(hospital.engine) as c:
        return {(row[0], row[1], row[2], row[3]) for row in c.execute(query)}


def test_a_label_that_a_person_gives_takes_its_report_out_of_the_review_queue(both: Hospital) -> None:
    both.receive(4)
    both.crown()
    both.amend("L1")
    classify(both)
    with writing(both.engine) as c:
        c.execute(update(prediction).values(decision="review", review_because="unsure"))

    def queue() -> list[str]:
        with reading(both.engine) as c:
            return sorted(c.scalars(text("SELECT external_id FROM review_queue")))

    assert queue() == ["L0", "L1", "L2", "L3"]
    waiting = CliRunner().invoke(app, ["labels", "next"]).output
    assert f"laudos labels give LABEL --source SOURCE --report ID --classifier {CLASSIFIER}" in waiting
    done = give("Maligno", "--source", "his", "--report", "L1", "--report", "L2", "--by", "dra. Lima")
    assert done.exit_code == 0, done.output
    assert queue() == ["L0", "L3"]
    assert given(both) == {("L1", 2, "dra. Lima", "maligno"), ("L2", 1, "dra. Lima", "maligno")}


def test_another_label_replaces_ones_own_and_the_audit_tells_numbers_only(both: Hospital) -> None:
    both.receive(2)
    of = ("--source", "his", "--report", "L1", "--json", "--by")
    assert give("maligno", *of, "ana").exit_code == 0
    assert give("benigno", *of, "rui").exit_code == 0
    changed = json.loads(give("benigno", *of, "ana").stdout)
    assert (changed["new"], changed["replaced"], changed["as_before"]) == (0, 1, 0)
    again = json.loads(give("benigno", *of, "ana").stdout)
    assert (again["new"], again["replaced"], again["as_before"]) == (0, 0, 1)
    assert given(both) == {("L1", 1, "ana", "benigno"), ("L1", 1, "rui", "benigno")}
    with reading(both.engine) as c:
        rows = c.execute(select(audit_table)).all()
        assert not audit.broken(c)
        version = c.scalar(select(report_version.c.id).join(report).where(report.c.external_id == "L1"))
    assert [row.actor for row in rows] == ["ana", "rui", "ana"], "who says the same again changes nothing"
    assert {(row.action, row.subject) for row in rows} == {("labelled", f"classifier {CLASSIFIER}")}
    assert [row.detail for row in rows] == [{"report_versions": [version]}] * 3


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_gives_many_labels_and_what_is_blank_in_it_stays_as_it_is(
    both: Hospital, tmp_path: Path, kind: str
) -> None:
    both.receive(3)
    file = tmp_path / f"labels.{kind}"
    if kind == "csv":
        file.write_text("external_id;label;source;note\nL0;benigno;his;\nL1;;his;?\nL2;maligno;his;\n")
    else:
        columns = {"source": ["his"] * 3, "external_id": ["L0", "L1", "L2"]}
        pq.write_table(pa.table(columns | {"label": ["benigno", None, "maligno"]}), file)
    done = give("--from", str(file), "--by", "ana")
    assert done.exit_code == 0, done.output
    assert "1 rows without a label were left alone" in done.output
    assert given(both) == {("L0", 1, "ana", "benigno"), ("L2", 1, "ana", "maligno")}


def test_what_does_not_fit_is_refused_with_what_to_do_and_nothing_is_written(
    both: Hospital, tmp_path: Path
) -> None:
    both.receive(4)
    both.change("L1", erased_at=both.now)
    both.change("L2", deleted_at=both.now)
    faults = {
        ("L0", "his", "paciente Maria"): "take one of: benigno, maligno",
        ("L1", "his", "benigno"): "erased on request",
        ("L2", "his", "benigno"): "gone at its source",
        ("L9", "his", "benigno"): 'run "laudos ingest"',
        ("L0", "hsi", "benigno"): '"laudos status" lists those that were',
    }
    for (external_id, source, value), why in faults.items():
        refused = give(value, "--source", source, "--report", external_id)
        assert (refused.exit_code, why in str(refused.exception)) == (1, True), refused
    unknown = give("benigno", "--source", "his", "--report", "L0", "--classifier", "acahdo")
    assert "did you mean 'achado'?" in str(unknown.exception)
    for words in (("benigno",), ("--source", "his", "--report", "L0"), ("benigno", "--from", "labels.csv")):
        assert give(*words).exit_code == 2

    file = tmp_path / "labels.csv"
    rows = [(source, external_id, value) for external_id, source, value in faults]
    rows = [("his", "L3", "maligno"), *rows, ("his", "L3", "benigno")]
    file.write_text("source,external_id,label\n" + "".join(",".join(row) + "\n" for row in rows))
    told = str(give("--from", str(file)).exception)
    assert all(why in told for why in faults.values())
    assert "number 7 of those given: the report has another label further up" in told
    assert "Maria" not in told
    file.write_text("source,external_id,labels\nhis,L3,maligno\n")
    assert "did you mean 'labels'?" in str(give("--from", str(file)).exception)
    assert not given(both)
