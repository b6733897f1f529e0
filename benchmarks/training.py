"""What a new head costs beside a whole retraining, what it is worth, and what a kill changes.

    python -m benchmarks.training
    python -m benchmarks.training --only questions

**Time**, on the demo's hospital after its first night: `tasks.training.train.train_planned` both times, from
SQL to the published folder and its row. The whole network under another seed, so that no stored vector of its
own is found; the new head on the champion's body with the vectors that the night has stored, as every night
after the first finds them. Heads and networks take turns.

**Worth**: macro F1 on the demo's held-out patients of a body that saw only the first half of the training
patients under a head fitted on all of them, as a share of what the whole network reads that was trained on
all of them. A head refitted on the very patients that its body saw would show nothing. Three seeds.

**Four classifiers** that share an encoder against one: see benchmarks/questions.py.

**Kill**: the same training twice, once ended by SIGKILL after a checkpoint and then resumed. The largest
difference of any weight.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

from safetensors.torch import load_file, save_file
from sklearn.metrics import f1_score
from sqlalchemy import Engine

from benchmarks.corpora import Missing
from benchmarks.demo import CLASSIFIER, laudos
from benchmarks.questions import four_over_one
from benchmarks.record import Figure, add, tell, write
from db import ledger, models
from db.engine import reading, writing
from tasks.database import open_database
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.network.features import Vectors, encode
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.training.checkpoints import COMPLETE
from tasks.ml.training.training import train_body
from tasks.settings.settings import Settings
from tasks.training.learning_data import Part, read_part
from tasks.training.plan import Plan, config_sha, training_config
from tasks.training.train import train_planned
from tasks.training.train_body import body_training, encoder_spec

COMMAND = "python -m benchmarks.training"
FULL, HEADS_A_FULL, SEEDS = 2, 3, 3
KILLED_REPORTS, ROUNDS = 600, 4
PARTS = ("times", "worth", "kill", "questions")
WEIGHTS, RESUMED = "weights.safetensors", "resumed"

# written down before the first run
EXPECTED = {
    "head_refresh_time_share": ".01 to .03: the demo's network is small and trains in half a minute",
    "head_refresh_quality_kept": ".98 to 1.0: the body saw half of the patients",
    "resume_weight_difference": "0",
    "four_classifiers_cost": "1.03 to 1.1: three more models to load, vectors to read, answers to write",
}


@dataclass(frozen=True)
class Ground:
    """The demo's hospital after its first night."""

    engine: Engine
    settings: Settings
    champion: models.Model

    def part(self, split: str) -> Part:
        labels = self.settings.classifier(CLASSIFIER).labels
        return read_part(self.engine, self.champion.snapshot_id, split, labels)


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog=COMMAND)
    parser.add_argument("--only", choices=PARTS, help="one part; the others keep what was read before")
    only = parser.parse_args(words).only
    with tempfile.TemporaryDirectory(prefix="laudos-training-") as folder:
        figures = questions(Path(folder)) if only in (None, "questions") else {}
        if only != "questions":
            figures |= after_a_night(Path(folder), only)
    tell(figures)
    if only is None:
        print(f"wrote {write('training', COMMAND, figures)}")
    else:
        add("training", f"{COMMAND} --only {only}", figures)


def after_a_night(folder: Path, only: str | None) -> dict[str, Figure]:
    """The parts that stand on the demo's hospital, or one of them."""
    laudos("demo", "--folder", str(folder))
    os.environ["LAUDOS_CONFIG"] = str(folder / "laudos.toml")
    ground = after_the_demo()
    parts: dict[str, Callable[[], dict[str, Figure]]] = {
        "times": lambda: times(ground),
        "worth": lambda: worth(ground, folder),
        "kill": lambda: kill(ground, folder),
    }
    figures: dict[str, Figure] = {}
    for name, part in parts.items():
        if only in (None, name):
            figures |= part()
    ground.engine.dispose()
    return figures


def after_the_demo() -> Ground:
    settings = Settings.load()
    engine = open_database(settings)
    with reading(engine) as c:
        champion = models.champion_of(c, CLASSIFIER)
    if champion is None:
        raise SystemExit("the demo promoted no model: see its summary above")
    return Ground(engine, settings, champion.model)


def times(ground: Ground) -> dict[str, Figure]:
    """Seconds of a new head over seconds of a whole network, each pair from the same round."""
    shares, full_s, head_s = [], [], []
    for number in range(FULL):
        whole = retrained(ground, seed=101 + number, base=None)
        heads = [retrained(ground, seed=201 + number, base=ground.champion) for _ in range(HEADS_A_FULL)]
        full_s.append(whole)
        head_s += heads
        shares += [head / whole for head in heads]
    return {
        "head_refresh_time_share": _figure("head_refresh_time_share", shares, "share"),
        "full_seconds": _figure("full_seconds", full_s, "s"),
        "head_seconds": _figure("head_seconds", head_s, "s"),
    }


def retrained(ground: Ground, *, seed: int, base: models.Model | None) -> float:
    """Wall seconds of one retraining, the folder and its row included."""
    settings = ground.settings.model_copy(update={"seed": seed})
    config = training_config(settings, settings.classifier(CLASSIFIER))
    planned = Plan("head" if base else "full", config, config_sha(config), base)
    now = datetime.now(UTC)
    with writing(ground.engine) as c:
        run_id = ledger.begin_run(
            c,
            "retrain",
            code_revision="benchmark",
            config_sha=planned.config_sha,
            prefect_run_id=None,
            parent_id=None,
            now=now,
        )
    began = time.perf_counter()
    trained = train_planned(
        ground.engine, settings, run_id, CLASSIFIER, ground.champion.snapshot_id, planned, now
    )
    took = time.perf_counter() - began
    if bool(trained.encoded) is bool(base):
        raise SystemExit(
            f"{trained.encoded} reports were encoded for {planned.trained}; nothing was measured"
        )
    return took


def worth(ground: Ground, folder: Path) -> dict[str, Figure]:
    """Macro F1 on held-out patients: an older body under a new head over a whole network of today."""
    taught = ground.part("train")
    patients = sorted(set(taught.patients))
    old = set(patients[::2])  # their keys are hashes: every second one is as good as drawn
    before = [index for index, patient in enumerate(taught.patients) if patient in old]
    everyone = list(range(len(taught.ids)))
    shares, whole, refreshed = [], [], []
    for seed in range(301, 301 + SEEDS):
        whole.append(macro_f1(ground, folder, taught, everyone, seed))
        refreshed.append(macro_f1(ground, folder, taught, before, seed))
        shares.append(refreshed[-1] / whole[-1])
    return {
        "head_refresh_quality_kept": _figure("head_refresh_quality_kept", shares, "share"),
        "full_macro_f1": _figure("full_macro_f1", whole, "share"),
        "head_macro_f1": _figure("head_macro_f1", refreshed, "share"),
    }


def macro_f1(ground: Ground, folder: Path, taught: Part, body_sees: Sequence[int], seed: int) -> float:
    """Of a body that was trained on some reports under a head fitted on all of them."""
    asked = ground.settings.classifier(CLASSIFIER)
    some = taught.only(body_sees)
    spec: EncoderSpec = encoder_spec(asked, ground.settings)
    model, tokenizer = make_scratch(some.texts, asked.labels, spec, seed, patients=some.patients)
    config = body_training(asked, len(some.ids))
    train_body(
        model, tokenizer, some.texts, some.labels_idx,
        config=config, checkpoint_folder=folder / f"worth-{seed}-{len(some.ids)}", seed=seed,
    )  # fmt: skip

    def vectors(texts: Sequence[str]) -> Vectors:
        windows = {"window_tokens": config.window_tokens, "stride_tokens": config.stride_tokens}
        return encode(
            model, tokenizer, texts, **windows, batch_tokens=ground.settings.scoring.batch_tokens
        ).vectors

    calibration, holdout = ground.part("calibration"), ground.part("holdout")
    head = fit_head(
        vectors(taught.texts), taught.labels_idx, len(asked.labels),
        vectors(calibration.texts), calibration.labels_idx, seed=seed,
    )  # fmt: skip
    said = probabilities(head, vectors(holdout.texts)).argmax(axis=1)
    return float(f1_score(holdout.labels_idx, said, average="macro"))


def kill(ground: Ground, folder: Path) -> dict[str, Figure]:
    """The largest difference of any weight between a training in one piece and one that was killed."""
    whole, torn = folder / "whole", folder / "torn"
    context = multiprocessing.get_context("spawn")

    def start(into: Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=train_into, args=(into,))
        process.start()
        return process

    start(whole).join()
    victim = start(torn)
    while not any(mark.stat().st_size for mark in torn.glob("checkpoint-*/" + COMPLETE)):
        if not victim.is_alive():
            raise SystemExit("the training ended before it could be killed; nothing was measured")
        time.sleep(0.01)
    os.kill(victim.pid or 0, signal.SIGKILL)
    victim.join()
    start(torn).join()
    one, other = (load_file(into / WEIGHTS) for into in (whole, torn))
    apart = max(float((one[name] - other[name]).abs().max()) for name in one)
    resumed = int((torn / RESUMED).read_text())
    if resumed == 0 or one.keys() != other.keys():
        raise SystemExit("the killed training did not go on from its checkpoint; nothing was measured")
    return {
        "resume_weight_difference": Figure(
            apart, "of any weight", n=len(one), expected=EXPECTED["resume_weight_difference"]
        ),
        "resumed_from_step": Figure(resumed, "step"),
    }


def train_into(folder: Path) -> None:
    """In a process of its own: one training of the demo's network, and its weights."""
    ground = after_the_demo()
    asked, taught = ground.settings.classifier(CLASSIFIER), ground.part("train")
    some = taught.first(KILLED_REPORTS)
    model, tokenizer = make_scratch(
        some.texts, asked.labels, encoder_spec(asked, ground.settings), 7, patients=some.patients
    )
    config = replace(body_training(asked, len(some.ids)), checkpoint_every_steps=20)
    log = train_body(
        model, tokenizer, some.texts, some.labels_idx, config=config, checkpoint_folder=folder, seed=7
    )
    save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, folder / WEIGHTS)
    (folder / RESUMED).write_text(str(log.resumed_from_step))


def questions(folder: Path) -> dict[str, Figure]:
    """Four classifiers on one encoder over one."""
    try:
        costs = four_over_one(folder, ROUNDS)
    except Missing as missing:
        print(f"left out, four classifiers: {missing}")
        return {}
    return {"four_classifiers_cost": _figure("four_classifiers_cost", costs, "ratio")}


def _figure(name: str, values: Sequence[float], unit: str) -> Figure:
    """The median of the rounds, and their range."""
    return Figure(median(values), unit, min(values), max(values), len(values), EXPECTED.get(name, ""))


if __name__ == "__main__":
    main()
