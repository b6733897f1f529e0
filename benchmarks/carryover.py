"""One trial of what carries over: train on some words and rows, read other rows in words never seen.

Each trial is kept as soon as it is done, in benchmarks/kept/, and not run again while the grammar and
the settings are what they were: a benchmark of an hour may be stopped at any time and goes on. Its network is
kept apart: what only answers on top of it is read again without another training.
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
from tasks.ml.arrays import Floats
from tasks.ml.behaviour.run import run_suite
from tasks.ml.behaviour.suite import load_suite
from tasks.ml.judging.baselines import tfidf
from tasks.ml.network.encoder import EncoderSpec, load_classifier, make_scratch
from tasks.ml.network.features import Vectors, encode, last_linear
from tasks.ml.network.head import fit_head_and_pool, probabilities
from tasks.ml.network.linear_reader import fit_linear_reader
from tasks.ml.reading.occurrences import Read
from tasks.ml.reading.windows import windows_of
from tasks.ml.splits import unit_interval
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.lessons import lessons, statements
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.training.teaching import LESSONS, lessons_training, scratch_rate, teach
from tasks.ml.training.training import BodyTraining, passes_over, train_body

KEPT = Path(__file__).parent / "kept"
EXAM, CRITICAL, LABELS = "paaf", "maligno", ("benigno", "maligno")
SHIPPED = EncoderSpec(attention=True, sentences=True)  # as the product makes it where there are lessons
NETWORK_REVISION = 4  # raise when another network comes of a trial: what was kept is then trained again
REVISION = 4  # raise when the same network answers otherwise
BATCH_TOKENS = 8192
RIGHT = "right_"  # of what is kept: before the name of who got the suite's pairs right

# texts -> P(critical): of network and linear reader together, and of the network alone
Answers = Callable[[Sequence[str]], tuple[Floats, Floats]]
Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@dataclass(frozen=True)
class Trial:
    """What is taught and what is asked. `seed` also says which rows teach and which are asked."""

    seed: int
    taught: Wording = EVERYTHING
    asked: Wording = EVERYTHING
    reports_per_row: int = 30
    encoder: EncoderSpec = SHIPPED
    training: BodyTraining = field(default_factory=BodyTraining)  # epochs and learning rate: as shipped
    lessons: int = LESSONS
    lever: str = "clauses"  # a way to more variety, by its name in benchmarks/lever_texts.py; as shipped

    @property
    def key(self) -> str:
        """What must be the same for a kept result to stand: the network, the suite, the code's revision."""
        return _sha([REVISION, self.network_key, load_suite(EXAM).sha])

    @property
    def network_key(self) -> str:
        """And for a kept network: the trial, the grammar, the code's revision."""
        stands_on: list[object] = [NETWORK_REVISION, asdict(self), grammar_sha(EXAM)]
        if self.lever:
            stands_on.append(lever_texts.code_sha())
        return _sha(stands_on)


def _sha(told: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode()).hexdigest()[:16]


@dataclass(frozen=True, eq=False)
class Asked:
    """Of the rows asked about: (reports,) each, probabilities of the critical label by model.

    `right`: (pairs,) of the exam's behaviour suite, what ours and our network alone got right.
    """

    critical: NDArray[np.bool_]
    rows: list[str]
    scores: dict[str, Floats]
    right: dict[str, NDArray[np.bool_]]


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
                **{RIGHT + name: pairs for name, pairs in found.right.items()},
                **found.scores,
            )
        scratch.rename(kept)
    with np.load(kept, allow_pickle=False) as arrays:
        held = dict(arrays)
    critical, rows = held.pop("critical"), [str(row) for row in held.pop("rows")]
    right = {name.removeprefix(RIGHT): held.pop(name) for name in list(held) if name.startswith(RIGHT)}
    return Asked(critical, rows, held, right)


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
    answers = answering(trial, kept_network(trial, taught), taught, calibration)
    scores = {}
    for where, some in (("", asked), ("_in_grammar", known)):
        scores[f"ours{where}"], scores[f"network{where}"] = answers(some.texts)
    for name, analyzer in (("tfidf_word", "word"), ("tfidf_char", "char_wb")):
        told = tfidf(taught.texts, taught.truth, [*asked.texts, *known.texts], 2, analyzer, trial.seed)
        scores[name], scores[f"{name}_in_grammar"] = np.split(told[:, 1], [len(asked.texts)])
    measured = _measurements(by_split["train"])
    scores["measurements"] = np.array([measured[row] for row in asked.rows])
    suite = load_suite(EXAM)

    def right(whose: int) -> NDArray[np.bool_]:
        def both(texts: Sequence[str]) -> Floats:
            critical = answers(texts)[whose]
            return np.stack([1 - critical, critical], axis=1)

        return run_suite(suite, both, LABELS, CRITICAL).right

    return Asked(asked.truth == 1, asked.rows, scores, {"ours": right(0), "network": right(1)})


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


def kept_network(trial: Trial, taught: Written) -> Network:
    """The trial's network, from what is kept or by training it."""
    kept = KEPT / f"network-{trial.network_key}"
    if not kept.exists():
        network = trained(trial, taught)
        scratch = kept.with_suffix(f".{os.getpid()}.tmp")
        for part in network:
            part.save_pretrained(scratch)
        scratch.rename(kept)
    return load_classifier(str(kept), local_files_only=True)


def trained(trial: Trial, taught: Written) -> Network:
    """A network from scratch, as the product trains it."""
    model, tokenizer = make_scratch(taught.texts, LABELS, trial.encoder, trial.seed, patients=taught.rows)
    epochs = passes_over(len(taught.texts))
    read = lever_texts.read_with(trial.lever, taught.texts, taught.rows, taught.truth, trial.seed, epochs)
    config = replace(
        trial.training,
        epochs=read.passes,
        learning_rate=scratch_rate(trial.lessons),
        checkpoint_every_steps=1_000_000,
    )
    with tempfile.TemporaryDirectory(prefix="laudos-carryover-") as folder:
        if trial.lessons:
            learn(model, tokenizer, trial, config, Path(folder) / "lessons")
        train_body(
            model, tokenizer, read.texts, taught.truth[read.report],
            config=config, checkpoint_folder=Path(folder) / "reports", seed=trial.seed,
        )  # fmt: skip
    return model, tokenizer


def answering(trial: Trial, network: Network, taught: Written, calibration: Written) -> Answers:
    """The shipped way: head refitted, a linear reader beside the network, both calibrated."""
    model, tokenizer = network
    config = trial.training

    def cut(texts: Sequence[str]) -> Read:
        return Read(texts, windows_of(tokenizer, texts, config.window_tokens, config.stride_tokens))

    reader = fit_linear_reader(
        cut(taught.texts), taught.rows, taught.truth, cut(calibration.texts), calibration.truth, len(LABELS)
    )

    def vectors(texts: Sequence[str]) -> Vectors:
        return encode(
            model, tokenizer, texts,
            window_tokens=config.window_tokens, stride_tokens=config.stride_tokens, batch_tokens=BATCH_TOKENS,
            beside=reader,
        ).vectors  # fmt: skip

    hidden, held = last_linear(model)[1].in_features, vectors(calibration.texts)
    head, pool = fit_head_and_pool(
        vectors(taught.texts), taught.truth, len(LABELS),
        held, calibration.truth, hidden=hidden, seed=trial.seed,
    )  # fmt: skip

    def answers(texts: Sequence[str]) -> tuple[Floats, Floats]:
        read = vectors(texts)
        return probabilities(head, read, pool)[:, 1], probabilities(head, read[:, :hidden])[:, 1]

    return answers


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
