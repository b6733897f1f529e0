"""What four classifiers cost that share one encoder, as a multiple of one: a part of benchmarks.training.

Real pathology reports (see benchmarks.corpora) under the frozen MiniLM: a backlog is scored by one
classifier and then by three more, each a job of its own, as a night does it. The first encodes and keeps
the vectors; the others read them. Each round begins with the same database, in which no report of the
backlog has a vector yet, and with another classifier. Starting Python is not counted, loading models is.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import corpora
from db import ledger
from db.engine import writing
from tasks.database import open_database
from tasks.ledger import code_revision
from tasks.scoring.classify import cut_backlog, score
from tasks.scoring.scorer import ScoreSummary
from tasks.settings.settings import Settings

REPORTS = 300  # to train on, and as many to score
# classifier -> the column that holds its label. What is asked does not change what an answer costs, and a
# head on so few reports that reads a stage no better than words do would not be promoted.
QUESTIONS: Mapping[str, str] = dict.fromkeys(("type", "type_again", "type_once_more", "type_at_last"), "type")


def four_over_one(folder: Path, rounds: int) -> list[float]:
    """Seconds of all four over seconds of the first, a round each. Raises corpora.Missing."""
    train, test = corpora.corpus(REPORTS)
    before = folder / "before"
    before.mkdir()
    corpora.make_source(before / "source.db", train, test)
    (before / "laudos.toml").write_text(_settings(train), encoding="utf-8")
    corpora.laudos(before, "ingest")
    for name in QUESTIONS:
        corpora.laudos(before, "retrain", "--classifier", name, "--how", "head")
    names = list(QUESTIONS)
    return [_one_round(before, folder / f"round{n}", [*names[n:], *names[:n]]) for n in range(rounds)]


def _settings(train: corpora.Rows) -> str:
    columns = ", ".join(f'{name} = "{column}"' for name, column in QUESTIONS.items())
    lines = [
        'database = "sqlite:///laudos.db"\nfolder = "laudos-data"',
        '[sources.tcga]\nurl = "sqlite:///source.db"\ntable = "reports"\nid = "id"\ntext = "body"',
        'updated_at = "changed"\npatient = "patient"\ntimezone = "UTC"',
        f"labels = {{{columns}}}",
    ]
    for name, column in QUESTIONS.items():
        lines.append(f"[classifiers.{name}]\n{corpora.classifier_settings(column, train)}")
    return "\n".join(lines) + "\n"


def _one_round(before: Path, folder: Path, names: Sequence[str]) -> float:
    shutil.copytree(before, folder)
    os.environ["LAUDOS_CONFIG"] = str(folder / "laudos.toml")
    engine = open_database(Settings.load())
    with writing(engine) as c:
        run_id = ledger.begin_run(
            c,
            "classify",
            code_revision=code_revision(),
            config_sha="0",
            prefect_run_id=None,
            parent_id=None,
            now=datetime.now(UTC),
        )
    seconds, scored = zip(*(_scored(run_id, name) for name in names), strict=True)
    first, *others = scored
    # all are encoded with the first job, some of them for its test of a shift
    if first.written < REPORTS or any(one.encoded or one.written != first.written for one in others):
        raise SystemExit("the four did not share one encoding; nothing was measured")
    engine.dispose()
    return sum(seconds) / seconds[0]


def _scored(run_id: int, name: str) -> tuple[float, ScoreSummary]:
    began = time.perf_counter()
    job_id = cut_backlog.fn(run_id, name)
    if job_id is None:
        raise SystemExit(f"nothing waits for {name}; nothing was measured")
    summary = score.fn(job_id)
    return time.perf_counter() - began, summary
