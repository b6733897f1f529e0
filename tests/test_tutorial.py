"""The course in docs/tutorial.pt-BR.md is run, block after block, as a reader would."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.pt-BR.md"


def blocks(language: str) -> list[tuple[int, str]]:
    """Line number and content of every fenced block of `language`."""
    text = TUTORIAL.read_text(encoding="utf-8")
    return [
        (text.count("\n", 0, found.start(1)) + 1, found[1])
        for found in re.finditer(rf"```{language}\n(.*?)```", text, re.DOTALL)
    ]


def test_every_block_of_the_tutorial_runs_in_the_order_it_is_read() -> None:
    names: dict[str, Any] = {"__name__": "tutorial"}
    for line, code in blocks("python"):
        # the file name and the empty lines before make a failure point at the line of the tutorial
        exec(compile("\n" * (line - 1) + code, str(TUTORIAL), "exec"), names)
    assert len(blocks("python")) >= 8


def test_the_tutorials_settings_are_settings_of_laudos() -> None:
    from tasks.settings.settings import ClassifierSettings

    for _, toml in blocks("toml"):
        for classifier in tomllib.loads(toml)["classifiers"].values():
            assert classifier.keys() <= ClassifierSettings.model_fields.keys()
