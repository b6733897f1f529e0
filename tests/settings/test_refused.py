"""What laudos.toml and the environment may not say, and what is told then."""

from __future__ import annotations

import os
import re

import pytest

from db.errors import ConfigurationError
from tasks.settings.settings import Settings
from tests.settings.conftest import CLASSIFIER, SOURCE, Configured


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('databse = "sqlite:///a.db"', "unknown key 'databse'; did you mean 'database'?"),
        (SOURCE + 'overlp = "6h"', "unknown key 'sources.his.overlp'; did you mean 'overlap'?"),
        (SOURCE + 'shema = "public"', "unknown key 'sources.his.shema'; did you mean 'schema'?"),
        (SOURCE.replace("sources", "source"), "unknown key 'source'; did you mean 'sources'?"),
        (
            CLASSIFIER + "[classifiers.paaf.training]\nepocs = 2",
            "unknown key 'classifiers.paaf.training.epocs'; did you mean 'epochs'?",
        ),
        # a classifier may bear the name of a section without the two being mistaken
        (
            CLASSIFIER.replace("paaf", "training") + "critcal = 1",
            "unknown key 'classifiers.training.critcal'; did you mean 'critical'?",
        ),
        ('[schedules]\nnigtly = ""', "unknown key 'schedules.nigtly'; did you mean 'nightly'?"),
        ("[scoring]\nqqqq = 1", "unknown key 'scoring.qqqq'; known: 'backend', 'batch_tokens'"),
    ],
)
def test_a_misspelt_key_is_refused_with_the_nearest_right_one(
    configured: Configured, text: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        configured(text)


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ("LAUDOS_SORCES__HIS__URL", "LAUDOS_SORCES__HIS__URL; did you mean LAUDOS_SOURCES__HIS__URL?"),
        ("LAUDOS_DATABSE", "LAUDOS_DATABSE; did you mean LAUDOS_DATABASE?"),
        ("LAUDOS_SCHEDULES__NIGTLY", "unknown key 'schedules.nigtly'; did you mean 'nightly'?"),
        ("LAUDOS_SOURCES__HIS__OVERLP", "unknown key 'sources.his.overlp'; did you mean 'overlap'?"),
        ("LAUDOS_QQQQ", "unknown environment variable LAUDOS_QQQQ"),
    ],
)
def test_a_misspelt_variable_is_refused_with_the_nearest_right_one(
    configured: Configured, variable: str, told: str
) -> None:
    os.environ[variable] = "canary"
    with pytest.raises(ConfigurationError, match=re.escape(told)) as refusal:
        configured(SOURCE)
    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("seed = 1\ndatabase = ", "not valid TOML: Invalid value (at "),
        (SOURCE.replace("table", "#table"), "'sources.his.table' is missing"),
        (SOURCE + 'overlap = "6 hours"', "'sources.his.overlap': a duration looks like 45s, 30min, 6h or 2d"),
        (SOURCE + "page_rows = 0", "'sources.his.page_rows'"),
        (SOURCE + 'group_values = { race = { 1 = "preta" } }', "not named: name race, or leave it out"),
        (SOURCE + "institutions_max = 900", "not named: name institution, or leave"),
        (
            "[scoring]\nchunk_reports_min = 1001",
            "chunk_reports_min, 1001, is more than chunk_reports_max",
        ),
        (CLASSIFIER.replace("paaf", '".."'), "'..' under 'classifiers' is no name"),
        (CLASSIFIER.replace("paaf", '"."'), "'.' under 'classifiers' is no name"),
        (SOURCE.replace("his", '".his"'), "'.his' under 'sources' is no name"),
        (SOURCE + 'timezone = "Mars"', "'sources.his.timezone': no time zone is called 'Mars'"),
        ('timezone = "America/Sao Paulo"', "no time zone is called 'America/Sao Paulo'"),
        (
            SOURCE + 'labels = { paf = "r" }' + CLASSIFIER,
            "names 'paf', which is none of the classifiers; did",
        ),
        (
            CLASSIFIER + 'sources = ["hsi"]' + SOURCE,
            "names 'hsi', which is none of the sources; did you mean",
        ),
        (CLASSIFIER.replace('critical = "maligno"', 'critical = "malign"'), "did you mean 'maligno'?"),
        (
            CLASSIFIER + 'label_values = { M = "mal" }',
            "label_values names 'mal', which is none of the labels",
        ),
        (CLASSIFIER.replace("benigno", "maligno"), "labels must differ"),
        (CLASSIFIER + 'encoder = "neuralmind/bert"', "a hub name needs its revision, all 40 hex digits"),
        (CLASSIFIER + 'encoder = "bertimbo-base"', "did you mean 'bertimbau-base'?"),
        (
            CLASSIFIER + 'encoder = "scratch-mini"\n[classifiers.paaf.training]\nlayers = 3',
            "is 'scratch-mini', which says layers already",
        ),
        (
            CLASSIFIER + f'encoder = "a/b"\nrevision = "{"0" * 40}"\n'
            '[classifiers.paaf.training]\npooling = "sentences"',
            'training.pooling = "sentences" needs encoder = "scratch"',
        ),
        (CLASSIFIER + 'encoder = "a/b"\nrevision = "main"', "'classifiers.paaf.revision'"),
        (
            CLASSIFIER + "[classifiers.paaf.training]\nwindow_tokens = 64",
            "stride_tokens must be less than half",
        ),
        (
            '[schedules]\ningest = "0 25 * * *"',
            "'schedules.ingest': the hour of a cron line lies between 0 and 23",
        ),
        ('[schedules]\ningest = "hourly"', "a cron line has 5 fields"),
        ('database = "sqlite:laudos.db"', "'database': a database URL could not be read"),
        ('database = "postgresql+psycopg://u:canary@h:54x/d"', "'database': a database URL could not be r"),
        ('database = "orakle://u:canary@h/d"', "'database': no database driver is known as 'orakle'"),
        (
            SOURCE.replace("sqlite:///hospital.db", "mysql+pymysql://u:canary@h/d"),
            "the driver 'pymysql' for mysql+pymysql is not installed",
        ),
        (
            SOURCE.replace("sqlite:///hospital.db", "postgresql+psycopg_async://u:canary@h/d"),
            "'sources.his.url': the driver of postgresql+psycopg_async is asynchronous",
        ),
        *(
            (
                f'database = "{driver}://u:canary@h/d"',
                f"'database': laudos keeps its own tables in sqlite or postgresql+psycopg, not in {driver}",
            )
            for driver in ("mysql+pymysql", "postgresql+psycopg2", "postgresql+psycopg_async")
        ),
        ('database = "postgresql+psycopg://u:${NO_SUCH}@h/d"', "'database' needs ${NO_SUCH}, which the env"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_key_and_without_secrets(
    configured: Configured, text: str, told: str
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)) as refusal:
        configured(text)
    assert "canary" not in str(refusal.value)
    assert "laudos.toml: " in str(refusal.value)


def test_every_problem_is_told_at_once(configured: Configured) -> None:
    with pytest.raises(ConfigurationError, match=r"'sources\.his\.table' is missing; unknown key 'seeed'"):
        configured("seeed = 1\n" + SOURCE.replace("table", "#table"))


def test_a_configuration_that_is_named_but_not_there_is_refused() -> None:
    os.environ["LAUDOS_CONFIG"] = "/nowhere/laudos.toml"
    with pytest.raises(ConfigurationError, match=r"/nowhere/laudos\.toml is no file; write one with"):
        Settings.load()


def test_a_variable_that_must_be_json_and_is_not_is_refused_without_its_value(configured: Configured) -> None:
    os.environ["LAUDOS_CLASSIFIERS"] = "canary"
    with pytest.raises(ConfigurationError, match="must hold JSON") as refusal:
        configured("")
    assert "canary" not in str(refusal.value)


def test_an_unknown_name_is_answered_with_the_nearest(configured: Configured) -> None:
    settings = configured(SOURCE + CLASSIFIER)
    with pytest.raises(ConfigurationError, match="no source 'hsi' in the configuration; did you mean 'his'"):
        settings.source("hsi")
    with pytest.raises(ConfigurationError, match="no classifier 'x' in the configuration; known: 'paaf'"):
        settings.classifier("x")


@pytest.mark.parametrize(
    "line", ["60 * * * *", "0 5-2 * * *", "* * 0 * *", "* * * foo *", "0 2 * * */0", "* * *"]
)
def test_impossible_cron_lines_are_refused(configured: Configured, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schedules\.nightly"):
        configured(f'[schedules]\nnightly = "{line}"')
