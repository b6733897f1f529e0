"""The behaviour suite of a classifier, and a model tried on it. No vector of a suite's text is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from db.metrics import Metric
from db.models import Model
from tasks.ml.arrays import Floats
from tasks.ml.behaviour.run import SuiteRun, run_suite
from tasks.ml.behaviour.suite import Suite, load_suite, shipped
from tasks.model_folders import folder_of
from tasks.settings.settings import ClassifierSettings, Settings

POPULATION = "behaviour"
AGAINST_FINDINGS = "conclusion_against_findings"  # the kind of pair


def suite_of(asked: ClassifierSettings) -> Suite | None:
    """The classifier's suite: the one it names, else that of the exam it learns from; None: it has none.

    Without the pairs on conclusions that findings do not bear out, where it learns from conclusions.
    """
    exam = asked.synthetic.exam
    usual = exam if "synthetic" in asked.training_labels and exam in shipped() else "none"
    name = asked.behaviour or usual
    if name == "none":
        return None
    suite = load_suite(name)
    if "synthetic" in asked.training_labels and asked.synthetic.mode == "full":
        # there a conclusion is part of what is taught, and a model is right to be moved by it
        suite = replace(suite, pairs=tuple(pair for pair in suite.pairs if pair.kind != AGAINST_FINDINGS))
    return suite


def run_of(settings: Settings, model: Model, suite: Suite) -> SuiteRun:
    """The model on every pair. Raises BrokenArtifact where its folder is not what was published."""
    from tasks.ml.network.predictor import Predictor  # torch comes with it: not for who asks for the suite

    predictor = Predictor.load(folder_of(settings, model), model.manifest_sha)

    def probabilities(texts: Sequence[str]) -> Floats:
        read = predictor.vectors(texts, batch_tokens=settings.scoring.batch_tokens)
        return predictor.probabilities(read.vectors)

    return run_suite(suite, probabilities, predictor.labels, model.config["critical"])


def figures_of(run: SuiteRun) -> list[Metric]:
    """One figure for each part of the suite: the share right."""
    return [
        Metric("model", POPULATION, part, "right", share.value, *share.interval, share.pairs)
        for part, share in run.shares.items()
    ]
