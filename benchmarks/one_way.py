"""Context from both sides or from one: a BERT and a GPT-2 of one size on the same reports.

    python -m benchmarks.one_way                                      some ten minutes on one core
    python -m benchmarks.one_way --seeds 1 --rows 80 --reports-per-row 2     a quick look, recorded nowhere

BERT lets every token see all others and is read at its first token; GPT-2 lets a token see only those before
it and is read at its last. Both are made from scratch with one vocabulary, width, depth and number of heads,
read the same synthetic reports in the same order, equally often, and get the same head; the learning rate is
chosen for each, from the same two, on the calibration split. Asked are rows of the table that taught neither.

The control is a BERT whose tokens see only those before them, and which is still read at its first token:
that one sees nothing but itself, so whatever this arm knows above chance would be a leak. One seed, one rate.

Intervals are over rows of the table, each drawn alike for all networks and seeds. Pairs are those of the
exam's behaviour suite, without an interval: they are the same few for every seed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import log_loss
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2ForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from benchmarks.carryover import CRITICAL, EXAM, LABELS, Asked, Trial, Written, split_for, written
from benchmarks.record import Figure, expecting, tell, write
from benchmarks.synthesis import over_rows
from tasks.ml.arrays import Floats
from tasks.ml.behaviour.run import run_suite
from tasks.ml.behaviour.suite import load_suite
from tasks.ml.behaviour.suite_file import NEGATION
from tasks.ml.judging.baselines import tfidf
from tasks.ml.judging.ranking import ranked_areas
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.wording import EVERYTHING
from tasks.ml.training.training import train_body

COMMAND = "python -m benchmarks.one_way"
SEEDS, REPORTS_PER_ROW, EPOCHS = 2, 3, 5.0  # small on purpose: nine trainings
RATES = (5e-4, 1e-3)
Network = tuple[PreTrainedModel, PreTrainedTokenizerBase]
Read = Callable[[Sequence[str]], Floats]  # texts -> (texts, labels) probabilities

# written down before the first whole run; one on 60 rows had been seen while it was built
EXPECTED = {
    "both_ways_auroc": ".90 to .96: an eighth of the demo's reports, and no lessons",
    "one_way_auroc": ".85 to .95: its last token has read everything as well, but learns more slowly",
    "both_ways_gain": "+.01 to +.05",
    "first_token_alone_auroc": ".5: it sees nothing",
    "tfidf_auroc": ".94 to .97",
    "both_ways_negation_right": ".3 to .6: few reports, no lessons",
    "one_way_negation_right": ".1 to .5",
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--rows", type=int, help="of each split, the first so many")
    parser.add_argument("--reports-per-row", type=int, default=REPORTS_PER_ROW)
    asked = parser.parse_args(arguments)
    trials, pairs, sizes = [], [], {}
    for seed in range(asked.seeds):
        trial = Trial(seed, reports_per_row=asked.reports_per_row, encoder=EncoderSpec(), lessons=0, lever="")
        found, right, sizes = one_seed(trial, asked.rows)
        trials.append(found)
        pairs.append(right)
    figures = expecting(told(trials, pairs, sizes), EXPECTED)
    tell(figures)
    if asked.rows is None and asked.seeds == SEEDS:
        print(f"wrote {write('one_way', COMMAND, figures)}")


def one_seed(trial: Trial, rows: int | None) -> tuple[Asked, dict[str, float], dict[str, int]]:
    """What each network says of the rows asked about, its share of negation pairs right, its parameters."""
    parts = {}
    for split, purpose in (("train", "taught"), ("calibration", "calibration"), ("asked", "asked")):
        of_split = [row for row in generator(EXAM).rows() if split_for(row, trial.seed) == split]
        parts[split] = written(of_split[:rows], trial, EVERYTHING, purpose)
    taught, held, asked = parts["train"], parts["calibration"], parts["asked"]
    scores, right, sizes = {}, {}, {}
    for name, make in (NETWORKS | (CONTROL if trial.seed == 0 else {})).items():
        read, sizes[name] = best(make, trial, taught, held, RATES[-1:] if name in CONTROL else RATES)
        scores[name] = read(asked.texts)[:, LABELS.index(CRITICAL)]
        suite = load_suite(EXAM)
        run = run_suite(suite, read, LABELS, CRITICAL)
        negated = np.array([pair.kind == NEGATION for pair in suite.pairs])
        right[name] = float(run.right[negated].mean())
    words = tfidf(taught.texts, taught.truth, asked.texts, len(LABELS), "word", trial.seed)
    scores["tfidf"] = words[:, LABELS.index(CRITICAL)]
    found = Asked(asked.truth == LABELS.index(CRITICAL), asked.rows, scores, {"ours": run.right})
    return found, right, sizes


def best(
    make: Callable[[Written, EncoderSpec, int], Network],
    trial: Trial,
    taught: Written,
    held: Written,
    rates: Sequence[float],
) -> tuple[Read, int]:
    """The network as it reads best of these rates, by its log loss on calibration; and its parameters."""
    tried = []
    for rate in rates:
        network = make(taught, trial.encoder, trial.seed)
        read = trained(network, trial, taught, held, rate)
        tried.append((float(log_loss(held.truth, read(held.texts), labels=[0, 1])), read))
    return min(tried, key=lambda one: one[0])[1], sum(one.numel() for one in network[0].parameters())


def trained(network: Network, trial: Trial, taught: Written, held: Written, rate: float) -> Read:
    """Whole network, then its head refitted and calibrated, as a retraining does it."""
    model, tokenizer = network
    config = replace(
        trial.training,
        epochs=EPOCHS,
        learning_rate=rate,
        checkpoint_every_steps=10**6,
    )
    with tempfile.TemporaryDirectory(prefix="laudos-one-way-") as folder:
        train_body(
            model, tokenizer, taught.texts, taught.truth,
            config=config, checkpoint_folder=Path(folder), seed=trial.seed,
        )  # fmt: skip

    def vectors(texts: Sequence[str]) -> np.ndarray:
        return encode(
            model, tokenizer, texts, window_tokens=config.window_tokens, stride_tokens=config.stride_tokens
        ).vectors

    head = fit_head(
        vectors(taught.texts), taught.truth, len(LABELS), vectors(held.texts), held.truth, seed=trial.seed
    )
    return lambda texts: probabilities(head, vectors(texts))


# ------------------------------------------------------------------ networks of one size


def both_ways(taught: Written, spec: EncoderSpec, seed: int) -> Network:
    return make_scratch(taught.texts, LABELS, spec, seed, patients=taught.rows)


def one_way(taught: Written, spec: EncoderSpec, seed: int) -> Network:
    _, tokenizer = both_ways(taught, spec, seed)
    config = GPT2Config(
        vocab_size=len(tokenizer),
        n_positions=spec.window_tokens,
        n_embd=spec.hidden_size,
        n_layer=spec.layers,
        n_head=spec.attention_heads,
        num_labels=len(LABELS),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    return _drawn(GPT2ForSequenceClassification, config, seed), tokenizer


def first_token_alone(taught: Written, spec: EncoderSpec, seed: int) -> Network:
    model, tokenizer = both_ways(taught, spec, seed)
    config = BertConfig(**{**model.config.to_dict(), "is_decoder": True})
    return _drawn(BertForSequenceClassification, config, seed), tokenizer


def _drawn(network: type[PreTrainedModel], config: BertConfig | GPT2Config, seed: int) -> PreTrainedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return network(config).eval()


NETWORKS = {"both_ways": both_ways, "one_way": one_way}
CONTROL = {"first_token_alone": first_token_alone}


# ------------------------------------------------------------------ figures


def told(
    trials: Sequence[Asked], pairs: Sequence[dict[str, float]], sizes: dict[str, int]
) -> dict[str, Figure]:
    figures = {}
    for name in (*NETWORKS, *CONTROL, "tfidf"):
        having = [one for one in trials if name in one.scores]
        figures[f"{name}_auroc"] = over_rows(
            f"{name}_auroc", having, lambda one, w, name=name: _auroc(one, name, w)
        )
    figures["both_ways_gain"] = over_rows(
        "both_ways_gain", trials, lambda one, w: _auroc(one, "both_ways", w) - _auroc(one, "one_way", w)
    )
    for name in NETWORKS:
        shares = [one[name] for one in pairs]
        figures[f"{name}_negation_right"] = Figure(
            float(np.mean(shares)), "share of pairs, range over seeds", min(shares), max(shares), len(shares)
        )
        figures[f"{name}_parameters"] = Figure(sizes[name], "parameters")
    return figures


def _auroc(one: Asked, network: str, weights: Floats) -> Floats:
    return ranked_areas(one.scores[network], one.critical, weights)[0]


if __name__ == "__main__":
    main()
