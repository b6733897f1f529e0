"""What computes a network's body: torch, OpenVINO (the `fast` extra) or a GPU, in full precision or less."""

from __future__ import annotations

import copy
import importlib
import importlib.util
import logging
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from tasks.ml.arrays import Floats, Ints
from tasks.ml.errors import BackendUnavailable
from tasks.ml.network.bfloat16 import no_bfloat16
from tasks.ml.network.conformal import Thresholds, decide
from tasks.ml.network.features import Heard, Reader, heard_by, last_read, reader_of
from tasks.ml.quiet import quietly

Backend = Literal["torch-fp32", "torch-bf16", "openvino-fp32", "openvino-bf16", "cuda-fp32", "cuda-bf16"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
REFERENCE: Backend = "torch-fp32"  # what trains, evaluates and calibrates

GPU_BATCH_TOKENS = 65_536  # fewer leave a large GPU waiting for the next batch
OTHER_DECISIONS_MAX = 0.001  # of the reports
# from its limit: of each label one calibration report lies exactly there, and any rounding turns it
ON_ITS_LIMIT = 1e-6
# of any probability, against the reference. Full precision only adds up in another order
DIFFERENCE_MAX = {"fp32": 1e-4, "bf16": 0.03}


def is_full_precision(backend: Backend) -> bool:
    """Whether its vectors are those of the reference, but for the order in which numbers are added."""
    return backend.endswith("fp32")


def difference_max(backend: Backend) -> float:
    """How far from the reference a probability of an admitted back end may lie."""
    return DIFFERENCE_MAX[backend.rpartition("-")[2]]


def bytes_a_number(backend: Backend) -> int:
    """Of what one layer hands to the next."""
    return 4 if is_full_precision(backend) else 2


def batch_tokens_for(backend: Backend, asked: int) -> int:
    """How many tokens are read at once where a setting for processors asks for so many."""
    return max(asked, GPU_BATCH_TOKENS) if backend.startswith("cuda") else asked


def machine() -> dict[str, str | int]:
    """All that a back end's speed and numbers depend on besides the network."""
    try:
        installed = version("openvino")
    except PackageNotFoundError:
        installed = "none"
    return {
        "host": platform.node(),
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", platform.machine())),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "torch": version("torch"),
        "openvino": installed,
    }


def why_not(backend: Backend) -> str | None:
    """What this machine lacks for a back end; None where it can run."""
    if backend.startswith("openvino") and importlib.util.find_spec("openvino") is None:
        return "OpenVINO is not installed; run: pip install 'laudos[fast]'"
    if backend.startswith("cuda") and not torch.cuda.is_available():
        return "torch finds no GPU (the default install is torch for processors only)"
    if backend.endswith("bf16"):
        return no_bfloat16("cuda" if backend.startswith("cuda") else "cpu")
    return None


def reader_on(model: PreTrainedModel, backend: Backend) -> Reader:
    """The body of `model` on a back end. Takes seconds for OpenVINO, which compiles it.

    Raises BackendUnavailable where this machine lacks what it needs, or the network cannot be converted.
    """
    if lacking := why_not(backend):
        raise BackendUnavailable(f"{backend} cannot run here: {lacking}")
    if backend.startswith("openvino"):
        return _compiled(model, "bf16" if backend.endswith("bf16") else "f32")
    if backend.startswith("cuda"):
        return copied_to("cuda", model, torch.bfloat16 if backend.endswith("bf16") else torch.float32)
    if backend == REFERENCE:
        return reader_of(model)
    read = reader_of(model)

    def in_bfloat16(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
        with torch.autocast(model.device.type, torch.bfloat16):
            return read(ids, mask)

    return in_bfloat16


def copied_to(device: str, model: PreTrainedModel, precision: torch.dtype) -> Reader:
    """A copy there: the network itself stays where it can be read, saved and compared."""
    read = reader_of(copy.deepcopy(model).to(device, precision))

    def to_here(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
        heard = read(ids, mask)
        return Heard(*(None if told is None else told.float().cpu() for told in heard))

    return to_here


def _compiled(model: PreTrainedModel, precision: str) -> Reader:
    try:
        return compiled(converted(model), precision)
    except Exception as error:
        # its message may be pages long, of a graph
        raise BackendUnavailable(
            f"OpenVINO cannot convert a {type(model).__name__} ({type(error).__name__}); use torch-fp32"
        ) from None


def converted(model: PreTrainedModel) -> Any:
    """The body of a network as OpenVINO's own."""
    ov = openvino()
    with _logging_kept(), quietly(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing, for those who write networks
        return ov.convert_model(
            _Body(model),
            example_input={name: torch.ones(2, 8, dtype=torch.int64) for name in ("ids", "mask")},
            input=[ov.PartialShape([-1, -1])] * 2,
        )


@contextmanager
def _logging_kept() -> Iterator[None]:
    """OpenVINO lets only errors be logged while it converts, by whomever: and for good where it fails."""
    root = logging.getLogger()
    level, filters, handlers = root.level, list(root.filters), list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.filters, root.handlers = filters, handlers


def compiled(network: Any, precision: str) -> Reader:
    """What `converted` gave, on this processor, in "f32" or "bf16"."""
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1}
    hints = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    request = openvino().Core().compile_model(network, "CPU", {**threads, **hints}).create_infer_request()

    def read(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
        request.infer({0: ids.numpy(), 1: mask.numpy()}, share_inputs=True)
        # copied: the next batch overwrites it
        told = [torch.from_numpy(output.data.copy()) for output in request.output_tensors]
        return last_read(Heard(told[0], told[1] if len(told) > 1 else None), mask.sum(dim=1).tolist())

    return read


def openvino() -> Any:
    """OpenVINO without its telemetry, which would call out of the hospital on import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    return importlib.import_module("openvino")


class _Body(nn.Module):  # type: ignore[misc]  # torch is not followed
    """A network that ends where its last linear layer would begin."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with heard_by(self.model) as heard:
            self.model(input_ids=ids, attention_mask=mask)
        return tuple(told for told in heard.pop() if told is not None)


@dataclass(frozen=True)
class Fidelity:
    """How a back end answered reports beside the reference."""

    reports: int
    other_decisions: int  # another label, or auto in place of review, or the reverse, by more than rounding
    critical_missed: (
        int  # critical reports that the reference named or left to a person, and this did neither
    )
    largest_difference: float  # of any probability

    def refusal(self, backend: Backend) -> str | None:
        """Why it may not answer; None where it may."""
        if self.critical_missed:
            return f"it missed {self.critical_missed} critical reports that torch-fp32 did not miss"
        if self.other_decisions > OTHER_DECISIONS_MAX * self.reports:
            return f"{self.other_decisions} of {self.reports} decisions are others than with torch-fp32"
        # not the other way round: what is not a number is no smaller than anything, either
        if not self.largest_difference <= difference_max(backend):
            return (
                f"a probability is {self.largest_difference:.2g} from that of torch-fp32; "
                f"{difference_max(backend):g} at most is admitted"
            )
        return None


def compare(reference: Floats, other: Floats, truth: Ints, critical: int, thresholds: Thresholds) -> Fidelity:
    """Hold probabilities (reports, labels) against those of the reference on the same reports.

    Where both put a label within ON_ITS_LIMIT of its limit, on whichever side, they decide alike about it:
    neither another decision nor a critical miss comes from that.
    """
    before, after = reference.argmax(axis=1), other.argmax(axis=1)
    changed = before != after
    limits = np.asarray(thresholds.limits)
    near = (np.abs(1 - one - limits) <= ON_ITS_LIMIT for one in (reference, other))
    settled = np.where(np.logical_and(*near), reference, other)
    review_before, review_after = (
        np.array(decide(one, thresholds)) == "review" for one in (reference, settled)
    )
    named = (before == critical) & (after != critical)
    caught = (before == critical) | review_before
    missed = (truth == critical) & (named | (caught & (after != critical) & ~review_after))
    return Fidelity(
        reports=len(reference),
        other_decisions=int((changed | (review_before != review_after)).sum()),
        critical_missed=int(missed.sum()),
        largest_difference=float(np.abs(reference - other).max(initial=0.0)),
    )
