"""TCGA reports, cancer type and stage: what each step of training gives, from TF-IDF upwards.

    python -m benchmarks.ladder                 every rung: minutes on a GPU, a day on two cores; resumable
    python -m benchmarks.ladder --rung frozen   one of them
    python -m benchmarks.ladder --limit 60      a quick look at reports of two types, recorded nowhere

The same functions that a retraining calls (`pretrain`, `train_body`, `encode`, `fit_head`) without the
database around them, so that it runs on a machine lent for an hour. Rows of val.csv teach, but for the 15 %
that calibrate; test.csv is read once. The encoder is MiniLM (English, 22 million weights).

Each rung adds one thing to the one before:

- tfidf: words and pairs of words, logistic regression. Of all of val.csv, as in the corpus' own table.
- frozen: MiniLM as it comes, its own pooler, mean over windows; only the head is fitted.
- tokens: the mean over all tokens of the report instead of the pooler.
- pretrained: MiniLM goes on learning from the reports that teach, masked words; the rest as before.
- trained: every weight is trained on the question, each window bearing its report's label (own pooler).
- attention: every weight, after pre-training, with attention over the whole report.
- beside: a linear reader answers beside that network (docs/training.md).
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.corpora import CRITICAL, QUESTIONS, Rows, corpus, encoder_folder
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.judging.baselines import baselines
from tasks.ml.judging.evaluation import evaluate
from tasks.ml.network.encoder import EncoderSpec, load_encoder
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, pool_of, probabilities
from tasks.ml.network.linear_reader import fit_linear_reader
from tasks.ml.pretraining.pretraining import Masks, pretrain, share_back, speller
from tasks.ml.reading.occurrences import Read
from tasks.ml.reading.windows import windows_of
from tasks.ml.splits import split_of
from tasks.ml.training.token_store import write_store
from tasks.ml.training.training import BodyTraining, train_body

COMMAND = "python -m benchmarks.ladder"
KEPT = Path(__file__).parent / "kept"
BEST = "beside"  # chosen before test.csv was read with it
SPLITS = ("taught", "calibration", "asked")
WINDOW, STRIDE = 512, 64
PRETRAINING = BodyTraining(
    window_tokens=256,
    stride_tokens=0,
    epochs=40.0,
    learning_rate=5e-4,
    batch_windows=64,
    mixed_precision=True,
)
TRAINING = BodyTraining(
    window_tokens=WINDOW, stride_tokens=STRIDE, epochs=20.0, learning_rate=2e-4, batch_windows=32,
    mixed_precision=True, checkpoint_every_steps=1_000,
)  # fmt: skip
ATTENTIVE = replace(TRAINING, epochs=30.0, batch_windows=12, head_steps=5.0)

# written down before test.csv was read, after one look at a fifth of val.csv (type .90, stage .40 to .53)
EXPECTED = {
    "tcga_type_macro_f1": ".88 to .92: a small general encoder, 30 reports a type, 4 of the rarest",
    "tcga_stage_macro_f1": ".45 to .55: 500 reports, and the rules that make a stage differ by type",
    "ladder_frozen_type_macro_f1": ".77",
    "ladder_tokens_type_macro_f1": ".80 to .84",
    "ladder_pretrained_type_macro_f1": ".80 to .86",
    "ladder_trained_type_macro_f1": ".75 to .85: each window must say the type, and most cannot",
    "ladder_beside_type_macro_f1": ".92 to .94: alone, tokens and pairs had .84, cross-validated on val.csv",
    "ladder_beside_stage_macro_f1": ".45 to .55: alone .47",
}
Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]


@dataclass(frozen=True)
class Rung:
    attention: bool = False
    pretrained: bool = False
    trained: bool = False
    beside: bool = False


RUNGS = {
    "tfidf": None,
    "frozen": Rung(),
    "tokens": Rung(attention=True),
    "pretrained": Rung(attention=True, pretrained=True),
    "trained": Rung(trained=True),
    "attention": Rung(attention=True, pretrained=True, trained=True),
    "beside": Rung(attention=True, pretrained=True, trained=True, beside=True),
}


@dataclass(frozen=True, eq=False)
class Task:
    """One question: reports that teach, that calibrate and that are asked, all with known answers."""

    question: str
    labels: list[str]
    taught: Rows
    calibration: Rows
    asked: Rows

    @property
    def splits(self) -> dict[str, Rows]:
        return {split: getattr(self, split) for split in SPLITS}

    def truth(self, rows: Rows) -> np.ndarray:
        return np.array([self.labels.index(row[QUESTIONS[self.question]]) for row in rows], np.int64)


def task(question: str, train: Rows, test: Rows) -> Task:
    column = QUESTIONS[question]
    known = [row for row in train if row[column]]
    calibrates = [split_of(row["bcr_patient_barcode"]) == "calibration" for row in known]
    taught = [row for row, apart in zip(known, calibrates, strict=True) if not apart]
    labels = sorted({row[column] for row in taught})
    return Task(
        question,
        labels,
        taught,
        [row for row, apart in zip(known, calibrates, strict=True) if apart and row[column] in labels],
        [row for row in test if row[column] in labels],
    )


def answered(rung: Rung, asked: Task, readers: Rows, work: Path) -> np.ndarray:
    """(reports, labels) what the rung says of the reports asked. `readers`: whose texts may pre-train."""
    vectors = read(rung, asked, readers, work)
    truth = {split: asked.truth(rows) for split, rows in asked.splits.items()}
    head = fit_head(
        vectors["taught"], truth["taught"], len(asked.labels), vectors["calibration"], truth["calibration"]
    )
    if not rung.beside:
        return probabilities(head, vectors["asked"])
    tokenizer = load_encoder(EncoderSpec("folder", str(encoder_folder())), asked.labels)[1]
    known = {
        split: Read(texts(rows), windows_of(tokenizer, texts(rows), WINDOW, STRIDE))
        for split, rows in asked.splits.items()
    }
    reader = fit_linear_reader(
        known["taught"], [row["bcr_patient_barcode"] for row in asked.taught], truth["taught"],
        known["calibration"], truth["calibration"], len(asked.labels),
    )  # fmt: skip
    held, told = (
        np.hstack([vectors[split], reader.logits(known[split])]) for split in ("calibration", "asked")
    )
    return probabilities(head, told, pool_of(head, held, truth["calibration"]))


def read(rung: Rung, asked: Task, readers: Rows, work: Path) -> dict[str, np.ndarray]:
    """(reports, hidden) of each split, by the rung's network; kept in `work`."""
    made_by = replace(rung, beside=False)
    name = next(name for name, other in RUNGS.items() if other == made_by)
    path = work / f"{name}-{asked.question}-vectors.npz"
    if not path.exists():
        network = made(rung, name, asked, readers, work)
        found = {
            split: encode(
                *network, texts(rows), window_tokens=WINDOW, stride_tokens=STRIDE, batch_tokens=32_768
            ).vectors
            for split, rows in asked.splits.items()
        }
        np.savez_compressed(path, **found)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def made(rung: Rung, name: str, asked: Task, readers: Rows, work: Path) -> Network:
    network = load_encoder(
        EncoderSpec("folder", str(encoder_folder()), attention=rung.attention), asked.labels
    )
    if rung.pretrained:
        take_over(network, gone_on(texts(readers), PRETRAINING, work))
    if rung.trained:
        config = ATTENTIVE if rung.attention else TRAINING
        train_body(
            *network, texts(asked.taught), asked.truth(asked.taught),
            config=config, checkpoint_folder=work / f"{name}-{asked.question}", seed=0,
        )  # fmt: skip
    return network


def gone_on(read: Sequence[str], config: BodyTraining, work: Path) -> PreTrainedModel:
    """MiniLM after masked words of these texts; read once, and kept in `work`."""
    folder = work / "minilm-pretrained"
    if folder.is_dir():
        return AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    spec = EncoderSpec("folder", str(encoder_folder()))
    model, tokenizer = load_encoder(spec, ["no", "yes"])
    spelling = speller(model, spec, seed=0)
    store = write_store(work / "tokens", [read], tokenizer, config.window_tokens)
    pretrain(
        spelling, tokenizer, store, Masks(tokenizer, seed=0),
        config=config, checkpoint_folder=work / "pretraining", seed=0,
    )  # fmt: skip
    share_back(spelling.cpu(), model)
    unfinished = work / "minilm-unfinished"
    model.save_pretrained(unfinished)
    unfinished.replace(folder)
    return model


def take_over(network: Network, model: PreTrainedModel) -> None:
    """Put the weights of `model`'s body under this network's attention."""
    body = network[0].body.state_dict()
    given = {name: tensor for name, tensor in model.base_model.state_dict().items() if name in body}
    network[0].body.load_state_dict(given)


def texts(rows: Rows) -> list[str]:
    return [row["text"] for row in rows]


def tfidf(asked: Task) -> np.ndarray:
    rows = asked.taught + asked.calibration
    fitted = baselines(texts(rows), asked.truth(rows).tolist(), texts(asked.asked), asked.labels, {}, seed=0)
    return fitted["tfidf_word"]


def kept(rung: str, asked: Task, readers: Rows, work: Path) -> tuple[np.ndarray, float]:
    """The rung's answers and how long they took, from what was kept in `work` or by running it."""
    path = work / f"{rung}-{asked.question}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["answers"], float(arrays["seconds"])
    began = time.monotonic()
    how = RUNGS[rung]
    answers = tfidf(asked) if how is None else answered(how, asked, readers, work)
    seconds = time.monotonic() - began
    np.savez_compressed(path, answers=answers, seconds=seconds)
    return answers, seconds


def scores(prefix: str, answers: np.ndarray, asked: Task) -> dict[str, Figure]:
    patients = [row["bcr_patient_barcode"] for row in asked.asked]
    critical = CRITICAL[asked.question]
    found = {
        figure.name: figure
        for figure in evaluate(answers, asked.truth(asked.asked), patients, asked.labels, critical, seed=0)
        if figure.slice == "all" and figure.value is not None
    }
    names = {"f1_macro": "macro_f1", "accuracy": "accuracy", "auroc_report": "auroc"}
    return {
        f"{prefix}_{short}": Figure(
            found[name].value or 0.0, "share", found[name].low, found[name].high, found[name].n
        )
        for name, short in names.items()
    }


def kept_folder(name: str, *settings: object) -> Path:
    """Where what was trained by these settings is kept: a benchmark that is stopped goes on there."""
    folder = KEPT / f"{name}-{hashlib.sha256(repr(settings).encode()).hexdigest()[:8]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rung", action="append", choices=list(RUNGS))
    parser.add_argument("--question", action="append", choices=list(QUESTIONS))
    parser.add_argument("--limit", type=int, help="so many reports of two common types; recorded nowhere")
    given = parser.parse_args(arguments)
    train, test = corpus(given.limit)
    whole = given.limit is None
    for rung in given.rung or RUNGS:
        for question in given.question or QUESTIONS:
            asked = task(question, train, test)
            readers = [row for row in train if split_of(row["bcr_patient_barcode"]) != "calibration"]
            with tempfile.TemporaryDirectory(prefix="laudos-ladder-") as folder:
                settings = (WINDOW, STRIDE, PRETRAINING, TRAINING, ATTENTIVE)
                work = kept_folder("ladder", *settings) if whole else Path(folder)
                answers, seconds = kept(rung, asked, readers, work)
            figures = scores(f"ladder_{rung}_{question}", answers, asked)
            if rung == BEST:
                figures |= scores(f"tcga_{question}", answers, asked)
            where = torch.cuda.get_device_name() if torch.cuda.is_available() else "processor"
            tell(figures)
            print(f"  {seconds:.0f} s ({where})", flush=True)
            if whole:
                add("corpora", COMMAND, expecting(figures, EXPECTED))


if __name__ == "__main__":
    main()
