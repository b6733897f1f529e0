"""What is said around a list of findings agrees with it."""

from __future__ import annotations

import re

import pytest

from tasks.ml.synthesis.agreement import ending
from tasks.ml.synthesis.lessons import LISTS, lessons, statements


@pytest.mark.parametrize(
    ("nouns", "os"),
    [
        (["necrose"], "a"),
        (["pleomorfismo nuclear"], "o"),
        (["mitoses"], "as"),
        (["macronúcleos"], "os"),
        (["necrose", "indentações nucleares"], "as"),
        (["imagens de mitose", "descoesão", "células soltas"], "as"),
        (["necrose", "contornos irregulares"], "os"),
        (["grande oscilação do volume", "notável assimetria"], "as"),
        (["dentes na borda"], "os"),
        (["N/C alta", "celularidade rica"], "as"),
    ],
)
def test_a_participle_agrees_with_all_that_is_listed(nouns: list[str], os: str) -> None:
    assert ending(nouns) == os


def test_a_list_is_denied_before_it_after_it_and_item_by_item() -> None:
    """As reports do: a network that read only the first way overlooked "necrose e mitoses não vistas"."""
    names = statements("paaf")
    denied = [one.text.lower() for one in lessons("paaf", count=6000, seed=0) if names[one.says] == LISTS[0]]
    item = r"[^,;:.]+"
    assert any(re.search(rf"ausência de {item}, de {item} (?:e|ou) de ", text) for text in denied)
    assert any(re.search(rf"ausência de {item}, (?!de ){item} (?:e|ou) (?!de )", text) for text in denied)
    assert any(re.search(rf"^(?:- )?não vist[oa]s:? {item},", text) for text in denied)
    assert any(re.search(rf", {item} (?:e|ou) {item} não vistos\.?$", text) for text in denied)
