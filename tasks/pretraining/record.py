"""The audit row of an encoder that was pre-trained here.

A kill between folder and row leaves the folder alone. It says what the row says, which is written later.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection

from db import audit
from tasks.ml.network.published import PRETRAINING
from tasks.model_folders import pretrained_folder
from tasks.settings.settings import Settings

ACTOR: Final = "pretrain"
ACTION: Final = "pretrained"


def record(c: Connection, name: str, facts: Mapping[str, Any], now: datetime) -> None:
    """Write the row, unless it is there. `facts`: content of pretraining.json."""
    if not audit.holds(c, action=ACTION, subject=_subject(name)):
        detail = {"run": facts["run"], "reports": facts["read"]["reports"], "sha": facts["read"]["sha"]}
        # what an encoder that was made here has read, one that begins with it has read, too
        start = facts.get("config", {}).get("start", {}).get("name")
        detail["start"] = start and Path(start).name
        audit.record(c, actor=ACTOR, action=ACTION, subject=_subject(name), detail=detail, now=now)


def unrecorded(c: Connection, settings: Settings) -> list[Path]:
    """The folders of encoders that were published and have no row."""
    found = sorted(path.parent for path in pretrained_folder(settings).glob(f"[!.]*/{PRETRAINING}"))
    return [one for one in found if not audit.holds(c, action=ACTION, subject=_subject(one.name))]


def _subject(name: str) -> str:
    return f"encoder {name}"
