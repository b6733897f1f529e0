"""What laudos.toml and the environment say, as it is understood: values, paths and names."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import pytest

from db.errors import ConfigurationError
from tasks.settings.values import expanded, rooted_url
from tests.settings.conftest import CLASSIFIER, SOURCE, Configured


def test_variables_overrule_the_file_key_by_key(configured: Configured) -> None:
    os.environ |= {"LAUDOS_SOURCES__HIS__TABLE": "view_laudos", "LAUDOS_SCHEDULES__NIGHTLY": ""}
    settings = configured(SOURCE)
    assert settings.source("his").table == "view_laudos"
    assert settings.source("his").text == "texto"
    assert (settings.schedules.nightly, settings.schedules.ingest) == ("", "30 * * * *")


def test_a_secret_with_signs_of_its_own_stays_one_password(configured: Configured) -> None:
    os.environ |= {"HIS_PASSWORD": "p@ss/w:rd", "HIS_HOST": "db.local:5433", "LAUDOS_HIS_USER": "ana"}
    url = '"postgresql+psycopg://${LAUDOS_HIS_USER}:${HIS_PASSWORD}@${HIS_HOST}/h"'
    settings = configured(SOURCE.replace('"sqlite:///hospital.db"', url))
    assert settings.source("his").url == "postgresql+psycopg://ana:p%40ss%2Fw%3Ard@db.local:5433/h"


def test_a_whole_url_may_come_from_the_environment_as_it_is() -> None:
    told = {"sources": {"his": {"url": "${HIS_URL}"}}}
    assert (
        expanded(told, {"HIS_URL": "oracle://u:p%40@h/d"})["sources"]["his"]["url"] == "oracle://u:p%40@h/d"
    )


def test_relative_paths_start_at_the_file_not_at_the_working_directory(
    configured: Configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bert").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = configured(SOURCE + CLASSIFIER + 'encoder = "bert"')
    assert settings.database == f"sqlite:///{tmp_path}/laudos-data/laudos.db"
    assert settings.folder == tmp_path / "laudos-data"
    assert settings.source("his").url == f"sqlite:///{tmp_path}/hospital.db"
    assert settings.classifier("paaf").encoder == str(tmp_path / "bert")


def test_a_suite_is_a_name_or_a_file_beside_the_configuration(configured: Configured, tmp_path: Path) -> None:
    (tmp_path / "mama.yaml").write_text("", encoding="utf-8")
    asked = SOURCE + CLASSIFIER + "behaviour = "
    assert configured(asked + '"mama.yaml"').classifier("paaf").behaviour == str(tmp_path / "mama.yaml")
    for name in ("paaf", "mammography", "none"):
        assert configured(f'{asked}"{name}"').classifier("paaf").behaviour == name
    with pytest.raises(ConfigurationError, match=r"classifiers\.paaf\.behaviour.*did you mean 'paaf'"):
        configured(asked + '"paf"')


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///:memory:", "sqlite:////abs/a.db", "sqlite:///file:a?uri=true", "oracle://h/a"],
)
def test_a_url_that_is_not_a_relative_file_stays_as_it_is(url: str) -> None:
    assert rooted_url(url, Path("/etc")) == url


def test_the_sha_follows_what_decides_results_and_nothing_else(configured: Configured) -> None:
    before = configured(SOURCE + CLASSIFIER).sha()
    moved = configured(
        'folder = "other"\ndatabase = "sqlite:///b.db"' + SOURCE.replace("hospital", "h2") + CLASSIFIER
    )
    assert moved.sha() == before
    assert configured(SOURCE + CLASSIFIER + "sensitivity_floor = 0.9").sha() != before


@pytest.mark.parametrize("line", ["*/15 * * * *", "0 2 * * mon-fri", "0,30 8-18/2 1 JAN,jul 7", ""])
def test_ordinary_cron_lines_are_accepted(configured: Configured, line: str) -> None:
    assert configured(f'[schedules]\nnightly = "{line}"').schedules.nightly == line


def test_durations_are_read_in_every_unit(configured: Configured) -> None:
    for text, expected in {'"45s"': 45, '"1.5h"': 5400, '"2d"': 172_800, "30": 30}.items():
        assert configured(f"{SOURCE}overlap = {text}").source("his").overlap == timedelta(seconds=expected)
