"""Negation, uncertainty and section of Spanish clinical sentences (NUBes), beside TF-IDF.

    python -m benchmarks.nubes                    two hours of a core with AMX, minutes on a GPU; resumable
    python -m benchmarks.nubes --encoder scratch  five minutes of one core
    python -m benchmarks.nubes --body section     one of the two bodies
    python -m benchmarks.nubes --limit 900        a quick look, recorded nowhere

MiniLM (English) that went on learning from the training sentences, trained whole with attention over its
tokens; and as a control a network from scratch (`*_scratch`). Both made and trained by what a retraining
makes and trains a classifier's with (`pretrain`, `load_encoder`, `make_scratch`, `train_body`, `fit_head`).

Negation and uncertainty (the cues) are asked together: one body learns which of the four combinations a
sentence is, and each question has a head of its own on its vectors. The section has a body of its own. Also
with a linear reader answering beside it (`*_pooled`). Split by sample, as the corpus asks for: 002-007
teach, 008 calibrates, 009-010 judge.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import f1_score

from benchmarks.corpora import Missing, corpora_folder, encoder_folder
from benchmarks.ladder import Network, gone_on, kept_folder, take_over
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.arrays import Ints
from tasks.ml.judging.baselines import tfidf
from tasks.ml.network.encoder import EncoderSpec, load_encoder, make_scratch
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, pool_of, probabilities
from tasks.ml.network.linear_reader import fit_linear_reader
from tasks.ml.reading.occurrences import Read
from tasks.ml.reading.windows import windows_of
from tasks.ml.training.training import BodyTraining, train_body

COMMAND = "python -m benchmarks.nubes"
SPLITS = {"train": range(2, 8), "calibration": range(8, 9), "holdout": range(9, 11)}
# the questions that each body is taught together, and for how long; the cues' was read with 3 epochs before
BODIES = {"cues": ("neg", "unc"), "section": ("section",)}
EPOCHS = {"cues": 6.0, "section": 3.0}
NAMES = {"neg": "negation", "unc": "uncertainty", "section": "section"}
WINDOW, STRIDE = 128, 32
SPEC = EncoderSpec(window_tokens=WINDOW, vocabulary=8000)
TRAINING = BodyTraining(window_tokens=WINDOW, stride_tokens=STRIDE, epochs=4.0, learning_rate=5e-4)
FINE_TUNING = replace(TRAINING, learning_rate=2e-4, head_steps=5.0, mixed_precision=True)
PRETRAINING = replace(
    FINE_TUNING, epochs=6.0, stride_tokens=0, learning_rate=5e-4, batch_windows=128, head_steps=1.0
)
ENCODERS = ("minilm", "scratch")

# scratch: written down after trying lengths of training and sizes on the calibration sample; MiniLM: before
EXPECTED = {
    "nubes_negation_errors_over_tfidf": ".46 to .54 (three epochs: .54)",
    "nubes_uncertainty_errors_over_tfidf": ".6 to .72 (three epochs: .69)",
    "nubes_section_macro_f1_lead": "-.02 to .02",
    "nubes_negation_errors_over_tfidf_pooled": "as without, within .03 (after a look at the cues' vectors)",
    "nubes_uncertainty_errors_over_tfidf_pooled": "as without, within .05 (likewise)",
    "nubes_negation_errors_over_tfidf_scratch": ".6 to .75: it sees order, but knows no Spanish",
    "nubes_uncertainty_errors_over_tfidf_scratch": ".7 to .85",
    "nubes_section_macro_f1_lead_scratch": "-.05 to 0: a section is told by its words, which TF-IDF counts",
}


@dataclass(frozen=True, eq=False)
class Sentences:
    """One split."""

    texts: list[str]
    samples: list[str]
    said: dict[str, list[str]]  # question -> answer of each sentence

    def of(self, questions: Sequence[str]) -> list[str]:
        """What each sentence answers to several questions at once."""
        return ["|".join(answers) for answers in zip(*(self.said[one] for one in questions), strict=True)]


def sentences(limit: int | None = None) -> dict[str, Sentences]:
    """The splits; `limit` takes so many sentences of each, from all over it. Raises Missing."""
    path = corpora_folder() / "nubes" / "nubes_sentences.csv"
    if not path.exists():
        raise Missing(f"no NUBes sentences at {path}; set LAUDOS_CORPORA to the folder that holds nubes")
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for split, numbers in SPLITS.items():
        mine = [row for row in rows if int(row["sample"].rpartition("-")[2]) in numbers]
        mine = mine[:: max(1, len(mine) // limit)] if limit else mine
        found[split] = Sentences(
            [row["text"] for row in mine],
            [row["sample"] for row in mine],
            {question: [row[question] for row in mine] for question in NAMES},
        )
    return found


def answered(
    splits: dict[str, Sentences], body: str, encoder: str, work: Path
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What one body and a head a question answer the holdout, alone and with a linear reader beside it.

    question -> (sentences, labels) of each.
    """
    vectors = read_by_one_body(splits, body, encoder, work)
    tokenizer = beginner(encoder, splits["train"].texts, ["0", "1"], work)[1]
    known = {
        split: Read(some.texts, windows_of(tokenizer, some.texts, WINDOW, STRIDE))
        for split, some in splits.items()
    }
    found = {}
    for question in BODIES[body]:
        names = sorted(set(splits["train"].said[question]))
        truth = {split: _numbers(some.said[question], names) for split, some in splits.items()}
        taught, calibrating = (truth[split] for split in ("train", "calibration"))
        head = fit_head(vectors["train"], taught, len(names), vectors["calibration"], calibrating)
        reader = fit_linear_reader(
            known["train"], _patients(splits["train"].texts), taught,
            known["calibration"], calibrating, len(names),
        )  # fmt: skip
        held, asked = (
            np.hstack([vectors[split], reader.logits(known[split])]) for split in ("calibration", "holdout")
        )
        pool = pool_of(head, held, calibrating)
        found[question] = probabilities(head, vectors["holdout"]), probabilities(head, asked, pool)
    return found


def _patients(texts: Sequence[str]) -> list[str]:
    """One a sentence: samples are few and large, and what is learnt may be of any training sentence."""
    return [str(number) for number in range(len(texts))]


def read_by_one_body(
    splits: dict[str, Sentences], body: str, encoder: str, work: Path
) -> dict[str, np.ndarray]:
    """(sentences, hidden) of each split, read by a body taught its questions; kept in `work`."""
    path = work / f"{encoder}-{body}.npz"
    if not path.exists():
        taught = splits["train"]
        joint = taught.of(BODIES[body])
        labels = sorted(set(joint))
        network = beginner(encoder, taught.texts, labels, work)
        train_body(
            *network, taught.texts, _numbers(joint, labels),
            config=TRAINING if encoder == "scratch" else replace(FINE_TUNING, epochs=EPOCHS[body]),
            checkpoint_folder=work / path.stem, seed=0,
        )  # fmt: skip
        read = {
            split: encode(*network, some.texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
            for split, some in splits.items()
        }
        np.savez_compressed(path, **read)
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def beginner(encoder: str, texts: Sequence[str], labels: Sequence[str], work: Path) -> Network:
    """A network that has not been asked yet."""
    if encoder == "scratch":
        return make_scratch(texts, labels, SPEC, seed=0, patients=_patients(texts))
    network = load_encoder(EncoderSpec("folder", str(encoder_folder()), attention=True), labels)
    take_over(network, gone_on(texts, PRETRAINING, work))
    return network


def measure(
    splits: dict[str, Sentences], bodies: Sequence[str], encoder: str, work: Path
) -> dict[str, Figure]:
    """Every figure of these bodies' questions, ours and TF-IDF's."""
    figures = {}
    mine = "" if encoder == ENCODERS[0] else f"_{encoder}"
    ours = {
        question: told for body in bodies for question, told in answered(splits, body, encoder, work).items()
    }
    for question in ours:
        name = NAMES[question]
        names = sorted(set(splits["train"].said[question]))
        taught, truth = (_numbers(splits[one].said[question], names) for one in ("train", "holdout"))
        told = {mine: ours[question][0].argmax(axis=1), f"{mine}_pooled": ours[question][1].argmax(axis=1)}
        for kind, analyzer in (("_tfidf", "word"), ("_tfidf_char", "char_wb")):
            asked = splits["train"].texts, taught, splits["holdout"].texts, len(names)
            told[kind] = tfidf(*asked, analyzer, 0).argmax(axis=1)
        for whose, answers in told.items():
            wrong = float((answers != truth).mean())
            figures[f"nubes_{name}_errors{whose}"] = Figure(wrong, "share", n=len(truth))
            score = float(f1_score(truth, answers, average="macro"))
            figures[f"nubes_{name}_macro_f1{whose}"] = Figure(score, "share", n=len(truth))
        for who, beside in itertools.product((mine, f"{mine}_pooled"), ("_tfidf", "_tfidf_char")):
            ratio = _errors_over(told[who] != truth, told[beside] != truth)
            figures[f"nubes_{name}_errors_over{beside}{who}"] = ratio
    if "section" in ours:
        lead = figures[f"nubes_section_macro_f1{mine}"].value - figures["nubes_section_macro_f1_tfidf"].value
        figures[f"nubes_section_macro_f1_lead{mine}"] = Figure(lead, "share")
    return figures


def _errors_over(ours: np.ndarray, theirs: np.ndarray) -> Figure:
    """A ratio of errors on the same sentences; the interval is over draws of sentences, with replacement."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(ours), (1000, len(ours)))
    low, high = np.quantile(
        ours[drawn].sum(axis=1) / np.maximum(1, theirs[drawn].sum(axis=1)), (0.025, 0.975)
    )
    return Figure(float(ours.sum() / max(1, theirs.sum())), "ratio", float(low), float(high), len(ours))


def _numbers(answers: Sequence[str], names: Sequence[str]) -> Ints:
    return np.array([names.index(one) for one in answers], np.int64)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many sentences of each split; recorded nowhere")
    parser.add_argument("--encoder", action="append", choices=ENCODERS)
    parser.add_argument("--body", action="append", choices=list(BODIES))
    asked = parser.parse_args(arguments)
    for encoder in asked.encoder or ENCODERS[:1]:
        if encoder == "scratch":
            torch.set_num_threads(1)  # steps too small to share
        with tempfile.TemporaryDirectory(prefix="laudos-nubes-") as folder:
            settings = (SPEC, TRAINING, FINE_TUNING, EPOCHS, PRETRAINING)
            work = Path(folder) if asked.limit else kept_folder("nubes", *settings)
            figures = expecting(
                measure(sentences(asked.limit), asked.body or list(BODIES), encoder, work), EXPECTED
            )
        tell(figures)
        if asked.limit is None:
            print(f"wrote {add('corpora', COMMAND, figures)}")


if __name__ == "__main__":
    main()
