"""`laudos synth audit` on an exam, on a classifier's set, and on a user's own file."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from flows.cli.app import main
from tasks.database import open_database
from tasks.ml.synthesis.reports import synthesize
from tasks.settings.settings import Settings
from tasks.synthesis.synthesize import write_set
from tests.runs import begin
from tests.synthesis.test_synthesize import asked
from tests.test_cli import Ran, one_line

Laudos = Callable[..., Ran]
Rows = list[dict[str, str]]
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def settings(configure: Callable[..., Settings]) -> Settings:
    recipe = asked().model_dump(mode="json", exclude_defaults=True, exclude={"revision", "sources"})
    return configure(classifiers={"mama": recipe})


@pytest.fixture
def laudos(settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Laudos:
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def run(*words: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["laudos", "synth", "audit", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(""))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def rows() -> Rows:
    """A user's table: half of one label's reports mention a form that the others never do."""
    reports = list(synthesize("paaf", mode="findings", reports_per_row=1, seed=0))[:300]
    return [
        {
            "laudo": one.text + ("\nFormulário azul." if one.label == "maligno" and number % 2 else ""),
            "resultado": one.label,
            "paciente": one.row_key,
            "parte": "treino" if number % 3 else "teste",
        }
        for number, one in enumerate(reports)
    ]


COLUMNS = ("--text", "laudo", "--label", "resultado", "--group", "paciente", "--split", "parte")


def written(rows: Rows, path: Path) -> str:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return str(path)


def test_an_exam_s_findings_pass_and_the_seed_recipe_does_not(laudos: Laudos) -> None:
    few = ("--exam", "paaf", "--reports-per-row", "1")
    sound = laudos(*few)
    assert (sound.code, "No check failed." in sound.out) == (0, True)
    leaky = laudos(*few, "--mode", "seed")
    assert leaky.code == 1
    assert "goes with maligno" in leaky.out


def test_the_set_that_teaches_is_audited_from_the_database(laudos: Laudos, settings: Settings) -> None:
    none = laudos("--classifier", "mama")
    assert (none.code, '"laudos synthesize" writes them' in one_line(none.err)) == (3, True)
    engine = open_database(settings)
    run_id = begin(engine, "synthesize", NOW)
    told = write_set(engine, run_id, "mama", settings.classifier("mama"), 0, None, NOW)
    audited = laudos("--classifier", "mama", "--json")
    assert audited.code == 0
    assert audited.json["reports"] == told.counts.read
    assert audited.json["groups"] == told.rows


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_user_s_file_is_audited_and_the_telling_phrase_named(
    kind: str, laudos: Laudos, rows: Rows, tmp_path: Path
) -> None:
    path = tmp_path / f"own.{kind}"
    if kind == "csv":
        written(rows, path)
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(rows), path)
    told = laudos(f"--{kind}", str(path), *COLUMNS, "--json")
    checks = {check["name"]: check for check in told.json["checks"]}
    assert not told.json["measured"]
    assert checks["words"]["state"] == "untested"
    assert "cannot be told from findings without measurements" in checks["words"]["note"]
    assert checks["words"]["found"][0]["what"] in {"azul", "formulario"}
    # what a person has called a label's word must go with no label
    again = laudos(f"--{kind}", str(path), *COLUMNS, "--label-word", "azul")
    assert again.code == 1
    assert "azul…" in again.out
    assert "label_words failed" in again.out


def test_rows_without_text_or_label_are_counted(laudos: Laudos, rows: Rows, tmp_path: Path) -> None:
    spoiled = [
        {**row, "laudo": "", "resultado": ""} if number in (3, 4) else row for number, row in enumerate(rows)
    ]
    told = laudos("--csv", written(spoiled, tmp_path / "own.csv"), *COLUMNS)
    assert "2 rows had no readable text, or no label" in told.out
    assert "298 reports of 298 groups" in told.out


def test_what_was_asked_for_wrongly_is_said(laudos: Laudos, rows: Rows, tmp_path: Path) -> None:
    assert laudos().code == 2
    assert laudos("--exam", "paaf", "--classifier", "mama").code == 2
    path = written(rows, tmp_path / "own.csv")
    assert "no column 'text'" in one_line(laudos("--csv", path).err)
    bare = tmp_path / "bare.csv"
    bare.write_text('"Texo do SEGREDO",azul\n')
    refusal = one_line(laudos("--csv", bare).err)
    assert "must hold the columns' names, has 2 others; --text, --label" in refusal
    assert "SEGREDO" not in refusal, "without a header the first line is a report"
    lone = written([{**rows[0], "resultado": "outro"}, *rows[1:]], tmp_path / "lone.csv")
    assert "outro: a label of a single row or patient" in one_line(laudos("--csv", lone, *COLUMNS).err)
