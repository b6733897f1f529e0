"""Which words reports may be made of: everything there is, or a part that other reports never use.

For measuring what a model learnt: does it carry over to phrases, or to institutions, it never read?
"""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from tasks.ml.synthesis.chance import Stream, shuffled
from tasks.ml.synthesis.language import Language
from tasks.ml.synthesis.phrases import Phrase


@dataclass(frozen=True)
class Wording:
    """`institutions`: None for all. `half`: which half of the finding clauses, 0 or 1; None for both.

    `unit` says what is halved: the phrases of the files, so that the other half differs in construction
    and words; or their realisations, the single wordings that the choices in a phrase give. `share` of
    the half's phrases are used, at least one a level: less stands for a smaller grammar. `seed` decides
    which are whose.
    """

    institutions: tuple[str, ...] | None = None
    half: Literal[0, 1] | None = None
    unit: Literal["phrase", "realisation"] = "phrase"
    share: float = 1.0
    seed: int = 0

    def of(self, languages: Mapping[str, Language]) -> tuple[Language, ...]:
        """The languages to write in. Raises KeyError for an institution there is not."""
        names = self.institutions or tuple(languages)
        if self.share == 1.0 and (self.half is None or self.unit == "realisation"):
            return tuple(languages[name] for name in names)
        return tuple(self._part_of(name, languages[name]) for name in names)

    def allows(self, clause: str) -> bool:
        """Whether a finding clause may be written as it was expanded."""
        if self.half is None or self.unit == "phrase":
            return True
        return zlib.crc32(f"{self.seed}\0{re.sub(r'[0-9]+', '#', clause)}".encode()) % 2 == self.half

    def _part_of(self, name: str, language: Language) -> Language:
        findings = {
            finding: {level: self._dealt(phrases, name, finding, level) for level, phrases in levels.items()}
            for finding, levels in language.findings.items()
        }
        parts: dict[str, object] = {"findings": findings}
        if language.listings is not None:
            parts["listings"] = language.listings.model_copy(
                update={
                    "denied": self._dealt(language.listings.denied, name, "denied"),
                    "affirmed": self._dealt(language.listings.affirmed, name, "affirmed"),
                    "findings": {
                        finding: self._dealt(nouns, name, "listed", finding)
                        for finding, nouns in language.listings.findings.items()
                    },
                }
            )
        return language.model_copy(update=parts)

    def _dealt(self, phrases: tuple[Phrase, ...], *cell: str) -> tuple[Phrase, ...]:
        order = shuffled(Stream("wording", self.seed, *cell), phrases)
        if self.half is not None and self.unit == "phrase" and len(order) > 1:
            middle = len(order) // 2
            order = order[middle:] if self.half else order[:middle]
        return tuple(order[: math.ceil(self.share * len(order))])


EVERYTHING = Wording()
