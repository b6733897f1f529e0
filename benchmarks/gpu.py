"""A GPU's share of its own peak: scoring, full fine-tuning and masked words, of a BERT of base size.

    python -m benchmarks.gpu        needs a GPU that torch can use; a few minutes

The peak is that of the largest matrix product in bfloat16 in the same run. Operations are counted as in
tasks/ml/training/distillation.py (embeddings, norms and activations cost none); a training step counts three
times a forward pass. Texts are synthetic reports joined to windows of natural lengths, read by the network
that the `base` scratch size makes: what it says makes no difference to the time. Absolute figures name the
GPU.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.network.backends import GPU_BATCH_TOKENS, Backend, reader_on, why_not
from tasks.ml.network.encoder import EncoderSpec, make_scratch
from tasks.ml.network.features import encode
from tasks.ml.pretraining.pretraining import Masks, pretrain, speller
from tasks.ml.reading.windows import padded, token_budget_batches, windows_of
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.training.distillation import flops_per_token
from tasks.ml.training.token_store import write_store
from tasks.ml.training.training import BodyTraining, train_body

COMMAND = "python -m benchmarks.gpu"
LABELS = ("benigno", "maligno")
WINDOW, ROUNDS = 512, 2
BASE = EncoderSpec(window_tokens=WINDOW, hidden_size=768, layers=12, attention_heads=12, vocabulary=8000)
TRAINING = BodyTraining(
    window_tokens=WINDOW, stride_tokens=64, epochs=1.0, learning_rate=1e-5, batch_windows=64,
    mixed_precision=True, checkpoint_every_steps=1_000_000,
)  # fmt: skip

# written down before the first run
EXPECTED = {
    "bf16_peak_tflops": "700 to 800 (H100 or H200)",
    "scoring_share_of_peak": ".30 to .45: norms, activations and copies are not counted",
    "encode_share_of_peak": ".15 to .35: tokenising and sums on the processor do not overlap",
    "training_share_of_peak": ".2 to .35",
    "pretraining_share_of_peak": ".2 to .35",
}


def peak_flops() -> float:
    """Operations a second of a product of two 8192 x 8192 matrices in bfloat16."""
    one, other = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))

    def product() -> None:
        for _ in range(20):
            one @ other

    return 20 * 2 * 8192**3 / seconds(product)


def seconds(work: Callable[[], None]) -> float:
    """Of one round after one that is not counted: the median of ROUNDS."""
    took = []
    for _ in range(1 + ROUNDS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return median(took[1:])


def reports(count: int) -> list[str]:
    """Synthetic reports joined, one to eight at a time: windows of up to 512 tokens, as reports have them."""
    rng = np.random.default_rng(0)
    made = [one.text for one in synthesize("paaf", mode="findings", reports_per_row=16, seed=7)]
    return ["\n".join(rng.choice(made, int(rng.integers(1, 9)))) for _ in range(count)]


def scoring(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], peak: float
) -> dict[str, Figure]:
    windows = windows_of(tokenizer, texts, WINDOW, 64)
    batches = token_budget_batches(windows.lengths, GPU_BATCH_TOKENS)
    rows = [padded([windows.ids[index] for index in batch], tokenizer.pad_token_id) for batch in batches]
    tokens = int(windows.lengths.sum())
    cost = flops_per_token(model, int(np.average(windows.lengths, weights=windows.lengths)))
    figures = {}
    backends: tuple[Backend, ...] = ("cuda-bf16", "cuda-fp32")
    for backend in backends:
        read = reader_on(model, backend)

        def engine(read: Callable[..., object] = read) -> None:
            with torch.inference_mode():
                for ids, mask in rows:
                    read(ids, mask)

        def whole(read: Callable[..., object] = read) -> None:
            how = {"window_tokens": WINDOW, "stride_tokens": 64, "batch_tokens": GPU_BATCH_TOKENS}
            encode(model, tokenizer, texts, **how, reader=read, on_gpu=True)  # type: ignore[arg-type]

        suffix = "" if backend == "cuda-bf16" else "_fp32"
        rate = tokens / seconds(engine)
        figures[f"scoring_tokens_per_s{suffix}"] = Figure(rate, "tokens/s")
        figures[f"scoring_share_of_peak{suffix}"] = Figure(rate * cost / peak, "of the bf16 peak")
        if backend == "cuda-bf16":
            rate = tokens / seconds(whole)
            figures["encode_tokens_per_s"] = Figure(rate, "tokens/s")
            figures["encode_share_of_peak"] = Figure(rate * cost / peak, "of the bf16 peak")
    return figures


def trainings(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], peak: float
) -> dict[str, Figure]:
    """Whole runs of the trainer, its start and end included."""
    windows = windows_of(tokenizer, texts, WINDOW, 64)
    tokens, length = int(windows.lengths.sum()), int(windows.lengths.mean())
    cost = 3 * flops_per_token(model, length)
    labels = np.arange(len(texts)) % 2
    figures = {}
    with tempfile.TemporaryDirectory(prefix="laudos-gpu-") as folder:
        spelling = speller(model, BASE, seed=0)
        store = write_store(Path(folder) / "tokens", [texts], tokenizer, WINDOW)

        def tuned() -> None:
            train_body(
                model, tokenizer, texts, labels,
                config=TRAINING, checkpoint_folder=Path(folder) / "tuned", seed=int(time.time_ns() % 2**31),
            )  # fmt: skip

        def spelt() -> None:
            pretrain(
                spelling, tokenizer, store, Masks(tokenizer, seed=0),
                config=replace(TRAINING, stride_tokens=0),
                checkpoint_folder=Path(folder) / "spelt", seed=int(time.time_ns() % 2**31),
            )  # fmt: skip

        for name, work, read in (
            ("training", tuned, tokens),
            ("pretraining", spelt, int(store.lengths.sum())),
        ):
            rate = read / seconds(work)
            figures[f"{name}_tokens_per_s"] = Figure(rate, "tokens/s")
            figures[f"{name}_share_of_peak"] = Figure(rate * cost / peak, "of the bf16 peak")
    return figures


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--reports", type=int, default=2000, help="to score; a quarter of them is trained on")
    asked = parser.parse_args(arguments)
    if lacking := why_not("cuda-bf16"):
        raise SystemExit(f"no figures: {lacking}")
    texts = reports(asked.reports)
    model, tokenizer = make_scratch(texts[:500], LABELS, BASE, seed=0)
    peak = peak_flops()
    told({"bf16_peak_tflops": Figure(peak / 1e12, f"TFLOP/s, {torch.cuda.get_device_name()}")})
    told(scoring(model, tokenizer, texts, peak))
    told(trainings(model, tokenizer, texts[: asked.reports // 4], peak))


def told(figures: dict[str, Figure]) -> None:
    """Shown and kept as soon as they are read: such a machine may be lent by the minute."""
    tell(figures)
    add("gpu", COMMAND, expecting(figures, EXPECTED))


if __name__ == "__main__":
    main()
