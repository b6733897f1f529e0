"""docs/exams.md adds an exam: its files are written where it says, loaded, and its reports read."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tasks.ml import synthesis
from tasks.ml.synthesis.exams import exams, generator
from tasks.ml.synthesis.reports import synthesize
from tasks.settings.settings import ClassifierSettings
from tasks.synthesis.audit import audit_exam
from tasks.synthesis.synthesize import write_set
from tests.runs import begin

PAGE = Path(__file__).parents[2] / "docs" / "exams.md"


def blocks(language: str) -> dict[str, str]:
    """What stands after the language on the fence, and the block."""
    found = re.findall(rf"(?ms)^```{language} ?([^\n]*)\n(.*?)^```", PAGE.read_text("utf-8"))
    return dict(found)


@pytest.fixture
def thyroid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "data" / "thyroid"
    folder.mkdir(parents=True)
    for name, content in blocks("yaml").items():
        (folder / name).write_text(content, "utf-8")
    (tmp_path / "exam_thyroid.py").write_text(blocks("python")[""], "utf-8")
    monkeypatch.setattr(synthesis, "__path__", [*synthesis.__path__, str(tmp_path)])
    yield "thyroid"
    sys.modules.pop(f"{synthesis.__name__}.exam_thyroid", None)


def test_the_exam_of_the_page_writes_reports_of_every_category(thyroid: str) -> None:
    assert thyroid in exams()
    made = list(synthesize(thyroid, mode="findings", reports_per_row=1, seed=0))
    assert {one.label for one in made} == {"tr_1", "tr_2", "tr_3", "tr_4", "tr_5"}
    assert len({one.text for one in made}) > 0.9 * len(made)
    assert not [one for one in made if "TI-RADS" in one.text.upper()]
    full = list(synthesize(thyroid, mode="full", reports_per_row=1, seed=0))
    assert all("TI-RADS" in one.text.upper() for one in full)


def test_a_nodule_of_the_page_is_read_as_its_points_say(thyroid: str) -> None:
    exam = generator(thyroid)
    levels = {name: finding.levels[-1] for name, finding in exam.grammar.exam.findings.items()}
    assert exam.category(levels) == 4  # type: ignore[attr-defined]


def settings_of_the_page() -> ClassifierSettings:
    (classifier,) = tomllib.loads(blocks("toml")[""])["classifiers"].values()
    return ClassifierSettings.model_validate(classifier)


def test_the_settings_of_the_page_are_settings_of_laudos() -> None:
    assert settings_of_the_page().synthetic.exam == "thyroid"


@pytest.mark.usefixtures("thyroid")
def test_a_set_of_the_page_s_exam_is_audited_found_sound_and_written(engine: Engine, now: datetime) -> None:
    page = settings_of_the_page()
    few = page.model_copy(update={"synthetic": page.synthetic.model_copy(update={"reports_per_row": 2})})
    told = audit_exam(few.synthetic, seed=0)
    assert told.passed, [check.name for check in told.failed]
    assert min(told.labels.values()) == max(told.labels.values())
    run_id = begin(engine, "synthesize", now)
    assert write_set(engine, run_id, "tireoide", few, 0, None, now).counts.new == 1200
