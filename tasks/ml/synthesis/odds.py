"""What mammographic descriptors say about malignancy: data/mammography_odds.yaml, checked when it is loaded.

Every table there names the publication it comes from, or says that it is assumed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain
from math import isclose, log
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.ml.checked_yaml import CheckedFile, Place, Strict
from tasks.ml.synthesis.chance import Rng
from tasks.ml.synthesis.medicine import Chance, Exam

KINDS = ("negativa", "benigna", "incompleta", "conhecida", "lesao")  # of examinations

_SMOOTHING = 0.5  # added to every count, so that nothing seen once is certain (Haldane 1956, Anscombe 1956)
_NOT_THERE = "ausente"  # describes no lesion
_ROUNDING = 0.01  # by which shares that were rounded may miss 1


def _make_a_whole(shares: dict[str, float]) -> dict[str, float]:
    if shares and not isclose(total := sum(shares.values()), 1, abs_tol=_ROUNDING):
        raise ValueError(f"shares add up to 1; these to {total:.2f}")
    return shares


Count = Annotated[int, Field(ge=0)]
Counts = Annotated[tuple[Count, Count], Field(description="malignant, benign")]
# of lesions so described; at 0 or 1 nothing else that is seen could speak
Risk = Annotated[float, Field(gt=0, lt=1)]
Seen = Annotated[float, Field(gt=0, le=1)]
Shares = Annotated[dict[str, Chance], AfterValidator(_make_a_whole)]


class Descriptor(Strict):
    """How malignant and benign lesions are described; `counts`, or `risk` and `frequency`, by level."""

    source: str
    counts: dict[str, Counts] = Field(default_factory=dict)
    risk: dict[str, Risk] = Field(default_factory=dict)
    frequency: Annotated[dict[str, Seen], AfterValidator(_make_a_whole)] = Field(default_factory=dict)

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
    risk: Risk
    frequency: Chance


def _shown_as_a_whole(lesions: dict[str, Lesion]) -> dict[str, Lesion]:
    _make_a_whole({name: one.frequency for name, one in lesions.items()})
    return lesions


class Sourced(Strict):
    source: str
    shares: Shares


class Share(Strict):
    source: str
    share: Chance


class Bands(Strict):
    source: str
    probably_benign_max: Chance
    highly_suggestive_min: Chance
    reader_stray: Annotated[float, Field(ge=0)]  # sd, in log-odds

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.probably_benign_max >= self.highly_suggestive_min:
            raise ValueError("probably_benign_max lies below highly_suggestive_min")
        return self


class Odds(Strict):
    mix: Sourced
    bands: Bands
    malignant_lesions: Share
    lesions: Annotated[dict[str, Lesion], AfterValidator(_shown_as_a_whole)]
    descriptors: dict[str, Descriptor]
    composition: Sourced


def load_odds(path: Path, exam: Exam, described_by: Mapping[str, Collection[str]]) -> Odds:
    """What the file says of lesions, each described by these findings of the exam.

    Raises BadFile, with the line, for what cannot be read, for a name that nothing answers to, and for a
    lesion, a descriptor, a level of one or a kind of examination that is left out.
    """
    file = CheckedFile(path, Odds)
    odds = file.content
    _same(file, ("mix", "shares"), odds.mix.shares, KINDS)
    _same(file, ("lesions",), odds.lesions, described_by)
    _same(file, ("descriptors",), odds.descriptors, dict.fromkeys(chain(*described_by.values())))
    for name, one in odds.descriptors.items():
        written = "counts" if one.counts else "risk"
        seen = [level for level in exam.findings[name].levels if level != _NOT_THERE]
        _same(file, ("descriptors", name, written), one.counts or one.risk, seen)
    _same(file, ("composition", "shares"), odds.composition.shares, exam.findings["composicao"].levels)
    return odds


def _same(file: CheckedFile[Odds], place: Place, found: Collection[str], asked: Collection[str]) -> None:
    for name in found:
        file.refuse_unknown((*place, name), name, asked)
    for name in asked:
        if name not in found:
            raise file.complaint(place, f"{name!r} is missing")


def drawn(rng: Rng, shares: dict[str, float]) -> str:
    """One of the names, each as often as its share says."""
    left = rng.random() * sum(shares.values())
    for name, share in shares.items():
        left -= share
        if left < 0:
            return name
    return name
