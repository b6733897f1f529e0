"""Whether pre-training on one's own reports helps, at three sizes of the corpus, beside none.

    python -m benchmarks.pretraining                        some ten minutes of one core
    python -m benchmarks.pretraining --next-sentence        all 662 only, asked for the next sentence, too
    python -m benchmarks.pretraining --reports 40 --passes 1   a quick look, recorded nowhere

MiniLM, English and general, goes on learning from real pathology reports (TCGA, see benchmarks/corpora.py):
80, 230 and all 662 reports of val.csv whose patients are of the training split, as `laudos pretrain` does it.
Then, as that command does, the same head is fitted on the frozen encoder before and after, taught the cancer
type (32 of them) by the 662, and judged on the other 291 patients of val.csv, cross-fitted. The gain is in
points of macro F1, its interval over paired draws of patients. test.csv is not read.

Of every report its first 400 characters are read, in windows of 128 tokens: one core would need hours for all
of them. So what is measured is a short pre-training on short texts; one seed.

**Control**: the encoder as it was loaded. Perplexities are of the same 291 patients' reports, under the same
masks. The folder holds no head that says words, so that before is a head drawn at random.

Each size is kept in benchmarks/kept/ as soon as it is done, half-done trainings included: stop it at any time
and start it again.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks import corpora
from benchmarks.record import Figure, add, expecting, tell
from tasks.intake.rows import patient_key
from tasks.ml.judging.comparison import beside, gain
from tasks.ml.judging.resampling import wilson
from tasks.ml.network.encoder import EncoderSpec, load_encoder
from tasks.ml.network.features import encode
from tasks.ml.pretraining.gain import cross_fitted
from tasks.ml.pretraining.masks import Masks
from tasks.ml.pretraining.next_sentence import pair_exam, pairs_in, pairs_of
from tasks.ml.pretraining.pretraining import exam, pretrain, pretraining, share_back, speller
from tasks.ml.splits import split_of, unit_interval
from tasks.ml.training.token_store import kept_store, write_store
from tasks.ml.training.training import BodyTraining

COMMAND = "python -m benchmarks.pretraining"
KEPT = Path(__file__).parent / "kept"
SIZES, PASSES, CHARACTERS = (80, 230, 662), 3.0, 400  # passes: the command's own default
READING = BodyTraining(window_tokens=128, stride_tokens=16, batch_windows=16)
SEED = 0

# written down before the first run
EXPECTED = {
    "gain_80": "-2 to +1 points: nothing to see",
    "gain_230": "-2 to +2 points",
    "gain_662": "-3 to +4 points: words of pathology, read through a pooler that was not taught with them",
    "control_macro_f1": ".45 to .60: the first 400 characters often name the organ",
    "gain_662_next_sentence": "-3 to +4 points: the pooler is taught, but by few and short pairs",
    "pairs_right_662": ".50 to .75: half of them by guessing",
    "perplexity_control": "more than 5,000: a head drawn at random",
    "perplexity_80": "2,000 to 5,000: 15 steps",
    "perplexity_230": "600 to 2,000",
    "perplexity_662": "100 to 500",
}


@dataclass(frozen=True, eq=False)
class Ground:
    """Reports that teach, and those that are asked. `labels`: every type that a teaching report bears."""

    taught: list[str]
    taught_idx: NDArray[np.int64]
    asked: list[str]
    asked_idx: NDArray[np.int64]
    patients: list[str]
    labels: list[str]


@dataclass(frozen=True, eq=False)
class Read:
    """What one encoder came to: perplexity with the tokens asked for, and (asked, labels) answers."""

    perplexity: float
    tokens: int
    answers: NDArray[np.float64]
    pairs: tuple[int, int] | None = None  # asked, and right


def ground() -> Ground:
    """val.csv, divided as laudos divides patients."""
    rows, _ = corpora.corpus()
    labels = corpora.labels_of("type", rows)
    rows = [row for row in rows if row["type_code"] in labels]
    taught = [row for row in rows if _split(row) == "train"]
    # the same order however the file is sorted, so that a smaller corpus is a part of each larger one
    taught.sort(key=lambda row: unit_interval(row["bcr_patient_barcode"], "pretraining"))
    asked = [row for row in rows if _split(row) != "train"]

    def numbers(some: corpora.Rows) -> NDArray[np.int64]:
        return np.array([labels.index(row["type_code"]) for row in some], np.int64)

    return Ground(
        [row["text"][:CHARACTERS] for row in taught],
        numbers(taught),
        [row["text"][:CHARACTERS] for row in asked],
        numbers(asked),
        [row["bcr_patient_barcode"] for row in asked],
        labels,
    )


def _split(row: Mapping[str, str]) -> str:
    return split_of(patient_key("tcga", row["bcr_patient_barcode"], row["bcr_patient_barcode"]))


def read_with(given: Ground, reports: int, passes: float, *, next_sentence: bool = False) -> Read:
    """From what is kept, or by pre-training on the first so many reports; 0 is the control."""
    folder = KEPT / f"pretraining-{reports}-{passes:g}{'-next' * next_sentence}"
    done = folder / "read.json"
    if not done.exists():
        _learn(given, reports, passes, folder, next_sentence)
    told = json.loads(done.read_text())
    return Read(**told, answers=np.load(folder / "answers.npy", allow_pickle=False))


def _learn(given: Ground, reports: int, passes: float, folder: Path, next_sentence: bool) -> None:
    spec = EncoderSpec("folder", str(corpora.encoder_folder()))
    body, tokenizer = load_encoder(spec, given.labels, seed=SEED)
    spelling = speller(body, spec, SEED, next_sentence=next_sentence)
    masks, window = Masks(tokenizer, SEED), READING.window_tokens
    folder.mkdir(parents=True, exist_ok=True)
    if reports:
        tokens, config = folder / "tokens", replace(pretraining(READING, scratch=False), epochs=passes)
        store = kept_store(tokens) or write_store(tokens, [given.taught[:reports]], tokenizer, window)
        batch_of = pairs_in(store, tokenizer, masks, window).batch if next_sentence else None
        pretrain(
            spelling, tokenizer, store, masks, config=config, checkpoint_folder=folder, seed=SEED,
            batch_of=batch_of,
            progress=lambda step, steps: print(f"{reports} reports: step {step} of {steps}", end="\r"),
        )  # fmt: skip
        share_back(spelling, body)
    found = exam(spelling, tokenizer, given.asked, masks, window)
    told: dict[str, Any] = {"perplexity": found.perplexity, "tokens": found.asked}
    if next_sentence:
        told["pairs"] = pair_exam(spelling, pairs_of(given.asked, tokenizer, masks, window))
    taught, asked = (
        encode(body, tokenizer, texts, window_tokens=window, stride_tokens=READING.stride_tokens).vectors
        for texts in (given.taught, given.asked)
    )
    answers = cross_fitted(
        taught, given.taught_idx, len(given.labels), asked, given.asked_idx, given.patients,
        seed=SEED, bias=True,
    )  # fmt: skip
    np.save(folder / "answers.npy", answers, allow_pickle=False)
    # last: it says that the answers are whole
    (folder / "read.json").write_text(json.dumps(told))
    for left in (*folder.glob("checkpoint-*"), folder / "tokens"):
        shutil.rmtree(left, ignore_errors=True)


def measure(sizes: Sequence[int], passes: float) -> dict[str, Figure]:
    """Every figure of each size, and of the control."""
    given = ground()
    control = read_with(given, 0, passes)
    figures = {"perplexity_control": Figure(control.perplexity, "words", n=control.tokens)}
    n = len(given.asked)
    for reports in sizes:
        found = read_with(given, reports, passes)
        better = beside(
            found.answers, control.answers, given.asked_idx, given.patients, len(given.labels), SEED, gain
        )
        low, high = (None if end is None else 100 * end for end in (better.low, better.high))
        figures |= {
            f"gain_{reports}": Figure(100 * better.figure, "points", low, high, n),
            f"macro_f1_{reports}": Figure(better.f1_macro, "share", n=n),
            f"perplexity_{reports}": Figure(found.perplexity, "words", n=found.tokens),
            "control_macro_f1": Figure(better.other_f1_macro, "share", n=n),
        }
    return expecting(figures, EXPECTED)


def with_next_sentence(reports: int, passes: float) -> dict[str, Figure]:
    """The same for one size, with pairs: the gain over the same control, and how many pairs were known."""
    given = ground()
    control = read_with(given, 0, passes)
    found = read_with(given, reports, passes, next_sentence=True)
    better = beside(
        found.answers, control.answers, given.asked_idx, given.patients, len(given.labels), SEED, gain
    )
    low, high = (None if end is None else 100 * end for end in (better.low, better.high))
    asked, right = found.pairs or (0, 0)
    n = len(given.asked)
    return expecting(
        {
            f"gain_{reports}_next_sentence": Figure(100 * better.figure, "points", low, high, n),
            f"macro_f1_{reports}_next_sentence": Figure(better.f1_macro, "share", n=n),
            f"perplexity_{reports}_next_sentence": Figure(found.perplexity, "words", n=found.tokens),
            f"pairs_right_{reports}": Figure(right / asked, "share", *wilson(right / asked, asked), asked),
        },
        EXPECTED,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, nargs="+", default=list(SIZES), help="sizes of the corpus")
    parser.add_argument("--passes", type=float, default=PASSES)
    parser.add_argument("--next-sentence", action="store_true", help="the largest size, with pairs")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    command = COMMAND + " --next-sentence" * asked.next_sentence
    if asked.next_sentence:
        figures = with_next_sentence(max(asked.reports), asked.passes)
    else:
        figures = measure(asked.reports, asked.passes)
    tell(figures)
    if (tuple(asked.reports), asked.passes) == (SIZES, PASSES):
        print(f"wrote {add('pretraining', command, figures)}")


if __name__ == "__main__":
    main()
