"""The configuration that `laudos init` writes: it stands as it is, and mentions every setting."""

from __future__ import annotations

import os
import re
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from db.errors import ConfigurationError
from tasks.settings.errors import keys_of
from tasks.settings.settings import ClassifierSettings, Settings, write_template
from tasks.settings.sources import SourceSettings
from tests.settings.conftest import Configured


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
        "linear_reader",
        "max_minutes",
        "max_train_reports",
        "pooling",
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
