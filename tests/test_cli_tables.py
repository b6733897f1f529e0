"""What a person copies off a narrow terminal is whole: ids, names and figures."""

from __future__ import annotations

import io
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints
from zoneinfo import ZoneInfo

import pytest
from rich.console import Console

import flows
from flows.cli import behaviour, console, labels, plan, synth
from flows.cli.console import table
from flows.cli.encoder_words import tell_encoders
from flows.cli.evidence_words import tell_marked, tell_places, tell_reproduced, tell_verified
from flows.cli.model_words import tell_model
from flows.cli.quarantine_words import tell_waiting
from flows.cli.summary import print_night
from flows.cli.words import tell_jobs, tell_models, tell_status
from tasks.inspection.explain import Explained
from tasks.inspection.reproduce import Reproduced
from tasks.inspection.try_behaviour import Behaved
from tasks.inspection.verify import Verified
from tasks.intake.quarantine import Waiting
from tasks.labels.curve import LabelCurve
from tasks.labels.doubts import Doubts
from tasks.labels.next import LabelNext
from tasks.ml.audit.result import Audit
from tasks.models.encoders import EncoderLine
from tasks.models.models import ModelLine, ModelStory
from tasks.night.status import Status
from tasks.night.summary import FIRST_FIGURES, Judged, NightTold
from tasks.promotion.plan_check import PlanCheck
from tasks.scoring.jobs import JobStatus
from tasks.synthesis.exam_words import ExamCounted

NARROW = 80
ZONE = ZoneInfo("America/Sao_Paulo")
ID = "AP-2026/0001234567-anatomia-patologica-do-hospital"
T = TypeVar("T")


def filled(kind: type[T], **given: Any) -> T:
    """One of these with something long in each field."""
    hints = get_type_hints(kind)
    return kind(**{one.name: given.get(one.name, _value(hints[one.name])) for one in fields(kind)})  # type: ignore[arg-type]


def _value(hint: Any) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _value(inner[0])
    if origin is Literal:
        return inner[0]
    if origin in (dict, Mapping):
        return {_value(inner[0]): _value(inner[1])}
    if origin is tuple:
        return tuple(_value(one) for one in inner if one is not Ellipsis)
    if origin is not None and issubclass(origin, Sequence):
        return [_value(inner[0])]
    if is_dataclass(hint):
        return filled(hint)  # type: ignore[arg-type]
    simple = {bool: True, int: 2_284_571, float: 0.123, str: ID, datetime: datetime(2026, 11, 27, tzinfo=UTC)}
    return simple.get(hint, {})


def judged() -> Judged:
    figure = {name: replace(_figure(), name=name) for name in FIRST_FIGURES}
    return filled(Judged, population="holdout", figures={"model": figure, "tfidf": figure})


def _figure() -> Any:
    return _value(get_args(get_args(get_type_hints(Judged)["figures"])[1])[1])


def night() -> NightTold:
    told = filled(NightTold)
    reason = {"rule": f"sensitivity for {ID}", "passed": False, "found": "0.7", "asked": "0.8"}
    return replace(
        told,
        decisions=[replace(told.decisions[0], reasons=[reason], trained="head")],
        classifiers=[replace(told.classifiers[0], judged=(judged(),))],
    )


def doubts() -> Doubts:
    doubt = filled(get_args(get_type_hints(Doubts)["listed"])[0], probabilities={ID: 0.5})
    return filled(Doubts, listed=[doubt])


TOLD: dict[str, Callable[[], object]] = {
    "status": lambda: tell_status(filled(Status), ZONE),
    "models list": lambda: tell_models([filled(ModelLine)], ZONE),
    "models show": lambda: tell_model(
        filled(ModelStory, config={"critical": ID}, training_set={}, decisions=[]), [judged()], ZONE
    ),
    "jobs list": lambda: tell_jobs([filled(JobStatus)], ZONE),
    "labels doubt": lambda: labels._tell(doubts()),
    "labels next": lambda: labels._tell_next(filled(LabelNext)),
    "labels curve": lambda: labels._tell_curve(filled(LabelCurve)),
    "quarantine list": lambda: tell_waiting(filled(Waiting), ZONE),
    "encoders": lambda: tell_encoders([filled(EncoderLine)]),
    "explain": lambda: tell_marked(filled(Explained), ID),
    "explain into a pipe": lambda: tell_places(filled(Explained)),
    "verify": lambda: tell_verified(filled(Verified, same=False), ZONE),
    "reproduce": lambda: tell_reproduced(filled(Reproduced)),
    "behaviour": lambda: behaviour._tell(filled(Behaved), failed=False),
    "plan-check": lambda: plan._tell(filled(PlanCheck)),
    "synth count": lambda: synth._tell_counts([filled(ExamCounted)]),
    "synth audit": lambda: synth.tell(filled(Audit)),
    "nightly": lambda: print_night(night(), console.console()),
}


@pytest.mark.parametrize("command", TOLD)
def test_no_table_shortens_an_id_or_a_figure_where_the_terminal_is_narrow(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "FILE_WIDTH", NARROW)
    TOLD[command]()
    page = capsys.readouterr().out
    assert page
    assert "…" not in page


def test_a_table_breaks_its_headers_then_words_and_an_id_or_a_figure_last() -> None:
    def shown(width: int) -> str:
        page = io.StringIO()
        rows = [("AP-2026/00010", "2,284 of 2,284", "indeterminado")]
        Console(file=page, width=width).print(
            table(("report", "reports uncertain", "given"), rows, words=2), end=""
        )
        assert all(len(line) <= width for line in page.getvalue().splitlines())
        return page.getvalue()

    assert "reports uncertain" in shown(60)
    assert "uncertain" in shown(41).split()
    assert {"AP-2026/00010", "2,284", "indeterminado"} <= {*shown(38).split()}
    assert {"AP-2026/00010", "2,284"} <= {*shown(33).split()}
    assert "2,284" in shown(26).split()


def test_all_tables_are_made_in_one_place() -> None:
    made = {one.name for one in Path(flows.__file__).parent.rglob("*.py") if "rich.table" in one.read_text()}
    assert made == {"console.py", "session.py"}
