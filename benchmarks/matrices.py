"""The fastest product of matrices that one core is capable of, at a precision: the limit of a network."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from tasks.ml.network.backends import openvino, why_not

GEMM_TOKENS, GEMM_SECONDS = 1024, 0.3


def peak(model: PreTrainedModel, precision: str) -> float:
    """Operations a second of the fastest product of the layer's shapes, torch or OpenVINO."""
    width, inner = model.config.hidden_size, model.config.intermediate_size
    shapes = ((width, width), (width, inner), (inner, width))
    return max(
        _rate(product, 2 * GEMM_TOKENS * ins * outs)
        for ins, outs in shapes
        for product in _products(ins, outs, precision)
    )


def _products(ins: int, outs: int, precision: str) -> list[Callable[[], Any]]:
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    rows, weight = torch.randn(GEMM_TOKENS, ins, dtype=kind), torch.randn(outs, ins, dtype=kind)

    def by_torch() -> Any:
        with torch.inference_mode():
            return torch.nn.functional.linear(rows, weight)

    products: list[Callable[[], Any]] = [by_torch]
    if why_not("openvino-fp32") is None:
        ov = openvino()
        ops, given = ov.opset13, rows.float().numpy()
        entry = ops.parameter([-1, ins], np.float32)
        product = ops.matmul(entry, ops.constant(weight.float().numpy()), False, True)
        compiled = ov.Core().compile_model(
            ov.Model([product], [entry]),
            "CPU",
            {
                "INFERENCE_NUM_THREADS": 1,
                "NUM_STREAMS": 1,
                "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
            },
        )
        request = compiled.create_infer_request()
        products.append(lambda: request.infer({0: given}, share_inputs=True))
    return products


def _rate(product: Callable[[], Any], operations: float) -> float:
    product()
    fastest = float("inf")
    for _ in range(5):
        begun, done = time.process_time(), 0
        while time.process_time() - begun < GEMM_SECONDS / 5 or not done:
            product()
            done += 1
        fastest = min(fastest, (time.process_time() - begun) / done)
    return operations / fastest
