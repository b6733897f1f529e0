"""The head: convex, deterministic, calibrated; and it moves nothing but itself."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from tasks.ml.errors import UnfitData, UnfitEncoder
from tasks.ml.network.encoder import encoder_sha
from tasks.ml.network.features import encode, last_linear
from tasks.ml.network.head import Head, fit_head, fold_in, probabilities
from tests.ml.conftest import STRIDE, WINDOW, Network, written


def clouds(n: int, classes: int, seed: int, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = np.random.default_rng(0).normal(size=(classes, 6)) * np.array([1, 5, 0.1, 20, 1, 0])
    scales = spread * np.array([1, 5, 0.1, 20, 1, 0])  # the last feature is constant
    return (centres[labels] + rng.normal(size=(n, 6)) * scales).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("bias", [True, False])
def test_a_head_learns_what_a_line_can_tell_apart(classes: int, bias: bool):
    train, calibration, unseen = (clouds(300, classes, seed, 0.6) for seed in (1, 2, 3))
    head = fit_head(*train, classes, *calibration, bias=bias)
    probs = probabilities(head, unseen[0])
    assert head.weight.shape == (classes, 6)
    assert (head.bias != 0).any() == bias
    np.testing.assert_allclose(probs.sum(axis=1), 1)
    assert (probs.argmax(axis=1) == unseen[1]).mean() > (0.75 if bias else 0.6)


def test_the_same_vectors_give_the_same_head_bit_for_bit():
    train, calibration = clouds(200, 3, 1), clouds(80, 3, 2)
    first, second = (fit_head(*train, 3, *calibration, seed=4) for _ in range(2))
    assert first.weight.tobytes() == second.weight.tobytes()
    assert first.bias.tobytes() == second.bias.tobytes()


def test_probabilities_are_as_sure_as_they_are_right():
    head = fit_head(*clouds(1000, 2, 1, 2.0), 2, *clouds(1000, 2, 2, 2.0))
    vectors, labels = clouds(4000, 2, 3, 2.0)
    probs = probabilities(head, vectors)
    sure = probs.max(axis=1)
    assert abs(sure.mean() - (probs.argmax(axis=1) == labels).mean()) < 0.03


def test_a_separable_calibration_split_does_not_make_a_head_certain():
    head = fit_head(*clouds(60, 2, 1, 0.01), 2, *clouds(20, 2, 2, 0.01))
    assert 0.8 < probabilities(head, clouds(20, 2, 3, 0.01)[0]).max() < 0.99


def test_many_labels_with_few_calibration_reports_each_do_not_talk_the_head_into_doubt():
    rng = np.random.default_rng(0)
    centres = 4 * rng.normal(size=(24, 16))

    def part(each: int) -> tuple[np.ndarray, np.ndarray]:
        labels = np.repeat(np.arange(24), each)
        return (centres[labels] + rng.normal(size=(len(labels), 16))).astype(np.float32), labels

    head = fit_head(*part(8), 24, *part(4))
    vectors, labels = part(20)
    probs = probabilities(head, vectors)
    assert (probs.argmax(axis=1) == labels).mean() > 0.95
    assert probs.max(axis=1).mean() > 0.7


def test_an_overconfident_fit_is_cooled_by_the_temperature():
    vectors, labels = clouds(400, 2, 1, 0.3)
    calibration, truth = clouds(400, 2, 2, 0.3)
    flipped = np.where(np.random.default_rng(0).random(400) < 0.25, 1 - truth, truth)
    head = fit_head(vectors, labels, 2, calibration, flipped)
    assert probabilities(head, calibration).max(axis=1).mean() < 0.85


def test_a_saturated_unit_is_no_feature_made_of_the_last_bit_of_a_float32():
    (vectors, labels), (calibration, truth) = clouds(400, 2, 1), clouds(200, 2, 2)

    def beside(numbers: np.ndarray, seed: int) -> np.ndarray:
        """With four units that are 1.0, and now and then the float32 before it."""
        before = np.random.default_rng(seed).normal(9, 0.6, (len(numbers), 4)).astype(np.float32)
        return np.hstack([numbers, np.tanh(before)])

    vectors, calibration = beside(vectors, 1), beside(calibration, 2)
    assert 0 < vectors[:, -1].std(dtype=np.float64) < 1e-6
    head = fit_head(vectors, labels, 2, calibration, truth)
    assert np.abs(head.weight).max() < 100
    exact, nearly = (
        probabilities(head, calibration),
        torch.softmax(torch.from_numpy(calibration @ head.weight.T + head.bias), dim=1).numpy(),
    )
    np.testing.assert_allclose(nearly, exact, atol=1e-5)
    elsewhere = np.hstack([calibration[:, :-4], np.nextafter(calibration[:, -4:], np.float32(0))])
    np.testing.assert_allclose(probabilities(head, elsewhere), exact, atol=1e-5)


def test_sample_weights_count():
    vectors, labels = clouds(200, 2, 1, 2.0)
    calibration = clouds(200, 2, 2, 2.0)
    heavy = fit_head(vectors, labels, 2, *calibration, weights=np.where(labels == 1, 50.0, 1.0))
    plain = fit_head(vectors, labels, 2, *calibration)
    assert (
        probabilities(heavy, calibration[0])[:, 1].mean() > probabilities(plain, calibration[0])[:, 1].mean()
    )


@pytest.mark.parametrize("part", ["training", "calibration"])
def test_vectors_that_are_no_numbers_are_refused_as_the_encoders_fault(part: str):
    train, calibration = clouds(50, 2, 1), clouds(40, 2, 2)
    (train if part == "training" else calibration)[0][3:5, 2] = np.nan
    with pytest.raises(UnfitEncoder, match="2 of 90 reports"):
        fit_head(*train, 2, *calibration)


def test_a_label_without_example_is_refused():
    vectors, labels = clouds(50, 2, 1)
    with pytest.raises(UnfitData, match=r"1 of 3 labels have no example .*label numbers 2"):
        fit_head(vectors, labels, 3, vectors, labels)


def test_an_empty_calibration_split_is_refused():
    vectors, labels = clouds(50, 2, 1)
    with pytest.raises(UnfitData, match="calibration split is empty"):
        fit_head(vectors, labels, 2, vectors[:0], labels[:0])


def test_a_head_refresh_moves_no_body_weight_and_keeps_the_encoder_sha(network: Network):
    model, tokenizer = network
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    sha = encoder_sha(model, tokenizer, WINDOW, STRIDE)
    texts, labels = written(40, seed=2)
    vectors = encode(model, tokenizer, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
    name, linear = last_linear(model)
    head = fit_head(vectors[:30], labels[:30], 2, vectors[30:], labels[30:], bias=linear.bias is not None)
    fold_in(model, head)

    moved = {key for key, tensor in model.state_dict().items() if not torch.equal(tensor, before[key])}
    assert moved == {f"{name}.weight"} | ({f"{name}.bias"} if linear.bias is not None else set())
    assert encoder_sha(model, tokenizer, WINDOW, STRIDE) == sha


def test_a_head_of_another_width_is_refused(tiny: Callable[[], Network]):
    model, _ = tiny()
    with pytest.raises(UnfitEncoder, match="fit it again"):
        fold_in(model, Head(np.zeros((2, 7), np.float32), np.zeros(2, np.float32), 1.0))


def test_a_bias_that_has_no_place_is_refused(tiny: Callable[[], Network]):
    model, _ = tiny()
    model.classifier = torch.nn.Linear(32, 2, bias=False)
    with pytest.raises(UnfitEncoder, match="bias=False"):
        fold_in(model, Head(np.zeros((2, 32), np.float32), np.ones(2, np.float32), 1.0))
