"""One real night through the command, and every question asked about it afterwards."""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from flows.cli.app import main
from tests.learning.world import text_of
from tests.test_cli import Ran, one_line

PATIENTS = 150
LABELS = ("benigno", "maligno")
CONFIGURATION = """
[sources.his]
url = "sqlite:///hospital.db"
table = "laudos"
id = "id"
text = "texto"
updated_at = "atualizado_em"
patient = "paciente"
labels = { achado = "resultado" }

[classifiers.achado]
labels = ["benigno", "maligno"]
critical = "maligno"
sensitivity_floor = 0.5
training.window_tokens = 24
training.stride_tokens = 4
training.hidden_size = 32
training.layers = 1
training.vocabulary = 200
training.epochs = 4.0
training.batch_reports = 16
promotion.holdout_patients_min = 5
"""


def build_hospital(folder: Path) -> None:
    """One report a patient, two words in ten tell the label; two rows cannot be read."""
    (folder / "laudos.toml").write_text(CONFIGURATION, encoding="utf-8")
    reports = [
        (f"L{n}", text_of(n, LABELS[n % 2]), "2026-03-01 10:00:00", f"P{n}", LABELS[n % 2])
        for n in range(PATIENTS)
    ]
    broken = [
        ("B1", "", "2026-03-01 10:00:00", "P1", None),
        ("B2", "123 456", "2026-03-01 10:00:00", "P2", None),
    ]
    with sqlite3.connect(folder / "hospital.db") as c:
        c.execute("CREATE TABLE laudos (id PRIMARY KEY, texto, atualizado_em, paciente, resultado)")
        c.executemany("INSERT INTO laudos VALUES (?, ?, ?, ?, ?)", reports + broken)
    c.close()


def started(folder: Path, *words: str) -> Ran:
    """The command in a process of its own, as cron starts it: from elsewhere, nobody watching."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    program = [sys.executable, "-m", "flows.cli.app", "--config", str(folder / "laudos.toml"), *words]
    ended = subprocess.run(
        program, capture_output=True, text=True, timeout=280, env=environment | {"OMP_NUM_THREADS": "1"}
    )
    return Ran(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def too_early(house_folder: Path) -> Ran:
    return started(house_folder, "classify")


@pytest.fixture(scope="module")
def house_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    build_hospital(folder)
    return folder


@pytest.fixture(scope="module")
def night(house_folder: Path, too_early: Ran) -> Ran:
    """The night itself, after a command that came too early."""
    return started(house_folder, "nightly", "--json")


@pytest.fixture
def ask(
    night: Ran, house_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Ran]:
    """Ask a question in this process, after the night."""
    assert night.code == 0, night.err
    monkeypatch.setattr(os, "environ", {**os.environ, "LAUDOS_CONFIG": str(house_folder / "laudos.toml")})

    def run(*words: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["laudos", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run


def test_a_flow_that_comes_too_early_says_what_must_come_first_and_nothing_else(too_early: Ran) -> None:
    assert too_early.code == 3
    assert too_early.out == ""
    assert "no promoted model for 'achado'; run \"laudos retrain\" first" in one_line(too_early.err)


def test_a_night_is_told_on_stdout_and_silent_on_stderr(night: Ran) -> None:
    assert (night.code, night.err) == (0, "")
    (retrained,) = night.json["retrained"]
    (classified,) = night.json["classified"]
    assert retrained["decision"] == "promoted"
    assert classified["written"] == PATIENTS


def test_status_names_the_champion_and_an_empty_backlog(ask: Callable[..., Ran]) -> None:
    told = ask("status", "--json").json
    (source,) = [one for one in told["sources"] if one["source"] == "his"]
    (classifier,) = told["classifiers"]
    assert (source["reports"], source["waiting_in_quarantine"]) == (PATIENTS, 2)
    assert (classifier["predicted"], classifier["backlog"]) == (PATIENTS, 0)
    assert {run["kind"] for run in told["last_runs"]} >= {
        "nightly",
        "ingest",
        "retrain",
        "classify",
        "monitor",
    }
    assert "nightly" in ask("status").out


def test_one_text_is_answered_from_the_command_line_and_from_stdin(ask: Callable[..., Ran]) -> None:
    text = text_of(7, "maligno")
    typed, piped = ask("predict", text, "--json"), ask("predict", "-", "--json", stdin=text)
    assert typed.json == piped.json
    assert set(typed.json["probabilities"]) == set(LABELS)
    unreadable = ask("predict", "123 456")
    assert (unreadable.code, "123" in one_line(unreadable.err)) == (1, False)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_is_answered_row_by_row(ask: Callable[..., Ran], tmp_path: Path, kind: str) -> None:
    rows = pd.DataFrame({"numero": [1, 2, 3], "laudo": [text_of(1, "maligno"), "", text_of(2, "benigno")]})
    given, out = tmp_path / f"in.{kind}", tmp_path / f"out.{kind}"
    rows.to_csv(given, index=False) if kind == "csv" else rows.to_parquet(given)
    told = ask("predict", f"--{kind}", str(given), "--out", str(out), "--column", "laudo", "--json").json
    assert (told["rows"], told["unread"]) == (3, 1)
    answers = pd.read_csv(out) if kind == "csv" else pd.read_parquet(out)
    assert list(answers["numero"]) == [1, 2, 3]
    assert answers["label"].isna().tolist() == [False, True, False]
    wrong = ask("predict", f"--{kind}", str(given), "--out", str(out), "--column", "laudos")
    assert (wrong.code, "did you mean 'laudo'?" in one_line(wrong.err)) == (2, True)


def test_a_model_is_listed_and_tells_its_story(ask: Callable[..., Ran]) -> None:
    (model,) = ask("models", "list", "--json").json
    assert (model["champion"], model["decision"]) == (True, "promoted")
    story = ask("models", "show", str(model["id"]), "--json").json
    assert {"sensitivity", "auroc_report"} <= {figure["name"] for figure in story["figures"]}
    shown = " ".join(ask("models", "show", str(model["id"])).out.split())
    # so few patients calibrate that nothing can be promised, and that is told
    assert "are too few to promise 2.0% wrong sure answers (49 are needed)" in shown
    assert "any label: goes to a person whatever the model finds" in shown
    first = ask("models", "rollback", "achado")
    assert (first.code, "is the first champion" in one_line(first.err)) == (1, True)


def test_a_model_is_tried_on_pairs_of_reports(ask: Callable[..., Ran]) -> None:
    tried = ask("behaviour", "--suite", "paaf", "--json").json
    everything = tried["shares"][0]
    assert (tried["model_id"], tried["suite"], everything["of"]) == (1, "paaf", "all")
    # it learnt eight words, of which the suite has a few: it cannot know negation
    assert len(tried["failed"]) == everything["pairs"] - everything["right"] > 100
    told = ask("behaviour", "--suite", "paaf", "--model", "1", "--failed").out
    assert "negation, in words never taught" in told
    assert tried["failed"][0]["changed"].splitlines()[-1] in told
    missing = ask("behaviour")
    assert missing.code == 3
    assert "name one with --suite" in one_line(missing.err)
    assert "no behaviour suite 'paf'" in one_line(ask("behaviour", "--suite", "paf").err)


def test_people_are_told_the_same_in_words(ask: Callable[..., Ran]) -> None:
    for words, told in (
        (("status",), "0 not scored yet"),
        (("models", "list"), "champion"),
        (("models", "show", "1"), "TF-IDF, words"),
        (("quarantine", "list"), "nothing but blanks"),
        (("doctor",), "0 broken"),
    ):
        assert told in ask(*words).out


def test_predictions_and_the_training_set_are_exported(ask: Callable[..., Ran], tmp_path: Path) -> None:
    for out in (tmp_path / "answers.csv", tmp_path / "answers.parquet"):
        assert ask("export", "predictions", "--out", str(out), "--json").json["rows"] == PATIENTS
    assert len(pd.read_parquet(tmp_path / "answers.parquet")) == len(pd.read_csv(tmp_path / "answers.csv"))
    (model,) = ask("models", "list", "--json").json
    told = ask(
        "export", "snapshot", str(model["snapshot_id"]), "--folder", str(tmp_path / "set"), "--json"
    ).json
    assert sum(told["reports"].values()) == PATIENTS


def test_what_lies_in_quarantine_is_listed_shown_retried_and_dismissed(ask: Callable[..., Ran]) -> None:
    listed = ask("quarantine", "list", "--json").json
    rows = listed["rows"]
    assert listed["waiting"] == len(rows) == 2
    number = str(rows[0]["id"])
    shown = ask("quarantine", "show", number)
    assert shown.code == 0
    assert f"laudos quarantine show {number} --text, on a terminal" in shown.out
    assert "(America/Sao_Paulo)" in shown.out
    assert ask("quarantine", "retry", "--source", "his", "--json").code == 0
    assert ask("quarantine", "dismiss", number, "--because", "test row").code == 0
    assert ask("quarantine", "list", "--json").json["waiting"] == 1


def test_a_classify_with_nothing_to_do_says_so_in_one_line(night: Ran, house_folder: Path) -> None:
    ran = started(house_folder, "classify")
    assert (ran.code, ran.out) == (0, "achado: nothing to score\n")


def test_doctor_finds_an_altered_model(ask: Callable[..., Ran]) -> None:
    assert ask("doctor").code == 0
    (model,) = ask("models", "list", "--json").json
    weights = Path(model["folder"]) / "config.json"
    before = weights.read_bytes()
    weights.write_bytes(before + b" ")
    try:
        altered = ask("doctor")
        assert altered.code == 1
        assert "NO  " in altered.out
        assert not all(one["ok"] for one in json.loads(ask("doctor", "--json").out))
    finally:
        weights.write_bytes(before)
