"""Words of one meaning, from synonyms.yaml, and their exchange in a text."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from tasks.ml.checked_yaml import CheckedFile, Strict
from tasks.ml.synthesis.chance import Rng, happens, pick

FILE: Final = Path(__file__).with_suffix(".yaml")


class Group(Strict):
    """Words of the same strength, gender and number."""

    strength: Literal["none", "mild", "moderate", "marked"]
    agreement: Literal["ms", "fs", "mp", "fp", "none"]
    words: Annotated[tuple[str, ...], Field(min_length=2)]


class Groups(Strict):
    groups: Annotated[tuple[Group, ...], Field(min_length=1)]


class Synonyms:
    """Raises BadFile, with the line, for a word in two groups or in capitals, and an unknown key."""

    def __init__(self, path: Path = FILE) -> None:
        file = CheckedFile(path, Groups)
        self.groups = file.content.groups
        self._others: dict[str, tuple[str, ...]] = {}
        for number, group in enumerate(self.groups):
            for position, word in enumerate(group.words):
                place = ("groups", number, "words", position)
                if word != word.lower().strip():
                    raise file.complaint(place, f"write {word!r} in small letters, without spaces around it")
                if word in self._others:
                    raise file.complaint(place, f"{word!r} is in another group, or here twice")
                self._others[word] = tuple(other for other in group.words if other != word)
        longest_first = sorted(self._others, key=len, reverse=True)
        # no part of a longer word: "leve" is none in "leve-se"
        self._pattern = re.compile(
            rf"(?<![\w-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])", re.IGNORECASE
        )

    def exchanged(self, text: str, share: float, rng: Rng) -> str:
        """Each word of a group gives way to another of it with this chance; capitals stay as they were."""

        def other(found: re.Match[str]) -> str:
            if not happens(rng, share):
                return found[0]
            return _cased_like(found[0], pick(rng, self._others[found[0].lower()]))

        return self._pattern.sub(other, text)


@cache
def shipped() -> Synonyms:
    return Synonyms()


def _cased_like(model: str, word: str) -> str:
    if model.isupper():
        return word.upper()
    return word[0].upper() + word[1:] if model[0].isupper() else word
