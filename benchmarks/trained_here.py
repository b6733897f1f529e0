"""A model made as the demo makes one, but without lessons, and reports of specimens that it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.demo.demo import RESERVED_SHARE
from tasks.ml.network.artifact import LaudosJson, publish
from tasks.ml.network.conformal import fit_thresholds
from tasks.ml.network.encoder import EncoderSpec, encoder_sha, make_scratch
from tasks.ml.network.familiarity import Familiarity, fit_limit, known_pairs
from tasks.ml.network.features import Encoded, encode
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.network.predictor import Predictor
from tasks.ml.splits import is_reserved, split_of
from tasks.ml.synthesis.exams import Row, generator
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.training.training import BodyTraining, train_body

EXAM, LABELS, CRITICAL = "paaf", ("benigno", "maligno"), "maligno"
ERRORS = (0.05, 0.02)  # the defaults: review_error, and critical_review_error
REPORTS_PER_ROW, EPOCHS = 16, 4.0  # no lessons: what reads a model twenty times must not take an hour
ASKED_PER_ROW = 8
STRIDE_TOKENS = 64


@dataclass(frozen=True, eq=False)
class Reports:
    """Reports with their label's number, the specimen each was written from, and its id."""

    texts: list[str]
    truth: NDArray[np.int64]
    rows: list[str]
    ids: tuple[str, ...] = ()


def written(
    split: str, reports_per_row: int, rows: int | None = None, wording: Wording = EVERYTHING
) -> Reports:
    """Reports of a split's specimens, the first `rows` of them; "asked" is all that no training reads."""
    chosen = [row for row in generator(EXAM).rows() if _split_of(row) == split][:rows]
    made = list(
        synthesize(
            EXAM,
            mode="findings",
            reports_per_row=reports_per_row,
            seed=("train", "calibration", "asked").index(split),
            rows=chosen,
            reserved_share=RESERVED_SHARE,
            wording=wording,
        )
    )
    truth = np.array([LABELS.index(one.label) for one in made], np.int64)
    rows_of, ids = [one.row_key for one in made], tuple(one.external_id for one in made)
    return Reports([one.text for one in made], truth, rows_of, ids)


def model_like_the_demos(folder: Path, rows: int | None = None, wording: Wording = EVERYTHING) -> Predictor:
    """Trained, fitted and published into `folder` as a retraining does it, and loaded from there."""
    taught, calibration = (
        written(split, REPORTS_PER_ROW, rows, wording) for split in ("train", "calibration")
    )
    config = BodyTraining(epochs=EPOCHS, stride_tokens=STRIDE_TOKENS)
    model, tokenizer = make_scratch(taught.texts, LABELS, EncoderSpec(), 0, patients=taught.rows)
    train_body(
        model, tokenizer, taught.texts, taught.truth,
        config=config, checkpoint_folder=folder / "checkpoints", seed=0,
    )  # fmt: skip

    def read(texts: Sequence[str]) -> Encoded:
        return encode(
            model, tokenizer, texts,
            window_tokens=config.window_tokens, stride_tokens=config.stride_tokens,
        )  # fmt: skip

    held = read(calibration.texts)
    head = fit_head(read(taught.texts).vectors, taught.truth, len(LABELS), held.vectors, calibration.truth)
    known = known_pairs(taught.texts, taught.rows)
    facts = LaudosJson(
        classifier="malignidade",
        labels=LABELS,
        critical=CRITICAL,
        window_tokens=config.window_tokens,
        stride_tokens=config.stride_tokens,
        encoder_sha=encoder_sha(model, tokenizer, config.window_tokens, config.stride_tokens),
        snapshot_sha="0" * 64,
        seed=0,
        created_at=datetime.now(UTC),
        thresholds=fit_thresholds(probabilities(head, held.vectors), calibration.truth, ERRORS),
        temperature=head.temperature,
    )
    familiarity = Familiarity(known, fit_limit(known, held.sketches))
    made = publish(folder / "models", "demo", model, tokenizer, head, facts, familiarity)
    return Predictor.load(made.path, made.manifest_sha)


def _split_of(row: Row) -> str:
    split = "asked" if is_reserved(row.key, RESERVED_SHARE) else split_of(row.key)
    return "asked" if split == "holdout" else split
