"""A cascade on reports of a natural mix of lengths: how fast, and how many decisions differ.

    python -m benchmarks.cascade             some twenty minutes of one core the first time, ten afterwards
    python -m benchmarks.cascade --limit 96  a quick look, recorded nowhere

**Champion**: MiniLM, six layers, trained on negation in NUBes sentences (samples 002 to 005), head and
thresholds fitted on sample 006. **Student**: its first layer alone, taught by `distil` on half of these
sentences and, without a label, on TCGA and our reports. Both are kept in benchmarks/kept/cascade/.

They read the mix of `benchmarks.backends`: a third each of TCGA pathology reports, NUBes sentences and ours,
cut at 510 tokens. The question is that of the sentences alone; asked of reports the champion's answers mean
little, but whether the cascade gives the same ones can be told, and takes no label. How sure the student must
be is chosen by `tasks.ml.network.cascade.choose` on reports that taught neither, in a test that has all of
the error (laudos keeps half for later ones); others are asked. Where it is refused, the champion reads
everything, and the speed is the champion's.

Seconds of the processor, one thread; every way takes its turn in each round.
**cascade_speedup_over_pipeline**: a `pipeline` of transformers with batches of 32 over the cascade, both of
whose networks compute in bfloat16.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.backends import PIPELINE, Ground, cut, in_turns, ratio, rows_of
from benchmarks.corpora import encoder_folder
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.network.artifact import LaudosJson
from tasks.ml.network.backends import Backend, reader_on, why_not
from tasks.ml.network.cascade import ERROR, Agreement, Choice, agreement, choose, is_sure
from tasks.ml.network.conformal import fit_thresholds
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, head_of, probabilities
from tasks.ml.network.predictor import Prediction, Predictor
from tasks.ml.splits import split_of
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.training.distillation import NO_LABEL, Recipe, distil, student_of, students_training
from tasks.ml.training.training import BodyTraining, train_body

COMMAND = "python -m benchmarks.cascade"
KEPT = Path(__file__).parent / "kept" / "cascade"
LABELS, CRITICAL, ERRORS = ("afirmado", "negado"), "negado", (0.05, 0.02)
SENTENCES, SHOWN, UNLABELLED = 8000, 4000, 150  # shown to the student; unlabelled: of TCGA's and of ours each
CALIBRATION, ASKED, TIMED = 1020, 200, 32  # of each kind
ROUNDS = 3
TRAINING = BodyTraining(epochs=2.0, learning_rate=1e-4, checkpoint_every_steps=100)
STUDENT_EPOCHS = 1.0
WINDOWS = {"window_tokens": 512, "stride_tokens": 64}
FULL: Backend = "openvino-fp32"
REDUCED: Backend = "openvino-bf16"
NEVER = 2.0  # nothing is as probable as that

# written down before the first run
EXPECTED = {
    "cascade_speedup_over_pipeline": "10 to 25: a layer in place of six, for seven to nine reports in ten",
    "cascade_answered": ".6 to .9",
    "cascade_other_decisions": "0 to .001",
    "cascade_critical_lost": "0 to .01",
}


@dataclass(frozen=True, eq=False)
class Mix:
    """Texts in an order of chance, a third of each kind."""

    unlabelled: list[str]  # taught the student
    calibration: list[str]
    asked: list[str]


def mix(tokenizer: Any, limit: int | None, unlabelled: int = UNLABELLED) -> Mix:
    """No specimen and no report is in two parts; `limit` takes so many of each for calibration."""
    calibrate, ask = (limit, limit // 3) if limit else (CALIBRATION, ASKED)
    tcga = [row["text"] for name in ("val", "test") for row in rows_of(f"tcga_pathrep/{name}.csv")]
    random.Random(2).shuffle(tcga)
    ends = unlabelled, unlabelled + CALIBRATION
    sentences = [row["text"] for row in _nubes(7, 8, 9)]
    kinds = (
        (tcga[: ends[0]], tcga[ends[0] : ends[1]], tcga[ends[1] :]),
        ([], sentences, [row["text"] for row in _nubes(10)]),
        tuple(_ours(split) for split in ("train", "calibration", "holdout")),
    )
    parts = [
        [text for of in kinds for text in random.Random(3).sample(of[part], min(most, len(of[part])))]
        for part, most in enumerate((unlabelled, calibrate, ask))
    ]
    for part in parts:
        random.Random(4).shuffle(part)
    return Mix(*([cut(tokenizer, text) for text in part] for part in parts))


def _ours(split: str) -> list[str]:
    rows = [row for row in generator("paaf").rows() if split_of(row.key) == split]
    made = synthesize("paaf", mode="findings", reports_per_row=16, seed=7, rows=rows)
    return [one.text for one in made]


def sentences() -> tuple[tuple[list[str], np.ndarray], tuple[list[str], np.ndarray]]:
    """Those that teach the champion, with labels, and those that its head and thresholds are fitted on."""
    rows = _nubes(2, 3, 4, 5)
    np.random.default_rng(0).shuffle(rows)
    taught, held = (
        ([row["text"] for row in some], np.array([int(row["neg"]) for row in some], np.int64))
        for some in (rows[:SENTENCES], _nubes(6))
    )
    return taught, held


def _nubes(*samples: int) -> list[dict[str, str]]:
    wanted = {f"SAMPLE-{number:03}" for number in samples}
    return [row for row in rows_of("nubes/nubes_sentences.csv") if row["sample"] in wanted]


def champion(texts: Sequence[str], truth: np.ndarray) -> Any:
    """The trained body, made where it is not kept."""

    def made() -> Any:
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder_folder(), num_labels=len(LABELS), local_files_only=True
        )
        train_body(
            model, _tokenizer(), texts, truth,
            config=TRAINING, checkpoint_folder=KEPT / "champion-checkpoints", seed=0,
        )  # fmt: skip
        return model

    return _kept("champion", made)


def student(teacher: Any, texts: Sequence[str], truth: np.ndarray) -> Any:
    """One layer of it, taught, made where it is not kept."""

    def made() -> Any:
        recipe = Recipe(layers=1)
        small = student_of(teacher, recipe.layers, recipe.inner_share)
        distil(
            teacher, small, _tokenizer(), texts, truth, recipe=recipe,
            config=replace(students_training(TRAINING), epochs=STUDENT_EPOCHS),
            checkpoint_folder=KEPT / "student-checkpoints", seed=0,
        )  # fmt: skip
        return small

    return _kept("student", made)


def _kept(name: str, made: Callable[[], Any]) -> Any:
    folder = KEPT / name
    if not folder.is_dir():
        made().save_pretrained(folder)
    return AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()


def _tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(encoder_folder(), local_files_only=True)


def fitted(model: Any, taught: tuple[list[str], np.ndarray], held: tuple[list[str], np.ndarray]) -> Predictor:
    """A network with a head of its own, as a retraining fits it, in full precision."""
    reader = reader_on(model, FULL)
    read = [
        encode(model, _tokenizer(), texts, **WINDOWS, reader=reader).vectors for texts, _ in (taught, held)
    ]
    head = fit_head(read[0], taught[1], len(LABELS), read[1], held[1])
    facts = LaudosJson(
        classifier="negation", labels=LABELS, critical=CRITICAL, **WINDOWS, encoder_sha="", snapshot_sha="",
        seed=0, created_at=datetime.now(UTC),
        thresholds=fit_thresholds(probabilities(head, read[1]), held[1], ERRORS),
    )  # fmt: skip
    with torch.no_grad():
        last = model.classifier
        last.weight.copy_(torch.from_numpy(head.weight))
        last.bias.copy_(torch.from_numpy(head.bias))
    return Predictor(facts, "", model, _tokenizer(), *head_of(model), None)


def cascaded(large: Predictor, small: Predictor, confidence: float, texts: Sequence[str]) -> list[Prediction]:
    """The student's answers where it is sure, else the champion's."""
    first = small.predict(texts)
    left = [place for place, one in enumerate(first) if not is_sure(one, confidence)]
    for place, one in zip(left, large.predict([texts[place] for place in left]), strict=True):
        first[place] = one
    return first


def measure(large: Predictor, small: Predictor, of: Mix, rounds: int) -> dict[str, Figure]:
    """Every figure, both networks in bfloat16."""
    ours, quick = large.on(REDUCED), small.on(REDUCED)
    chosen = choose(quick.predict(of.calibration), ours.predict(of.calibration), CRITICAL, ERROR)
    print(chosen)
    confidence = NEVER if chosen.refused else chosen.confidence
    told = agreement(quick.predict(of.asked), ours.predict(of.asked), CRITICAL, confidence)
    timed = of.asked[: 3 * TIMED]
    ways: dict[str, Callable[[], Any]] = {
        PIPELINE: Ground("minilm", large.model, large.tokenizer, timed).piped(),
        "champion": lambda: ours.predict(timed),
    }
    if chosen.refused is None:
        ways["cascade"] = lambda: cascaded(ours, quick, confidence, timed)
    for way in ways.values():
        way()
    taken = in_turns(ways, rounds)
    fastest = taken.get("cascade", taken["champion"])
    return _agreed(told, chosen) | {
        "cascade_speedup_over_pipeline": ratio(taken[PIPELINE], fastest),
        "cascade_over_champion": ratio(taken["champion"], fastest),
    }


def _agreed(told: Agreement, chosen: Choice) -> dict[str, Figure]:
    found = chosen.agreement
    promised = found.other_decisions_share_max if chosen.refused is None else 1.0
    lost = told.critical_lost / max(1, told.critical)
    return {
        "cascade_proven": Figure(float(chosen.refused is None), "1: both promises", n=found.reports),
        "cascade_answered_of_calibration": Figure(found.answered / found.reports, "share", n=found.reports),
        "cascade_other_decisions_at_most": Figure(promised, "share, 95 %", n=found.reports),
        "cascade_answered": Figure(told.answered / told.reports, "share", n=told.reports),
        "cascade_other_decisions": Figure(told.other_decisions / told.reports, "share", n=told.reports),
        "cascade_critical_lost": Figure(lost, "share", n=told.critical),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many reports of a kind; recorded nowhere")
    asked = parser.parse_args(arguments)
    if lacking := why_not(REDUCED):
        raise SystemExit(f"this benchmark needs {REDUCED}: {lacking}")
    torch.set_num_threads(1)
    of = mix(_tokenizer(), asked.limit)
    taught, held = sentences()
    body = champion(*taught)
    few = (taught[0][:SHOWN], taught[1][:SHOWN])
    small = student(
        body, few[0] + of.unlabelled, np.concatenate([few[1], np.full(len(of.unlabelled), NO_LABEL)])
    )
    figures = measure(fitted(body, few, held), fitted(small, few, held), of, 1 if asked.limit else ROUNDS)
    figures = expecting(figures, EXPECTED)
    tell(figures)
    if asked.limit is None:
        print(f"wrote {add('scoring', COMMAND, figures)}")


if __name__ == "__main__":
    main()
