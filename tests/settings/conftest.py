"""A laudos.toml of a few lines, and an environment without variables of ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.settings.settings import Settings

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
