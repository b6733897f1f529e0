"""`pretrain` as Prefect runs it: whole, and with nothing to judge by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from sqlalchemy import select

from db.engine import reading
from db.tables import model, run
from flows.pretrain import pretrain
from tasks.database import open_database
from tasks.errors import ConfigurationError, NothingToWorkOn
from tasks.settings.settings import Settings
from tests.learning.world import CLASSIFIER, TABLES, World

pytestmark = pytest.mark.usefixtures("prefect_harness")


def test_a_pre_training_says_whether_it_helped_and_changes_no_model(
    configure: Callable[..., Settings], now: datetime
) -> None:
    settings = configure(**TABLES)
    world = World(open_database(settings), settings, now)
    with pytest.raises(NothingToWorkOn, match="no labelled reports"):
        pretrain()
    world.add(range(80))
    with pytest.raises(ConfigurationError, match="start cannot be taken as given"):
        pretrain(start="scratch; rm -rf")
    found = pretrain(start="scratch", epochs=1.0)
    assert (found.classifier, found.start, found.reused) == (CLASSIFIER, "scratch", False)
    assert (Path(found.encoder) / "model.safetensors").is_file()
    assert found.perplexity_after < found.perplexity_before
    assert found.gain == pytest.approx(found.f1_macro - found.control_f1_macro)
    assert found.helped == (found.gain_low is not None and found.gain_low > 0)
    assert world.count(model) == 0
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=[f"pretraining-{found.run_id}"]))
        pages = [str(artifact.data) for artifact in client.read_artifacts(artifact_filter=wanted)]
    assert any(f"{found.tokens:,}" in page and "data:image/png" in page for page in pages)
    with reading(world.engine) as c:
        states = c.execute(select(run.c.state).where(run.c.kind == "pretrain")).scalars().all()
    assert states == ["failed", "completed"]
