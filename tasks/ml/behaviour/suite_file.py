"""What a suite's YAML file may say; data/paaf.yaml explains it to those who write one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, model_validator

from tasks.ml.checked_yaml import Strict

NEGATION: Final = "negation"  # the kind whose changes are named by their cue

Effect = Literal["same", "higher", "lower", "flip"]
Says = Literal["critical", "other", "open"]
Typed = Literal["upper_case", "no_accents", "decimal_point"]

Text = Annotated[str, Field(min_length=1)]
Texts = Annotated[tuple[Text, ...], Field(min_length=1)]
Names = Annotated[Texts, BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
ByCue = Annotated[dict[str, Text], Field(min_length=1)]


class Cues(Strict):
    """Cue -> its forms: words, or the beginning of one where it ends in a dash."""

    seen: dict[str, Texts] = Field(default_factory=dict)
    unseen: dict[str, Texts] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _apart(self) -> Cues:
        if both := self.seen.keys() & self.unseen.keys():
            raise ValueError(f"{min(both)!r} cannot be both seen and unseen")
        return self

    @property
    def forms(self) -> dict[str, Texts]:
        return self.seen | self.unseen

    def joined(self, others: Cues) -> Cues:
        """With the others beside; raises ValueError where one's unseen cue is the other's seen one."""
        return Cues(seen=self.seen | others.seen, unseen=self.unseen | others.unseen)


class Base(Strict):
    """A report, and what a reader would make of it; `open`: readers may differ."""

    says: Says
    text: Text


class Group(Strict):
    """One way to change one base or several; one pair for each base and each change."""

    kind: Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,39}$")]
    effect: Effect
    of: Names
    instead_of: Text | None = None
    say: Texts | ByCue | None = None
    replace: Annotated[tuple[dict[str, str], ...], Field(min_length=1)] | None = None
    add: Texts | None = None
    after: Text | None = None
    lines: Annotated[tuple[tuple[int, ...], ...], Field(min_length=1)] | None = None
    make: Typed | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Group:
        ways = (self.say, self.replace, self.add, self.lines, self.make)
        if sum(way is not None for way in ways) != 1:
            raise ValueError("a group changes its bases in one way: say, replace, add, lines or make")
        if (self.say is None) != (self.instead_of is None):
            raise ValueError("say and instead_of belong together")
        if self.after is not None and self.add is None:
            raise ValueError("after belongs to add")
        if (self.kind == NEGATION) != isinstance(self.say, Mapping):
            raise ValueError(f"say names a cue for each change where the kind is {NEGATION}, and only there")
        return self


class SuiteFile(Strict):
    critical: Texts
    tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.10
    margin: Annotated[float, Field(gt=0)] = 0.10
    saturated: Annotated[float, Field(gt=0.5, lt=1)] = 0.98
    cues: Cues = Cues()
    bases: dict[str, Base]
    pairs: Annotated[tuple[Group, ...], Field(min_length=1)]
