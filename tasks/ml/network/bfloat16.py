"""Arithmetic on bfloat16: half the bytes of float32, and many times the speed where a machine has it."""

from __future__ import annotations

from typing import Literal

import torch

PROCESSORS = ("avx512_bf16", "amx_bf16")  # as torch.cpu.get_capabilities names them

Device = Literal["cpu", "cuda"]


def device_here() -> Device:
    """What trains a network on this machine."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def no_bfloat16(device: Device) -> str | None:
    """Why it would be emulated here, far slower than full precision; None where it is not."""
    if device == "cuda":
        emulated = not torch.cuda.is_bf16_supported(including_emulation=False)
        return "this GPU has no arithmetic on bfloat16" if emulated else None
    has = torch.cpu.get_capabilities()
    if not any(has.get(name) for name in PROCESSORS):
        return f"this processor has no arithmetic on bfloat16 ({', '.join(PROCESSORS)})"
    return None
