"""How long it takes to take an answer back or to compute it again, and how far probabilities are off.

    python -m benchmarks.answers                                    everything
    python -m benchmarks.answers --reports 2000 --rows 40           a quick look, recorded nowhere
    python -m benchmarks.answers --only rollback                    one part

**Rollback** on 100,000 reports that two models of the demo's size have both answered, on SQLite and on a
PostgreSQL server of this process's own: from the call to champion, promotion, audit and pointer file written,
the folder of the model that answers again read and held against its manifest included. The two take turns.
Beside it the same on a hundredth of the reports, for it must not grow with them; and `laudos models rollback`
as a person waits for it, Python's start included.

**Verify** of single predictions of reports of ordinary lengths: the model is loaded and its folder checked
each time. As a multiple of loading that model and reading that text alone; and `laudos verify` as a command.
Of commands the processor time is told, too, which a busy machine does not stretch.

**Calibration** on the demo's task (a model trained here as the demo trains one; specimens that neither taught
nor calibrated it): the expected calibration error of what ships and of the same network without its
temperature, over all reports and slice by slice, 95 % intervals over specimens. Slices of few specimens have
wide intervals; they are told all the same.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
from sqlalchemy import Engine

from benchmarks import backlogs
from benchmarks.backlogs import CLASSIFIER, LABELS, fill, new_model
from benchmarks.record import Figure, expecting, tell, write
from benchmarks.scoring_ground import MIXES, House, build, champion, receive, store_vectors, texts
from benchmarks.trained_here import ASKED_PER_ROW, CRITICAL, EXAM, model_like_the_demos, written
from benchmarks.trained_here import LABELS as TASK_LABELS
from db import models, reports, trace
from db.engine import reading, writing
from db.tables import model
from tasks.database import open_database
from tasks.inspection.verify import verify_prediction
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.recalibration import Calibration, recalibrated
from tasks.ml.judging.slice_fields import Field, fields_of
from tasks.ml.judging.slices import slice_figures
from tasks.ml.network.artifact import publish
from tasks.ml.network.head import Head, head_of
from tasks.ml.network.predictor import Predictor
from tasks.ml.synthesis.report_ids import institution_of
from tasks.models.models import roll_back
from tasks.scoring.claims import work_on
from tasks.settings.settings import Settings
from tasks.torture.server import scratch_server

COMMAND = "python -m benchmarks.answers"
REPORTS, SMALLER = 100_000, 100
TURNS, COMMANDS, VERIFIED = 7, 3, 20
READ = 200  # reports that predictions to verify are of

# written down before the first run
EXPECTED = {
    "rollback_sqlite_s": ".02 to .1: one transaction of four rows, and a folder of 2 MB read once",
    "rollback_postgres_s": ".02 to .1",
    "rollback_sqlite_large_over_small": ".8 to 1.3: nothing in it depends on how many reports there are",
    "rollback_postgres_large_over_small": ".8 to 1.3",
    "rollback_command_s": "1 to 3, nearly all of it imports; the issue asks for less than 5",
    "rollback_command_processor_s": "1 to 2: six before torch was taken out of what it imports",
    "verify_s": ".1 to .3: the model is loaded each time",
    "verify_over_load_and_read": "1.0 to 1.3",
    "verify_command_s": "4 to 8: torch is imported",
    "verify_command_processor_s": "5 to 8",
    "verify_same": "1",
    "ece_before": ".03 to .08",
    "ece_after": ".02 to .04",
}


@dataclass(frozen=True)
class Took:
    """What a command took, with Python's start."""

    wall_s: float
    processor_s: float


@dataclass(frozen=True)
class Two:
    """A database whose reports two models answered; the second is the champion."""

    house: House
    settings: Settings
    engine: Engine
    first: int
    second: int


@contextmanager
def two_models(database: str, count: int, *, read: bool = False) -> Iterator[Two]:
    """`read`: ordinary reports, and each of them is; else the vectors of a few texts stand for all."""
    with tempfile.TemporaryDirectory(prefix="laudos-answers-") as name, _url(database, name) as url:
        house = build(Path(name), url, "demo")
        settings = house.settings()
        engine = open_database(settings)
        base = champion(settings)
        if read:
            receive(engine, texts(count, MIXES["natural"], seed=3))
        else:
            fill(engine, count)
            store_vectors(engine, base, 1.0)
        with reading(engine) as c:
            found = models.champion_of(c, CLASSIFIER)
        assert found is not None
        _score(engine, settings, found.model.id)
        second = _another(engine, settings, base)
        _score(engine, settings, second)
        try:
            yield Two(house, settings, engine, found.model.id, second)
        finally:
            engine.dispose()


def rollback(count: int) -> dict[str, Figure]:
    """On both databases, large and small; the command on SQLite."""
    found: dict[str, Figure] = {}
    for database in ("sqlite", "postgres"):
        took: dict[int, list[float]] = {}
        for size in (count, max(count // SMALLER, 100)):
            with two_models(database, size) as town:
                took[size] = [_turn(town, turn) for turn in range(TURNS)]
                if size == count and database == "sqlite":
                    found |= _of_commands("rollback", [_command(town, turn) for turn in range(COMMANDS)])
        large, small = took.values()
        found[f"rollback_{database}_s"] = _spread(large, "s")
        found[f"rollback_{database}_large_over_small"] = Figure(
            median(large) / median(small), "ratio", n=TURNS
        )
    return found


def verify() -> dict[str, Figure]:
    """Predictions of the champion, from all over the table."""
    with two_models("sqlite", READ, read=True) as town:
        took, alone, same = [], [], 0
        rng = np.random.default_rng(0)
        for version in rng.integers(1, READ + 1, VERIFIED).tolist():
            began = time.perf_counter()
            same += verify_prediction(town.settings, f"{town.second}:{version}").same
            took.append(time.perf_counter() - began)
            alone.append(_load_and_read(town, version))
        commands = []
        for version in range(1, COMMANDS + 1):
            commands.append(_laudos("verify", f"{town.second}:{version}"))
    ratios = [ours / theirs for ours, theirs in zip(took, alone, strict=True)]
    return {
        "verify_s": _spread(took, "s"),
        "verify_over_load_and_read": _spread(ratios, "ratio"),
        **_of_commands("verify", commands),
        "verify_same": Figure(same / VERIFIED, "share", n=VERIFIED),
    }


def calibration(rows: int | None) -> dict[str, Figure]:
    """ECE of what ships and of the network without its temperature, in all and slice by slice."""
    asked, held = written("asked", ASKED_PER_ROW, rows), written("calibration", ASKED_PER_ROW, rows)
    with tempfile.TemporaryDirectory(prefix="laudos-answers-") as folder:
        predictor = model_like_the_demos(Path(folder), rows)
    shipped, calibrating = (_probabilities(predictor, one.texts) for one in (asked, held))
    others = recalibrated(Calibration(calibrating, held.truth), shipped, predictor.facts.temperature)
    nobody = np.zeros(len(asked.truth), np.bool_)
    count = len(asked.texts)
    fields = fields_of(
        asked.texts, [institution_of(EXAM, one) for one in asked.ids], ["synthetic"] * count, [None] * count
    )
    found: dict[str, Figure] = {"temperature": Figure(predictor.facts.temperature, "ratio")}
    for when, answers in (("before", others["uncalibrated"]), ("after", shipped)):
        given = Sample.of(answers, asked.truth, asked.rows, len(TASK_LABELS))
        figures = slice_figures(given, fields, TASK_LABELS, CRITICAL, nobody, seed=0)
        whole = slice_figures(given, [_everything(count)], TASK_LABELS, CRITICAL, nobody, seed=0)
        for one in (*whole, *figures):
            if one.name == "ece" and one.value is not None:
                name = "" if one.slice == "all=reports" else f"_{one.slice}"
                found[f"ece_{when}{name}"] = Figure(one.value, "ECE", one.low, one.high, one.n)
    return found


def _everything(count: int) -> Field:
    return Field("all", ["reports"] * count)


def _probabilities(predictor: Predictor, texts: Sequence[str]) -> np.ndarray:
    return predictor.probabilities(predictor.vectors(texts).vectors)


def _another(engine: Engine, settings: Settings, base: Predictor) -> int:
    """A second head on the champion's body, published and crowned."""
    weight = np.random.default_rng(1).normal(0, 1, head_of(base.model)[0].shape).astype(np.float32)
    head = Head(weight, np.zeros(len(LABELS), np.float32), 1.0)
    root, network = settings.folder / "models" / CLASSIFIER, (base.model, base.tokenizer)
    made = publish(root, "another", *network, head, base.facts, base.familiarity, base.beside)
    model_id = new_model(engine, base.encoder_sha)
    with writing(engine) as c:
        mine = model.update().where(model.c.id == model_id)
        c.execute(mine.values(path=f"{CLASSIFIER}/another", manifest_sha=made.manifest_sha))
    return model_id


def _score(engine: Engine, settings: Settings, model_id: int) -> None:
    work_on(engine, settings, backlogs.cut(engine, model_id, settings.scoring.chunk_reports_max))


def _turn(town: Two, turn: int) -> float:
    to = (town.first, town.second)[turn % 2]
    began = time.perf_counter()
    roll_back(town.engine, town.settings, CLASSIFIER, to, "benchmark", datetime.now(UTC))
    return time.perf_counter() - began


def _command(town: Two, turn: int) -> Took:
    to = (town.second, town.first)[(TURNS + turn) % 2 == 0]
    return _laudos("models", "rollback", CLASSIFIER, "--to", str(to))


def _laudos(*arguments: str) -> Took:
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    program = [sys.executable, "-m", "flows.cli.app", *arguments]
    subprocess.run(program, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Took(time.perf_counter() - began, processor)


def _of_commands(name: str, took: Sequence[Took]) -> dict[str, Figure]:
    return {
        f"{name}_command_s": _spread([one.wall_s for one in took], "s"),
        f"{name}_command_processor_s": _spread([one.processor_s for one in took], "s"),
    }


def _load_and_read(town: Two, version: int) -> float:
    with reading(town.engine) as c:
        asked, traced = reports.texts(c, [version])[version], trace.of(c, town.second, version)
        found = models.get(c, town.second)
    assert traced is not None
    assert found is not None
    began = time.perf_counter()
    predictor = Predictor.load(town.settings.folder / "models" / found.path, found.manifest_sha)
    predictor.predict([asked], batch_tokens=town.settings.scoring.batch_tokens)
    return time.perf_counter() - began


@contextmanager
def _url(database: str, folder: str) -> Iterator[str]:
    if database == "sqlite":
        yield f"sqlite:///{folder}/laudos.db"
        return
    with scratch_server(fsync=True) as server:
        yield server.new_database()


def _spread(values: Sequence[float], unit: str) -> Figure:
    return Figure(median(values), unit, min(values), max(values), len(values))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=REPORTS)
    parser.add_argument("--rows", type=int, help="so many specimens a split for calibration")
    parser.add_argument("--only", action="append", choices=("rollback", "verify", "calibration"))
    asked = parser.parse_args(arguments)
    parts: dict[str, Callable[[], dict[str, Figure]]] = {
        "rollback": lambda: rollback(asked.reports),
        "verify": verify,
        "calibration": lambda: calibration(asked.rows),
    }
    figures: dict[str, Figure] = {}
    for name in asked.only or parts:
        figures |= parts[name]()
    figures = expecting(figures, EXPECTED)
    tell(figures)
    if asked.reports == REPORTS and asked.rows is None and asked.only is None:
        print(f"wrote {write('answers', COMMAND, figures)}")


if __name__ == "__main__":
    main()
