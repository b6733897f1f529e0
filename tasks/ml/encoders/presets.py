"""The encoders that laudos knows by name: presets.yaml, checked when it is read."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from tasks.ml.checked_yaml import CheckedFile, Strict

FILE: Final = Path(__file__).with_name("presets.yaml")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
REVISION: Final = r"^[0-9a-f]{40}$"

Positive = Annotated[int, Field(gt=0)]
Line = Annotated[str, Field(min_length=1, max_length=120)]


class Pretrained(Strict):
    """One on a hub. What nobody has seen with their own eyes is None, never a guess."""

    hub: str = Field(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$")
    revision: str | None = Field(default=None, pattern=REVISION)
    weights: Literal["safetensors", "pickle"] | None = None
    whose: Line | None = None
    licence: str | None = None
    language: Line
    parameters: Positive
    download_mb: Positive
    window: Positive
    choose: Line

    @model_validator(mode="after")
    def _weights_are_known_of_a_commit(self) -> Pretrained:
        if (self.revision is None) != (self.weights is None):
            raise ValueError("revision and weights go together: what lies at a commit nobody named?")
        return self


class Scratch(Strict):
    """A size for an encoder that is made from the training reports."""

    hidden_size: Positive
    layers: Positive
    attention_heads: Positive
    choose: Line

    @model_validator(mode="after")
    def _heads_share_the_width(self) -> Scratch:
        if self.hidden_size % self.attention_heads:
            raise ValueError("hidden_size must be a multiple of attention_heads")
        return self


class Presets(Strict):
    pretrained: dict[str, Pretrained]
    scratch: dict[str, Scratch]

    @model_validator(mode="after")
    def _names_tell_them_apart(self) -> Presets:
        for name in [*self.pretrained, *self.scratch]:
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name: small letters, digits, '.', '_' and '-'")
            if name.startswith("scratch") != (name in self.scratch):
                raise ValueError(f"{name!r}: names of scratch sizes begin with scratch, and only theirs")
        return self


def read_presets(path: Path) -> Presets:
    """Raises BadFile with the line of whatever is wrong."""
    return CheckedFile(path, Presets).content


@cache
def presets() -> Presets:
    """Those that come with laudos."""
    return read_presets(FILE)
