"""A published folder answers, here and in anybody's pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from tasks.ml.errors import BrokenArtifact, UnfitData
from tasks.ml.network import features
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.backends import Backend
from tasks.ml.network.features import Heard, encode, last_linear, reader_of
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading import windows
from tasks.ml.reading.windows import Windows
from tests.ml.conftest import LABELS, STRIDE, WINDOW, Network, written

SHORT = "nódulo na mama com células atípicas"


def with_head(network: Network, facts: LaudosJson, root: Path) -> tuple[Predictor, np.ndarray]:
    """Published with a fitted head and loaded again; and what that head says of 20 reports."""
    model, tokenizer = network
    texts, labels = written(80, seed=2)
    vectors = encode(model, tokenizer, texts, window_tokens=WINDOW, stride_tokens=STRIDE).vectors
    head = fit_head(
        vectors[:50], labels[:50], 2, vectors[50:], labels[50:], bias=last_linear(model)[1].bias is not None
    )
    made = publish(root, "m1", model, tokenizer, head, facts)
    return Predictor.load(made.path, made.manifest_sha), probabilities(head, vectors[:20])


def test_a_plain_pipeline_gives_the_predictors_probabilities(network: Network, facts_of, tmp_path: Path):
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    pipeline = transformers.pipeline("text-classification", model=str(tmp_path / "m1"), top_k=None)
    theirs = {entry["label"]: entry["score"] for entry in pipeline([SHORT])[0]}
    (ours,) = predictor.predict([SHORT])
    assert ours.windows == 1
    assert theirs == pytest.approx(ours.probabilities, abs=2e-5)
    assert ours.label == max(theirs, key=theirs.__getitem__)


def test_what_was_fitted_is_what_the_loaded_folder_answers(network: Network, facts_of, tmp_path: Path):
    predictor, expected = with_head(network, facts_of(network), tmp_path)
    answers = predictor.predict(written(80, seed=2)[0][:20])
    found = [[answer.probabilities[label] for label in LABELS] for answer in answers]
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_stored_vectors_give_the_same_predictions_as_the_texts(
    tiny: Callable[[], Network], facts_of, tmp_path: Path
):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    texts = [*written(5, seed=4)[0], " ".join(written(20, seed=5)[0])]
    read = predictor.vectors(texts)
    stored = np.frombuffer(read.vectors.astype("<f4").tobytes(), "<f4").reshape(read.vectors.shape)
    assert predictor.from_vectors(
        stored, read.sketches, read.tokens_seen.tolist(), read.tokens_total.tolist(), read.windows.tolist()
    ) == predictor.predict(texts)


def test_a_report_is_read_whole_however_long(tiny: Callable[[], Network], facts_of, tmp_path: Path):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    answers = predictor.predict(["mama", "células coesas " * 2000, ""])
    assert [answer.tokens_seen == answer.tokens_total for answer in answers] == [True] * 3
    assert answers[1].windows > 100
    assert answers[2].tokens_total == 0


def test_a_folder_from_before_familiarity_answers_every_text_by_its_probabilities(
    tiny: Callable[[], Network], facts_of, tmp_path: Path
):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    facts = json.loads((tmp_path / "m1" / "laudos.json").read_text())
    del facts["familiarity"]
    assert LaudosJson.from_json(facts) == predictor.facts
    (answer,) = predictor.predict(["lorem ipsum"])
    assert answer.because == ("unsure" if answer.decision == "review" else None)


def test_nothing_rules_out_a_label_with_too_few_calibration_reports(tiny, facts_of, tmp_path: Path):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    assert predictor.facts.thresholds.limits[1] == float("inf")
    answers = predictor.predict(written(20, seed=4)[0])
    assert {answer.decision for answer in answers if answer.label == "benigno"} == {"review"}


def test_vectors_of_another_encoder_are_refused(tiny: Callable[[], Network], facts_of, tmp_path: Path):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    with pytest.raises(UnfitData, match="another encoder"):
        predictor.from_vectors(np.zeros((3, 7), np.float32), [b""] * 3)


def test_no_reports_get_no_predictions(tiny: Callable[[], Network], facts_of, tmp_path: Path):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    assert predictor.predict([]) == []
    assert predictor.from_vectors(np.zeros((0, predictor.hidden), np.float32), []) == []


def test_an_altered_folder_is_not_loaded(tiny: Callable[[], Network], facts_of, tmp_path: Path):
    network = tiny()
    with_head(network, facts_of(network), tmp_path)
    with (tmp_path / "m1" / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BrokenArtifact, match=r"model\.safetensors was altered"):
        Predictor.load(tmp_path / "m1")


def test_loading_and_predicting_print_nothing(
    tiny, facts_of, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    predictor.predict([SHORT, "células coesas " * 500])
    assert capfd.readouterr() == ("", "")


def test_what_was_prepared_in_another_thread_is_read_as_if_it_had_not_been(
    tiny: Callable[[], Network], facts_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    texts, others = written(12, seed=4)[0], written(12, seed=5)[0]
    expected, of_others = predictor.vectors(texts), predictor.vectors(others)
    cut: list[list[str]] = []

    def windows_of(tokenizer: object, texts: list[str], *how: object) -> Windows:
        cut.append(list(texts))
        return windows.windows_of(tokenizer, texts, *how)

    monkeypatch.setattr(features, "windows_of", windows_of)
    with ThreadPoolExecutor(1) as thread:
        thread.submit(predictor.prepare, texts).result()
    found = predictor.vectors(texts)
    assert cut == [texts], "cut once, ahead"
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.sketches == expected.sketches
    predictor.prepare(texts)
    np.testing.assert_array_equal(predictor.vectors(others).vectors, of_others.vectors)
    assert cut == [texts, texts, others], "of other texts it serves nobody"
    predictor.vectors(texts)
    assert cut[3:] == [texts], "and is forgotten"


def test_two_threads_may_tokenise_at_once(tiny: Callable[[], Network], facts_of, tmp_path: Path):
    """A tokenizer of the tokenizers library that is used by two threads says that it is borrowed already."""
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    texts = written(200, seed=4)[0]
    with ThreadPoolExecutor(1) as thread:
        ahead = [thread.submit(predictor.prepare, texts) for _ in range(20)]
        for _ in range(5):
            predictor.vectors(texts[:40])
        for one in ahead:
            one.result()


def test_a_pass_in_numbers_of_half_the_size_holds_twice_the_tokens(
    tiny: Callable[[], Network], facts_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Both are one cache full."""
    network = tiny()
    predictor, _ = with_head(network, facts_of(network), tmp_path)
    monkeypatch.setattr(windows, "CACHED_BYTES", 4 * 64 * predictor.hidden)
    texts = written(40, seed=4)[0]

    def largest(backend: Backend) -> int:
        sizes: list[int] = []

        def reader(ids: torch.Tensor, mask: torch.Tensor) -> Heard:
            sizes.append(ids.numel())
            return read(ids, mask)

        replace(predictor, backend=backend, reader=reader).vectors(texts)
        return max(sizes)

    read = reader_of(predictor.model)
    assert 32 < largest("openvino-fp32") <= 64
    assert 64 < largest("openvino-bf16") <= 128
