"""Whether a pre-trained encoder is better than its start: a head on each, judged on the same patients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

from sqlalchemy import Engine

from db import metrics, snapshots
from db.engine import reading, writing
from db.metrics import Metric
from tasks.artifacts import publish_pretraining
from tasks.database import open_database
from tasks.ml.arrays import Floats
from tasks.ml.judging.comparison import Beside, beside, gain
from tasks.ml.network.encoder import EncoderSpec, encoder_sha, load_encoder, untrained_like
from tasks.ml.network.features import encode, last_linear
from tasks.ml.network.published import pretraining_facts
from tasks.ml.pretraining.gain import cross_fitted, in_first_half
from tasks.ml.pretraining.page import pretraining_page
from tasks.model_folders import pretrained_folder, pretraining_page_path, write_atomically
from tasks.progress import progress_bar
from tasks.settings.settings import ClassifierSettings, Settings
from tasks.step import step
from tasks.training.learning_data import Part, read_part, vectors_of
from tasks.training.train_body import Network, long_reports_of

POPULATION = "held out of pre-training"  # patients of the calibration split


@dataclass(frozen=True)
class Helped:
    """Macro F1 of a head on the frozen encoder and on its start; the gain with its 95 % interval."""

    f1_macro: float
    control_f1_macro: float
    gain: float
    gain_low: float | None
    gain_high: float | None
    judged_reports: int
    judged_patients: int


@step("compare with control", run_name="compare {name} with its start", retries=2)
def compare_with_control(run_id: int, classifier: str, snapshot_id: int, name: str) -> Helped:
    """Write whether a head on the frozen encoder answers better than on the encoder it started from."""
    settings = Settings.load()
    return compare(
        open_database(settings), settings, run_id, classifier, snapshot_id, name, datetime.now(UTC)
    )


def must_be_judgeable(engine: Engine, snapshot_id: int) -> None:
    """Raise UnfitData where `compare` would for want of patients: known before anything is learnt."""
    with reading(engine) as c:
        items = snapshots.items(c, snapshot_id)
    in_first_half([one.patient_key for one, split, _ in items if split == "calibration"])


def compare(
    engine: Engine,
    settings: Settings,
    run_id: int,
    classifier: str,
    snapshot_id: int,
    name: str,
    now: datetime,
) -> Helped:
    """On the calibration split of the snapshot, cross-fitted; the holdout is not looked at."""
    asked = settings.classifier(classifier)
    taught = read_part(engine, snapshot_id, "train", asked.labels).first(asked.training.max_train_reports)
    held = read_part(engine, snapshot_id, "calibration", asked.labels)
    folder = pretrained_folder(settings) / name
    facts = pretraining_facts(folder)
    made = load_encoder(EncoderSpec("folder", str(folder)), asked.labels, seed=settings.seed)
    start = EncoderSpec(**facts["config"]["start"])
    control = (
        untrained_like(made, settings.seed)
        if start.kind == "scratch"
        else load_encoder(start, asked.labels, seed=settings.seed)
    )
    ours, theirs = (
        _answers(engine, settings, asked, network, taught, held, now) for network in (made, control)
    )
    found = beside(ours, theirs, held.labels_idx, held.patients, len(asked.labels), settings.seed, gain)
    with writing(engine) as c:
        metrics.put(c, run_id, None, _rows(facts, found, len(held.ids)), now)
    for ending, content in pretraining_page(classifier, name, facts, found, held.patients).items():
        write_atomically(pretraining_page_path(settings, name, ending), content.encode())
        if ending == "md":
            publish_pretraining(run_id, classifier, content)
    return Helped(
        found.f1_macro,
        found.other_f1_macro,
        found.figure,
        found.low,
        found.high,
        len(held.ids),
        len(set(held.patients)),
    )


def _answers(
    engine: Engine,
    settings: Settings,
    asked: ClassifierSettings,
    network: Network,
    taught: Part,
    held: Part,
    now: datetime,
) -> Floats:
    """(held reports, labels) by a head on the frozen network; its vectors stay stored."""
    window, stride = asked.training.window_tokens, asked.training.stride_tokens
    longer = long_reports_of(asked)
    sha = encoder_sha(*network, window, stride, longer)
    read = partial(
        encode,
        *network,
        window_tokens=window,
        stride_tokens=stride,
        batch_tokens=settings.scoring.batch_tokens,
        long_reports=longer,
    )
    with progress_bar("encoding the training set") as progress:
        known, asking = (
            vectors_of(engine, part, sha, read, now, progress).vectors for part in (taught, held)
        )
    return cross_fitted(
        known,
        taught.labels_idx,
        len(asked.labels),
        asking,
        held.labels_idx,
        held.patients,
        seed=settings.seed,
        bias=last_linear(network[0])[1].bias is not None,
    )


def _rows(facts: Mapping[str, Any], found: Beside, reports: int) -> list[Metric]:
    """Every figure, and the loss curve: its points are slices such as step=40."""
    before, after = facts["exam"]["before"], facts["exam"]["after"]
    figures = (
        ("control", "perplexity", before["perplexity"], None, None, before["asked"]),
        ("pretrained", "perplexity", after["perplexity"], None, None, after["asked"]),
        ("control", "f1_macro", found.other_f1_macro, None, None, reports),
        ("pretrained", "f1_macro", found.f1_macro, None, None, reports),
        ("pretrained", "f1_macro_gain", found.figure, found.low, found.high, reports),
    )
    read = facts["read"]["reports"]
    return [
        *(Metric(subject, POPULATION, "all", *figure) for subject, *figure in figures),
        *(
            Metric("pretrained", "training", f"step={step}", "masked_loss", loss, None, None, read)
            for step, loss in facts["losses"]
        ),
    ]
