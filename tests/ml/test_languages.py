"""A report's language is told by its small words, and not guessed where it holds too few."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from benchmarks.corpora import corpora_folder
from tasks.ml.judging.slice_fields import UNDETERMINED, fields_of
from tasks.ml.reading.languages import language_of

WRITTEN = {
    "pt": "Paciente com nódulo na mama direita, sem sinais de infiltração da pele. Foi realizada punção "
    "guiada por ultrassonografia, e o material foi enviado para análise. Não há linfonodos "
    "aumentados.",
    "es": "Paciente con nódulo en la mama derecha, sin signos de infiltración de la piel. Se realizó "
    "una punción guiada por ecografía y el material fue enviado para análisis. No hay ganglios "
    "aumentados.",
    "en": "The patient has a nodule in the right breast without signs of skin infiltration. A guided "
    "puncture was done and the material was sent for analysis. There are no enlarged lymph nodes.",
    "fr": "La patiente présente un nodule du sein droit, sans signe d'infiltration de la peau. Une "
    "ponction a été faite sous échographie et le matériel est envoyé pour analyse. Il n'y a pas "
    "de ganglions.",
    "it": "La paziente presenta un nodulo della mammella destra, senza segni di infiltrazione della "
    "cute. È stata eseguita una puntura guidata e il materiale è stato inviato per l'analisi.",
    "de": "Die Patientin hat einen Knoten in der rechten Brust ohne Zeichen der Infiltration der Haut. "
    "Das Material wurde zur Untersuchung gesandt, und es sind keine Lymphknoten vergrößert.",
}


def test_an_abbreviation_that_is_a_small_word_elsewhere_counts_once() -> None:
    assert language_of("AV AO: 0,8 sc. PIO AO 16 mmHg. FO AO normal. Cristalino AO transparente.") is None


@pytest.mark.parametrize("language", WRITTEN)
def test_a_report_of_a_few_sentences_is_told(language: str) -> None:
    assert language_of(WRITTEN[language]) == language
    assert language_of(WRITTEN[language].upper()) == language


def test_a_report_in_capitals_without_accents_and_with_more_findings_than_small_words_is_told() -> None:
    text = "PUNCAO DE MAMA. ESFREGACOS HIPERCELULARES COM BLOCOS COESOS, SEM ATIPIAS. SEM INFILTRACAO."
    assert language_of(text) == "pt"


@pytest.mark.parametrize(
    "text",
    [
        "", "123 456", "Nódulo benigno.", "BI-RADS 2", "Hemácias 4,5 Leucócitos 7000 Plaquetas 250000",
        "HER2 3+ RE 90% RP 80% Ki67 15%", "xqz wvk prt lmn " * 10,
        f"{WRITTEN['pt']} {WRITTEN['en']}",
    ],
    ids=["empty", "numbers", "two words", "a code", "a table", "markers", "garbage", "two languages"],
)  # fmt: skip
def test_what_tells_too_little_is_not_guessed(text: str) -> None:
    assert language_of(text) is None


def test_the_small_words_are_what_tells_the_neighbours_apart() -> None:
    """The control: with the small words exchanged, the same findings are told as the other language."""
    portuguese = "Nódulo com calcificações em mama direita e sem retração, não doloroso, do controle."
    spanish = "Nódulo con calcificaciones en mama derecha y sin retracción, no doloroso, del control."
    assert (language_of(portuguese), language_of(spanish)) == ("pt", "es")


def test_a_holdout_of_one_language_is_not_cut_by_it_and_one_of_two_shows_what_is_not_told() -> None:
    def cut(texts: list[str]) -> list[str | None] | None:
        found = fields_of(texts, ["a"] * len(texts), ["source"] * len(texts), [None] * len(texts))
        return next((list(one.values) for one in found if one.name == "language"), None)

    assert cut([WRITTEN["pt"], "Nódulo benigno.", WRITTEN["pt"]]) is None
    assert cut([WRITTEN["pt"], "Nódulo benigno.", WRITTEN["es"]]) == ["pt", UNDETERMINED, "es"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "language", "told_min"),
    [("nubes/nubes_sentences.csv", "es", 0.85), ("tcga_pathrep/val.csv", "en", 0.95)],
)
def test_of_real_clinical_text_hardly_any_is_told_as_another_language(
    file: str, language: str, told_min: float
) -> None:
    """Spanish sentences of 20 words and more, one by one, and English pathology reports."""
    path = corpora_folder() / file
    if not path.exists():
        pytest.skip(f"no {path}; set LAUDOS_CORPORA to the folder that holds {file}")
    with path.open(encoding="utf-8") as rows:
        texts = [row["text"] for row in csv.DictReader(rows) if len(row["text"].split()) >= 20]
    told = Counter(map(language_of, texts))
    assert told[language] >= told_min * len(texts)
    assert len(texts) - told[language] - told[None] <= len(texts) / 1000
