"""Marked reports through everything that can happen to them; run as a process by test_canary.py.

python -m tests.flows.canary failures|crash
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path

import prefect
from sqlalchemy import text

from db.engine import writing
from db.errors import LaudosError
from tasks.database import open_database
from tasks.settings.settings import Settings
from tasks.step import Name, flow, step
from tests.flows import town

# invented words: nothing else on the machine holds them, and no tokenizer knows them whole
TEXT = "zqxvwlaudo mjkrcarcinoma"
PATIENT = "Zqxvwpaciente-8841"
PLANTED = "zqxvwvazamento"


def mark(hospital: Path) -> None:
    """Mark reports of three patients, every broken row, and the names of a tenth of the patients."""
    few = "(SELECT DISTINCT paciente FROM laudos ORDER BY paciente LIMIT 3)"
    text = f"UPDATE laudos SET texto = texto || ' {TEXT}.' WHERE typeof(texto) = 'text'"
    assert town.write(hospital, f"{text} AND (paciente IN {few} OR id LIKE 'EXT%')") > 40
    assert town.write(hospital, f"UPDATE laudos SET paciente = '{PATIENT}' WHERE id LIKE 'CIT%7'")


@step("read marked rows", run_name="read {number}", retries=1, retry_delay_s=0)
def fail_with_text(number: int) -> int:
    raise ValueError(f"cannot parse: {TEXT} of {PATIENT}") from KeyError(TEXT)


@flow("canary-step", run_name="canary {day}")
def failing() -> None:
    with contextlib.suppress(LaudosError):
        fail_with_text(1)
    fail_with_text(2)


@step("violate", retries=1, retry_delay_s=0)
def break_a_constraint() -> None:
    engine = open_database(Settings.load())
    with writing(engine) as c:
        statement = text("INSERT INTO source (name, kind) VALUES (:name, :kind)")
        c.execute(statement, {"name": f"{TEXT} of {PATIENT}"[:60], "kind": TEXT})


@flow("canary-database", run_name="canary {day}")
def database() -> None:
    break_a_constraint()


@step("die")
def die_with_text() -> None:
    held = f"{TEXT} of {PATIENT}"
    print(len(held))
    os.kill(os.getpid(), signal.SIGKILL)


@flow("canary-crash", run_name="canary {day}")
def crash() -> None:
    die_with_text()


@flow("canary-parameters", run_name="canary {source} {day}")
def named(source: Name | None = None) -> None: ...


def parameters() -> None:
    from flows.classify import classify

    for wrong in (lambda: named(source=f"{TEXT} of {PATIENT}"), lambda: classify(f"{TEXT}\n{PATIENT}")):
        with contextlib.suppress(LaudosError):
            wrong()


@prefect.flow(name="canary-planted")
def planted(said: str) -> None:
    """What laudos never does: text as a parameter, and in an exception."""
    raise ValueError(said)


def failures() -> None:
    """Everything that fails, the planted leak last: once it is found, all before it has been written."""
    parameters()
    for fails in (failing, database, lambda: planted(f"{PLANTED} of a patient")):
        with contextlib.suppress(LaudosError, ValueError):
            fails()


if __name__ == "__main__":
    {"failures": failures, "crash": crash}[sys.argv[1]]()
