"""What the champion finds hard in the synthetic set in force: what it gets wrong, or is unsure of."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from db import synthetic_sets
from db.engine import reading
from tasks.ml.network import encoder
from tasks.ml.network.conformal import decide
from tasks.ml.network.predictor import Predictor
from tasks.ml.splits import split_of
from tasks.model_folders import folder_of
from tasks.synthesis.renewal import hard_reports
from tasks.synthesis.synthesize import write_set
from tests.learning.retraining import alter, champion_of, model_of, retrain
from tests.learning.world import CLASSIFIER, World


def test_training_reports_that_the_champion_gets_wrong_or_shows_to_a_person_are_hard(
    world: World, reconfigured: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = reconfigured(
        world, training_labels=["synthetic"], synthetic={"reports_per_row": 2, "reserved_share": 0.87}
    )
    asked = learning.settings.classifier(CLASSIFIER)
    write_set(world.engine, world.run("synthesize"), CLASSIFIER, asked, 0, None, world.now)
    with reading(world.engine) as c:
        standing = synthetic_sets.standing(c, CLASSIFIER)
        reports = synthetic_sets.in_force(c, CLASSIFIER)
    assert standing is not None
    ask = (world.engine, world.settings, CLASSIFIER, standing, world.now)
    assert hard_reports(*ask) == []  # nobody answers yet
    world.add(range(100))
    champion = retrain(world).trained.model_id
    assert champion_of(world).model.id == champion
    taught = [one for one in reports if split_of(one.row_key) == "train"]
    predictor = Predictor.load(folder_of(world.settings, model_of(world, champion)))

    def sure(probabilities: Iterable[float]) -> bool:
        """By its own thresholds, whether or not a report is unlike those that taught it."""
        return decide([[*probabilities]], predictor.facts.thresholds) == ["auto"]

    expected = {
        one.external_id: answer.probabilities[one.label]
        for one, answer in zip(taught, predictor.predict([one.text for one in taught]), strict=True)
        if answer.label != one.label or not sure(answer.probabilities.values())
    }
    hard = {one.external_id: one.probability for one in hard_reports(*ask)}
    assert hard == pytest.approx(expected, abs=1e-4)
    assert 0 < len(hard) < len(reports)
    with monkeypatch.context() as upgraded:
        upgraded.setattr(encoder, "_computing", lambda config: {})
        assert hard_reports(*ask) == []  # what this version of transformers reads otherwise is not asked
    assert hard_reports(*ask)
    alter(world, champion)
    assert hard_reports(*ask) == []  # nor is what was altered
