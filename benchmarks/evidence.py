"""Which way of naming the sentences that carried an answer is the most faithful to the network?

    python -m benchmarks.evidence                                      five and a half minutes on one core
    python -m benchmarks.evidence --reports-per-row 1 --epochs 1       a quick look

A network from scratch is trained on the demo's task (`paaf`, findings only: 8 reports on each training row,
the shipped size and passes) and asked about rows that it never saw, 2 reports on each. Every way ranks a
report's sentences by how much they speak for the label that the network gave.

**Deletion**: the sentences go one by one, the first-ranked first; the area under the label's probability,
from the whole report to nothing. The lower, the more faithful. **Insertion**: they come one by one, in their
places; the higher, the more faithful (Petsiuk, Das & Saenko 2018, "RISE"). Occlusion asks the question that
the first step of deletion asks, which favours it there; insertion does not. Intervals are over rows of the
table, drawn with replacement; gains are paired, report by report.

The first run decided which of occlusion and integrated gradients laudos uses: of a network hardly trained
(one report a row, one pass) occlusion named the more faithful sentences, of one trained as shipped it did
not. `gain_over` is that of the one that was kept.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks.attribution import attention, gradient_x_input, occlusion, read, without
from benchmarks.carryover import split_for
from benchmarks.record import Figure, tell, write
from tasks.ml.arrays import Floats, Ints
from tasks.ml.judging.resampling import interval, patient_weights
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.network.evidence import Network, Span, evidence, sentences
from tasks.ml.network.features import Vectors, encode
from tasks.ml.network.head import fit_head, fold_in
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import SyntheticReport, synthesize
from tasks.ml.training.training import BodyTraining, passes_over, train_body

COMMAND = "python -m benchmarks.evidence"
EXAM, LABELS = "paaf", ("benigno", "maligno")
TAUGHT_PER_ROW, ASKED_PER_ROW = 8, 2
DRAWS, SEED = 2000, 0
OURS = "integrated_gradients"

Way = Callable[[Network, str, Sequence[Span], int], Floats]

# written down before the first run
EXPECTED = {
    "deletion_occlusion": ".50 to .60",
    "deletion_integrated_gradients": ".52 to .62: close to occlusion, for the network is small",
    "deletion_gradient_x_input": ".60 to .70",
    "deletion_attention": ".65 to .75",
    "deletion_random": ".70 to .80",
    "insertion_occlusion": ".85 to .92",
    "insertion_integrated_gradients": ".84 to .92",
    "insertion_gradient_x_input": ".78 to .88",
    "insertion_attention": ".75 to .85",
    "insertion_random": ".70 to .80",
}


@dataclass(frozen=True, eq=False)
class Areas:
    """(reports,) each: a way's deletion and insertion areas."""

    deletion: Floats
    insertion: Floats


def integrated_gradients(network: Network, text: str, _spans: Sequence[Span], label: int) -> Floats:
    """What `laudos explain` tells."""
    return np.array([passage.score for passage in evidence(network, text, label)])


def by_chance(_network: Network, text: str, spans: Sequence[Span], _label: int) -> Floats:
    return np.random.default_rng([SEED, len(text)]).random(len(spans))


WAYS: dict[str, Way] = {
    OURS: integrated_gradients,
    "occlusion": occlusion,
    "gradient_x_input": gradient_x_input,
    "attention": attention,
    "random": by_chance,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reports-per-row", type=int, default=TAUGHT_PER_ROW, help="that teach")
    parser.add_argument("--epochs", type=float, default=None)
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    network = trained(asked.reports_per_row, asked.epochs)
    reports = _written("asked", ASKED_PER_ROW)
    found, seconds = judged(network, reports)
    figures = compared(found, [one.row_key for one in reports])
    for name, spent in seconds.items():
        figures[f"seconds_{name}"] = Figure(spent / len(reports), "s a report", n=len(reports))
    tell(figures)
    if (asked.reports_per_row, asked.epochs) == (TAUGHT_PER_ROW, None):
        print(f"wrote {write('evidence', COMMAND, figures)}")


def trained(reports_per_row: int, epochs: float | None) -> Network:
    """The shipped way: a body from scratch, its head refitted and calibrated on rows of its own."""
    taught, calibration = _written("train", reports_per_row), _written("calibration", reports_per_row)
    texts = [one.text for one in taught]
    model, tokenizer = make_scratch(
        texts, LABELS, EncoderSpec(), SEED, patients=[one.row_key for one in taught]
    )
    config = BodyTraining(epochs=epochs or passes_over(len(texts)), checkpoint_every_steps=1_000_000)
    with tempfile.TemporaryDirectory(prefix="laudos-evidence-") as folder:
        train_body(
            model, tokenizer, texts, _truth(taught),
            config=config, checkpoint_folder=Path(folder), seed=SEED,
        )  # fmt: skip

    def vectors(reports: Sequence[SyntheticReport]) -> Vectors:
        return encode(
            model,
            tokenizer,
            [one.text for one in reports],
            window_tokens=config.window_tokens,
            stride_tokens=config.stride_tokens,
        ).vectors

    head = fit_head(
        vectors(taught), _truth(taught), len(LABELS), vectors(calibration), _truth(calibration), seed=SEED
    )
    fold_in(model, head)
    # the only implementation that tells its attention
    model.set_attn_implementation("eager")
    return Network(model.eval(), tokenizer, config.window_tokens, config.stride_tokens)


def judged(network: Network, reports: Sequence[SyntheticReport]) -> tuple[dict[str, Areas], dict[str, float]]:
    """Each way's areas, and the seconds its scores took."""
    areas: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    seconds = dict.fromkeys(WAYS, 0.0)
    for report in reports:
        spans = sentences(report.text)
        label = int(read(network, [report.text])[0].argmax())
        ranked = {}
        for name, way in WAYS.items():
            began = time.perf_counter()
            ranked[name] = np.argsort(-way(network, report.text, spans, label), kind="stable")
            seconds[name] += time.perf_counter() - began
        for name, pair in _areas(network, report.text, spans, ranked, label).items():
            areas[name].append(pair)
    return {name: Areas(*np.array(pairs).T) for name, pairs in areas.items()}, seconds


def _areas(
    network: Network, text: str, spans: Sequence[Span], ranked: dict[str, Ints], label: int
) -> dict[str, tuple[float, float]]:
    """(deletion, insertion) of each ranking: means over the curve by the trapezoid rule."""
    curves = {}
    for name, order in ranked.items():
        gone = [[spans[at] for at in order[:count]] for count in range(len(spans) + 1)]
        kept = [[spans[at] for at in order[count:]] for count in range(len(spans) + 1)]
        curves[name] = [without(text, some) for some in (*gone, *kept)]
    every = list(dict.fromkeys(one for curve in curves.values() for one in curve))
    said = dict(zip(every, read(network, every)[:, label], strict=True))
    found = {}
    for name, curve in curves.items():
        deletion, insertion = np.split(np.array([said[one] for one in curve]), 2)
        found[name] = (_under(deletion), _under(insertion))
    return found


def _under(curve: Floats) -> float:
    return float(np.trapezoid(curve, dx=1 / (len(curve) - 1)))


def compared(found: dict[str, Areas], rows: Sequence[str]) -> dict[str, Figure]:
    """Every way's two areas, and by how much ours is better than each other way."""
    keys, owner = np.unique(rows, return_inverse=True)
    drawn = np.concatenate(list(patient_weights(len(keys), len(rows), DRAWS, SEED)))[1:, owner]
    shares = drawn / drawn.sum(axis=1, keepdims=True)

    def figure(name: str, values: Floats) -> Figure:
        low, high = interval(shares @ values) or (None, None)
        return Figure(float(values.mean()), "area", low, high, len(keys), EXPECTED.get(name, ""))

    figures: dict[str, Figure] = {}
    for kind in ("deletion", "insertion"):
        areas = {name: getattr(found[name], kind) for name in found}
        figures |= {f"{kind}_{name}": figure(f"{kind}_{name}", values) for name, values in areas.items()}
        sign = -1 if kind == "deletion" else 1
        for name in found:
            if name != OURS:
                gain = f"{kind}_gain_over_{name}"
                figures[gain] = figure(gain, sign * (areas[OURS] - areas[name]))
    return figures


def _written(split: str, reports_per_row: int) -> list[SyntheticReport]:
    rows = [row for row in generator(EXAM).rows() if split_for(row, SEED) == split]
    seed = 1000 + ("train", "calibration", "asked").index(split)
    return list(synthesize(EXAM, mode="findings", reports_per_row=reports_per_row, seed=seed, rows=rows))


def _truth(reports: Sequence[SyntheticReport]) -> np.ndarray:
    return np.array([LABELS.index(one.label) for one in reports], np.int64)


if __name__ == "__main__":
    main()
