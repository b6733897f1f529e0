"""Pages for the Prefect UI: published inside a run, and never too large to open."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from prefect import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from tasks.artifacts import LARGEST_BYTES, publish_model_report
from tasks.step import flow
from tests.flows import town
from tests.flows.conftest import ROOT

PICTURE = f"![ROC](data:image/png;base64,{'A' * LARGEST_BYTES})"


@flow("publishing", run_name="publishing")
def publishing() -> None:
    publish_model_report(71, "achado", f"# Model 71\n\n{PICTURE}\n\nThe end")


def test_a_page_too_large_to_open_loses_its_pictures_not_its_words(prefect_harness: None) -> None:
    publishing()
    with get_client(sync_client=True) as client:
        wanted = ArtifactFilter(key=ArtifactFilterKey(any_=["model-71"]))
        [page] = client.read_artifacts(artifact_filter=wanted)
    assert page.data == "# Model 71\n\n*(picture too large to show here: ROC)*\n\nThe end"


def test_outside_a_run_nothing_is_published() -> None:
    publish_model_report(72, "achado", "no server is started for this")


def test_serving_without_a_server_says_how_to_start_one(tmp_path: Path) -> None:
    without = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-m", "deployments.serve"],
        env=without | {"LAUDOS_CONFIG": str(town.build(tmp_path, patients=1))},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert 'run "make ui", or set PREFECT_API_URL' in done.stderr
