"""What a student keeps of its teacher, and what it costs: on the demo's task and on real reports.

    python -m benchmarks.distillation
    python -m benchmarks.distillation --seeds 3                 more of it, an hour a seed
    python -m benchmarks.distillation --characters 0            whole reports, recorded nowhere

**Demo**: the demo's hospital after its first night. Each seed trains a teacher (two layers from scratch) and
a student of one layer, two thirds as wide inside, as `laudos distill` does, on the training split and the
hospital's reports without a label. Asked: the held-out patients.

**TCGA type**: the cancer type of real pathology reports (see benchmarks/corpora.py), 32 of them. The teacher
is a head on the frozen MiniLM, six layers, taught by the training split of val.csv; a student of three
layers per seed learns from it on the same reports and no others. Asked: test.csv. Of every report its first
1,000 characters are read: one core then needs half an hour and not two, and the frozen teacher reads them no
worse than the whole; `--characters 0` reads all. A student's body is trained on the labels, too, and its
teacher's is not: it may well end ahead.

**Control**: a network of the student's size and start that is taught by the labels alone, as many passes.

Macro F1 is the mean over seeds; the interval of a share is over paired draws of patients. **Cost**: seconds
of one core that both networks take for the same windows, taking turns, beside the operations counted.

Every trial is kept in benchmarks/kept/ as soon as it is done, half-done trainings included: stop it at any
time and start it again.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import numpy as np
import torch
from numpy.typing import NDArray
from sqlalchemy import Engine

from benchmarks import corpora
from benchmarks.demo import CLASSIFIER, laudos
from benchmarks.record import Figure, add, tell
from db import ledger, models
from db.engine import reading, writing
from db.models import Model
from tasks.database import open_database
from tasks.ledger import code_revision
from tasks.ml.judging.comparison import measured
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.resampling import interval, patient_weights
from tasks.ml.network.predictor import Predictor
from tasks.ml.training.distillation import Recipe, flops_per_token, student_of, time_shares
from tasks.model_folders import folder_of
from tasks.models.models import model_row
from tasks.settings.settings import Settings
from tasks.training.distill import UNLABELLED, make_student
from tasks.training.learning_data import read_part
from tasks.training.plan import plan
from tasks.training.train import train_planned

COMMAND = "python -m benchmarks.distillation"
KEPT = Path(__file__).parent / "kept"
TASKS = ("demo", "tcga_type")
CHARACTERS, SEEDS = 1000, 1
TIMED_TEXTS, ROUNDS, N_BOOT = 40, 9, 1000
# nothing of the teacher, and no report without a label
LABELS_ONLY = Recipe(soft_weight=0.0, label_weight=1.0, hidden_weight=0.0)

# written down before the first run
EXPECTED = {
    "quality_kept": ".97 to 1.0: TCGA type is the worse, with 20 reports a label",
    # of .56 with all inner neurons (the demo's two layers), and .51 on TCGA types
    "compute_share": ".44 to .49: two thirds of the inner neurons of half of the layers",
    "demo_quality_kept": ".98 to 1.01",
    "tcga_type_quality_kept": ".95 to 1.0",
    "demo_control_kept": ".97 to 1.0: the start holds much of the teacher, and labels are many",
    "tcga_type_control_kept": ".6 to .9: twenty labels a type mend little",
    "demo_flops_share": ".43: attention over a window of 512 is a third of it and loses no neuron",
    "tcga_type_flops_share": ".40",
}

Probabilities = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Asked:
    """Reports that nothing learnt from, and who they are of."""

    texts: list[str]
    truth: NDArray[np.int64]
    patients: list[str]


@dataclass(frozen=True, eq=False)
class Ground:
    """A hospital that a teacher can be trained in. `unlabelled`: how many more reports a student may read."""

    engine: Engine
    settings: Settings
    classifier: str
    snapshot_id: int
    how: str  # the teacher is trained
    unlabelled: int
    asked: Asked

    def seeded(self, seed: int) -> Settings:
        return self.settings.model_copy(update={"seed": seed})


@dataclass(frozen=True, eq=False)
class Answers:
    """(reports, labels) of one seed's three models."""

    teacher: Probabilities
    student: Probabilities
    control: Probabilities | None = None


def demo_ground() -> Ground:
    """The demo's hospital, made once."""
    folder = KEPT / "distillation-demo"
    if not (folder / "done").exists():
        laudos("demo", "--folder", str(folder))
        (folder / "done").touch()
    engine, settings = _opened(folder)
    with reading(engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
    if champion is None:
        raise SystemExit("the demo promoted no model: see its summary above")
    snapshot_id = champion.model.snapshot_id
    held = read_part(engine, snapshot_id, "holdout", settings.classifier(CLASSIFIER).labels)
    asked = Asked(held.texts, held.labels_idx, held.patients)
    return Ground(engine, settings, CLASSIFIER, snapshot_id, "full", UNLABELLED, asked)


def tcga_ground(characters: int) -> Ground:
    """A hospital of the reports in val.csv; those of test.csv are asked and nowhere in it."""
    folder = KEPT / f"distillation-tcga-{characters}"
    train, test = (
        [{**row, "text": row["text"][: characters or None]} for row in rows] for rows in corpora.corpus()
    )
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        corpora.make_source(folder / "source.db", train, [])
        _write_settings(folder, train)
        corpora.laudos(folder, "ingest")
        [told] = corpora.laudos(folder, "retrain", "--classifier", "type", "--how", "head")
        (folder / "done").write_text(str(told["snapshot_id"]))
    engine, settings = _opened(folder)
    labels = settings.classifier("type").labels
    rows = [row for row in test if row["type_code"] in labels]
    asked = Asked(
        [row["text"] for row in rows],
        np.array([labels.index(row["type_code"]) for row in rows]),
        [row["bcr_patient_barcode"] for row in rows],
    )
    return Ground(engine, settings, "type", int((folder / "done").read_text()), "head", 0, asked)


def _write_settings(folder: Path, train: corpora.Rows) -> None:
    lines = [
        'database = "sqlite:///laudos.db"\nfolder = "laudos-data"',
        '[sources.tcga]\nurl = "sqlite:///source.db"\ntable = "reports"\nid = "id"\ntext = "body"',
        'updated_at = "changed"\npatient = "patient"\ntimezone = "UTC"\nlabels = {type = "type"}',
        f"[classifiers.type]\nlabels = {json.dumps(corpora.labels_of('type', train))}",
        f"critical = {json.dumps(corpora.CRITICAL['type'])}\nsensitivity_floor = 0.0",
        f'training_labels = ["source"]\nencoder = {json.dumps(str(corpora.encoder_folder()))}',
        # what a student does with them; the teacher's body stays as it was loaded
        "training = {window_tokens = 256, stride_tokens = 64, batch_reports = 16, epochs = 5}",
    ]
    (folder / "laudos.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _opened(folder: Path) -> tuple[Engine, Settings]:
    os.environ["LAUDOS_CONFIG"] = str(folder / "laudos.toml")
    settings = Settings.load()
    return open_database(settings), settings


def teacher_of(ground: Ground, seed: int) -> Model:
    """Trained as a retraining does it, once a seed."""
    settings, now = ground.seeded(seed), datetime.now(UTC)
    how = "full" if ground.how == "full" else "head"
    planned = plan(ground.engine, settings, ground.classifier, ground.snapshot_id, how, now)
    if planned.reused is not None:
        return planned.reused
    run_id = _run(ground.engine, "retrain", planned.config_sha, now)
    trained = train_planned(
        ground.engine, settings, run_id, ground.classifier, ground.snapshot_id, planned, now
    )
    return model_row(ground.engine, trained.model_id)


def trial(task: str, ground: Ground, seed: int, control: bool) -> Answers:
    """From what is kept, or by training teacher, student and, where it is wanted, control."""
    teacher = teacher_of(ground, seed)
    taught = {"teacher": teacher}
    pupils = {"student": (Recipe(), ground.unlabelled), "control": (LABELS_ONLY, 0)}
    for name, (recipe, unlabelled) in pupils.items():
        if name == "control" and not control:
            continue
        now = datetime.now(UTC)
        made = make_student(
            ground.engine, ground.seeded(seed), _run(ground.engine, "distill", "benchmark", now), teacher,
            ground.snapshot_id, recipe, unlabelled, now,
        )  # fmt: skip
        taught[name] = model_row(ground.engine, made.model_id)
    return Answers(**{name: answers_of(task, ground, model) for name, model in taught.items()})


def answers_of(task: str, ground: Ground, model: Model) -> Probabilities:
    """(reports, labels) of the asked reports; kept under what the model is made of."""
    kept = KEPT / f"distillation-{task}-{model.manifest_sha[:16]}.npy"
    if not kept.exists():
        predictor = Predictor.load(folder_of(ground.settings, model), model.manifest_sha)
        found = predictor.probabilities(predictor.vectors(ground.asked.texts).vectors)
        scratch = kept.with_suffix(f".{os.getpid()}.tmp")
        with scratch.open("wb") as file:
            np.save(file, found, allow_pickle=False)
        scratch.rename(kept)
    return np.load(kept, allow_pickle=False)  # type: ignore[no-any-return]


def _run(engine: Engine, kind: str, config_sha: str, now: datetime) -> int:
    with writing(engine) as c:
        return ledger.begin_run(
            c, kind, code_revision=code_revision(), config_sha=config_sha, prefect_run_id=None,
            parent_id=None, now=now,
        )  # fmt: skip


def quality(task: str, ground: Ground, seeds: int, control: bool = True) -> dict[str, Figure]:
    """Macro F1 of all three, and the shares of the teacher's that student and control keep."""
    trials = [trial(task, ground, seed, control) for seed in range(seeds)]
    asked = ground.asked
    labels = trials[0].teacher.shape[1]
    weights = list(patient_weights(len(set(asked.patients)), len(asked.texts), N_BOOT, seed=0))

    def macro_f1(name: str) -> NDArray[np.float64]:
        """(1 + draws,) the mean over seeds."""
        found = [Sample.of(getattr(one, name), asked.truth, asked.patients, labels) for one in trials]
        mean: NDArray[np.float64] = np.mean([measured(one, weights).shares.macro_f1 for one in found], axis=0)
        return mean

    pupils = ("student", "control") if control else ("student",)
    columns = {f"{name}_macro_f1": macro_f1(name) for name in ("teacher", *pupils)}
    for name, share in zip(pupils, ("quality_kept", "control_kept"), strict=False):
        columns[share] = columns[f"{name}_macro_f1"] / columns["teacher_macro_f1"]
    return {
        f"{task}_{name}": _over_patients(f"{task}_{name}", column, len(asked.texts) * seeds)
        for name, column in columns.items()
    }


def cost(task: str, ground: Ground) -> dict[str, Figure]:
    """What a student costs beside its teacher; what it was taught makes no difference."""
    row = teacher_of(ground, 0)
    teacher = Predictor.load(folder_of(ground.settings, row), row.manifest_sha)
    student = student_of(teacher.model, inner_share=Recipe().inner_share)
    window = teacher.facts.window_tokens
    shares = time_shares(
        student, teacher.model, teacher.tokenizer, ground.asked.texts[:TIMED_TEXTS],
        window_tokens=window, stride_tokens=teacher.facts.stride_tokens, rounds=ROUNDS,
        clock=time.process_time,
    )  # fmt: skip
    counted = flops_per_token(student, window) / flops_per_token(teacher.model, window)
    names = f"{task}_compute_share", f"{task}_flops_share"
    return {
        names[0]: Figure(median(shares), "share", min(shares), max(shares), len(shares)),
        names[1]: Figure(counted, "share", expected=EXPECTED[names[1]]),
    }


def _over_patients(name: str, column: NDArray[np.float64], n: int) -> Figure:
    low, high = interval(column[1:]) or (None, None)
    return Figure(float(column[0]), "share", low, high, n, EXPECTED.get(name, ""))


def worst(found: dict[str, Figure]) -> dict[str, Figure]:
    """Over both tasks: the least quality kept, and the largest share of the cost."""
    if not all(f"{task}_quality_kept" in found for task in TASKS):
        return {}
    kept = min((found[f"{task}_quality_kept"] for task in TASKS), key=lambda one: one.value)
    cost = max((found[f"{task}_compute_share"] for task in TASKS), key=lambda one: one.value)
    return {
        name: Figure(one.value, one.unit, one.low, one.high, one.n, EXPECTED[name])
        for name, one in (("quality_kept", kept), ("compute_share", cost))
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each task")
    parser.add_argument("--characters", type=int, default=CHARACTERS, help="of a TCGA report; 0 for all")
    parser.add_argument("--no-control", action="store_true", help="its figures stay as they were read")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    KEPT.mkdir(exist_ok=True)
    found: dict[str, Figure] = {}
    for task in asked.tasks:
        try:
            ground = demo_ground() if task == "demo" else tcga_ground(asked.characters)
        except corpora.Missing as missing:
            print(f"left out, {task}: {missing}")
            continue
        found |= quality(task, ground, asked.seeds, not asked.no_control) | cost(task, ground)
        ground.engine.dispose()
    found = worst(found) | found
    tell(found)
    if asked.characters == CHARACTERS:
        more = [f"--seeds {asked.seeds}"] * (asked.seeds != SEEDS) + ["--no-control"] * asked.no_control
        print(f"wrote {add('distillation', ' '.join([COMMAND, *more]), found)}")


if __name__ == "__main__":
    main()
