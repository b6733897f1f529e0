"""What mammographic descriptors say about malignancy: data/mammography_odds.yaml, checked when it is loaded.

Every table there names the publication it comes from, or says that it is assumed.
"""

from __future__ import annotations

from math import log
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from tasks.ml.synthesis.chance import Rng
from tasks.ml.synthesis.checked_yaml import BadFile, CheckedFile, Strict
from tasks.ml.synthesis.medicine import Chance, Exam

Counts = Annotated[tuple[int, int], Field(description="malignant, benign")]

_SMOOTHING = 0.5  # added to every count, so that nothing seen once is certain (Haldane 1956, Anscombe 1956)


class Descriptor(Strict):
    """How malignant and benign lesions are described; `counts`, or `risk` and `frequency`, by level."""

    source: str
    counts: dict[str, Counts] = Field(default_factory=dict)
    risk: dict[str, Chance] = Field(default_factory=dict)
    frequency: dict[str, Chance] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if bool(self.counts) == bool(self.risk) or set(self.risk) != set(self.frequency):
            raise ValueError("a descriptor has either counts, or risk and frequency of the same levels")
        return self

    def shares(self, *, malignant: bool) -> dict[str, float]:
        """Of malignant or of benign lesions, the share described by each level."""
        if self.counts:
            found = {level: pair[0 if malignant else 1] + _SMOOTHING for level, pair in self.counts.items()}
        else:
            found = {
                level: self.frequency[level] * (risk if malignant else 1 - risk)
                for level, risk in self.risk.items()
            }
        total = sum(found.values())
        return {level: share / total for level, share in found.items()}

    def log_odds(self) -> dict[str, float]:
        """By level: the logarithm of how much likelier it is in malignant lesions than in benign ones."""
        malignant, benign = self.shares(malignant=True), self.shares(malignant=False)
        return {level: log(malignant[level] / benign[level]) for level in malignant}


class Lesion(Strict):
    source: str
    risk: Chance
    frequency: Chance


class Sourced(Strict):
    source: str
    shares: dict[str, Chance]


class Share(Strict):
    source: str
    share: Chance


class Bands(Strict):
    source: str
    probably_benign_max: Chance
    highly_suggestive_min: Chance
    reader_stray: Annotated[float, Field(ge=0)]  # sd, in log-odds


class Odds(Strict):
    mix: Sourced
    bands: Bands
    malignant_lesions: Share
    lesions: dict[str, Lesion]
    descriptors: dict[str, Descriptor]
    composition: Sourced


def load_odds(path: Path, exam: Exam) -> Odds:
    """Raises BadFile, with the line, for what cannot be read and for levels the exam does not know."""
    file = CheckedFile(path, Odds)
    for name, descriptor in file.content.descriptors.items():
        file.refuse_unknown(("descriptors", name), name, exam.findings)
        for level in descriptor.counts or descriptor.risk:
            file.refuse_unknown(("descriptors", name), level, exam.findings[name].levels)
    for lesion in file.content.lesions:
        file.refuse_unknown(("lesions", lesion), lesion, exam.findings)
    for level in exam.findings["composicao"].levels:
        if level not in file.content.composition.shares:
            raise BadFile(f"{path.name}: composition.shares lacks {level!r}")
    return file.content


def drawn(rng: Rng, shares: dict[str, float]) -> str:
    """One of the names, each as often as its share says."""
    left = rng.random() * sum(shares.values())
    for name, share in shares.items():
        left -= share
        if left < 0:
            return name
    return name
