"""What Prefect and transformers are told by the environment, and what was said there stays."""

from __future__ import annotations

import importlib
import os
from datetime import timedelta
from pathlib import Path

import pytest

from db.errors import ConfigurationError
from tasks.settings.settings import Settings, overrule_environment, prepare_environment
from tests.settings.conftest import CLASSIFIER, Configured


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


def test_who_holds_a_deployments_slot_outlives_prefects_server(configured: Configured) -> None:
    prepare_environment(configured(""))
    from prefect.settings.models.server.concurrency import ServerConcurrencySettings

    storage = importlib.import_module(ServerConcurrencySettings().lease_storage)
    assert storage.__name__.endswith("filesystem")


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
