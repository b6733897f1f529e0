"""The `laudos` command: what it prints, how it ends, and that nobody sees a traceback."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer.main

from db import lock
from db.engine import open_engine
from flows.cli.app import app, main
from flows.cli.session import plain, show
from tasks.night import status
from tasks.progress import progress_bar
from tasks.settings.settings import Settings


@dataclass(frozen=True)
class Ran:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Laudos = Callable[..., Ran]


@pytest.fixture
def laudos(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], configure: Callable[..., Settings]
) -> Laudos:
    """Run the command in this process, on an empty configuration of the test's own."""
    configure()
    # a plain copy: what the command sets for its children is gone after the test
    monkeypatch.setattr(os, "environ", dict(os.environ))

    def run(*words: str, stdin: str = "") -> Ran:
        monkeypatch.setattr(sys, "argv", ["laudos", *words])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return Ran(int(ended.value.code or 0), printed.out, printed.err)

    return run


def one_line(err: str) -> str:
    """The error a person sees: exactly one line, no traceback."""
    (line,) = err.splitlines()
    assert line.startswith("laudos: ")
    return line


def every_command(command: Any = None, name: str = "laudos") -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(app)
    inner = getattr(command, "commands", None)
    if inner is None:
        yield name, command
    for word, one in (inner or {}).items():
        yield from every_command(one, f"{name} {word}")


COMMANDS = dict(every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_every_command_shows_an_example_of_it(name: str, laudos: Laudos) -> None:
    told = " ".join(laudos(*name.split()[1:], "--help").out.split())
    assert f"Example: {name}" in told


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"laudos init"}))
def test_every_command_that_prints_a_result_prints_json_too(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_a_night_in_the_wrong_folder_is_refused_and_not_called_a_quiet_one(laudos: Laudos) -> None:
    night = laudos("nightly")
    assert night.code == 2
    assert "neither a source nor a classifier is configured" in one_line(night.err)
    assert laudos("status", "--json").json["last_runs"] == []


@pytest.mark.usefixtures("prefect_harness")
def test_an_ingest_of_the_untouched_template_says_which_lines_name_a_database(
    laudos: Laudos, tmp_path: Path
) -> None:
    path = tmp_path / "made.toml"
    assert laudos("init", "--to", str(path)).code == 0
    ended = laudos("--config", str(path), "ingest")
    assert ended.code == 3
    assert "take the # off the lines of [sources.his]" in ended.err
    assert "#[sources.his]" in path.read_text("utf-8")


@pytest.mark.usefixtures("prefect_harness")
def test_a_night_that_fails_in_part_is_told_all_the_same(
    laudos: Laudos, configure: Callable[..., Settings], tmp_path: Path
) -> None:
    (tmp_path / "empty.db").touch()
    broken = {"url": f"sqlite:///{tmp_path}/empty.db", "table": "laudos", "id": "id", "text": "texto"}
    configure(sources={"broken": broken})
    night = laudos("nightly")
    assert night.code == 1
    assert "did all it could, but: ingest broken: " in night.err.splitlines()[-1]
    assert "nightly run 1" in night.out
    assert "Where it is" in night.out


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_loses_a_word_in_square_brackets(name: str) -> None:
    assert not re.search(r"\[[a-z]", COMMANDS[name].help or "")


def test_an_empty_house_answers_every_question(laudos: Laudos) -> None:
    answer = laudos("status", "--json")
    assert answer.code == 0
    assert answer.json["sources"] == answer.json["last_runs"] == []
    assert answer.json["database"].startswith("sqlite:///")
    assert laudos("models", "list", "--json").json == []
    assert laudos("quarantine", "list", "--json").json["rows"] == []
    sound = laudos("doctor")
    assert sound.code == 0
    assert not re.search(r"(?m)^NO", sound.out)


def test_a_model_that_is_not_there_is_neither_approved_nor_refused_nor_made_again(laudos: Laudos) -> None:
    for words in (
        ("models", "approve", "7", "--because", "read"),
        ("models", "refuse", "7"),
        ("reproduce", "7"),
    ):
        ended = laudos(*words)
        assert (ended.code, ended.out) == (1, "")
        assert "there is no model 7" in ended.err
    assert laudos("models", "approve", "7").code == 2  # why is asked for


def test_a_password_in_the_database_url_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine("postgresql+psycopg://laudos:canary@nowhere.invalid/laudos")
    assert "canary" not in engine.url.render_as_string(hide_password=True)


def test_what_init_writes_is_understood_by_the_next_command(laudos: Laudos, tmp_path: Path) -> None:
    path = tmp_path / "etc" / "laudos.toml"
    assert laudos("init", "--to", str(path)).code == 0
    (classifier,) = laudos("--config", str(path), "status", "--json").json["classifiers"]
    assert classifier["classifier"] == "paaf"
    again = laudos("init", "--to", str(path))
    assert (again.code, "was left alone" in one_line(again.err)) == (2, True)


def test_a_typo_ends_with_two_and_the_nearest_key(laudos: Laudos, configure: Callable[..., Settings]) -> None:
    Path(os.environ["LAUDOS_CONFIG"]).write_text('folderr = "x"', encoding="utf-8")
    ended = laudos("status")
    assert ended.code == 2
    assert "unknown key 'folderr'; did you mean 'folder'?" in one_line(ended.err)


def test_a_wrong_option_ends_with_two(laudos: Laudos) -> None:
    assert laudos("status", "--jason").code == 2
    assert laudos("predict").code == 2
    assert laudos("predict", "um texto", "--csv", "a.csv").code == 2
    assert laudos("predict", "--csv", "a.csv").code == 2


def test_what_must_come_first_ends_with_three_and_names_the_command(laudos: Laudos) -> None:
    for words in (("predict", "um texto"), ("export", "predictions", "--out", "a.csv", "--classifier", "x")):
        ended = laudos(*words)
        assert ended.code in (2, 3)
    assert 'run "laudos retrain" first' in one_line(laudos("predict", "um texto").err)


def test_a_held_lock_ends_with_four(laudos: Laudos) -> None:
    engine = open_engine(Settings.load().database)
    with lock.exclusive(engine, "schema"):
        ended = laudos("db", "upgrade")
    assert ended.code == 4
    assert one_line(ended.err)
    assert laudos("db", "upgrade", "--json").json["revision"]


def test_a_file_that_is_no_database_ends_with_five(laudos: Laudos, tmp_path: Path) -> None:
    (tmp_path / "laudos.db").write_bytes(b"canary " * 1000)
    ended = laudos("status")
    assert ended.code == 5
    assert "no SQLite database" in one_line(ended.err)


def test_an_unforeseen_error_tells_type_and_place_but_no_message(
    laudos: Laudos, monkeypatch: pytest.MonkeyPatch
) -> None:
    def burst(_settings: Settings) -> None:
        try:
            int("canary in the cause")
        except ValueError as cause:
            raise KeyError("canary in the message") from cause

    monkeypatch.setattr(status, "status", burst)
    short, long = laudos("status"), laudos("--debug", "status")
    assert short.code == long.code == 1
    assert "unforeseen KeyError at" in one_line(short.err)
    assert "--debug shows the way there" in short.err
    assert "ValueError" in long.err
    assert "canary" not in short.err + long.err


def test_ctrl_c_ends_with_130_and_no_traceback(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "flows.cli.app", "predict", "-"]
    environment = {**os.environ, "LAUDOS_FOLDER": str(tmp_path)}
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdin is not None
        # more than a pipe holds: once this returns, the command is reading, and Ctrl-C finds it at work
        process.stdin.write("Esfregaço\n" * 20_000)
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_values_are_shown_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 3, 2, 5, tzinfo=UTC)
    rows = [{"name": "his", "at": moment, "rows": 1200, "share": 0.25, "sound": True, "gone": None}]
    show({"rows": rows, "folder": Path("a"), "none": [], "words": ["um", "dois"]}, as_json=False)
    told = capsys.readouterr().out
    for part in ("his", "2026-03-02 05:00:00", "1,200", "0.250", "yes", "folder: a", "none: -", "dois"):
        assert part in told
    assert plain({"at": moment, "set": {1}, "path": Path("a")}) == {
        "at": "2026-03-02 05:00:00+00:00",
        "set": [1],
        "path": "a",
    }


def test_records_too_wide_for_the_line_are_told_one_below_the_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show([{"id": 1, "folder": "a" * 150, "place": "b" * 150}], as_json=False)
    assert f"folder: {'a' * 150}\nplace: {'b' * 150}\n" in capsys.readouterr().out


def test_square_brackets_in_a_value_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    show([{"folder": "[red]a[/red]"}], as_json=False)
    assert "[red]a[/red]" in capsys.readouterr().out


def test_progress_is_silent_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("reports") as progress:
        progress(1, 2)
    assert capsys.readouterr() == ("", "")
