"""The night's summary: everything a person asks in the morning, and an honest word on a quiet night."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import pytest
from rich.console import Console

from db.monitoring import Cleared, Decision, Refusal
from db.night import Read, Scored
from db.status import ClassifierStatus
from flows.cli.summary import next_commands, print_night
from tasks.errors import NothingToWorkOn
from tasks.ml.judging.evaluation import Figure
from tasks.night.summary import Answering, Judged, NightTold, tell_last_night
from tasks.settings.settings import Settings


@pytest.fixture
def told(now: object) -> NightTold:
    figures = {
        "model": {
            "sensitivity": Figure("sensitivity", "all", 0.91, 0.85, 0.96, 240),
            "auroc_patient": Figure("auroc_patient", "all", None, None, None, 3),
        },
        "keyword_rule": {"sensitivity": Figure("sensitivity", "all", 0.5, 0.4, 0.6, 240)},
    }
    reason = {"rule": "sensitivity for maligno", "passed": False, "found": "0.7", "asked": "0.8"}
    standing = ClassifierStatus("malignidade", 3, None, 2_300, 212, 7)
    return NightTold(
        run_id=9,
        took_s=61.4,
        read=[Read("his", "database", 12, 5, 3, 2, 2)],
        decisions=[Decision("malignidade", 4, "head", 4_800, "refused", [reason], now)],  # type: ignore[arg-type]
        scored=[Scored("malignidade", 3, 8, 8)],
        classifiers=[
            Answering(
                standing,
                "maligno",
                {"train": {"maligno": 40}},
                {"train": 9},
                (Judged("holdout", 3, True, figures, ("TF-IDF, words is better than model 3: macro F1.",)),),
            )
        ],
        quarantine=[Refusal("his", "no_letters", 2)],
        cleared=Cleared(models=1, mebibytes=12.5, features=4_800),
        configuration="/x/laudos.toml",
        database="sqlite:////x/laudos.db",
        models="/x/models",
        reports="/x/reports",
    )


def printed(told: NightTold, *commands: str) -> str:
    page = io.StringIO()
    print_night(told, Console(file=page, width=120, highlight=False), commands=commands)
    return page.getvalue()


def test_the_summary_says_what_came_was_trained_answered_and_waits(told: NightTold) -> None:
    page = " ".join(printed(told, "laudos nightly").split())
    for said in (
        "nightly run 9, 61 s",
        "his 12 5 3 2 2",
        "model 4 (the last layer only, 4,800 labelled reports): refused",
        "MISSED sensitivity for maligno 0.7 0.8",
        "train: 9 patients, reports: 40 maligno",
        "how good model 3 (champion) is on held-out patients",
        "model 3 0.910 (0.85-0.96) - - -",
        "keyword rule 0.500 (0.40-0.60)",
        "TF-IDF, words is better than model 3: macro F1.",
        "tonight: 8 reports encoded, 8 predictions written",
        "212 wait for a person; 7 not scored yet",
        "his 2 no_letters no letters: a number",
        "models: 1, stored vectors: 4,800 (12.5 MiB on the disk)",
        "/x/laudos.toml",
        "laudos nightly",
        "no clinical validation",
    ):
        assert said in page
    assert "Nothing was new" not in page


def test_a_quiet_night_is_called_one(told: NightTold) -> None:
    quiet = replace(
        told, read=[Read("his", "database", 12, 0, 0, 12, 0)], decisions=[], scored=[], quarantine=[]
    )
    page = printed(quiet)
    assert "Nothing was new: 0 reports encoded, 0 predictions written." in page
    assert "model 3 stays" in page


def test_after_a_refusal_the_figures_stand_there_and_nobody_is_sent_to_predict(told: NightTold) -> None:
    (answering,) = told.classifiers
    (judged,) = answering.judged
    nobody = replace(answering.status, champion=None)
    refused = replace(
        told,
        classifiers=[replace(answering, status=nobody, judged=(replace(judged, champion=False),))],
        scored=[],
    )
    page = " ".join(printed(refused).split())
    assert "how good model 3 (not the champion) is on held-out patients" in page
    assert "there is no champion" in page
    commands = "\n".join(next_commands(refused))
    assert "predict" not in commands
    assert "models show 3" in commands
    assert "predict" in "\n".join(next_commands(told))


def test_before_the_first_night_there_is_nothing_to_tell(configure: Callable[..., Settings]) -> None:
    with pytest.raises(NothingToWorkOn, match='run "laudos nightly"'):
        tell_last_night(configure())


def test_a_model_that_waits_is_told_and_no_night_then_says_that_nothing_was_trained(told: NightTold) -> None:
    sentence = "malignidade: model 5 met every rule and waits for a person until 2026-03-09 12:00"
    quiet = replace(told, decisions=[])
    assert "Nothing: the labels and the configuration are the same" in printed(quiet)
    page = printed(replace(quiet, candidates=[sentence]))
    assert "model 5 met every rule and waits for a person until 2026-03-09 12:00" in page
    assert "Nothing: the labels" not in page
