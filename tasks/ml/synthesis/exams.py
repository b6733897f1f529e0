"""Exams that reports can be written for: each is one module here called exam_<name>.py.

Another exam is a new module with a `generator()` in it, and a folder of YAML beside data/paaf; nothing
that exists has to change.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

from tasks.ml import synthesis
from tasks.ml.errors import MlError
from tasks.ml.splits import is_reserved, split_of
from tasks.ml.synthesis.chance import Rng
from tasks.ml.synthesis.grammar import Grammar
from tasks.ml.synthesis.wording import Wording

Mode = Literal["findings", "full", "seed"]

_PREFIX = "exam_"


@dataclass(frozen=True)
class Row:
    """One examined specimen."""

    key: str  # such as wdbc-12: who it is, as far as splits are concerned
    label: str
    measurements: tuple[float, ...]


class Fitted(Protocol):
    def write(self, measurements: Sequence[float], rng: Rng, *, conclude: bool) -> str:
        """One report on these measurements. It is not told the label, so it cannot tell it."""
        ...


class Generator(Protocol):
    columns: tuple[str, ...]
    grammar: Grammar

    def rows(self) -> list[Row]:
        """The whole table, in its order."""
        ...

    def fit(self, train_rows: Sequence[Row], wording: Wording) -> Fitted:
        """Learns what is low and what is high from these rows' measurements alone."""
        ...


class UnknownExam(MlError):
    """No exam of this name."""


def exams() -> list[str]:
    """The names of all exams there are."""
    modules = (module.name for module in pkgutil.iter_modules(synthesis.__path__))
    return sorted(name.removeprefix(_PREFIX) for name in modules if name.startswith(_PREFIX))


def generator(exam: str) -> Generator:
    """Raises UnknownExam, naming those there are."""
    if exam not in exams():
        raise UnknownExam(f"no exam {exam!r} can be written; there is {', '.join(exams())}")
    return _generator(exam, tuple(synthesis.__path__))


@cache  # reading the language files takes a third of a second
def _generator(exam: str, _folders: tuple[str, ...]) -> Generator:
    module = importlib.import_module(f"{synthesis.__name__}.{_PREFIX}{exam}")
    if not hasattr(module, "generator"):
        raise UnknownExam(f"{_PREFIX}{exam}.py needs a function generator() that makes its exam")
    made: Generator = module.generator()
    return made


def training_rows(rows: Sequence[Row], reserved_share: float) -> list[Row]:
    """The rows anything may be fitted on: in the training split, and not reserved."""
    return [row for row in rows if split_of(row.key) == "train" and not is_reserved(row.key, reserved_share)]
