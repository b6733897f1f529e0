"""Why there is no back end in eight bits: MiniLM quantised by NNCF, beside bfloat16.

    pip install nncf                             no part of laudos
    python -m benchmarks.eight_bits              a few minutes of one core
    python -m benchmarks.eight_bits --limit 24   a quick look, recorded nowhere

Post-training quantisation as NNCF does it for transformers: weights per output channel and symmetric, what
flows into a product per tensor and asymmetric, outliers moved into the weights (Xiao et al. 2023,
"SmoothQuant"); what is no product is computed in bfloat16. Ranges are read off another draw of sentences and
reports. **Other ways**: without the second product of each layer, whose input has the outliers; without
SmoothQuant.

Speed: on the mix of `benchmarks.backends`, times of bfloat16 over times of eight bits. Answers: its head for
negation, and its sentences. A back end may decide one report in a thousand otherwise.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import logging
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.backends import Ground, alike, cut, ground, in_turns, ratio, rows_of
from benchmarks.record import Figure, add, expecting, tell
from tasks.ml.network.backends import compiled, converted, openvino
from tasks.ml.reading.windows import padded, windows_of

COMMAND = "python -m benchmarks.eight_bits"
REPORTS, SENTENCES, ROUNDS = 48, 80, 3
DOWN = r".*layer\.\d+\.output\.dense.*MatMul.*"

# written down before this was first run as a whole, after a prototype
EXPECTED = {
    "int8_over_bf16": "1.3 to 1.5",
    "decisions_changed_int8": ".004 to .02: more than is admitted",
    "decisions_changed_int8_but_second_products": ".004 to .015",
    "decisions_changed_int8_without_smoothing": ".01 to .03",
}


def quantised(of: Ground, **more: Any) -> Any:
    """MiniLM's body in eight bits; ranges are read off windows, one at a time, without padding."""
    nncf = importlib.import_module("nncf")
    nncf.set_log_level(logging.ERROR)
    texts = [row["text"] for row in random.Random(9).sample(rows_of("nubes/nubes_sentences.csv"), SENTENCES)]
    reports = random.Random(9).sample(rows_of("tcga_pathrep/val.csv"), SENTENCES // 4)
    texts += [cut(of.tokenizer, row["text"]) for row in reports]
    windows = windows_of(of.tokenizer, texts, 512, 64).ids

    def given(ids: np.ndarray) -> dict[int, np.ndarray]:
        return {place: one.numpy() for place, one in enumerate(padded([ids], of.tokenizer.pad_token_id))}

    return nncf.quantize(
        converted(of.model),
        nncf.Dataset(windows, given),
        subset_size=len(windows),
        target_device=nncf.TargetDevice.CPU,
        model_type=nncf.ModelType.TRANSFORMER,
        preset=nncf.QuantizationPreset.MIXED,
        **more,
    )


def measure(rounds: int, reports: int) -> dict[str, Figure]:
    """Speed and answers."""
    nncf = importlib.import_module("nncf")
    of = ground("minilm", reports)
    unsmoothed = nncf.AdvancedQuantizationParameters(
        smooth_quant_alphas=nncf.AdvancedSmoothQuantParameters(matmul=-1.0)
    )
    readers = {
        "int8": compiled(quantised(of), "bf16"),
        "int8_but_second_products": compiled(
            quantised(of, ignored_scope=nncf.IgnoredScope(patterns=[DOWN])), "bf16"
        ),
        "int8_without_smoothing": compiled(quantised(of, advanced_parameters=unsmoothed), "bf16"),
    }
    ways = {name: of.reading(reader) for name, reader in readers.items()}
    ways["bf16"] = of.on("openvino-bf16")
    for way in ways.values():
        way()
    taken = in_turns(ways, rounds)
    figures = {f"{name}_over_bf16": ratio(taken["bf16"], taken[name]) for name in readers}
    return figures | alike(of, {name: lambda reader=reader: reader for name, reader in readers.items()})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many reports, one round; recorded nowhere")
    asked = parser.parse_args(arguments)
    openvino()  # before NNCF: its telemetry is switched off with OpenVINO's
    if importlib.util.find_spec("nncf") is None:
        raise SystemExit("this benchmark needs NNCF, which is no part of laudos: pip install nncf")
    torch.set_num_threads(1)
    figures = measure(1 if asked.limit else ROUNDS, asked.limit or REPORTS)
    figures = expecting(figures, EXPECTED)
    tell(figures)
    if asked.limit is None:
        print(f"wrote {add('scoring', COMMAND, figures)}")


if __name__ == "__main__":
    main()
