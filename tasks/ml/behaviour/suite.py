"""Suites of minimal pairs: YAML files that a physician can extend, checked line by line when they are loaded.

The idea: Ribeiro et al. 2020, "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList" (ACL):
invariance tests and directional expectation tests.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from tasks.ml.behaviour.suite_file import NEGATION, Cues, Effect, Group, Says, SuiteFile, Typed
from tasks.ml.checked_yaml import CheckedFile, Place
from tasks.ml.errors import MlError

DATA: Final = Path(__file__).parent / "data"
CUES: Final = Path(__file__).parent / "cues.yaml"

_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")


class UnknownSuite(MlError):
    """No suite of this name, and no file either."""


@dataclass(frozen=True)
class Pair:
    """Two reports that differ in one thing, and what the difference should do.

    `says`: what a reader would make of `base`; `cue`: how the negation is worded, and `seen` whether the
    reports that teach use it (None: no negation); `line`: where in the file the change stands.
    """

    id: str
    kind: str
    effect: Effect
    base: str
    changed: str
    says: Says
    line: int
    cue: str | None = None
    seen: bool | None = None


@dataclass(frozen=True)
class Suite:
    """`critical`: labels that count as critical together, where a model has any of them.

    tolerance: how far a probability may move that should stay; margin: by which share of them the odds must
    move of one that should move; saturated: from where on, and from 1 minus it down, it has nowhere to go.
    """

    name: str
    pairs: tuple[Pair, ...]
    critical: tuple[str, ...]
    tolerance: float
    margin: float
    saturated: float

    @cached_property
    def sha(self) -> str:
        """sha256 of everything that decides a figure, and of nothing else: comments may change."""
        decisive = asdict(self) | {"pairs": [asdict(pair) | {"line": None} for pair in self.pairs]}
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def shipped() -> list[str]:
    """The names of the suites that come with laudos."""
    return sorted(path.stem for path in DATA.glob("*.yaml"))


def known_cues() -> Cues:
    """The negations that every suite may name."""
    return CheckedFile(CUES, Cues).content


def load_suite(name: str | Path) -> Suite:
    """A shipped suite by its name, or one's own file.

    Raises UnknownSuite where there is neither, and BadFile, which names file, line and place, for whatever
    the file says that cannot be meant.
    """
    path = DATA / f"{name}.yaml" if str(name) in shipped() else Path(name)
    if not path.is_file():
        raise UnknownSuite(f"no behaviour suite {str(name)!r}: name a file, or one of {', '.join(shipped())}")
    file = CheckedFile(path, SuiteFile)
    content = file.content
    try:
        cues = known_cues().joined(content.cues)
    except ValueError:
        raise file.complaint(("cues",), f"a cue here is of the other kind in {CUES.name}") from None
    pairs: dict[str, Pair] = {}
    asked: dict[tuple[str, str], str] = {}
    numbers: Counter[tuple[str, str]] = Counter()
    for number in range(len(content.pairs)):
        for pair in _pairs(file, number, cues, numbers):
            if pair.id in pairs:
                raise file.complaint(("pairs", number), f"the pair {pair.id} is given twice")
            if (other := asked.setdefault((pair.base, pair.changed), pair.id)) != pair.id:
                raise file.complaint(("pairs", number), f"{pair.id} is the same pair of reports as {other}")
            pairs[pair.id] = pair
    return Suite(
        path.stem,
        tuple(pairs.values()),
        content.critical,
        content.tolerance,
        content.margin,
        content.saturated,
    )


def names_cue(text: str, forms: Sequence[str]) -> bool:
    """Whether a text uses a cue, whatever the case and the accents."""
    return any(re.search(_pattern(form), bare(text)) for form in forms)


def bare(text: str) -> str:
    """In small letters and without accents."""
    return _without_accents(text.lower())


def _pattern(form: str) -> str:
    words = r"\W+".join(re.escape(word) for word in bare(form.removesuffix("-")).split())
    return rf"\b{words}" + ("" if form.endswith("-") else r"\b")


def _pairs(
    file: CheckedFile[SuiteFile], number: int, cues: Cues, numbers: Counter[tuple[str, str]]
) -> Iterator[Pair]:
    group = file.content.pairs[number]
    for position, name in enumerate(group.of):
        file.refuse_unknown(("pairs", number, "of", position), name, file.content.bases)
        base = file.content.bases[name]
        if group.effect == "flip" and base.says == "open":
            raise file.complaint(("pairs", number, "of"), f"{name!r} is open: there is no decision to flip")
        for place, changed in _changes(file, ("pairs", number), group, base.text):
            if changed == base.text:
                raise file.complaint(place, f"nothing changes in {name!r}")
            cue = _cue(file, place, cues, changed) if group.kind == NEGATION else None
            numbers[group.kind, name] += 1
            yield Pair(
                f"{group.kind}/{name}/{cue or numbers[group.kind, name]}",
                group.kind,
                group.effect,
                base.text,
                changed,
                base.says,
                file.line(place),
                cue,
                None if cue is None else cue in cues.seen,
            )


def _cue(file: CheckedFile[SuiteFile], place: Place, cues: Cues, changed: str) -> str:
    cue = str(place[-1])
    file.refuse_unknown(place, cue, cues.forms)
    if not names_cue(changed, cues.forms[cue]):
        raise file.complaint(place, f"the text does not use {' or '.join(map(repr, cues.forms[cue]))}")
    return cue


def _changes(file: CheckedFile[SuiteFile], at: Place, group: Group, text: str) -> Iterator[tuple[Place, str]]:
    """Where each change of the group stands, and the text that it makes of this one."""
    if group.make is not None:
        yield (*at, "make"), _typed(text, group.make)
    if group.say is not None and group.instead_of is not None:
        _once(file, (*at, "instead_of"), group.instead_of, text)
        said = group.say.items() if isinstance(group.say, Mapping) else enumerate(group.say)
        for key, passage in said:
            yield (*at, "say", key), text.replace(group.instead_of, passage)
    for position, words in enumerate(group.replace or ()):
        yield (*at, "replace", position), _replaced(file, (*at, "replace", position), words, text)
    for position, addition in enumerate(group.add or ()):
        if group.after is None:
            yield (*at, "add", position), f"{text}\n{addition}"
        else:
            _once(file, (*at, "after"), group.after, text)
            yield (*at, "add", position), text.replace(group.after, f"{group.after} {addition}")
    rows = text.split("\n")
    for position, order in enumerate(group.lines or ()):
        if sorted(order) != list(range(len(rows))):
            raise file.complaint((*at, "lines", position), f"give each of 0 to {len(rows) - 1} once")
        yield (*at, "lines", position), "\n".join(rows[row] for row in order)


def _once(file: CheckedFile[SuiteFile], place: Place, passage: str, text: str) -> None:
    if (found := text.count(passage)) != 1:
        raise file.complaint(place, f"{passage!r} stands {found} times in the base report; once is needed")


def _replaced(file: CheckedFile[SuiteFile], place: Place, words: Mapping[str, str], text: str) -> str:
    for old, new in words.items():
        if old not in text:
            raise file.complaint(place, f"{old!r} does not stand in the base report")
        text = text.replace(old, new)
    return text


def _typed(text: str, how: Typed) -> str:
    if how == "upper_case":
        return text.upper()
    return _without_accents(text) if how == "no_accents" else _DECIMAL_COMMA.sub(".", text)


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))


def _tell(name: str) -> None:
    """Print every pair of a suite, for whoever reviews it."""
    for pair in load_suite(name).pairs:
        print(f"--- {pair.id} (line {pair.line}): {pair.effect}\n{pair.base}\n>>>\n{pair.changed}\n")


if __name__ == "__main__":
    _tell(sys.argv[1])
