"""A model's card: the same in both languages, true to the database, and plain about what is not known."""

from __future__ import annotations

import re
from typing import Any

import pytest

from db.engine import writing
from db.errors import LaudosError
from db.tables import promotion
from tasks.ml.pages.card_words import LANGUAGES, Language, words
from tasks.model_folders import model_card_path
from tasks.pages.model_card import card_of, write_model_card
from tests.learning.retraining import challenge, retrain
from tests.learning.world import World, patient_key, text_of


def leaves(value: Any, path: str = "") -> dict[str, set[str]]:
    """Where each sentence stands -> the gaps it has."""
    if isinstance(value, dict):
        return {
            at: gaps for key, inner in value.items() for at, gaps in leaves(inner, f"{path}.{key}").items()
        }
    if isinstance(value, (list, tuple)):
        return {at: gaps for n, one in enumerate(value) for at, gaps in leaves(one, f"{path}.{n}").items()}
    return {path: set(re.findall(r"\{(\w+)\}", value))}


def test_both_languages_say_the_same_things_with_the_same_gaps() -> None:
    portuguese, english = (leaves(words(language).model_dump()) for language in LANGUAGES)
    assert portuguese == english
    assert any(portuguese.values())


def test_a_card_is_written_in_both_languages_and_tells_no_patient(world: World) -> None:
    world.add(range(100))
    world.add(range(100, 180), name="outro")
    model_id = retrain(world).trained.model_id
    write_model_card.fn(model_id)
    says: dict[Language, tuple[str, ...]] = {
        "pt": ("Hoje é ele que responde por achado", "instituição: outro †", "sensibilidade", "sexo, idade"),
        "en": ("It answers today for achado", "institution: outro †", "sensitivity", "sex, age, race"),
    }
    for language, told in says.items():
        card = card_of(world.settings, model_id, language)
        assert model_card_path(world.settings, model_id, language, "md").read_text("utf-8") == card.markdown
        assert not re.search(r"https?://|<script", card.html)
        for sentence in told:
            assert sentence in card.markdown
        for number in range(180):
            assert patient_key(number) not in card.html
            assert text_of(number, ["benigno", "maligno"][number % 2]) not in card.html
        assert "WDBC" not in card.markdown  # nothing here was written from it
    assert re.search(r"\b0,\d{3}\b", card_of(world.settings, model_id, "pt").markdown)
    assert '<html lang="pt-BR">' in card_of(world.settings, model_id, "pt").html
    with writing(world.engine) as c:
        c.execute(promotion.update().values(decision="rolled_back"))
    assert "a person let it answer again" in card_of(world.settings, model_id, "en").markdown


def test_a_model_that_was_never_judged_says_so(world: World) -> None:
    world.add(range(60))
    card = card_of(world.settings, challenge(world).model_id, "en").markdown
    assert "It was not judged yet" in card
    assert "It was not measured on a holdout yet." in card
    with pytest.raises(LaudosError, match="there is no model 7"):
        card_of(world.settings, 7, "en")
