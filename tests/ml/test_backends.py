"""Back ends read what torch reads, and a difference in what they answer is seen."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
import torch

from tasks.ml.errors import BackendUnavailable
from tasks.ml.network.backends import (
    BACKENDS,
    REFERENCE,
    Backend,
    Fidelity,
    compare,
    copied_to,
    reader_on,
    why_not,
)
from tasks.ml.network.conformal import Thresholds, fit_thresholds
from tests.ml.conftest import Network

here = pytest.mark.parametrize(
    "backend",
    [
        pytest.param(one, marks=pytest.mark.skipif(why_not(one) is not None, reason=str(why_not(one))))
        for one in BACKENDS
        if one != REFERENCE
    ],
)


@here
def test_a_network_of_any_family_reads_alike_on_every_back_end(network: Network, backend: Backend) -> None:
    model = network[0].eval()
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]])
    with torch.inference_mode():
        expected = reader_on(model, REFERENCE)(ids, mask)
        if backend.startswith("openvino") and model.config.model_type == "gpt2":
            with pytest.raises(BackendUnavailable, match="cannot convert a GPT2"):
                reader_on(model, backend)
            return
        read = reader_on(model, backend)(ids, mask)
    tolerance = 1e-4 if backend.endswith("fp32") else 0.05
    np.testing.assert_allclose(read.vectors.float().numpy(), expected.vectors.numpy(), atol=tolerance)
    assert (
        (read.weights is None)
        == (expected.weights is None)
        == (model.config.model_type != "laudos-attentive")
    )
    if expected.weights is not None:
        np.testing.assert_allclose(
            read.weights.float().numpy(), expected.weights.numpy(), rtol=20 * tolerance
        )


@pytest.mark.skipif(why_not("openvino-fp32") is not None, reason=str(why_not("openvino-fp32")))
def test_a_conversion_that_fails_leaves_logging_as_it_was(network: Network) -> None:
    """OpenVINO silences whatever is no error, and forgot to take that back: no quarantine was told then."""
    root = logging.getLogger()
    before = root.level, list(root.filters), list(root.handlers)
    with suppress(BackendUnavailable):
        reader_on(network[0].eval(), "openvino-fp32")
    assert (root.level, root.filters, root.handlers) == before


@pytest.mark.skipif(why_not("openvino-fp32") is not None, reason=str(why_not("openvino-fp32")))
def test_a_conversion_says_nothing_of_a_loss(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    logger = logging.getLogger("transformers.modeling_utils")
    monkeypatch.setattr(type(logger), "warning_once", lambda self, *said: self.warning(*said), raising=False)
    monkeypatch.setattr(logger, "handle", lambda record: told.append(record.getMessage()))
    reader_on(tiny()[0].eval(), "openvino-fp32")
    assert told == []


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_copy_in_another_precision_reads_alike_and_leaves_the_network_as_it_was(
    network: Network, precision: torch.dtype
) -> None:
    """What a GPU is given, on the processor."""
    model = network[0].eval()
    ids, mask = torch.tensor([[5, 6, 7, 8]]), torch.ones(1, 4, dtype=torch.int64)
    with torch.inference_mode():
        expected = reader_on(model, REFERENCE)(ids, mask)
        read = copied_to("cpu", model, precision)(ids, mask)
    tolerance = 1e-6 if precision == torch.float32 else 0.05
    np.testing.assert_allclose(read.vectors.numpy(), expected.vectors.numpy(), atol=tolerance)
    assert {weights.dtype for weights in model.parameters()} == {torch.float32}


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_its_back_ends_say_so(tiny: Callable[[], Network]) -> None:
    with pytest.raises(BackendUnavailable, match="torch finds no GPU"):
        reader_on(tiny()[0], "cuda-fp32")


@pytest.mark.parametrize(
    ("other", "refusal"),
    [
        ([[0.9, 0.1], [0.2, 0.8]], None),
        ([[0.9, 0.1], [0.6, 0.4]], "missed 1 critical"),
        ([[0.4, 0.6], [0.2, 0.8]], "1 of 2 decisions"),
        ([[0.8999, 0.1001], [0.21, 0.79]], "a probability is 0.01"),
        ([[0.9, 0.1], [0.2, np.nan]], "decisions are others"),
    ],
)
def test_a_critical_miss_another_decision_or_another_probability_refuses(
    other: list[list[float]], refusal: str | None
) -> None:
    reference = np.array([[0.9, 0.1], [0.2, 0.8]])
    thresholds = Thresholds((0.5, 0.5), (100, 100), (0.05, 0.05))
    told = compare(reference, np.array(other), np.array([0, 1]), 1, thresholds).refusal("openvino-fp32")
    assert told is None if refusal is None else refusal in str(told)


def test_a_critical_report_that_no_person_sees_any_more_is_a_miss() -> None:
    thresholds = Thresholds((0.5, 0.8), (100, 100), (0.05, 0.05))  # .6 leaves both labels possible, .9 one
    reference, other = np.array([[0.6, 0.4]]), np.array([[0.9, 0.1]])
    told = compare(reference, other, np.array([1]), 1, thresholds)
    assert (told.critical_missed, told.other_decisions) == (1, 1)
    assert compare(reference, other, np.array([0]), 1, thresholds).critical_missed == 0


def test_the_reports_that_set_the_limits_refuse_no_back_end_whose_rounding_turns_them() -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(300) % 2
    malign = 1 / (1 + np.exp(-rng.normal(2.2 * (2 * truth - 1), 2)))
    reference = np.stack([1 - malign, malign], axis=1)
    thresholds = fit_thresholds(reference, truth, (0.05, 0.02))

    def moved(by: float) -> Fidelity:
        return compare(reference, reference + np.array([by, -by]), truth, 1, thresholds)

    for rounding in (2e-7, -2e-7):
        assert moved(rounding).refusal("openvino-fp32") is None
        assert (moved(rounding).other_decisions, moved(rounding).critical_missed) == (0, 0)
    assert moved(2e-6).critical_missed == 1  # no rounding any more
    assert moved(-2e-6).other_decisions == 1


def test_a_probability_that_is_no_number_is_never_near_enough() -> None:
    told = Fidelity(reports=2000, other_decisions=1, critical_missed=0, largest_difference=float("nan"))
    assert "a probability is nan" in str(told.refusal("openvino-bf16"))
