"""What a training's last bits depend on besides software: processor, instructions, how many threads."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import torch
from transformers import PreTrainedModel

THREADS: Final = "threads"
BATCHES: Final = "batches"  # told only where memory was too short for those that were asked for


def machine_of(model: PreTrainedModel, short: Sequence[str] = ()) -> dict[str, str]:
    """The machine kind that `model` is computed on here; no name of a machine.

    `short`: of which batches its memory was.
    """
    device = model.device.type
    kind = torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine()
    found = {
        "device": device if device == "cpu" else f"{device}: {torch.cuda.get_device_name(model.device)}",
        "processor": str(kind),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        THREADS: str(torch.get_num_threads()),
    }
    return found | ({BATCHES: "; ".join(short)} if short else {})


@contextmanager
def as_many_threads(machine: Mapping[str, str]) -> Iterator[None]:
    """Within: torch adds up on as many threads as that machine did, where it is known."""
    before = torch.get_num_threads()
    asked = machine.get(THREADS, "")
    if asked.isdecimal() and int(asked):
        torch.set_num_threads(int(asked))
    try:
        yield
    finally:
        torch.set_num_threads(before)
