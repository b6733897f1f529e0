"""What reads tokens and pairs beside a network: whose words teach it, what it adds, where it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import transformers
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.ml import token_pairs
from tasks.ml.artifact import LaudosJson, publish
from tasks.ml.calibration import Pool, calibrated_log_loss, fit_pool
from tasks.ml.encoder import encoder_sha
from tasks.ml.errors import BrokenArtifact, UnfitData
from tasks.ml.evidence import Network as Explained
from tasks.ml.evidence import evidence
from tasks.ml.features import encode
from tasks.ml.head import fit_head, head_of, pool_of, probabilities, softmax_of
from tasks.ml.predictor import Predictor
from tasks.ml.token_pairs import FILE, PATIENTS_MIN, TokenPairs, fit_token_pairs
from tasks.ml.windows import Windows, windows_of
from tests.ml.conftest import LABELS, STRIDE, WINDOW, Network, written

TEXTS, TRUTH = written(160, seed=3)
TAUGHT, HELD = slice(0, 100), slice(100, 160)
SHORT = "nódulo na mama com células atípicas"
PATIENTS = [f"p{number // 2}" for number in range(len(TEXTS))]


def cut(network: Network, texts: Sequence[str]) -> Windows:
    return windows_of(network[1], texts, WINDOW, STRIDE)


def fitted(network: Network, patients: Sequence[str] = PATIENTS) -> TokenPairs:
    windows = [cut(network, TEXTS[some]) for some in (TAUGHT, HELD)]
    return fit_token_pairs(windows[0], patients[TAUGHT], TRUTH[TAUGHT], windows[1], TRUTH[HELD], 2)


def test_its_numbers_are_those_of_tfidf_on_tokens_and_pairs(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny()
    monkeypatch.setattr(token_pairs, "BULK_TEXTS", 7)  # as for a training set that is read in parts
    shorts = [text for text in TEXTS if cut(network, [text]).per_text[0] == 1]
    windows = cut(network, shorts)
    codes, rarity = token_pairs._vocabulary(windows, [str(number) for number in range(len(shorts))])
    ours = token_pairs._tfidf(windows, codes, rarity)
    spelt = [" ".join(map(str, ids)) for ids in windows.ids]
    theirs = TfidfVectorizer(
        token_pattern=r"\S+", ngram_range=(1, 2), min_df=PATIENTS_MIN, sublinear_tf=True
    ).fit_transform(spelt)
    assert ours.shape == theirs.shape
    # the columns stand in another order
    np.testing.assert_allclose(np.sort(ours.toarray(), axis=1), np.sort(theirs.toarray(), axis=1), atol=1e-6)


def test_what_few_patients_reports_hold_takes_no_part(tiny: Callable[[], Network]) -> None:
    network = tiny()
    one = fitted(network, ["the same patient"] * len(TEXTS))
    assert len(one.codes) == 0
    np.testing.assert_array_equal(one.logits(cut(network, TEXTS[:3])), np.zeros((3, 2)))
    several = [f"p{number % PATIENTS_MIN}" for number in range(len(TEXTS))]
    assert len(fitted(network, several).codes) > 50
    assert (
        len(fitted(network, [f"p{number % (PATIENTS_MIN - 1)}" for number in range(len(TEXTS))]).codes) == 0
    )


def test_a_patients_many_reports_count_once_however_the_set_is_cut(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = cut(tiny(), TEXTS)
    patients = [f"p{number % 7}" for number in range(len(TEXTS))]
    whole = token_pairs._vocabulary(windows, patients)
    monkeypatch.setattr(token_pairs, "BULK_TEXTS", 9)
    for ours, theirs in zip(token_pairs._vocabulary(windows, patients), whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_label_without_example_is_told(tiny: Callable[[], Network]) -> None:
    windows = cut(tiny(), TEXTS)
    with pytest.raises(UnfitData, match="no example"):
        fit_token_pairs(windows, PATIENTS, np.zeros_like(TRUTH), windows, TRUTH, 2)


def test_no_text_is_no_row_and_an_unknown_one_has_the_bias(tiny: Callable[[], Network]) -> None:
    network = tiny()
    pairs = fitted(network)
    assert pairs.logits(cut(network, [])).shape == (0, 2)
    nothing = replace(pairs, codes=pairs.codes + (1 << 60))
    np.testing.assert_array_equal(nothing.logits(cut(network, TEXTS[:2])), [pairs.bias, pairs.bias])


def test_what_each_token_adds_comes_to_the_logits_also_over_several_windows(
    tiny: Callable[[], Network],
) -> None:
    network = tiny()
    pairs, windows = fitted(network), cut(network, ["", TEXTS[0], " ".join(TEXTS[:9]), TEXTS[1]])
    assert windows.per_text.max() > 2
    of_token = np.repeat(windows.owner, windows.lengths)
    summed = np.zeros((4, 2))
    np.add.at(summed, of_token, pairs.by_token(windows))
    np.testing.assert_allclose(summed + pairs.bias, pairs.logits(windows), atol=1e-5)


def test_two_are_pooled_as_the_calibration_split_has_it_and_never_against_their_word() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 400)
    knows = 3.0 * np.eye(3)[truth] + rng.normal(0, 1, (400, 3))
    other = 3.0 * np.eye(3)[truth] + rng.normal(0, 1, (400, 3))
    noise = rng.normal(0, 2, (400, 3))
    assert fit_pool(knows, noise, truth).beside == pytest.approx(0, abs=0.1)
    assert fit_pool(-other, knows, truth).network == 0.0
    pool = fit_pool(knows, other, truth)
    both = calibrated_log_loss(pool.network * knows + pool.beside * other, truth)
    assert both < 0.8 * min(calibrated_log_loss(one, truth) for one in (knows, other))


def pooled(
    network: Network, facts_of: Callable[[Network], LaudosJson], root: Path
) -> tuple[Predictor, np.ndarray]:
    """Published with token pairs beside it and loaded again; and what was fitted says of 20 reports."""
    pairs = fitted(network)
    vectors = encode(*network, TEXTS, window_tokens=WINDOW, stride_tokens=STRIDE, beside=pairs).vectors
    hidden = vectors.shape[1] - 2
    head = fit_head(
        vectors[TAUGHT, :hidden], TRUTH[TAUGHT], 2, vectors[HELD, :hidden], TRUTH[HELD], bias=True
    )
    pool = pool_of(head, vectors[HELD], TRUTH[HELD])
    facts = replace(
        facts_of(network), pool=pool, encoder_sha=encoder_sha(*network, WINDOW, STRIDE, beside=pairs)
    )
    made = publish(root, "m1", *network, head, facts, beside=pairs)
    return Predictor.load(made.path, made.manifest_sha), probabilities(head, vectors[:20], pool)


@pytest.fixture
def bert(tiny: Callable[[], Network]) -> Network:
    return tiny()


def test_a_loaded_folder_answers_by_both(bert: Network, facts_of, tmp_path: Path) -> None:
    predictor, expected = pooled(bert, facts_of, tmp_path)
    answers = predictor.predict(TEXTS[:20])
    found = [[answer.probabilities[label] for label in LABELS] for answer in answers]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    predictor.prepare(TEXTS[:5])
    np.testing.assert_allclose(
        predictor.vectors(TEXTS[:5]).vectors, predictor.vectors(TEXTS[:5]).vectors, atol=1e-6
    )


def test_a_plain_pipeline_reads_the_network_alone(bert: Network, facts_of, tmp_path: Path) -> None:
    predictor, _ = pooled(bert, facts_of, tmp_path)
    pipeline = transformers.pipeline("text-classification", model=str(tmp_path / "m1"), top_k=None)
    theirs = {entry["label"]: entry["score"] for entry in pipeline([SHORT])[0]}
    read = predictor.vectors([SHORT]).vectors
    alone = softmax_of(*head_of(predictor.model), read[:, :-2])[0]
    assert theirs == pytest.approx(dict(zip(LABELS, alone, strict=True)), abs=2e-5)
    both = predictor.probabilities(read)[0]
    assert theirs["maligno"] != pytest.approx(both[1], abs=1e-3)


def test_a_folder_without_its_token_pairs_is_broken(bert: Network, facts_of, tmp_path: Path) -> None:
    pooled(bert, facts_of, tmp_path)
    (tmp_path / "m1" / FILE).unlink()
    with pytest.raises(BrokenArtifact):
        Predictor.load(tmp_path / "m1")
    with pytest.raises(BrokenArtifact, match=FILE):
        TokenPairs.load(tmp_path / "m1")


def test_other_token_pairs_are_another_encoder(bert: Network) -> None:
    pairs = fitted(bert)
    alone, beside, other = (
        encoder_sha(*bert, WINDOW, STRIDE, beside=one)
        for one in (None, pairs, replace(pairs, bias=pairs.bias + 1))
    )
    assert len({alone, beside, other}) == 3


def test_evidence_shows_what_only_the_token_pairs_saw(bert: Network) -> None:
    """The network is untaught: whatever points at the planted word was found beside it."""
    texts = [f"Fundo limpo. {'Necrose extensa' if one else 'Lamina comum'}. Mama direita." for one in TRUTH]
    windows = cut(bert, texts)
    pairs = fit_token_pairs(windows, PATIENTS, TRUTH, windows, TRUTH, 2)
    text = texts[1]

    def best(beside: tuple[TokenPairs, Pool] | None) -> str:
        found = max(
            evidence(Explained(*bert, WINDOW, STRIDE, beside=beside), text, 1), key=lambda one: one.score
        )
        return text[found.start : found.end]

    assert best((pairs, Pool(0.0, 1.0))) == best((pairs, Pool(0.5, 2.0))) == "Necrose extensa."
    scores = [
        [one.score for one in evidence(Explained(*bert, WINDOW, STRIDE, beside=beside), text, 1)]
        for beside in (None, (pairs, Pool(1.0, 0.0)))
    ]
    np.testing.assert_allclose(*scores, atol=1e-9)
