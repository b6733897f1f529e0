"""A report unlike those that taught is told from an ordinary one, and ordinary ones seldom from the rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.familiarity import (
    ERROR,
    LIMIT_MIN,
    PAIRS_MIN,
    SKETCH_PAIRS,
    Familiarity,
    Limit,
    fit_limit,
    known_pairs,
    scores,
    sketches_of,
)
from tasks.ml.splits import unit_interval
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import synthesize

FOREIGN = {
    "Spanish": "Paciente que acude a urgencias por dolor torácico desde hace dos días, sin fiebre ni tos. "
    "No presenta antecedentes de interés. Se realiza electrocardiograma que no muestra alteraciones.",
    "English": "The specimen is received in formalin and consists of a fragment of tan tissue measuring 2 cm "
    "in greatest dimension. Sections show an invasive carcinoma with clear margins of resection.",
    "prose": "O trem das sete chegou atrasado, e a avó esperou na plataforma com um guarda-chuva vermelho na "
    "mão, contando as malas de quem descia e pensando no bolo que deixara no forno da vizinha.",
    "empty": "",
    "near-empty": "Laudo em anexo.",
    "garbage": "x9 zz qqq 77 -- ## lorem 0x00 asdf jkl; " * 6,
}


@pytest.fixture(scope="module")
def reports() -> dict[str, list[tuple[str, str]]]:
    """Split -> (text, row) of synthetic cytology reports; all of a row in one split."""
    found: dict[str, list[tuple[str, str]]] = {"train": [], "calibration": [], "new": []}
    for one in synthesize("paaf", mode="findings", reports_per_row=3, seed=4):
        place = unit_interval(one.row_key, "familiarity")
        split = "train" if place < 0.6 else "calibration" if place < 0.8 else "new"
        found[split].append((one.text, one.row_key))
    return found


@pytest.fixture(scope="module")
def familiarity(reports: dict[str, list[tuple[str, str]]]) -> Familiarity:
    known = known_pairs(*zip(*reports["train"], strict=True))
    return Familiarity(known, fit_limit(known, sketches_of([text for text, _ in reports["calibration"]])))


def share(familiarity: Familiarity, texts: Sequence[str]) -> float:
    return float(familiarity.unfamiliar(sketches_of(texts)).mean())


def new(reports: dict[str, list[tuple[str, str]]]) -> list[str]:
    return [text for text, _ in reports["new"]]


def shuffled(texts: Sequence[str]) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.permutation(text.split())) for text in texts]


def test_ordinary_reports_are_familiar_and_their_shuffled_words_are_not(reports, familiarity):
    assert share(familiarity, new(reports)) <= ERROR
    assert share(familiarity, shuffled(new(reports))) >= 0.95


def test_word_by_word_the_shuffled_reports_could_not_be_told(reports):
    """The control: the same score on single words, a word and itself making a pair."""

    def alone(texts: Sequence[str]) -> list[bytes]:
        return sketches_of([" ".join(f"{word} {word} |" for word in text.split()) for text in texts])

    doubled = [" ".join(f"{word} {word}" for word in text.split()) for text, _ in reports["train"]]
    known = known_pairs(doubled, [row for _, row in reports["train"]])
    blind = Familiarity(known, fit_limit(known, alone([text for text, _ in reports["calibration"]])))
    assert np.mean(blind.unfamiliar(alone(shuffled(new(reports))))) < 0.2


@pytest.mark.parametrize("kind", FOREIGN)
def test_other_languages_prose_garbage_and_nothing_are_unfamiliar(familiarity: Familiarity, kind: str):
    assert share(familiarity, [FOREIGN[kind]]) == 1


def test_another_exams_reports_are_unfamiliar(familiarity: Familiarity):
    rows = list(generator("mammography").rows())[:60]
    texts = [
        one.text for one in synthesize("mammography", mode="findings", reports_per_row=1, seed=1, rows=rows)
    ]
    assert share(familiarity, texts) >= 0.95


def test_case_accents_endings_numbers_and_signs_make_no_other_pair_but_order_does():
    said = "Nódulo de 12 mm, em mama esquerda."
    assert sketches_of(["NODULO de 9 MM em mama esquerdo"]) == sketches_of([said])
    assert sketches_of(["esquerda mama em mm 12 de nódulo"]) != sketches_of([said])


def test_no_pair_reaches_from_one_report_into_the_next_however_they_are_batched():
    texts = ["mama direita", "", "nódulo", "mama esquerda normal", "¶ §"]
    assert sketches_of(texts) == [sketch for text in texts for sketch in sketches_of([text])]
    assert [len(sketch) // 4 for sketch in sketches_of(texts)] == [1, 0, 0, 2, 0]


def test_what_only_one_patient_reports_hold_is_not_kept():
    twice = ["maria aparecida", "maria aparecida"]
    assert len(known_pairs(twice, ["p1", "p1"])) == 0
    assert len(known_pairs(twice, ["p1", "p2"])) == 1


def test_a_long_report_is_sampled_and_scored_about_alike(reports, familiarity):
    long = " ".join(new(reports)[:30])
    (sketch,) = sketches_of([long])
    assert len(sketch) == 4 * SKETCH_PAIRS
    assert scores(familiarity.known, [sketch])[0] == pytest.approx(
        scores(familiarity.known, sketches_of(new(reports)[:30])).mean(), abs=0.1
    )


def test_the_limit_is_the_finite_sample_quantile_and_never_below_what_honest_wording_needs():
    known = np.arange(100, dtype=np.uint32)

    def with_known(count: int) -> bytes:
        pairs = np.concatenate([known[:count], np.arange(200, 300 - count, dtype=np.uint32)])
        return np.sort(pairs).astype("<u4").tobytes()

    strange = [with_known(100 - number) for number in range(1, 100)]  # scores .01 to .99
    limit = fit_limit(known, strange)  # ceil(100 x .98) = 98th
    assert (limit.score, limit.error, limit.reports) == (pytest.approx(0.98), ERROR, 99)
    assert fit_limit(known, [with_known(100)] * 99).score == LIMIT_MIN
    few = fit_limit(known, strange[:9])
    assert few.error == pytest.approx(0.1)
    assert "10.0%" in few.explain()


def test_a_text_too_short_to_judge_is_unfamiliar_though_every_pair_is_known(familiarity: Familiarity):
    known = familiarity.known[: PAIRS_MIN // 3].astype("<u4").tobytes()
    assert familiarity.unfamiliar([known]).all()
    assert not familiarity.unfamiliar([familiarity.known[:PAIRS_MIN].astype("<u4").tobytes()]).any()


def test_it_comes_back_from_a_folder_as_it_went_in_and_a_broken_file_is_told(
    familiarity: Familiarity, tmp_path: Path
):
    familiarity.save(tmp_path)
    back = Familiarity.load(tmp_path, familiarity.limit)
    np.testing.assert_array_equal(back.known, familiarity.known)
    (tmp_path / "familiarity.safetensors").write_bytes(b"no tensors")
    with pytest.raises(BrokenArtifact, match="retrain"):
        Familiarity.load(tmp_path, Limit(0.5, 0.02, 10))
