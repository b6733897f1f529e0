"""Is promotion earned? Sequences of 200 nights whose true quality is known, judged by the rules of laudos.

    python -m benchmarks.promotion                    everything: ten minutes on one core
    python -m benchmarks.promotion --sequences 20     a quick look

Every night a challenger is compared, by the functions that the nightly job calls, on one holdout of 1,000
patients with one report each, 30 % of the critical label. Simulated are outcomes, not texts: how hard a
report is, is common to all models, so that they err together; a part of it they know, and are less sure.
What is counted as worse or better is the true macro F1: it follows from how often each label is read rightly.

The rule without its protections stands beside it: every look at 5 %, and no reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
from scipy.special import expit, logit
from scipy.stats import norm

from benchmarks.record import Figure, add
from tasks.ml.arrays import Floats
from tasks.ml.behaviour.gate import behaviour_reasons
from tasks.ml.behaviour.run import SuiteRun
from tasks.ml.behaviour.suite import Suite, load_suite
from tasks.ml.behaviour.suite_file import NEGATION
from tasks.ml.judging.comparison import Measured, compared, measured
from tasks.ml.judging.looks import error_of
from tasks.ml.judging.measures import Sample
from tasks.ml.judging.resampling import patient_weights, wilson
from tasks.ml.judging.rules import Rules

COMMAND = "python -m benchmarks.promotion"
SEQUENCES = 200
NIGHTS = 200
TRIES = 10  # nights in which an improvement should get through
PATIENTS = 1000
CRITICAL_SHARE = 0.3
SEEN, UNSEEN = 0.3, 0.5  # of the variance of how hard a report is, what every model knows and what none does
LABELS = ("benigno", "maligno")
NOISE = 0.005  # sd of true accuracy from one training to the next
STEP = 0.005  # of the small steps down: each far within the margin

# far fewer draws than the product's, for the time it takes: ends then come from the draws' spread alone
RULES = Rules(n_boot=200)

EXPECTED = {
    "false_promotion_share": ".01 to .03: looks at the same patients fail together",
    "false_promotion_share_unprotected": ".5 or more",
    "no_creep_share": "1.0",
    "no_creep_share_small_steps": ".95 or more",
    "no_creep_share_small_steps_unprotected": "0",
    "regressions_refused_share": ".97, one class 5 points worse",
    "improvements_accepted_share": ".95",
}


@dataclass(frozen=True)
class Quality:
    """How often a model is right in each label, and what is wrong with it besides."""

    benign: float = 0.93
    malignant: float = 0.90
    sharpness: float = 1.0  # its log odds are this much too large
    broken_share: float = 0.0  # of the patients, those of an institution that it reads by chance

    def by(self, points: float) -> Quality:
        return replace(self, benign=self.benign + points, malignant=self.malignant + points)

    @property
    def macro_f1(self) -> float:
        """True, over all patients there could be."""
        positive, negative = CRITICAL_SHARE * self.malignant, (1 - CRITICAL_SHARE) * self.benign
        missed, alarms = CRITICAL_SHARE - positive, 1 - CRITICAL_SHARE - negative
        f1 = [2 * hit / (2 * hit + missed + alarms) for hit in (positive, negative)]
        return sum(f1) / 2


START = Quality()


class Holdout:
    """Patients that every model of a sequence is measured on, and the draws that all are compared under."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth = (self.rng.random(PATIENTS) < CRITICAL_SHARE).astype(np.int64)
        self.seen, self.unseen = self.rng.normal(size=(2, PATIENTS)) * np.sqrt([[SEEN], [UNSEEN]])
        self.names = [str(number) for number in range(PATIENTS)]
        self.draws: list[Floats] = list(patient_weights(PATIENTS, PATIENTS, RULES.n_boot, seed))
        self.given = self.sample(START)

    def sample(self, quality: Quality) -> Sample:
        """One training of such a model: what it says of every patient."""
        right_often = np.where(self.truth == 1, quality.malignant, quality.benign)
        broken = np.arange(PATIENTS) < quality.broken_share * PATIENTS
        right_often = np.where(broken, 0.5, right_often)
        # given how hard the report is; on average over reports it is right as often as it should be
        known = norm.ppf(right_often) - self.seen
        right = self.rng.random(PATIENTS) < norm.cdf((known - self.unseen) / np.sqrt(1 - SEEN - UNSEEN))
        chance = norm.cdf(known / np.sqrt(1 - SEEN))
        sure = expit(quality.sharpness * logit(np.clip(chance, 0.501, 0.999)))
        said = np.where(right, self.truth, 1 - self.truth)
        probabilities = np.where(np.arange(2) == said[:, None], sure[:, None], 1 - sure[:, None])
        return Sample.of(probabilities, self.truth, self.names, 2)

    def measure(self, quality: Quality) -> Measured:
        return measured(self.sample(quality), self.draws)


@dataclass
class Chain:
    """The nights of one classifier: who answers, what it truly is, and what it is compared with."""

    holdout: Holdout
    protected: bool = True

    def __post_init__(self) -> None:
        self.quality = START
        self.champion = self.reference = self.holdout.measure(START)
        self.looks = 0

    def night(self, quality: Quality) -> bool:
        """Whether a challenger of this true quality was promoted."""
        self.looks += 1
        error = error_of(self.looks, RULES.error) if self.protected else 0.05
        ours = self.holdout.measure(quality)
        against = [self.champion]
        if self.protected and self.reference is not self.champion:
            against.append(self.reference)
        reasons = [
            reason
            for other in against
            for reason in compared("it", ours, other, self.holdout.given, LABELS, RULES, error)
        ]
        promoted = all(reason.passed for reason in reasons)
        if promoted:
            self.champion, self.quality = ours, quality
        return promoted


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sequences", type=int, default=SEQUENCES)
    sequences = parser.parse_args(arguments).sequences
    figures: dict[str, Figure] = {}
    for name, shares in counted(sequences):
        low, high = wilson(float(np.mean(shares)), len(shares))
        figures[name] = Figure(
            float(np.mean(shares)), "share", low, high, len(shares), expected=EXPECTED.get(name, "")
        )
        print(f"{name:48} {figures[name].value:7.3f} ({low:.3f} to {high:.3f}, {len(shares)})", flush=True)
    kinds = [name for name in figures if name.startswith("refused_")]
    worst = min(kinds, key=lambda name: figures[name].value)
    figures["regressions_refused_share"] = replace(
        figures[worst], expected=EXPECTED["regressions_refused_share"]
    )
    print(f"{'regressions_refused_share':48} {figures[worst].value:7.3f} ({worst})")
    figures["holdout_patients"] = Figure(PATIENTS, "patients")
    add("promotion", COMMAND, figures)


def counted(sequences: int) -> Iterator[tuple[str, list[bool]]]:
    seeds = range(sequences)
    for suffix, protected in (("", True), ("_unprotected", False)):
        yield f"false_promotion_share{suffix}", [worse_gets_through(seed, protected) for seed in seeds]
        yield f"no_creep_share{suffix}", [stays(seed, protected, step=0.0) for seed in seeds]
        yield f"no_creep_share_small_steps{suffix}", [stays(seed, protected, step=STEP) for seed in seeds]
    yield "improvements_accepted_share", [better_gets_through(seed) for seed in seeds]
    for kind, quality in regressions().items():
        yield f"refused_{kind}", [not Chain(Holdout(seed)).night(quality) for seed in range(2 * sequences)]
    suite = load_suite("paaf")
    yield "refused_negation_lost", [negation_lost_is_refused(suite, seed) for seed in range(2 * sequences)]


def worse_by_the_margin() -> Quality:
    """As little worse in every label as makes the true macro F1 worse by the margin."""
    points = np.linspace(0, 0.05, 5001)
    lost = np.array([START.macro_f1 - START.by(-float(one)).macro_f1 for one in points])
    return START.by(-float(points[np.searchsorted(lost, RULES.margin)]))


def worse_gets_through(seed: int, protected: bool) -> bool:
    """Any of 200 challengers that are truly worse by the margin."""
    chain, quality = Chain(Holdout(seed), protected), worse_by_the_margin()
    return any(chain.night(quality) for _ in range(NIGHTS))


def stays(seed: int, protected: bool, *, step: float) -> bool:
    """After 200 challengers, each a step below the champion, whether the true quality is within the margin.

    Without a step they equal what there was at the start; no two trainings come out quite alike.
    """
    chain = Chain(Holdout(seed), protected)
    for _ in range(NIGHTS):
        noise = float(chain.holdout.rng.normal(scale=NOISE))
        chain.night(chain.quality.by(-step) if step else START.by(noise))
    return chain.quality.macro_f1 >= START.macro_f1 - RULES.margin


def better_gets_through(seed: int) -> bool:
    """A gain of two points in every label, tried anew every night."""
    chain = Chain(Holdout(seed))
    return any(islice((chain.night(START.by(0.02)) for _ in range(TRIES)), TRIES))


def regressions() -> dict[str, Quality]:
    return {
        "one_class_5_points_worse": replace(START, malignant=START.malignant - 0.05),
        "one_institution_in_five_broken": replace(START, broken_share=0.2),
        "calibration_broken": replace(START, sharpness=4.0),
        "labels_shuffled": replace(START, benign=0.5, malignant=0.5),
    }


def negation_lost_is_refused(suite: Suite, seed: int) -> bool:
    """A champion right on four pairs in five; of those on negation the challenger gets two in five right."""
    rng, nothing = np.random.default_rng(seed), np.zeros(len(suite.pairs))
    of_negation = np.array([pair.kind == NEGATION for pair in suite.pairs])
    right = rng.random(len(suite.pairs)) < 0.8
    lost = np.where(of_negation, rng.random(len(suite.pairs)) < 0.4, right)
    runs = [SuiteRun(suite, nothing, nothing, one) for one in (lost, right)]
    return not all(reason.passed for reason in behaviour_reasons(*runs, RULES))


if __name__ == "__main__":
    main()
