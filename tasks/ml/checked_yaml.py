"""YAML that people write by hand: read into a pydantic model, and every error told with its line."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.ml.errors import MlError

# the same language, ten times as fast where PyYAML was built with libyaml; neither makes objects
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

Place = tuple[str | int, ...]
M = TypeVar("M", bound=BaseModel)


class BadFile(MlError):
    """The file does not hold what it should; the message names file, line and place."""


class Strict(BaseModel):
    """Part of a file: an unknown key is an error, and nothing changes once it was read."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class CheckedFile(Generic[M]):
    """`content`, and where in the file each part of it stands.

    Raises BadFile for a file that is not there or is no UTF-8, YAML that cannot be read, a key given twice,
    and what the model refuses.
    """

    def __init__(self, path: Path, model: type[M]) -> None:
        self.name = path.name
        self._lines: dict[Place, int] = {}
        text = _text(path)
        try:
            root = yaml.compose(text, Loader=_LOADER)
            if root is None:
                raise BadFile(f"{path.name} is empty")
            self._note_lines(root, (), ())
            read = yaml.load(text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise BadFile(f"{path.name}, line {line}: {error.problem}") from None
        except ValueError as error:  # such as a date that no calendar has
            raise BadFile(f"{path.name}: {error}; text goes in quotes") from None
        try:
            self.content = model.model_validate(read)
        except ValidationError as error:
            problem = error.errors(include_input=False)[0]
            raise self.complaint(problem["loc"], _told(problem)) from None

    def line(self, place: Place) -> int:
        """Of the nearest thing there is: a missing key has none, so the mapping it is missing from."""
        while place not in self._lines:
            place = place[:-1]
        return self._lines[place]

    def complaint(self, place: Place, what: str) -> BadFile:
        where = "".join(f".{part}" for part in place)[1:] or "the file"
        return BadFile(f"{self.name}, line {self.line(place)}, {where}: {what}")

    def refuse_unknown(self, place: Place, name: str, known: Collection[str]) -> None:
        """Raise BadFile, with what may have been meant, where a name is none of the known."""
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(known)}"
            raise self.complaint(place, f"nothing is called {name!r}{hint}")

    def _note_lines(self, node: yaml.Node, place: Place, above: tuple[yaml.Node, ...]) -> None:
        self._lines[place] = node.start_mark.line + 1
        if node in above:  # *name inside what &name stands for
            raise BadFile(f"{self.name}, line {self._lines[place]}: what & and * name contains itself")
        above = (*above, node)
        if isinstance(node, yaml.SequenceNode):
            for position, item in enumerate(node.value):
                self._note_lines(item, (*place, position), above)
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                inner = (*place, str(key.value))
                line = key.start_mark.line + 1
                if inner in self._lines:  # YAML would silently keep the last one
                    raise BadFile(f"{self.name}, line {line}: {key.value!r} is given twice")
                self._note_lines(value, inner, above)
                self._lines[inner] = line


_TOLD = {
    "extra_forbidden": "unknown key",
    "missing": "this is missing",
    "invalid_key": "a name is text; and a decimal has a point here: 0.5, where 0,5 would be two entries",
    "tuple_type": "a list is wanted here: [one, another]",
    "dict_type": "names are wanted here, each with a colon and what belongs to it",
    "model_type": "names are wanted here, each with a colon and what belongs to it",
    "string_type": "text is wanted here; put it in quotes",
    "too_short": "at least one is wanted here",
}


def _text(path: Path) -> str:
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise BadFile(f"{path.name} in {path.parent} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise BadFile(f"{path.name}, line {line}: this is not UTF-8; save the file as UTF-8") from None
    if strange := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, strange.start()) + 1
        raise BadFile(f"{path.name}, line {line}: a character that no text holds ({strange[0]!r}); delete it")
    return text


def _told(problem: Any) -> str:
    return _TOLD.get(problem["type"]) or str(problem["msg"]).removeprefix("Value error, ")
