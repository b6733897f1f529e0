"""The same reports through the same network, as others read them: processor time, beside laudos.

    python -m benchmarks.peers             some minutes of one core
    python -m benchmarks.peers --limit 24  a quick look, recorded nowhere

Reports and network are those of `benchmarks.backends` (MiniLM with a head, texts cut at 510 tokens). Every
way takes its turn in each round, tokenising included, on one thread; a ratio is of one round. All must give
the same probabilities: `..._largest_difference` says how alike they are. Each is used as its own pages show
it, in batches of 32:

pipeline               `pipeline("text-classification", batch_size=32)`
datasets_map           `Dataset.map(batched=True, batch_size=32)` around tokenizer and model
sentence_transformers  `SentenceTransformer.encode`, which sorts by length; then the model's pooler and head

laudos beside them: on torch as it is installed, and on OpenVINO in full precision (`laudos[fast]`).

Left out, with their releases of November 2026, for none can be installed beside laudos: optimum-intel 2.2.0
asks for transformers < 5.6 and huggingface-hub < 1.22, constraints.txt has 5.23 and 2.4; spacy-transformers
1.4.0 asks for transformers < 4.53.3, laudos for 5.5 or newer; fastembed 0.9.1 asks for huggingface-hub < 2
and reads ONNX files of its own list.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from importlib.util import find_spec

import numpy as np
import torch

from benchmarks.backends import PIPED, Ground, ground, in_turns, ratio
from benchmarks.record import Figure, expecting, tell, write
from tasks.ml.network.backends import REFERENCE, Backend, why_not

COMMAND = "python -m benchmarks.peers"
REPORTS = 96
ROUNDS = 3
OURS: tuple[Backend, ...] = ("torch-fp32", "openvino-fp32")

# written down before the first run
EXPECTED = {
    "laudos_openvino_over_pipeline": "4.5 to 6",
    "laudos_openvino_over_datasets_map": "4.5 to 6: the same padding, a little less Python",
    "laudos_openvino_over_sentence_transformers": "2 to 2.6: it sorts by length, so that little is padded",
    "laudos_torch_over_pipeline": "2.1 to 2.6",
    "laudos_torch_over_datasets_map": "2 to 2.6",
    "laudos_torch_over_sentence_transformers": ".95 to 1.2",
}

Way = Callable[[], np.ndarray]


def datasets_map(of: Ground) -> Way:
    from datasets import Dataset, disable_caching, disable_progress_bars

    disable_caching()
    disable_progress_bars()

    def scored(rows: dict[str, list[str]]) -> dict[str, list[list[float]]]:
        batch = of.tokenizer(rows["text"], padding=True, truncation=True, max_length=512, return_tensors="pt")
        with torch.inference_mode():
            return {"p": of.model(**batch).logits.softmax(-1).tolist()}

    def read() -> np.ndarray:
        told = Dataset.from_dict({"text": of.texts}).map(scored, batched=True, batch_size=PIPED)
        return np.array(told["p"])

    return read


def sentence_transformers(of: Ground) -> Way:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer

    with tempfile.TemporaryDirectory() as folder:
        of.model.bert.save_pretrained(folder)  # type: ignore[union-attr]
        of.tokenizer.save_pretrained(folder)
        words = Transformer(folder, max_seq_length=512)
    whole = SentenceTransformer(
        modules=[words, Pooling(of.model.config.hidden_size, pooling_mode="cls")], device="cpu"
    )

    def read() -> np.ndarray:
        first = whole.encode(of.texts, batch_size=PIPED, show_progress_bar=False, convert_to_tensor=True)
        with torch.inference_mode():
            pooled = of.model.bert.pooler(first[:, None])  # type: ignore[union-attr, operator]
            return of.model.classifier(pooled).softmax(-1).numpy()  # type: ignore[operator, no-any-return]

    return read


# way -> the package it needs, and how it is made
PEERS: dict[str, tuple[str, Callable[[Ground], Way]]] = {
    "pipeline": ("transformers", Ground.piped),
    "datasets_map": ("datasets", datasets_map),
    "sentence_transformers": ("sentence_transformers", sentence_transformers),
}


def measure(of: Ground, rounds: int) -> dict[str, Figure]:
    """Each peer's time over ours, and how far its answers are from ours."""
    ways: dict[str, Way] = {
        f"laudos_{backend.split('-')[0]}": of.on(backend) for backend in OURS if why_not(backend) is None
    }
    ours = list(ways)
    for name, (package, make) in PEERS.items():
        if find_spec(package):
            ways[name] = make(of)
        else:
            print(f"left out: {name}, for {package} is not installed")
    reference = of.on(REFERENCE)()
    # the first reading, which is not counted, also compiles
    figures = of.mix() | {
        f"{name}_largest_difference": Figure(float(np.abs(way() - reference).max()), "probability")
        for name, way in ways.items()
    }
    taken = in_turns(ways, rounds)
    figures |= {
        f"{name}_reports_per_s": Figure(
            len(of.texts) / float(np.median(seconds)), "reports a second of processor time"
        )
        for name, seconds in taken.items()
    }
    return figures | {
        f"{mine}_over_{name}": ratio(taken[name], taken[mine])
        for mine in ours
        for name in ways
        if name not in ours
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--limit", type=int, help="so many reports, one round; recorded nowhere")
    asked = parser.parse_args(arguments)
    torch.set_num_threads(1)
    figures = measure(ground("minilm", asked.limit or REPORTS), 1 if asked.limit else ROUNDS)
    figures = expecting(figures, EXPECTED)
    tell(figures)
    if asked.limit is None:
        print(f"wrote {write('peers', COMMAND, figures)}")


if __name__ == "__main__":
    main()
