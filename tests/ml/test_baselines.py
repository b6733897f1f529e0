"""Baselines are honest: fitted on the training split, simple, and as good as their recipe."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from tasks.ml.errors import UnfitData
from tasks.ml.judging.baselines import baselines, keyword_rule

LABELS = ["benigno", "maligno"]
SHARES = np.array([0.75, 0.25])


def reports(count: int, seed: int) -> tuple[list[str], list[int], list[str]]:
    """Texts whose words lean towards their label, the labels, and a patient each two reports."""
    rng = np.random.default_rng(seed)
    signs = (["núcleos regulares", "cromatina fina"], ["anisocariose acentuada", "cromatina grosseira"])
    texts, labels = [], []
    for number in range(count):
        label = (number // 2) % 2
        lean = label if rng.random() < 0.85 else 1 - label
        texts.append(f"PAAF de mama, amostra {number % 7}. {rng.choice(signs[lean])}. Fundo hemático.")
        labels.append(label)
    return texts, labels, [f"p{number // 2}" for number in range(count)]


def test_every_baseline_gives_probabilities_and_the_learned_ones_beat_chance() -> None:
    texts, truth, patients = reports(200, seed=0)
    held_out, held_truth, held_patients = reports(100, seed=1)
    rng = np.random.default_rng(2)
    measured = {f"p{n}": rng.normal(size=3) + 2 * (n % 2) for n in range(100)}
    scored = baselines(
        texts,
        truth,
        held_out,
        LABELS,
        {},
        measurements=measured,
        train_patients=patients,
        holdout_patients=held_patients,
        seed=0,
    )
    assert list(scored) == ["majority", "keyword_rule", "tfidf_word", "tfidf_char", "measurements"]
    for probabilities in scored.values():
        assert probabilities.shape == (100, 2)
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(100))
    aurocs = {name: roc_auc_score(held_truth, probs[:, 1]) for name, probs in scored.items()}
    assert aurocs["majority"] == aurocs["keyword_rule"] == 0.5
    assert min(aurocs["tfidf_word"], aurocs["tfidf_char"], aurocs["measurements"]) > 0.75


def test_holdout_texts_do_not_influence_the_fit() -> None:
    texts, truth, patients = reports(120, seed=0)
    held_out, _, held_patients = reports(20, seed=1)
    strange = ["quimioterapia neoadjuvante " * 50] * 500
    measured = {f"p{n}": (float(n), float(n % 3)) for n in range(100)}
    alone = baselines(
        texts, truth, held_out, LABELS, {}, measurements=measured,
        train_patients=patients, holdout_patients=held_patients, seed=0,
    )  # fmt: skip
    in_company = baselines(
        texts, truth, held_out + strange, LABELS, {}, measurements={**measured, "x": (9e9, 9e9)},
        train_patients=patients, holdout_patients=[*held_patients, *["x"] * 500], seed=0,
    )  # fmt: skip
    assert set(alone) == set(in_company)
    for name, probabilities in alone.items():
        assert np.array_equal(probabilities, in_company[name][:20]), name


def test_the_words_recipe_is_the_published_one() -> None:
    texts, truth, _ = reports(120, seed=0)
    held_out, _, _ = reports(30, seed=1)
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, max_features=100_000)
    model = LogisticRegression(C=10, class_weight="balanced", max_iter=1000)
    model.fit(vectorizer.fit_transform(texts), truth)
    expected = model.predict_proba(vectorizer.transform(held_out))
    found = baselines(texts, truth, held_out, LABELS, {}, seed=0)["tfidf_word"]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_label_that_training_never_showed_has_probability_zero() -> None:
    texts, truth, _ = reports(80, seed=0)
    scored = baselines(texts, truth, texts[:5], [*LABELS, "suspeito"], {}, seed=0)
    assert (scored["tfidf_word"][:, 2] == 0).all()
    assert (scored["tfidf_char"][:, :2] > 0).all()
    assert (scored["majority"][:, 2] == 0).all()


def test_measurements_are_left_out_unless_every_holdout_patient_has_some() -> None:
    texts, truth, patients = reports(80, seed=0)
    scored = baselines(
        texts, truth, texts[:2], LABELS, {}, measurements={"p0": (1.0,)},
        train_patients=patients, holdout_patients=["p0", "p-unmeasured"], seed=0,
    )  # fmt: skip
    assert "measurements" not in scored


def test_keywords_are_found_whatever_their_case_and_accents_and_only_as_whole_words() -> None:
    keywords = {"maligno": ["carcinoma", "células atípicas"], "benigno": ["fibroadenoma"]}
    texts = ["CELULAS   ATÍPICAS presentes", "Fibroadenoma.", "carcinomatose", "sem alterações"]
    said = keyword_rule(texts, LABELS, keywords, SHARES).argmax(axis=1)
    assert said.tolist() == [1, 0, 0, 0]


def test_the_keyword_rule_does_not_understand_negation() -> None:
    probabilities = keyword_rule(["Não há carcinoma."], LABELS, {"maligno": ["carcinoma"]}, SHARES)
    assert probabilities[0, 1] > 0.5


def test_a_label_without_keywords_is_looked_for_by_its_own_words() -> None:
    probabilities = keyword_rule(
        ["Conclusão: MALIGNO", "Pathologic stage II", "stage ii, margins free"],
        ["maligno", "Stage_II", "Stage_I"],
        {},
        np.array([0.2, 0.3, 0.5]),
    )
    assert probabilities.argmax(axis=1).tolist() == [0, 1, 1]


def test_where_no_keyword_is_found_the_training_shares_speak() -> None:
    assert keyword_rule(["nada"], LABELS, {}, SHARES)[0] == pytest.approx(SHARES)


@pytest.mark.parametrize(
    ("texts", "truth", "told"),
    [(["a b c"] * 30, [1] * 30, "one label only"), (["."] * 30, [0, 1] * 15, "no words")],
)
def test_what_cannot_teach_is_refused_in_words(texts: list[str], truth: list[int], told: str) -> None:
    with pytest.raises(UnfitData, match=told):
        baselines(texts, truth, ["a"], LABELS, {}, seed=0)
