"""What a person sees in the Prefect UI: one page "tonight", two a model, one a training set
or a pre-training.

Text-free by contract.
"""

from __future__ import annotations

import re

from prefect.artifacts import create_markdown_artifact
from prefect.context import FlowRunContext, TaskRunContext

# beyond this the UI gets slow to open; pictures are what is big
LARGEST_BYTES = 200_000


def publish_tonight(markdown: str) -> None:
    """Show what the last run did, under the key `tonight`; earlier ones stay as its versions."""
    _publish("tonight", markdown, "What came in, was trained, was scored, and waits for a person")


def publish_model_report(model_id: int, classifier: str, markdown: str) -> None:
    """Show a model's figures and curves, under the key `model-<id>`."""
    _publish(f"model-{model_id}", markdown, f"How model {model_id} for {classifier} was judged")


def publish_model_card(model_id: int, classifier: str, language: str, markdown: str) -> None:
    """Show what a model is for and what was not validated, under the key `model-card-<id>-<language>`."""
    _publish(f"model-card-{model_id}-{language}", markdown, f"What model {model_id} for {classifier} is for")


def publish_data_card(snapshot_id: int, markdown: str) -> None:
    """Show what a training set is made of, under the key `training-set-<id>`."""
    _publish(f"training-set-{snapshot_id}", markdown, "What it is made of, and what it must not be used for")


def publish_pretraining(run_id: int, classifier: str, markdown: str) -> None:
    """Show whether a pre-training helped, under the key `pretraining-<run>`."""
    _publish(f"pretraining-{run_id}", markdown, f"Whether pre-training helped {classifier}")


def _publish(key: str, markdown: str, description: str) -> None:
    """Nothing happens outside a run: there is no UI that could show it."""
    if FlowRunContext.get() is None and TaskRunContext.get() is None:
        return
    create_markdown_artifact(key=key, markdown=_small_enough(markdown), description=description)


def _small_enough(markdown: str) -> str:
    if len(markdown.encode()) <= LARGEST_BYTES:
        return markdown
    return re.sub(r"!\[([^\]]*)\]\(data:[^)]*\)", r"*(picture too large to show here: \1)*", markdown)
