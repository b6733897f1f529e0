"""What reads beside a network: whose words teach it, what it adds, where it is told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import transformers
from sklearn.feature_extraction.text import TfidfVectorizer

from tasks.ml.errors import BrokenArtifact, UnfitData
from tasks.ml.network import linear_reader
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.calibration import Pool, calibrated_log_loss, fit_pool
from tasks.ml.network.encoder import encoder_sha
from tasks.ml.network.evidence import Network as Explained
from tasks.ml.network.evidence import evidence
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head_and_pool, head_of, probabilities, softmax_of
from tasks.ml.network.linear_reader import FILE, PATIENTS_MIN, LinearReader, fit_linear_reader
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading.occurrences import Read, letters_in
from tasks.ml.reading.windows import windows_of
from tests.ml.conftest import LABELS, STRIDE, WINDOW, Network, written

TEXTS, TRUTH = written(160, seed=3)
TAUGHT, HELD = slice(0, 100), slice(100, 160)
SHORT = "nódulo na mama com células atípicas"
PATIENTS = [f"p{number // 2}" for number in range(len(TEXTS))]


def cut(network: Network, texts: Sequence[str]) -> Read:
    return Read(texts, windows_of(network[1], texts, WINDOW, STRIDE))


def fitted(network: Network, patients: Sequence[str] = PATIENTS) -> LinearReader:
    taught, held = (cut(network, TEXTS[some]) for some in (TAUGHT, HELD))
    return fit_linear_reader(taught, patients[TAUGHT], TRUTH[TAUGHT], held, TRUTH[HELD], 2)


def test_its_numbers_are_those_of_tfidf_on_tokens_and_pairs_and_on_runs_of_letters(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    network = tiny()
    monkeypatch.setattr(linear_reader, "BULK_CHARACTERS", 900)  # as for a training set that is read in parts
    shorts = [text for text in TEXTS if cut(network, [text]).windows.per_text[0] == 1]
    read = cut(network, shorts)
    kinds = linear_reader._vocabularies(read, [str(number) for number in range(len(shorts))])
    ours = linear_reader._tfidf(read, *kinds).toarray()
    spelt = [" ".join(map(str, ids)) for ids in read.windows.ids]
    how = {"min_df": PATIENTS_MIN, "sublinear_tf": True}
    theirs = (
        TfidfVectorizer(token_pattern=r"\S+", ngram_range=(1, 2), **how).fit_transform(spelt),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), strip_accents="unicode", **how).fit_transform(
            shorts
        ),
    )
    for mine, other in zip(np.split(ours, [len(kinds[0].codes)], axis=1), theirs, strict=True):
        assert mine.shape == other.shape
        # the columns stand in another order
        np.testing.assert_allclose(np.sort(mine, axis=1), np.sort(other.toarray(), axis=1), atol=1e-6)


def test_what_few_patients_reports_hold_takes_no_part(tiny: Callable[[], Network]) -> None:
    network = tiny()
    one = fitted(network, ["the same patient"] * len(TEXTS))
    assert len(one.weight) == 0
    np.testing.assert_array_equal(one.logits(cut(network, TEXTS[:3])), np.zeros((3, 2)))
    several = fitted(network, [f"p{number % PATIENTS_MIN}" for number in range(len(TEXTS))])
    assert min(len(several.tokens.codes), len(several.letters.codes)) > 50
    assert (
        len(fitted(network, [f"p{number % (PATIENTS_MIN - 1)}" for number in range(len(TEXTS))]).weight) == 0
    )


def test_a_patients_many_reports_count_once_however_the_set_is_cut(
    tiny: Callable[[], Network], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = cut(tiny(), TEXTS)
    patients = [f"p{number % 7}" for number in range(len(TEXTS))]
    whole = linear_reader._vocabularies(read, patients)
    monkeypatch.setattr(linear_reader, "BULK_CHARACTERS", 500)
    for ours, theirs in zip(linear_reader._vocabularies(read, patients), whole, strict=True):
        np.testing.assert_array_equal(ours.codes, theirs.codes)
        np.testing.assert_array_equal(ours.rarity, theirs.rarity)


def test_a_label_without_example_is_told(tiny: Callable[[], Network]) -> None:
    read = cut(tiny(), TEXTS)
    with pytest.raises(UnfitData, match="no example"):
        fit_linear_reader(read, PATIENTS, np.zeros_like(TRUTH), read, TRUTH, 2)


def test_no_text_is_no_row_and_an_unknown_or_empty_one_has_the_bias(tiny: Callable[[], Network]) -> None:
    network = tiny()
    reader = fitted(network)
    assert reader.logits(cut(network, [])).shape == (0, 2)
    strange = replace(reader, tokens=replace(reader.tokens, codes=reader.tokens.codes + (1 << 60)))
    np.testing.assert_array_equal(strange.logits(cut(network, ["", "ωψ"])), [reader.bias, reader.bias])


def test_runs_of_letters_end_at_blanks_and_know_neither_case_nor_accents() -> None:
    def codes(*texts: str) -> set[int]:
        return set(letters_in(Read(texts, None)).codes.tolist())  # type: ignore[arg-type]

    assert codes("Células  ATÍPICAS") == codes("celulas\natipicas") == codes("celulas", "atipicas")
    assert codes("ce\u0301lula") == codes("célula")  # a mark of its own
    assert not codes("a", "", "  ") & codes("ab")
    assert codes("ab") < codes("ab", "cd")
    assert codes("células") != codes("sélulac")


def test_what_each_token_and_letter_adds_comes_to_the_logits_also_over_several_windows(
    tiny: Callable[[], Network],
) -> None:
    network = tiny()
    reader = fitted(network)
    for text in ("", TEXTS[0], " ".join(TEXTS[:9]), f"  {TEXTS[1]}\n\n"):
        read = cut(network, [text])
        by_token, by_letter = reader.spread(read)
        assert by_letter.shape == (len(text), 2)
        told = by_token.sum(axis=0) + by_letter.sum(axis=0) + reader.bias
        np.testing.assert_allclose(told, reader.logits(read)[0], atol=1e-5)
    assert read.windows.per_text[0] >= 1
    blanks = [at for at, letter in enumerate(text) if letter.isspace()]
    assert not by_letter[blanks].any()


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
    """Published with a linear reader beside it and loaded again; and what was fitted says of 20 reports."""
    pairs = fitted(network)
    vectors = encode(*network, TEXTS, window_tokens=WINDOW, stride_tokens=STRIDE, beside=pairs).vectors
    head, pool = fit_head_and_pool(
        vectors[TAUGHT], TRUTH[TAUGHT], 2, vectors[HELD], TRUTH[HELD], hidden=vectors.shape[1] - 2
    )
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


def test_a_folder_without_its_linear_reader_is_broken(bert: Network, facts_of, tmp_path: Path) -> None:
    pooled(bert, facts_of, tmp_path)
    (tmp_path / "m1" / FILE).unlink()
    with pytest.raises(BrokenArtifact):
        Predictor.load(tmp_path / "m1")
    with pytest.raises(BrokenArtifact, match=FILE):
        LinearReader.load(tmp_path / "m1")


def test_other_linear_reader_are_another_encoder(bert: Network) -> None:
    pairs = fitted(bert)
    alone, beside, other = (
        encoder_sha(*bert, WINDOW, STRIDE, beside=one)
        for one in (None, pairs, replace(pairs, bias=pairs.bias + 1))
    )
    assert len({alone, beside, other}) == 3


def test_evidence_shows_what_only_the_reader_saw(bert: Network) -> None:
    """The network is untaught: whatever points at the planted word was found beside it."""
    texts = [f"Fundo limpo. {'Necrose extensa' if one else 'Lamina comum'}. Mama direita." for one in TRUTH]
    read = cut(bert, texts)
    reader = fit_linear_reader(read, PATIENTS, TRUTH, read, TRUTH, 2)
    text = texts[1]

    def best(beside: tuple[LinearReader, Pool] | None) -> str:
        found = max(
            evidence(Explained(*bert, WINDOW, STRIDE, beside=beside), text, 1), key=lambda one: one.score
        )
        return text[found.start : found.end]

    assert best((reader, Pool(0.0, 1.0))) == best((reader, Pool(0.5, 2.0))) == "Necrose extensa."
    scores = [
        [one.score for one in evidence(Explained(*bert, WINDOW, STRIDE, beside=beside), text, 1)]
        for beside in (None, (reader, Pool(1.0, 0.0)))
    ]
    np.testing.assert_allclose(*scores, atol=1e-9)
