"""One trial of what carries over: train on some words and rows, read other rows in words never seen.

Each trial is kept as soon as it is done, in benchmarks/kept/, and not run again while the grammar and
the settings are what they were: a benchmark of an hour may be stopped at any time and goes on.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks import lever_texts
from tasks.ml import synthesis
from tasks.ml.baselines import tfidf
from tasks.ml.behaviour.run import run_suite
from tasks.ml.behaviour.suite import load_suite
from tasks.ml.encoder import EncoderSpec, make_scratch
from tasks.ml.features import Vectors, encode
from tasks.ml.head import fit_head, fold_in, probabilities
from tasks.ml.splits import unit_interval
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.exercises import exercises
from tasks.ml.synthesis.lessons import lessons, statements
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.teaching import LESSONS, lessons_training, scratch_rate, teach
from tasks.ml.training import BodyTraining, passes_over, train_body

KEPT = Path(__file__).parent / "kept"
EXAM, CRITICAL, LABELS = "paaf", "maligno", ("benigno", "maligno")
CODE_REVISION = 3  # raise when a trial's meaning changes: what was kept is then run again
BATCH_TOKENS = 8192
OTHERS = ("critical", "rows", "pairs_right")  # of what is kept, all that are no scores

Floats = NDArray[np.float64]
Predict = Callable[[Sequence[str]], Floats]


@dataclass(frozen=True)
class Trial:
    """What is taught and what is asked. `seed` also says which rows teach and which are asked."""

    seed: int
    taught: Wording = EVERYTHING
    asked: Wording = EVERYTHING
    reports_per_row: int = 30
    encoder: EncoderSpec = field(default_factory=EncoderSpec)
    training: BodyTraining = field(default_factory=BodyTraining)  # epochs and learning rate: as shipped
    lessons: int = LESSONS
    exercises: int = 0  # reports on mixed specimens, read among the others
    lever: str = "clauses"  # a way to more variety, by its name in benchmarks/lever_texts.py; as shipped

    @property
    def key(self) -> str:
        """What must be the same for a kept result to stand: the trial, the grammar, the code's revision."""
        stands_on: list[object] = [CODE_REVISION, asdict(self), grammar_sha(EXAM), load_suite(EXAM).sha]
        if self.lever:
            stands_on.append(lever_texts.code_sha())
        told = json.dumps(stands_on, sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Asked:
    """Of the rows asked about: (reports,) each, probabilities of the critical label by model.

    `pairs_right`: (pairs,) of the exam's behaviour suite, what ours got right.
    """

    critical: NDArray[np.bool_]
    rows: list[str]
    scores: dict[str, Floats]
    pairs_right: NDArray[np.bool_]


def grammar_sha(exam: str) -> str:
    folder = Path(next(iter(synthesis.__path__))) / "data" / exam
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("*.yaml")))).hexdigest()


def split_for(row: Row, seed: int) -> str:
    """Train 70 %, calibration 15 %, asked 15 %: another split of the rows for each seed."""
    place = unit_interval(row.key, f"benchmark-{seed}")
    return "train" if place < 0.70 else "calibration" if place < 0.85 else "asked"


def run(trial: Trial) -> Asked:
    """The trial's result, from what is kept or by running it."""
    kept = KEPT / f"{trial.key}.npz"
    if not kept.exists():
        found = _run(trial)
        KEPT.mkdir(exist_ok=True)
        scratch = kept.with_suffix(f".{os.getpid()}.tmp")
        with scratch.open("wb") as file:
            np.savez_compressed(
                file,
                critical=found.critical,
                rows=np.array(found.rows),
                pairs_right=found.pairs_right,
                **found.scores,
            )
        scratch.rename(kept)
    with np.load(kept, allow_pickle=False) as arrays:
        scores = {name: arrays[name] for name in arrays.files if name not in OTHERS}
        rows = [str(row) for row in arrays["rows"]]
        return Asked(arrays["critical"], rows, scores, arrays["pairs_right"])


def _run(trial: Trial) -> Asked:
    table = generator(EXAM).rows()
    by_split = {
        split: [row for row in table if split_for(row, trial.seed) == split]
        for split in ("train", "calibration", "asked")
    }
    taught = written(by_split["train"], trial, trial.taught, "taught")
    calibration = written(by_split["calibration"], trial, trial.taught, "calibration")
    asked = written(by_split["asked"], trial, trial.asked, "asked")
    known = written(
        by_split["asked"], trial, trial.taught, "known"
    )  # the same rows, in words that were taught
    model = trained(trial, taught, calibration, by_split["train"])
    scores = {"ours": model(asked.texts), "ours_in_grammar": model(known.texts)}
    for name, analyzer in (("tfidf_word", "word"), ("tfidf_char", "char_wb")):
        told = tfidf(taught.texts, taught.truth, [*asked.texts, *known.texts], 2, analyzer, trial.seed)
        scores[name], scores[f"{name}_in_grammar"] = np.split(told[:, 1], [len(asked.texts)])
    measured = _measurements(by_split["train"])
    scores["measurements"] = np.array([measured[row] for row in asked.rows])
    suite = load_suite(EXAM)

    def both(texts: Sequence[str]) -> Floats:
        critical = model(texts)
        return np.stack([1 - critical, critical], axis=1)

    pairs = run_suite(suite, both, LABELS, CRITICAL)
    return Asked(asked.truth == 1, asked.rows, scores, pairs.right)


@dataclass(frozen=True, eq=False)
class Written:
    texts: list[str]
    truth: NDArray[np.int64]
    rows: list[str]


def written(rows: Sequence[Row], trial: Trial, wording: Wording, purpose: str) -> Written:
    """Reports on these rows; each purpose has words of its own, for one seed."""
    purposes = ("taught", "calibration", "asked", "known")
    made = list(
        synthesize(
            EXAM,
            mode="findings",
            reports_per_row=trial.reports_per_row,
            seed=1000 * (1 + trial.seed) + purposes.index(purpose),
            rows=rows,
            wording=wording,
        )
    )
    truth = np.array([LABELS.index(one.label) for one in made], np.int64)
    return Written([one.text for one in made], truth, [one.row_key for one in made])


def trained(trial: Trial, taught: Written, calibration: Written, rows: Sequence[Row]) -> Predict:
    """The shipped way: a network from scratch, its head refitted and calibrated; texts -> P(critical).

    `rows` are those of the training split, which exercises are made of."""
    model, tokenizer = make_scratch(taught.texts, LABELS, trial.encoder, trial.seed, patients=taught.rows)
    read = lever_texts.read_with(
        trial.lever, taught.texts, taught.rows, taught.truth, trial.seed, passes_over(len(taught.texts))
    )
    config = replace(
        trial.training,
        epochs=read.passes,
        learning_rate=scratch_rate(trial.lessons),
        checkpoint_every_steps=1_000_000,
    )
    more = exercised(trial, rows)
    with tempfile.TemporaryDirectory(prefix="laudos-carryover-") as folder:
        if trial.lessons:
            learn(model, tokenizer, trial, config, Path(folder) / "lessons")
        train_body(
            model, tokenizer,
            [*read.texts, *more.texts], np.r_[taught.truth[read.report], more.truth],
            config=config, checkpoint_folder=Path(folder) / "reports", seed=trial.seed,
        )  # fmt: skip

    def vectors(texts: Sequence[str]) -> Vectors:
        return encode(
            model, tokenizer, texts,
            window_tokens=config.window_tokens, stride_tokens=config.stride_tokens, batch_tokens=BATCH_TOKENS,
        ).vectors  # fmt: skip

    head = fit_head(
        vectors([*taught.texts, *more.texts]), np.r_[taught.truth, more.truth], len(LABELS),
        vectors(calibration.texts), calibration.truth, seed=trial.seed,
    )  # fmt: skip
    fold_in(model, head)
    return lambda texts: probabilities(head, vectors(texts))[:, 1]


def exercised(trial: Trial, rows: Sequence[Row]) -> Written:
    """Exercises on these rows, in the words that are taught; no specimen is behind one."""
    if not trial.exercises:
        return Written([], np.array([], np.int64), [])
    given = list(exercises(EXAM, count=trial.exercises, seed=trial.seed, rows=rows, wording=trial.taught))
    return Written([one.text for one in given], np.array([LABELS.index(one.label) for one in given]), [])


def learn(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    trial: Trial,
    config: BodyTraining,
    checkpoints: Path,
) -> None:
    """Lessons in the words that are taught, as the product has them read before reports."""
    given = list(lessons(EXAM, count=trial.lessons, seed=trial.seed, wording=trial.taught))
    teach(
        model, tokenizer, [one.text for one in given], np.array([one.says for one in given]),
        len(statements(EXAM)),
        config=lessons_training(config), checkpoint_folder=checkpoints, seed=trial.seed,
    )  # fmt: skip


def _measurements(train: Sequence[Row]) -> dict[str, float]:
    """The ceiling, P(critical) of every row: logistic regression on measurements, of the rows that teach."""
    table = generator(EXAM).rows()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit([row.measurements for row in train], [row.label == CRITICAL for row in train])
    said = model.predict_proba([row.measurements for row in table])[:, 1]
    return {row.key: float(value) for row, value in zip(table, said, strict=True)}
