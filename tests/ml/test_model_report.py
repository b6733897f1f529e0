"""The model report: whole, small, safe to show, and plain about what is not good."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from tasks.ml.judging.evaluation import Figure, evaluate
from tasks.ml.judging.promotion import judge
from tasks.ml.judging.rules import Rules
from tasks.ml.network.conformal import fit_thresholds
from tasks.ml.network.familiarity import Limit
from tasks.ml.pages import pictures
from tasks.ml.pages.document import as_markdown
from tasks.ml.pages.loss_curve import Learnt
from tasks.ml.pages.model_report import Count, ModelReport, ReportFacts, model_report
from tasks.ml.pages.report_figures import SUBJECTS, behaviour_blocks, figure_blocks
from tasks.ml.training.body_training import Ending

LARGEST_BYTES = 200_000  # beyond this Prefect's UI gets slow to open


def scores(truth: np.ndarray, labels: int, skill: float, seed: int) -> np.ndarray:
    logits = (
        np.random.default_rng(seed).normal(size=(len(truth), labels)) * 1.3 + skill * np.eye(labels)[truth]
    )
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def facts(
    labels: list[str], *, critical: str, absent: int | None = None, origin: str = "synthetic"
) -> ReportFacts:
    """600 holdout reports of 100 patients; character TF-IDF is better than the model."""
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(len(labels), size=100), 6)
    if absent is not None:
        truth[truth == absent] = 0
    patients = [f"p{report // 6}" for report in range(600)]
    skills = {"model": 3.2, "tfidf_word": 2.8, "tfidf_char": 4.5, "keyword_rule": 0.3}
    scored = {
        name: scores(truth, len(labels), skill, seed) for seed, (name, skill) in enumerate(skills.items())
    }
    scored["majority"] = np.tile(np.bincount(truth, minlength=len(labels)) / 600, (600, 1))
    verdict = judge(
        scored["model"], None, scored, truth, patients, labels, critical, Rules(n_boot=50), 0.8, seed=0
    )
    return ReportFacts(
        classifier="paaf",
        model_id=7,
        labels=labels,
        critical=critical,
        trained="head",
        encoder="scratch",
        snapshot_sha="ab" * 32,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
        counts=[
            Count(origin, label, split, 600, 100)
            for label in labels
            for split in ("train", "calibration", "holdout")
        ],
        figures={
            name: evaluate(probs, truth, patients, labels, critical, n_boot=50, seed=0)
            for name, probs in scored.items()
        },
        scored=scored,
        labels_idx=truth,
        thresholds=fit_thresholds(scored["model"], truth, [0.05] * len(labels)),
        decision="promoted" if verdict.promoted else "refused",
        reasons=verdict.reasons,
        learnt=[learnt("lessons"), learnt("training", kept_step=400, ended="early")],
    )


def learnt(stage: str, kept_step: int = 800, ended: Ending = "complete") -> Learnt:
    """800 of 1,000 steps, of which forty losses and eight looks at held-out reports are known."""
    steps = np.arange(20, 801, 20)
    noise = np.random.default_rng(1).normal(0, 0.02, len(steps))
    losses = [
        (int(step), float(loss)) for step, loss in zip(steps, np.exp(-steps / 300) + noise, strict=True)
    ]
    held = [(int(step), 0.5 + abs(int(step) - 400) / 2000) for step in steps[4::5]]
    return Learnt(stage, losses, held, 800, 800 if ended == "complete" else 1000, kept_step, ended)


TWO = ["benigno", "maligno"]


def figures_of(given: ReportFacts) -> str:
    """The part of the report with the tables of figures: no picture need be drawn for it."""
    return as_markdown(figure_blocks(given.figures, given.by_origin, given.labels, given.critical))


@pytest.fixture(scope="module")
def two_labels() -> ReportFacts:
    return facts(TWO, critical="maligno")


@pytest.fixture(scope="module")
def report(two_labels: ReportFacts) -> ModelReport:
    return model_report(two_labels)


@pytest.fixture(scope="module")
def report_of_32_labels() -> ModelReport:
    labels = [f"TCGA type {number}" for number in range(32)]
    return model_report(facts(labels, critical="TCGA type 3", absent=5, origin="source"))


def test_the_report_shows_figures_with_intervals_beside_every_baseline(report: ModelReport) -> None:
    rows = [line for line in report.markdown.splitlines() if line.startswith("| ")]
    shown = r"[01]\.\d{3} \([01]\.\d\d–[01]\.\d\d\)"
    for subject in ("this model", *(SUBJECTS[name] for name in ("tfidf_word", "tfidf_char", "keyword_rule"))):
        (row, _) = [row for row in rows if row.startswith(f"| {subject} |")]
        assert len(re.findall(shown, row)) >= 3, row
    assert "| maligno | synthetic | 600 (100) | 600 (100) | 600 (100) |" in rows


def test_who_goes_to_a_person_and_what_cannot_be_promised_is_told(two_labels: ReportFacts) -> None:
    foreign = np.arange(600) % 10 == 0
    few = fit_thresholds(two_labels.scored["model"][:30], two_labels.labels_idx[:30], [0.02, 0.02])
    limit = Limit(0.55, 0.02, 400)
    told = model_report(replace(two_labels, thresholds=few, familiarity=limit, unfamiliar=foreign)).markdown
    assert re.search(r"600 \(100\.0%\) go to a person: 540 because it is unsure, 60 because", told)
    assert told.count("are too few to promise 2.0% wrong sure answers") == 2
    assert "at most 2.0% of ordinary reports" in told
    before = model_report(two_labels).markdown  # of a folder that knows no familiarity
    assert ", 0 because they are unlike" in before
    assert "it was made before laudos told" in before


def test_how_the_network_learnt_and_why_it_ended_is_told(
    report: ModelReport, two_labels: ReportFacts
) -> None:
    assert "Lessons: all 800 steps were taken." in report.markdown
    assert (
        "Training: ended at step 800 of 1,000, because held-out reports grew no better; the weights of "
        "step 400 are kept, the best on held-out reports." in report.markdown
    )
    of_a_head = model_report(replace(two_labels, learnt=[])).markdown
    assert "How it learnt" not in of_a_head


def test_a_better_baseline_is_named_as_better(two_labels: ReportFacts) -> None:
    markdown = figures_of(two_labels)
    assert "TF-IDF, characters is better than this model: AUROC per report" in markdown
    assert "TF-IDF, words is better" not in markdown
    alone = {name: two_labels.figures[name] for name in ("model", "keyword_rule")}
    assert "No cheaper answer is better" in figures_of(replace(two_labels, figures=alone))


def test_a_model_of_synthetic_reports_says_that_it_is_no_clinical_validation(
    report: ModelReport, report_of_32_labels: ModelReport
) -> None:
    assert "no clinical validation" in report.markdown
    assert "no clinical validation" in report.html
    assert "no clinical validation" not in report_of_32_labels.markdown  # of labels from the source


def test_a_refusal_shows_each_rule_with_what_was_found_and_asked(two_labels: ReportFacts) -> None:
    first, *others = two_labels.reasons
    refused = replace(two_labels, decision="refused", reasons=[replace(first, passed=False), *others])
    markdown = model_report(refused).markdown
    assert "**Refused:" in markdown
    assert (
        "- ✗ NOT HELD: enough patients: the holdout holds 100 patients (600 reports); asked: at least 20"
        in markdown
    )
    assert "- ✓ held: better than majority" in markdown


def test_the_pages_are_small_and_need_nothing_beside_them(
    report: ModelReport, report_of_32_labels: ModelReport
) -> None:
    for given in (report, report_of_32_labels):
        assert len(given.markdown.encode()) < LARGEST_BYTES
        assert not re.search(r"(src|href)=\"(?!data:)", given.html)
        assert not re.search(r"https?://|<script", given.html)
        pngs = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)\)", given.markdown)
        assert len(pngs) == 7
        for png in pngs:
            data = base64.b64decode(png)
            assert len(data) < 40_000
            assert Image.open(io.BytesIO(data)).width >= 480


def test_a_label_the_holdout_lacks_is_said_to_be_unknown(report_of_32_labels: ModelReport) -> None:
    assert re.search(r"holds no report of .*TCGA type 5\b.*: nothing is known", report_of_32_labels.markdown)
    assert "| TCGA type 5 | 0 | not known |" in report_of_32_labels.markdown


def test_without_the_critical_label_there_are_no_curves_and_the_report_says_so() -> None:
    markdown = model_report(facts(TWO, critical="maligno", absent=1)).markdown
    assert "No curves: the holdout does not hold both maligno and others." in markdown


def test_a_label_that_looks_like_markup_stays_text() -> None:
    hostile = "<script>x</script>|*b*"
    report = model_report(facts(["benigno", hostile], critical=hostile))
    assert "<script>" not in report.html
    assert "<script>" not in report.markdown
    lines = [line for line in report.markdown.splitlines() if line.startswith("| \\<script")]
    assert lines
    assert all(re.search(r"(?<!\\)\|", line) for line in lines)


def test_figures_by_origin_are_shown_where_there_are_several(two_labels: ReportFacts) -> None:
    both = {"source": two_labels.figures["model"], "synthetic": two_labels.figures["tfidf_word"]}
    assert "truth said by" in figures_of(replace(two_labels, by_origin=both))
    assert "truth said by" not in figures_of(two_labels)


def test_the_behaviour_suite_is_told_part_by_part_where_there_is_one() -> None:
    parts = {"all": 0.9, "cues_unseen": 0.5, "kind=accents_lost": 1.0}
    tried = [
        Figure("right", part, share, share - 0.1, min(1, share + 0.1), 20) for part, share in parts.items()
    ]
    markdown = as_markdown(behaviour_blocks(tried))
    for row in (
        "| all pairs | 18 | 20 | 0.900 (0.80–1.00) |",
        "| negation, in words never taught | 10 | 20 | 0.500 (0.40–0.60) |",
        "| accents lost | 20 | 20 | 1.000 (0.90–1.00) |",
    ):
        assert row in markdown
    assert behaviour_blocks([]) == []


def test_the_same_figures_draw_the_same_bytes(two_labels: ReportFacts, report: ModelReport) -> None:
    assert model_report(two_labels) == report
    assert pictures.confusion([[1, 0], [0, 1]], TWO) != pictures.confusion([[0, 1], [1, 0]], TWO)
