"""What could answer before a champion: how far each agrees with it, and how fast the two could be at most.

    python -m benchmarks.first_stages            five minutes of one core
    python -m benchmarks.first_stages --limit 90 a quick look, recorded nowhere

The champion and the mix of `benchmarks.cascade`; where it is not kept yet, making it takes ten minutes more.
Four first stages learn from what it decided (a label, or that a person must look) on sentences, TCGA reports
and ours that are not asked afterwards:

- **words**: runs of one to three words, hashed, weighted and added up (logistic regression): next to free;
- **layer 1, 2, 3**: what the champion itself holds after so many of its six layers (mean, largest and first
  token of each window) through a small network: those layers are computed once, for whoever answers.

Of the asked reports a stage answers those it is surest of, as many as leave no more than one in a thousand of
all decided otherwise than by the champion. That is counted on the asked reports themselves, so no rule that
has to be proven (tasks/ml/network/cascade.py) can do better. **..._speedup_at_most**: the champion's time
over that of the two, by tokens: 1 / (c + (1 - c) x tokens left) for c of the layers, c = 0 for words.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from benchmarks import cascade
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.network.backends import OTHER_DECISIONS_MAX, compiled, openvino, why_not
from tasks.ml.network.conformal import decide
from tasks.ml.network.features import heard_by
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading.windows import cached_tokens, padded, token_budget_batches, windows_of

COMMAND = "python -m benchmarks.first_stages"
LAYERS = (1, 2, 3)
TAUGHT = 685  # TCGA reports and ours, beside the sentences: what calibration and asked reports leave
REVIEW = len(cascade.LABELS)  # a third answer: a person must look

# written down after the sentences had been tried alone: .21 of them by words, .42, .57 and more by layers
EXPECTED = {
    "first_stage_words_answered": ".1 to .3",
    "first_stage_layer_1_answered": ".2 to .4",
    "first_stage_layer_2_answered": ".3 to .55",
    "first_stage_layer_3_answered": ".5 to .7",
    "first_stage_best_speedup_at_most": "1.2 to 1.5; 2.5 would be needed for 20 times a pipeline",
}

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Read:
    """Texts, and what the champion made of them."""

    texts: list[str]
    tokens: NDArray[np.int64]
    layers: dict[int, Floats]  # layer -> (texts, 3 x hidden)
    decided: NDArray[np.int64]  # (texts,) a label, or REVIEW


class Early(nn.Module):  # type: ignore[misc]  # torch is not followed
    """The champion's vector of each window, and three of each early layer."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        with heard_by(self.model) as heard:
            states = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        told, real = [heard.pop().vectors], mask[..., None].float()
        for layer in LAYERS:
            mean = (states[layer] * real).sum(1) / real.sum(1)
            told += [mean, (states[layer] - 1e4 * (1 - real)).amax(1), states[layer][:, 0]]
        return torch.cat(told, 1)


def reading(champion: Predictor, texts: list[str]) -> Read:
    """Each text is one window: the mix is cut so."""
    ov = openvino()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, for those who write networks
        network = ov.convert_model(
            Early(champion.model),
            example_input={name: torch.ones(2, 8, dtype=torch.int64) for name in ("ids", "mask")},
            input=[ov.PartialShape([-1, -1])] * 2,
        )
    read, hidden = compiled(network, "bf16"), champion.hidden
    windows = windows_of(champion.tokenizer, texts, **cascade.WINDOWS)
    if len(windows.ids) != len(texts):
        raise SystemExit("a text of the mix is longer than one window; nothing was measured")
    found = np.zeros((len(texts), hidden * (1 + 3 * len(LAYERS))), np.float32)
    for batch in token_budget_batches(windows.lengths, cached_tokens(hidden)):
        ids, mask = padded([windows.ids[index] for index in batch], champion.tokenizer.pad_token_id)
        found[batch] = read(ids, mask).vectors.numpy()
    answers = champion.probabilities(found[:, :hidden])
    sure = np.array(decide(answers, champion.facts.thresholds)) == "auto"
    start = {layer: hidden * (1 + 3 * place) for place, layer in enumerate(LAYERS)}
    layers = {layer: found[:, at : at + 3 * hidden] for layer, at in start.items()}
    return Read(texts, windows.lengths, layers, np.where(sure, answers.argmax(axis=1), REVIEW))


def stages(taught: Read, asked: Read) -> dict[str, tuple[float, NDArray[np.float64]]]:
    """Stage -> its share of the champion's layers, and (asked, answers) probabilities."""
    words = make_pipeline(
        HashingVectorizer(
            ngram_range=(1, 3),
            token_pattern=r"\w+|[^\w\s]",
            n_features=2**20,
            alternate_sign=False,
            norm=None,
        ),
        TfidfTransformer(sublinear_tf=True),
        LogisticRegression(C=100, max_iter=300),
    )
    found = {"words": (0.0, words.fit(taught.texts, taught.decided).predict_proba(asked.texts))}
    for layer in LAYERS:
        head = make_pipeline(
            StandardScaler(), MLPClassifier((256,), alpha=1e-3, early_stopping=True, random_state=0)
        )
        told = head.fit(taught.layers[layer], taught.decided).predict_proba(asked.layers[layer])
        found[f"layer_{layer}"] = (float(layer), told)
    return found


def answered(told: NDArray[np.float64], decided: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(reports,) those that a stage answers: the surest, with at most one in a thousand of all otherwise."""
    named = told[:, :REVIEW]
    order = np.argsort(-named.max(axis=1), kind="stable")
    wrong = np.cumsum((named.argmax(axis=1) != decided)[order])
    kept = np.zeros(len(decided), np.bool_)
    kept[order[wrong <= OTHER_DECISIONS_MAX * len(decided)]] = True
    return kept


def measure(champion: Predictor, sentences: list[str], of: cascade.Mix) -> dict[str, Figure]:
    taught = reading(champion, sentences + of.unlabelled)
    asked = reading(champion, of.calibration + of.asked)
    depth, n = champion.model.config.num_hidden_layers, len(asked.texts)
    figures = {
        "first_stage_review_of_champion": Figure(float((asked.decided == REVIEW).mean()), "share", n=n)
    }
    best = 1.0
    for name, (layers, told) in stages(taught, asked).items():
        kept, share = answered(told, asked.decided), layers / depth
        left = 1 - float(asked.tokens[kept].sum() / asked.tokens.sum())
        at_most = 1 / (share + (1 - share) * left)
        best = max(best, at_most)
        figures[f"first_stage_{name}_answered"] = Figure(float(kept.mean()), "share of reports", n=n)
        figures[f"first_stage_{name}_answered_tokens"] = Figure(1 - left, "share of tokens", n=n)
        figures[f"first_stage_{name}_speedup_at_most"] = Figure(at_most, "over the champion", n=n)
    return figures | {"first_stage_best_speedup_at_most": Figure(best, "over the champion", n=n)}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many reports of a kind; recorded nowhere")
    limit = parser.parse_args(arguments).limit
    if lacking := why_not(cascade.REDUCED):
        raise SystemExit(f"this benchmark needs {cascade.REDUCED}: {lacking}")
    torch.set_num_threads(1)
    taught, held = cascade.sentences()
    few = (taught[0][: cascade.SHOWN], taught[1][: cascade.SHOWN])
    champion = cascade.fitted(cascade.champion(*taught), few, held)
    of = cascade.mix(champion.tokenizer, limit, TAUGHT)
    figures = expecting(measure(champion, taught[0][: limit and 10 * limit], of), EXPECTED)
    tell(figures)
    if limit is None:
        print(f"wrote {add('scoring', COMMAND, figures)}")


if __name__ == "__main__":
    main()
