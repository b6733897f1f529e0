"""What laudos.toml and the environment may say, and what is told when they say something else."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from db.errors import ConfigurationError
from tasks.settings import (
    ClassifierSettings,
    Settings,
    SourceSettings,
    overrule_environment,
    prepare_environment,
    write_template,
)
from tasks.settings_errors import keys_of
from tasks.settings_values import expanded, rooted_url

SOURCE = """
[sources.his]
url = "sqlite:///hospital.db"
table = "laudos"
id = "id"
text = "texto"
"""
CLASSIFIER = """
[classifiers.paaf]
labels = ["benigno", "maligno"]
critical = "maligno"
"""
Configured = Callable[[str], Settings]


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts without variables of ours, and what it sets is gone afterwards."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    for name in list(os.environ):
        if name.startswith(("LAUDOS_", "PREFECT_", "HF_HUB_", "HIS_")):
            del os.environ[name]


@pytest.fixture
def configured(tmp_path: Path) -> Configured:
    """Load settings from the text of a laudos.toml."""

    def load(text: str) -> Settings:
        path = tmp_path / "laudos.toml"
        path.write_text(text, encoding="utf-8")
        os.environ["LAUDOS_CONFIG"] = str(path)
        return Settings.load()

    return load


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
        ('database = "orakle://u:canary@h/d"', "'database': no database driver is known as 'orakle'"),
        (
            'database = "mysql+pymysql://u:canary@h/d"',
            "the driver 'pymysql' for mysql+pymysql is not installed",
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


def test_an_unknown_name_is_answered_with_the_nearest(configured: Configured) -> None:
    settings = configured(SOURCE + CLASSIFIER)
    with pytest.raises(ConfigurationError, match="no source 'hsi' in the configuration; did you mean 'his'"):
        settings.source("hsi")
    with pytest.raises(ConfigurationError, match="no classifier 'x' in the configuration; known: 'paaf'"):
        settings.classifier("x")


@pytest.mark.parametrize("line", ["*/15 * * * *", "0 2 * * mon-fri", "0,30 8-18/2 1 JAN,jul 7", ""])
def test_ordinary_cron_lines_are_accepted(configured: Configured, line: str) -> None:
    assert configured(f'[schedules]\nnightly = "{line}"').schedules.nightly == line


@pytest.mark.parametrize(
    "line", ["60 * * * *", "0 5-2 * * *", "* * 0 * *", "* * * foo *", "0 2 * * */0", "* * *"]
)
def test_impossible_cron_lines_are_refused(configured: Configured, line: str) -> None:
    with pytest.raises(ConfigurationError, match=r"schedules\.nightly"):
        configured(f'[schedules]\nnightly = "{line}"')


def test_durations_are_read_in_every_unit(configured: Configured) -> None:
    for text, expected in {'"45s"': 45, '"1.5h"': 5400, '"2d"': 172_800, "30": 30}.items():
        assert configured(f"{SOURCE}overlap = {text}").source("his").overlap == timedelta(seconds=expected)


# ------------------------------------------------------------------ the template of `laudos init`


def template() -> str:
    return files("deployments").joinpath("laudos.template.toml").read_text(encoding="utf-8")


def opened_template() -> str:
    """The template with every setting switched on."""
    return re.sub(r"(?m)^#(?=[\[a-z])", "", template())


def test_the_template_is_a_configuration_as_it_stands(configured: Configured) -> None:
    settings = configured(template())
    assert list(settings.classifiers) == ["paaf"]
    assert not settings.sources


def test_every_key_in_the_template_exists_and_the_commented_ones_stand_at_their_default(
    configured: Configured,
) -> None:
    os.environ["HIS_PASSWORD"] = "secret"
    everything, plain = configured(opened_template()), configured(template())
    # without a default, or with one that depends on the encoder: an example stands there
    examples = {
        "augment",
        "revision",
        "epochs",
        "early_stopping",
        "last_layers",
        "learning_rate",
        "lessons",
        "max_minutes",
        "max_train_reports",
        "sources",
        "behaviour",
    }
    opened, default = everything.classifier("paaf").model_dump(), plain.classifier("paaf").model_dump()
    assert {key for key in opened if opened[key] != default[key]} <= examples | {"training"}
    changed = {key for key in opened["training"] if opened["training"][key] != default["training"][key]}
    assert changed <= examples
    assert everything.scoring.model_copy(update={"dask": None}) == plain.scoring  # an example, too
    assert everything.monitoring == plain.monitoring
    unlimited = {"features_after": None, "superseded_text_after": None}  # no default: an example stands there
    assert everything.retention.model_copy(update=unlimited) == plain.retention
    assert everything.schedules == plain.schedules
    assert everything.source("his").overlap == SourceSettings.model_fields["overlap"].default


def test_every_setting_is_mentioned_in_the_template() -> None:
    def missing(section: type[BaseModel], found: dict[str, Any], where: str) -> list[str]:
        absent = []
        for key in keys_of(section):
            inner = section.model_fields[key].annotation if key in section.model_fields else None
            if key not in found:
                absent.append(f"{where}{key}")
            elif isinstance(inner, type) and issubclass(inner, BaseModel):
                absent += missing(inner, found[key], f"{where}{key}.")
        return absent

    document = tomllib.loads(opened_template())
    assert missing(Settings, document, "") == []
    assert missing(SourceSettings, document["sources"]["his"], "sources.his.") == []
    assert missing(ClassifierSettings, document["classifiers"]["paaf"], "classifiers.paaf.") == []


def test_an_existing_configuration_is_never_written_over(tmp_path: Path) -> None:
    path = tmp_path / "new" / "laudos.toml"
    write_template(path)
    path.write_text("seed = 7", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="exists and was left alone"):
        write_template(path)
    assert path.read_text(encoding="utf-8") == "seed = 7"


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be written"):
        write_template(tmp_path / "file" / "laudos.toml")


# ------------------------------------------------------------------ what Prefect and transformers read


def test_a_local_run_reports_to_nobody_and_keeps_prefect_beside_the_models(configured: Configured) -> None:
    settings = configured("")
    prepare_environment(settings)
    assert os.environ["PREFECT_HOME"] == str(settings.folder / "prefect")
    assert (settings.folder / "prefect").is_dir()
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert (os.environ["DO_NOT_TRACK"], os.environ["HF_HUB_OFFLINE"]) == ("1", "1")


def test_prefects_own_records_are_bounded_by_prefect(configured: Configured) -> None:
    prepare_environment(configured(""))
    from prefect.settings.models.server.services import ServerServicesDBVacuumSettings

    vacuum = ServerServicesDBVacuumSettings()
    assert vacuum.enabled_vacuum_types == {"events", "flow_runs", "orphans"}
    assert vacuum.retention_period == timedelta(days=90)


def test_a_folder_that_cannot_be_made_is_told(configured: Configured, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="file/data/prefect cannot be made: Not a directory"):
        prepare_environment(configured('folder = "file/data"'))


def test_a_scratch_size_by_name_is_spelt_out_and_a_preset_stays_a_name(configured: Configured) -> None:
    asked = configured(CLASSIFIER + 'encoder = "scratch-small"').classifier("paaf")
    size = asked.training.hidden_size, asked.training.layers, asked.training.attention_heads
    assert (asked.encoder, size) == ("scratch", (512, 4, 8))
    preset = configured(CLASSIFIER + 'encoder = "bertimbau-base"')  # imported later than configured
    assert preset.classifier("paaf").encoder == "bertimbau-base"
    prepare_environment(preset)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_what_the_user_has_set_stays(configured: Configured) -> None:
    os.environ |= {"PREFECT_API_URL": "http://prefect.local/api", "HF_HUB_OFFLINE": "0"}
    prepare_environment(configured(""))
    assert "PREFECT_HOME" not in os.environ
    assert os.environ["HF_HUB_OFFLINE"] == "0"


def test_the_hub_is_reached_only_where_an_encoder_asks_for_it(configured: Configured) -> None:
    prepare_environment(configured(f'{CLASSIFIER}encoder = "a/b"\nrevision = "{"0" * 40}"'))
    assert "HF_HUB_OFFLINE" not in os.environ


def test_the_command_line_overrules_the_environment(configured: Configured, tmp_path: Path) -> None:
    configured("seed = 7")
    overrule_environment(config=None, verbose=True, debug=True)
    prepare_environment(Settings.load())
    assert os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] == "INFO"
    (tmp_path / "other.toml").write_text("seed = 8", encoding="utf-8")
    overrule_environment(config=tmp_path / "other.toml", verbose=False, debug=False)
    assert Settings.load().seed == 8
