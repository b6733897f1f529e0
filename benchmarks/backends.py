"""How fast reports are read on each back end, beside a plain pipeline and beside the machine's limit.

    python -m benchmarks.backends             MiniLM and a network of BERT-base's size; half an hour
    python -m benchmarks.backends --limit 24  a quick look, recorded nowhere

Reports of a natural mix of lengths: pathology reports (TCGA), sentences (NUBes) and ours, a third each, drawn
by chance and in an order of chance, cut at 510 tokens so that a pipeline, which reads no further, must give
the same answers. At both sizes a pipeline sees nothing but whole batches of 32. One thread; every way takes
its turn in each round, tokenising included, and a ratio is of one round. Time is the processor's, for other
work on the machine must not count.

**speedup_over_pipeline** is of the fastest back end that keeps the answers (below), the slower of the two
networks; **..._full_precision** is of what `auto` takes.

**Limit**: the fastest product of matrices of the layer's own shapes, 1,024 tokens at a time, in torch and in
OpenVINO, at the same precision. Operations a report: 2 n L (4 h^2 + 2 h i) in linear layers and 4 n^2 L h in
attention, for n tokens without padding, L layers, width h, inner width i.

**Alike**: a head for negation, fitted on vectors of torch-fp32 of NUBes sentences, on sentences that it never
saw. Many of them are hard for a frozen English network, so probabilities lie everywhere.
"""

from __future__ import annotations

import argparse
import csv
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    pipeline,
)

from benchmarks.corpora import corpora_folder, encoder_folder
from benchmarks.matrices import peak
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.network.backends import (
    BACKENDS,
    OTHER_DECISIONS_MAX,
    REFERENCE,
    Backend,
    bytes_a_number,
    compare,
    difference_max,
    reader_on,
    why_not,
)
from tasks.ml.network.conformal import Thresholds
from tasks.ml.network.features import Reader, encode, last_linear
from tasks.ml.network.head import fit_head, probabilities, softmax_of
from tasks.ml.reading import windows
from tasks.ml.synthesis.reports import synthesize
from tasks.settings.sections import ScoringSettings

COMMAND = "python -m benchmarks.backends"
REPORTS = {"minilm": 256, "base": 96}
ROUNDS = 3
TOKENS = 510  # and two marks
AS_SCORED = {"window_tokens": 512, "stride_tokens": 64, "batch_tokens": ScoringSettings().batch_tokens}
PIPELINE, PIPED = "pipeline", 32
AT_2048 = "openvino-fp32_at_2048"
SENTENCES, TAUGHT = 3000, 2000
SHIPPED: Backend = "openvino-fp32"  # what `auto` takes
REDUCED: Backend = "openvino-bf16"
HALVED = "openvino-bf16_in_half_passes"  # as large as those of numbers twice the size

# written down before the first run, with a prototype's word on OpenVINO beside torch
EXPECTED = {
    "speedup_over_pipeline": "8 to 11, in bfloat16",
    "speedup_over_pipeline_full_precision": "5 to 6: a pipeline computes twice the tokens, and torch "
    "multiplies half as fast as OpenVINO",
    "minilm_cached_over_2048": "1.05 to 1.1",
    "base_cached_over_2048": "1.1 to 1.25",
    "minilm_bf16_over_half_passes": "1.05 to 1.12 with AMX (tried out before), 1 to 1.1 without",
    "base_bf16_over_half_passes": "1.08 to 1.15 with AMX, 1 to 1.1 without",
    "fast_over_default": "1.9 to 2.2",
    "gemm_share_base": ".8 to .9, at 512 tokens a pass",
    "gemm_share_minilm": ".7 to .8",
    "minilm_openvino-bf16_over_pipeline": "12 to 15",
    "decisions_changed_openvino-bf16": ".001 to .01: more than is admitted",
    "decisions_changed_openvino-fp32": "0",
}


@dataclass(frozen=True, eq=False)
class Ground:
    """One network and the reports it reads."""

    size: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    texts: list[str]

    @property
    def lengths(self) -> list[int]:
        """Tokens a report, marks included."""
        return [len(ids) for ids in self.tokenizer(self.texts)["input_ids"]]

    @property
    def operations(self) -> float:
        """Multiplications and additions that the reports need, none for padding."""
        of = self.model.config
        width, inner, layers = of.hidden_size, of.intermediate_size, of.num_hidden_layers
        linear = 2 * (4 * width**2 + 2 * width * inner)
        return float(sum(layers * (n * linear + 4 * n * n * width) for n in self.lengths))

    def mix(self) -> dict[str, Figure]:
        """What the reports are like, and what a pipeline makes of them."""
        lengths = self.lengths
        batches = [lengths[start : start + PIPED] for start in range(0, len(lengths), PIPED)]
        padded = sum(max(batch) * len(batch) for batch in batches)
        quarters = [float(np.quantile(lengths, share)) for share in (0.25, 0.5, 0.75)]
        return {
            f"{self.size}_mix_tokens": Figure(sum(lengths) / len(lengths), "tokens a report", n=len(lengths)),
            f"{self.size}_mix_tokens_median": Figure(quarters[1], "tokens", quarters[0], quarters[2]),
            f"{self.size}_pipeline_padding": Figure(padded / sum(lengths), "tokens computed over tokens"),
        }

    def reading(self, reader: Reader, tokens: int | None = None, number: int = 4) -> Callable[[], np.ndarray]:
        """Texts in, probabilities out, as a worker does it with numbers of 4 bytes or 2.

        Or with so many `tokens` a pass.
        """
        head = last_linear(self.model)[1]
        weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()

        def read() -> np.ndarray:
            cached = windows.CACHED_BYTES if tokens is None else tokens * weight.shape[1] * number
            how = AS_SCORED | {"reader": reader, "bytes_a_number": number}
            with patch.object(windows, "CACHED_BYTES", cached):
                told = encode(self.model, self.tokenizer, self.texts, **how)
            return softmax_of(weight, bias, told.vectors)

        return read

    def on(self, backend: Backend) -> Callable[[], np.ndarray]:
        """As a worker reads them on this back end."""
        return self.reading(reader_on(self.model, backend), number=bytes_a_number(backend))

    def piped(self) -> Callable[[], np.ndarray]:
        """The same with the library's own pipeline."""
        pipe = pipeline("text-classification", model=self.model, tokenizer=self.tokenizer, top_k=None)
        labels = [self.model.config.id2label[index] for index in range(self.model.config.num_labels)]

        def read() -> np.ndarray:
            told = pipe(self.texts, batch_size=PIPED, truncation=True, max_length=512)
            rows = [{one["label"]: one["score"] for one in row} for row in told]
            return np.array([[row[name] for name in labels] for row in rows])

        return read


def ground(size: str, limit: int | None) -> Ground:
    """The pretrained MiniLM, or random weights of BERT-base's size, and reports cut for both."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(encoder_folder(), local_files_only=True)
    if size == "minilm":
        model = AutoModelForSequenceClassification.from_pretrained(
            encoder_folder(), num_labels=2, local_files_only=True
        )
    else:
        model = BertForSequenceClassification(BertConfig(vocab_size=len(tokenizer), num_labels=2))
    return Ground(size, model.eval(), tokenizer, _mixed(tokenizer, limit or REPORTS[size]))


def _mixed(tokenizer: PreTrainedTokenizerBase, reports: int) -> list[str]:
    rng, each = random.Random(0), reports // 3
    ours = [one.text for one in synthesize("paaf", mode="findings", reports_per_row=1, seed=0)]
    texts = [
        text
        for all_of_them in (_column("tcga_pathrep/test.csv"), _column("nubes/nubes_sentences.csv"), ours)
        for text in rng.sample(all_of_them, each)
    ]
    rng.shuffle(texts)
    return [cut(tokenizer, text) for text in texts]


def cut(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    ends = tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)["offset_mapping"]
    # a few tokens less: cut in the middle of a word, the rest of it may fall into more pieces
    return text if len(ends) <= TOKENS else text[: ends[TOKENS - 10][0]].rstrip()


def _column(name: str) -> list[str]:
    return [row["text"] for row in rows_of(name)]


def rows_of(name: str) -> list[dict[str, str]]:
    with (corpora_folder() / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of the processor, by way, one entry a round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begun = time.process_time()
            way()
            taken[name].append(time.process_time() - begun)
    return taken


def ratio(above: Sequence[float], below: Sequence[float], expected: str = "") -> Figure:
    """Median and range of one time over another, round by round."""
    found = [high / low for high, low in zip(above, below, strict=True)]
    return Figure(median(found), "ratio", min(found), max(found), len(found), expected)


def measure(of: Ground, rounds: int) -> dict[str, Figure]:
    """Every way to read the reports of one network."""
    here = [backend for backend in BACKENDS if why_not(backend) is None]
    ways: dict[str, Callable[[], Any]] = {PIPELINE: of.piped()}
    ways |= {backend: of.on(backend) for backend in here}
    if SHIPPED in here:
        ways[AT_2048] = of.reading(reader_on(of.model, SHIPPED), 2048)
    if REDUCED in here:
        ways[HALVED] = of.reading(reader_on(of.model, REDUCED))
    reference = ways[REFERENCE]()
    # what a way does first, such as compiling, is done here and not counted
    figures = of.mix() | {
        f"{of.size}_{name}_largest_difference": Figure(float(np.abs(way() - reference).max()), "probability")
        for name, way in ways.items()
        if name != REFERENCE
    }
    taken = in_turns(ways, rounds)
    if AT_2048 in ways:
        figures[f"{of.size}_cached_over_2048"] = ratio(taken[AT_2048], taken[SHIPPED])
    if HALVED in ways:
        figures[f"{of.size}_bf16_over_half_passes"] = ratio(taken[HALVED], taken[REDUCED])
    for backend in here:
        figures[f"{of.size}_{backend}_over_pipeline"] = ratio(taken[PIPELINE], taken[backend])
        if backend != REFERENCE:
            figures[f"{of.size}_{backend}_over_default"] = ratio(taken[REFERENCE], taken[backend])
    for precision in ("fp32", "bf16"):
        shared = [backend for backend in here if backend.endswith(precision)]
        if not shared:
            continue
        limit = peak(of.model, precision)
        figures[f"{of.size}_gemm_peak_{precision}"] = Figure(limit / 1e9, "GFLOP/s")
        for backend in shared:
            shares = [of.operations / seconds / limit for seconds in taken[backend]]
            figures[f"{of.size}_{backend}_gemm_share"] = Figure(
                median(shares), "share", min(shares), max(shares), len(shares)
            )
    return figures


def alike(of: Ground, readers: dict[str, Callable[[], Reader]]) -> dict[str, Figure]:
    """How others decide on sentences, beside torch-fp32; a reader is made when its turn comes."""
    rows = random.Random(1).sample(rows_of("nubes/nubes_sentences.csv"), SENTENCES)
    texts, truth = [row["text"] for row in rows], np.array([int(row["neg"]) for row in rows])

    def vectors(reader: Reader) -> np.ndarray:
        return encode(of.model, of.tokenizer, texts, **AS_SCORED, reader=reader).vectors

    known = vectors(reader_on(of.model, REFERENCE))
    middle = TAUGHT // 2
    head = fit_head(known[:middle], truth[:middle], 2, known[middle:TAUGHT], truth[middle:TAUGHT])
    never = Thresholds((0.5, 0.5), (100, 100), (0.05, 0.05))
    figures = {}
    for name, reader in readers.items():
        answers = probabilities(head, vectors(reader())[TAUGHT:])
        told = compare(probabilities(head, known[TAUGHT:]), answers, truth[TAUGHT:], 1, never)
        share, changed = told.other_decisions / told.reports, told.largest_difference
        figures[f"decisions_changed_{name}"] = Figure(share, "share", n=told.reports)
        figures[f"probability_changed_{name}"] = Figure(changed, "probability", n=told.reports)
    return figures


def headline(figures: dict[str, Figure]) -> dict[str, Figure]:
    """What is asked for by name, the slower of the two networks each."""
    asked: dict[str, Figure] = {}
    for name, ending in (
        ("speedup_over_pipeline_full_precision", "over_pipeline"),
        ("fast_over_default", "over_default"),
    ):
        both = [figures[f"{size}_{SHIPPED}_{ending}"] for size in REPORTS]
        asked[name] = min(both, key=lambda one: one.value)
    kept = [backend for backend in BACKENDS if _keeps_answers(backend, figures)]
    fastest = [max((figures[f"{size}_{one}_over_pipeline"] for one in kept), key=_value) for size in REPORTS]
    asked["speedup_over_pipeline"] = min(fastest, key=_value)
    for size in REPORTS:
        asked[f"gemm_share_{size}"] = figures[f"{size}_{SHIPPED}_gemm_share"]
    return asked


def _keeps_answers(backend: Backend, figures: dict[str, Figure]) -> bool:
    """Whether a back end would be admitted by what `alike` read, as a model's own trial would tell it."""
    if backend == REFERENCE or f"decisions_changed_{backend}" not in figures:
        return backend == REFERENCE
    return figures[f"decisions_changed_{backend}"].value <= OTHER_DECISIONS_MAX and figures[
        f"probability_changed_{backend}"
    ].value <= difference_max(backend)


def _value(figure: Figure) -> float:
    return figure.value


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many reports, one round; recorded nowhere")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures: dict[str, Figure] = {}
    for size in REPORTS:
        of = ground(size, asked.limit)
        figures |= measure(of, 1 if asked.limit else ROUNDS)
        if size == "minilm" and not asked.limit:
            others = [one for one in BACKENDS if one != REFERENCE and why_not(one) is None]
            figures |= alike(of, {one: partial(reader_on, of.model, one) for one in others})
    figures = expecting(figures | headline(figures), EXPECTED)
    tell(figures)
    if asked.limit is None:
        print(f"wrote {add('scoring', COMMAND, figures)}")


if __name__ == "__main__":
    main()
