"""How a participle ends that agrees with the findings listed: "necrose não vista", "mitoses e fendas vistas".

A rule of thumb on the noun that heads each phrase, good for the nouns that the language files list.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from tasks.ml.synthesis.phrases import parse

ENDINGS: Final = (parse("[o|a|os|as]"),)

_FEMININE = re.compile(r"(?:a|ose|ão|ade|gem)$")
_PLURALS = (("ões", "ão"), ("gens", "gem"), ("s", ""))
_BEFORE_A_NOUN = re.compile(r"(?:grande|enorme|abundante|frequente)s?|notável|notáveis")  # of either gender
_STANDS_FOR = {"n/c": "relação"}


def ending(nouns: Sequence[str]) -> str:
    """o, a, os or as: feminine where all these noun phrases are; plural for several, or one in the plural."""
    heads = [_head(noun) for noun in nouns]
    vowel = "a" if all(_FEMININE.search(_singular(head)) for head in heads) else "o"
    return vowel + ("s" if len(heads) > 1 or heads[0].endswith("s") else "")


def _head(noun: str) -> str:
    words = noun.lower().split()
    head = next((word for word in words if not _BEFORE_A_NOUN.fullmatch(word)), words[0])
    return _STANDS_FOR.get(head, head)


def _singular(word: str) -> str:
    for plural, singular in _PLURALS:
        if word.endswith(plural):
            return word.removesuffix(plural) + singular
    return word
