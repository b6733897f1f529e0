"""The places where torture strikes: all of them exist, and none does anything until it is armed."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator

import pytest

from tasks.ml import faultpoints
from tasks.ml.faultpoints import POINTS, reach
from tests.test_layers import ROOT, sources


def reached(source: str) -> Iterator[str]:
    """What `reach` is called with: a literal, or else the name of the expression that is none."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reach":
            argument = node.args[0]
            yield argument.value if isinstance(argument, ast.Constant) else type(argument).__name__


def test_every_point_is_reached_in_one_place_of_production_code_and_every_place_is_a_point() -> None:
    production = [path for path in sources() if "torture" not in path.relative_to(ROOT).parts]
    places = Counter(point for path in production for point in reached(path.read_text("utf-8")))
    assert sorted(places) == sorted(POINTS)
    assert set(places.values()) == {1}
    assert len(set(POINTS)) == len(POINTS)


def test_a_point_does_nothing_until_it_is_armed(monkeypatch: pytest.MonkeyPatch) -> None:
    struck: list[str] = []
    monkeypatch.setattr(faultpoints, "_strike", None)
    reach("score.job.cut")
    faultpoints.arm(struck.append)
    reach("score.job.cut")
    faultpoints.arm(None)
    reach("score.job.cut")
    assert struck == ["score.job.cut"]


def test_only_torture_arms_them() -> None:
    armed = [
        str(path.relative_to(ROOT))
        for path in sources()
        if ".arm(" in path.read_text("utf-8") and "torture" not in path.relative_to(ROOT).parts
    ]
    assert not armed
