"""What the head reads, of any family; and the sha that says when stored vectors still fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from tasks.ml.errors import UnfitEncoder
from tasks.ml.network.encoder import encoder_sha
from tasks.ml.network.features import Heard, encode, last_linear
from tasks.ml.network.head import head_of
from tasks.ml.reading import windows
from tasks.ml.reading.windows import windows_of
from tests.ml.conftest import STRIDE, WINDOW, Network


def test_the_head_on_a_one_window_vector_gives_the_networks_own_logits(
    network: Network, tiny_texts: list[str]
):
    model, tokenizer = network
    texts = ["nódulo", "mama direita com células atípicas", "necrose e mitoses na lâmina"]
    read = encode(model, tokenizer, texts, window_tokens=WINDOW, stride_tokens=STRIDE)
    weight, bias = head_of(model)
    for text, vector in zip(texts, read.vectors, strict=True):
        with torch.inference_mode():
            logits = model(**tokenizer(text, return_tensors="pt")).logits[0].numpy()
        np.testing.assert_allclose(weight @ vector + bias, logits, atol=2e-5)


def test_vectors_do_not_depend_on_how_reports_are_batched(network: Network, tiny_texts: list[str]):
    model, tokenizer = network
    texts = [*tiny_texts[:12], " ".join(tiny_texts[:6])]
    sizes = {"window_tokens": WINDOW, "stride_tokens": STRIDE}
    one_by_one = encode(model, tokenizer, texts, **sizes, batch_tokens=1)
    together = encode(model, tokenizer, texts, **sizes, batch_tokens=100_000)
    np.testing.assert_allclose(one_by_one.vectors, together.vectors, atol=2e-5)


def test_a_long_reports_vector_is_the_mean_over_its_windows(
    tiny: Callable[[], Network], tiny_texts: list[str]
):
    model, tokenizer = tiny()
    text = " ".join(tiny_texts[:8])
    windows = windows_of(tokenizer, [text], WINDOW, STRIDE)
    alone = []
    head = last_linear(model)[1]
    handle = head.register_forward_pre_hook(lambda _module, inputs: alone.append(inputs[0][0].numpy()))
    with torch.inference_mode():
        for ids in windows.ids:
            model(input_ids=torch.as_tensor(ids[None].astype(np.int64)))
    handle.remove()
    read = encode(model, tokenizer, [text], window_tokens=WINDOW, stride_tokens=STRIDE)
    np.testing.assert_allclose(read.vectors[0], np.mean(alone, axis=0), atol=2e-5)
    assert read.windows.tolist() == [len(windows.ids)]


def test_encoding_leaves_no_hook_behind_and_the_mode_as_it_was(tiny: Callable[[], Network]):
    model, tokenizer = tiny()
    model.train()
    encode(model, tokenizer, ["mama"], window_tokens=WINDOW, stride_tokens=STRIDE)
    assert model.training
    assert not last_linear(model)[1]._forward_pre_hooks


def test_progress_ends_at_the_number_of_windows(tiny: Callable[[], Network], tiny_texts: list[str]):
    model, tokenizer = tiny()
    told: list[tuple[int, int]] = []
    encode(
        model, tokenizer, tiny_texts, window_tokens=WINDOW, stride_tokens=STRIDE, batch_tokens=200,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told[-1][0] == told[-1][1]
    assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_a_pass_on_a_processor_holds_no_more_tokens_than_its_cache(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
):
    model, tokenizer = tiny()
    sizes: list[int] = []

    def reader(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
        sizes.append(ids.numel())
        return Heard(torch.zeros(len(ids), 32), None)

    def largest_pass() -> int:
        sizes.clear()
        texts = ["mama esquerda"] * 200
        encode(model, tokenizer, texts, window_tokens=WINDOW, stride_tokens=STRIDE, reader=reader)
        return max(sizes)

    everything = largest_pass()
    monkeypatch.setattr(windows, "CACHED_BYTES", 4 * 32 * 100)
    assert largest_pass() <= 100 < everything


def test_no_texts_give_no_vectors(tiny: Callable[[], Network]):
    model, tokenizer = tiny()
    read = encode(model, tokenizer, [], window_tokens=WINDOW, stride_tokens=STRIDE)
    assert read.vectors.shape == (0, 32)


def test_a_network_without_a_linear_head_is_refused(tiny: Callable[[], Network]):
    model, _ = tiny()
    model.classifier = nn.Identity()
    with pytest.raises(UnfitEncoder, match="no linear layer with 2 outputs"):
        last_linear(model)


def test_the_encoder_sha_ignores_the_head_and_sees_everything_else(tiny: Callable[[], Network]):
    model, tokenizer = tiny()
    sha = encoder_sha(model, tokenizer, WINDOW, STRIDE)
    with torch.no_grad():
        model.classifier.weight.add_(1)
    model.config.id2label = {0: "outro", 1: "rótulo"}
    tokenizer(["a", "b"], padding=True, truncation=True, max_length=5)  # leaves traces in the tokenizer
    assert encoder_sha(model, tokenizer, WINDOW, STRIDE) == sha

    assert encoder_sha(model, tokenizer, WINDOW - 1, STRIDE) != sha
    assert encoder_sha(model, tokenizer, WINDOW, STRIDE + 1) != sha
    other = tiny()[1]
    other.add_tokens(["estadiamento"])
    assert encoder_sha(model, other, WINDOW, STRIDE) != sha
    with torch.no_grad():
        model.bert.encoder.layer[0].output.dense.bias[3] += 1e-6
    assert encoder_sha(model, tokenizer, WINDOW, STRIDE) != sha


def test_the_activation_counts_although_it_has_no_weights(tiny: Callable[[], Network]):
    model, tokenizer = tiny()
    sha = encoder_sha(model, tokenizer, WINDOW, STRIDE)
    model.config.hidden_act = "relu"
    assert encoder_sha(model, tokenizer, WINDOW, STRIDE) != sha
