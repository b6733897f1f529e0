"""Whether two model folders are the same model: weights bit for bit, tokenizer, limits; else how far off.

What a folder says of when and where it was made is no part of the model.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from tasks.ml.network.artifact import FACTS, MANIFEST

WEIGHTS: Final = "model.safetensors"
CONFIG: Final = "config.json"
NOT_THE_MODEL: Final = (
    "created_at",
    "versions",
    "machine",
    "training",  # how it ended: the weights tell whether another ended otherwise
    "caveat",
    "snapshot_sha",
    "transformers_version",
)


@dataclass(frozen=True)
class Unlike:
    """One thing that two folders do not have in common, in words for each."""

    what: str
    first: str
    second: str


@dataclass(frozen=True)
class Comparison:
    """What is unlike, and the largest difference of any weight: 0.0 for the same, None for other shapes."""

    unlike: tuple[Unlike, ...]
    weights_apart: float | None


def compare_folders(first: Path, second: Path) -> Comparison:
    """Two published folders, both verified by the caller."""
    apart, of_weights = _weights(load_file(first / WEIGHTS), load_file(second / WEIGHTS))
    found = [*of_weights]
    for name in (FACTS, CONFIG):
        found += _entries(name, _json(first / name), _json(second / name))
    names = {path.name for folder in (first, second) for path in folder.iterdir()}
    for name in sorted(names - {WEIGHTS, FACTS, CONFIG, MANIFEST}):
        ours, theirs = (_content(folder / name) for folder in (first, second))
        if ours != theirs:
            found.append(Unlike(name, _size(ours), _size(theirs)))
    return Comparison(tuple(found), apart)


def _weights(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]
) -> tuple[float | None, Iterator[Unlike]]:
    shapes = [{name: tuple(one.shape) for name, one in each.items()} for each in (first, second)]
    if shapes[0] != shapes[1]:
        sizes = [
            f"{len(each)} tensors, {sum(t.numel() for t in each.values()):,} numbers"
            for each in (first, second)
        ]
        return None, iter([Unlike("network", *sizes)])
    gaps = {
        name: float((tensor.double() - second[name].double()).abs().max()) if tensor.numel() else 0.0
        for name, tensor in first.items()
        if not torch.equal(tensor, second[name])
    }
    if not gaps:
        return 0.0, iter(())
    told = f"{len(gaps)} of {len(first)} tensors differ, by up to {max(gaps.values()):.1e}"
    return max(gaps.values()), iter([Unlike("weights", f"{len(first)} tensors", told)])


def _entries(name: str, first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Unlike]:
    for key in sorted(first.keys() | second.keys()):
        if key not in NOT_THE_MODEL and first.get(key) != second.get(key):
            yield Unlike(f"{name}: {key}", _short(first.get(key)), _short(second.get(key)))


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _size(content: bytes | None) -> str:
    return "not there" if content is None else f"{len(content):,} bytes, other ones"


def _short(value: Any) -> str:
    told = json.dumps(value, ensure_ascii=False)
    return told if len(told) <= 60 else f"{told[:57]}..."
