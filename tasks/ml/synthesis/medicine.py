"""What an exam can find, without a word of how it is said: a YAML file, checked when it is loaded."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from tasks.ml.checked_yaml import Strict

Chance = Annotated[float, Field(ge=0, le=1)]


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice")
    return names


def _rising(cuts: tuple[float, ...]) -> tuple[float, ...]:
    if any(low >= high for low, high in pairwise(cuts)):
        raise ValueError("cuts must rise: each above the one before")
    return cuts


Names = Annotated[tuple[str, ...], Field(min_length=1)]
Distinct = Annotated[tuple[str, ...], AfterValidator(_each_once)]
Cuts = Annotated[tuple[Chance, ...], AfterValidator(_rising)]


class Finding(Strict):
    """One aspect that an observer describes, with its levels and where the level comes from.

    Measured: `from` names columns, whose mean percentile falls between the exam's cuts. Coded: the table
    of measurements says which level it is. Unmeasured: drawn from the severity.
    """

    levels: Annotated[Distinct, Field(min_length=1)]
    columns: Distinct = Field((), alias="from")
    coded: bool = False
    unmeasured: bool = False
    weight: Annotated[float, Field(ge=0)] = 0.0  # in the severity, which decides unmeasured ones
    noise: Chance  # measured: sd of the observer's stray; coded: chance of writing a neighbouring level
    mention: Chance
    always: tuple[str, ...] = ()  # levels that no observer leaves out
    only_with: dict[str, Names] = Field(
        default_factory=dict
    )  # said only where these other findings stand at one of these levels

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if bool(self.columns) + self.coded + self.unmeasured != 1:
            raise ValueError(
                "a finding is either measured (from: [columns]), coded: true or unmeasured: true"
            )
        if self.weight and not self.columns:
            raise ValueError("only measured findings have a weight in the severity")
        return self


class Conclusion(Strict):
    """The categories a report may conclude with, and for measured findings how severity decides.

    `cuts`: from which severity each category begins, the first category being left to chance:
    `insufficient_chance` of it, more often the less there is to see.
    """

    categories: Annotated[Distinct, Field(min_length=1)]
    cuts: Cuts = ()
    noise: Chance = 0.0
    insufficient_chance: Chance = 0.0

    @model_validator(mode="after")
    def _cuts_fit(self) -> Self:
        if self.cuts and len(self.cuts) != len(self.categories) - 2:
            raise ValueError(f"{len(self.categories)} categories need {len(self.categories) - 2} cuts")
        return self


class Exam(Strict):
    cuts: Cuts = ()  # of measured findings: where one level ends and the next begins
    findings: Annotated[dict[str, Finding], Field(min_length=1)]
    conclusion: Conclusion
