"""The model of torture is the real one in all but its network."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.ml.errors import BrokenArtifact
from tasks.ml.network.predictor import Predictor
from tasks.torture.standin import StandIn
from tests.scoring.hospital import Hospital, text_of


def test_it_answers_the_same_whatever_stands_beside_a_text(hospital: Hospital) -> None:
    folder = hospital.folder_of(hospital.crown())
    model = StandIn.load(folder)
    texts = [text_of(number) for number in range(200)]
    alone, together = model.vectors(texts[150:151]), model.vectors(texts)
    assert (alone.vectors == together.vectors[150:151]).all()
    said = model.predict(texts)
    assert said == StandIn.load(folder).predict(texts)
    assert {one.label for one in said} == set(model.labels)
    assert together.vectors.shape == (200, Predictor.load(folder).hidden)


def test_it_is_held_against_its_manifest_and_bears_its_encoder(hospital: Hospital) -> None:
    folder = hospital.folder_of(hospital.crown())
    assert StandIn.load(folder).encoder_sha == Predictor.load(folder).encoder_sha
    (folder / "config.json").write_text(str(datetime.now(UTC)))
    with pytest.raises(BrokenArtifact):
        StandIn.load(folder)
