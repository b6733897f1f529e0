"""What synthetic reports teach: does a model read words, and institutions, that it never saw?

    python -m benchmarks.synthesis               everything: eight hours on two cores, resumable
    python -m benchmarks.synthesis --seeds 1     a quick look
    python -m benchmarks.synthesis --only grammar --only speed

**Phrase hold-out**: train on one half of the phrases of every level of every finding, ask about other rows
in the other half. Halves differ in whole phrases, so in construction and words; halves of single
realisations, which share most words, are read beside it. **Institution hold-out**: each institution in turn
is asked about and never taught. **In grammar**: the same trials' rows in words that were taught. Each seed
has a split of the rows of its own. Beside ours always TF-IDF on words and on characters, and logistic
regression on the measurements. Intervals are over rows: a draw weighs a row alike in all trials.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from os import cpu_count

import numpy as np

from benchmarks.carryover import EXAM, SHIPPED, Asked, Trial, run
from benchmarks.cues import KNOWN_WORDS
from benchmarks.record import Figure, add, tell
from tasks.ml.arrays import Floats
from tasks.ml.behaviour.run import SuiteRun, headline
from tasks.ml.behaviour.suite import load_suite
from tasks.ml.judging.ranking import ranked_areas
from tasks.ml.judging.resampling import interval
from tasks.ml.network.encoder import EncoderSpec
from tasks.ml.synthesis.exams import exams, generator
from tasks.ml.synthesis.variety import distinct_clauses, shared_phrases
from tasks.ml.synthesis.wording import Wording

COMMAND = "python -m benchmarks.synthesis"
SEEDS = 5
DRAWS = 500
BINS = 10  # of the expected calibration error
SHARES = (0.1, 0.25, 0.5, 1.0)  # of the phrases, for the curve of grammar size

# written down before the first run
EXPECTED = {
    "paaf_clauses": "15,000: three files of 850 phrases, each with 6 wordings",
    "mammography_clauses": "60,000: sizes and sides multiply",
    "reports_per_s": "6,000 to 10,000",
    "memory_1m_over_100k": "1.0: nothing is kept",
    "phrase_holdout_auroc": ".94 to .97, of .98 in the grammar",
    "phrase_holdout_lead_over_char_tfidf": "0 to .01",
    "realisation_holdout_auroc": ".97 to .98, as in the grammar",
    "institution_holdout_auroc_min": ".92 to .96",
    "row_auroc_gap_to_measurements": "0 to .005",
    "phrase_holdout_ece": ".03 to .06",
    "phrase_holdout_ece_if_calibrated": ".07 of one seed, .03 of five: each seed asks about 88 rows",
    "direction_in_known_words": ".9 to .95, after a look at seed 1",
    "unseen_negation_share": ".6 to .66: a network from scratch has never read half of those words",
    "invariance_share": ".985 to .995, after a look at seed 1",
    "direction_share": ".78 to .83, after a look at seed 1",
}


def halves(seed: int) -> Trial:
    return Trial(seed, Wording(half=0, seed=seed), Wording(half=1, seed=seed))


def realisations(seed: int) -> Trial:
    return Trial(
        seed,
        Wording(half=0, unit="realisation", seed=seed),
        Wording(half=1, unit="realisation", seed=seed),
    )


def without(institution: str, seed: int) -> Trial:
    others = tuple(name for name in institutions() if name != institution)
    return Trial(seed, Wording(institutions=others), Wording(institutions=(institution,)))


def institutions() -> list[str]:
    return list(generator(EXAM).grammar.languages)


def main(arguments: Sequence[str] | None = None) -> None:
    parts: dict[str, Callable[[int, int], dict[str, Figure]]] = {
        "grammar": lambda _s, _w: grammar(),
        "speed": lambda _s, _w: speed(),
        "carryover": carryover,
        "beside": beside,
        "whole_windows": whole_windows,
        "size": size,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=cpu_count() or 1)
    parser.add_argument("--only", action="append", choices=list(parts))
    asked = parser.parse_args(arguments)
    for part in asked.only or parts:
        figures = parts[part](asked.seeds, asked.workers)
        tell(figures)
        add("synthesis", COMMAND, figures)


# --- how much there is to say, and how fast it is said


def grammar() -> dict[str, Figure]:
    figures = {}
    for exam in exams():
        found = generator(exam).grammar
        figures |= {
            f"{exam}_clauses": _told(f"{exam}_clauses", distinct_clauses(found), "distinct realisations"),
            f"{exam}_phrases": Figure(sum(map(len, found.clauses.values())), "phrases"),
            f"{exam}_institutions": Figure(len(found.languages), "institutions"),
            f"{exam}_shared_4_grams": Figure(len(shared_phrases(found)), "runs of four words", expected="0"),
        }
    return figures


def speed() -> dict[str, Figure]:
    """Reports a second of one core, and the peak of memory at a million over that at 100,000."""
    rates, peaks = [], {}
    for reports in (100_000, 100_000, 100_000, 1_000_000):
        program = [sys.executable, "-m", "benchmarks.synthesis_stream", str(reports)]
        told = subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()
        rates.append(float(told[0]))
        peaks[reports] = float(told[1])
    return {
        "reports_per_s": _told(
            "reports_per_s", float(np.median(rates)), "reports/s", min(rates), max(rates), len(rates)
        ),
        "memory_1m_over_100k": _told("memory_1m_over_100k", peaks[1_000_000] / peaks[100_000], "ratio"),
    }


# --- what carries over


def carryover(seeds: int, workers: int, encoder: EncoderSpec = SHIPPED) -> dict[str, Figure]:
    conditions: dict[str, list[Trial]] = {
        "phrase_holdout": [halves(seed) for seed in range(seeds)],
        "everything": [Trial(seed) for seed in range(seeds)],
    }
    conditions |= {
        f"institution_holdout_{name}": [without(name, seed) for seed in range(seeds)]
        for name in institutions()
    }
    conditions = {
        name: [replace(trial, encoder=encoder) for trial in trials] for name, trials in conditions.items()
    }
    found = ran(conditions, workers)
    figures: dict[str, Figure] = {}
    for condition in conditions:
        figures |= aurocs(condition, found[condition])
    held_out = [figures[name] for name in figures if _is_held_out_institution(name)]
    worst = min(held_out, key=lambda figure: figure.value)
    figures["institution_holdout_auroc_min"] = _told(
        "institution_holdout_auroc_min", worst.value, "AUROC per report", worst.low, worst.high, worst.n
    )
    figures |= behaviour(found["everything"])
    phrase = found["phrase_holdout"]
    figures["phrase_holdout_lead_over_char_tfidf"] = over_rows(
        "phrase_holdout_lead_over_char_tfidf",
        phrase,
        lambda one, w: _auroc(one, "ours", w) - _auroc(one, "tfidf_char", w),
    )
    figures["phrase_holdout_ece"] = over_rows("phrase_holdout_ece", [_pooled(phrase)], _ece)
    figures["phrase_holdout_ece_if_calibrated"] = if_calibrated(_pooled(phrase), len(phrase))
    figures["row_auroc_gap_to_measurements"] = over_rows(
        "row_auroc_gap_to_measurements",
        found["everything"],
        lambda one, w: _row_auroc(one, "measurements", w) - _row_auroc(one, "ours", w),
    )
    return figures


def beside(seeds: int, workers: int) -> dict[str, Figure]:
    """Phrase hold-out without lessons, and halves of single realisations, which share most words."""
    conditions = {
        "phrase_holdout_without_lessons": [
            replace(halves(seed), encoder=EncoderSpec(), lessons=0, lever="") for seed in range(seeds)
        ],
        "realisation_holdout": [realisations(seed) for seed in range(seeds)],
    }
    found = ran(conditions, workers)
    figures: dict[str, Figure] = {}
    for condition in conditions:
        figures |= aurocs(condition, found[condition])
    return figures


def whole_windows(seeds: int, workers: int) -> dict[str, Figure]:
    """The trials of `carryover` by networks whose tokens see their whole window, not their sentence alone."""
    found = carryover(seeds, workers, encoder=EncoderSpec())
    return {
        f"whole_windows_{name}": replace(figure, expected="")
        for name, figure in found.items()
        if not any(other in name for other in ("tfidf", "measurements", "calibrated"))
    }


def behaviour(trials: Sequence[Asked]) -> dict[str, Figure]:
    """Of the suite's pairs, the share that models taught all words get right: mean and range over seeds."""
    suite = load_suite(EXAM)
    unseen = np.array([pair.seen is False for pair in suite.pairs])
    half_known = np.array([(pair.cue or "").startswith(KNOWN_WORDS) for pair in suite.pairs])
    parts = {
        "direction_in_known_words": ~unseen & [pair.effect != "same" for pair in suite.pairs],
        "unseen_negation_beside_a_known_word": unseen & half_known,
        "unseen_negation_by_one_unknown_word": unseen & ~half_known,
    }
    nothing = np.zeros(len(suite.pairs))
    shares: dict[str, list[float]] = {}
    for trial in trials:
        alone = headline(SuiteRun(suite, nothing, nothing, trial.right["network"]))
        for name, share in alone.items():
            shares.setdefault(f"network_{name}", []).append(share)
        one = SuiteRun(suite, nothing, nothing, trial.right["ours"])
        for name, share in headline(one).items():
            shares.setdefault(name, []).append(share)
        for kind, found in one.shares.items():
            shares.setdefault(f"behaviour_{kind.removeprefix('kind=')}", []).append(found.value)
        for name, chosen in parts.items():
            shares.setdefault(name, []).append(float(one.right[chosen].mean()))
    return {
        name: _told(name, float(np.mean(some)), "share", min(some), max(some), len(some))
        for name, some in shares.items()
    }


def size(seeds: int, workers: int) -> dict[str, Figure]:
    """What more writing buys: phrase hold-out against the share of the phrases and institutions taught."""
    conditions: dict[str, list[Trial]] = {}
    names = institutions()
    for share in SHARES:
        conditions[f"phrases_{share:g}"] = [
            Trial(seed, Wording(half=0, share=share, seed=seed), Wording(half=1, seed=seed))
            for seed in range(seeds)
        ]
    for count in range(1, len(names)):
        some = {seed: tuple(names[(seed + n) % len(names)] for n in range(count)) for seed in range(seeds)}
        conditions[f"institutions_{count}"] = [
            Trial(seed, Wording(some[seed], half=0, seed=seed), Wording(half=1, seed=seed))
            for seed in range(seeds)
        ]
    found = ran(conditions, workers)
    return {
        f"size_{name}_auroc{'' if model == 'ours' else '_' + model}": over_rows(
            "",
            trials,
            lambda one, w, model=model: _auroc(one, model, w),  # type: ignore[misc]
        )
        for name, trials in found.items()
        for model in ("ours", "tfidf_char")
    }


def ran(conditions: dict[str, list[Trial]], workers: int) -> dict[str, list[Asked]]:
    """Every trial, side by side where there is room; the progress on the terminal."""
    trials = [trial for some in conditions.values() for trial in some]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_one_thread) as pool:
        results = {}
        for trial, asked in zip(trials, pool.map(run, trials), strict=True):
            results[trial.key] = asked
            print(f"  {len(results)} of {len(trials)} trials", end="\r", file=sys.stderr, flush=True)
    return {name: [results[trial.key] for trial in some] for name, some in conditions.items()}


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def aurocs(condition: str, trials: Sequence[Asked]) -> dict[str, Figure]:
    """Per report of every model, and of ours per row and on rows in words that were taught."""
    figures = {}
    models = ("ours", "network", "tfidf_word", "tfidf_char")
    for model in (*models, "ours_in_grammar", "network_in_grammar", "tfidf_char_in_grammar"):
        name = f"{condition}_auroc{'' if model == 'ours' else '_' + model}"
        figures[name] = over_rows(name, trials, lambda one, w, model=model: _auroc(one, model, w))  # type: ignore[misc]
    for model in ("ours", "measurements"):
        name = f"{condition}_row_auroc{'' if model == 'ours' else '_' + model}"
        figures[name] = over_rows(name, trials, lambda one, w, model=model: _row_auroc(one, model, w))  # type: ignore[misc]
    return figures


# --- figures over rows


def over_rows(name: str, trials: Sequence[Asked], figure: Callable[[Asked, Floats], Floats]) -> Figure:
    """The mean over trials, and its 95 % interval over draws of rows, each row drawn alike in all trials.

    `figure(trial, weights)`: (draws,) of (draws, reports) weights.
    """
    rows = sorted({row for trial in trials for row in trial.rows})
    place = {row: at for at, row in enumerate(rows)}
    rng = np.random.default_rng(0)
    drawn = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=DRAWS)
    weights = np.concatenate([np.ones((1, len(rows))), drawn])
    values = np.mean([figure(one, weights[:, [place[row] for row in one.rows]]) for one in trials], axis=0)
    low, high = interval(values[1:]) or (None, None)
    return _told(name, float(values[0]), "mean over seeds", low, high, len(trials))


def _auroc(one: Asked, model: str, weights: Floats) -> Floats:
    return ranked_areas(one.scores[model], one.critical, weights)[0]


def _row_auroc(one: Asked, model: str, weights: Floats) -> Floats:
    """On the mean score of a row's reports."""
    _, first, which = np.unique(one.rows, return_index=True, return_inverse=True)
    means = np.bincount(which, one.scores[model]) / np.bincount(which)
    return ranked_areas(means, one.critical[first], weights[:, first])[0]


def _ece(one: Asked, weights: Floats) -> Floats:
    """Expected calibration error of P(critical), in bins of equal width (Guo et al. 2017)."""
    scores = one.scores["ours"]
    bins = np.minimum((scores * BINS).astype(int), BINS - 1)
    gaps = [weights[:, bins == at] @ (one.critical - scores)[bins == at] for at in range(BINS)]
    return np.asarray(np.abs(gaps).sum(axis=0) / weights.sum(axis=1))


def if_calibrated(one: Asked, seeds: int) -> Figure:
    """The error that these very probabilities would show if they were right: labels of rows drawn from them.

    All reports of a row share its label, so that few rows leave an error where there is none.
    """
    rows, which = np.unique(one.rows, return_inverse=True)
    likely = np.bincount(which, one.scores["ours"]) / np.bincount(which)
    rng, everything = np.random.default_rng(0), np.ones((1, len(one.rows)))
    errors = [
        float(_ece(replace(one, critical=(rng.random(len(rows)) < likely)[which]), everything)[0])
        for _ in range(DRAWS)
    ]
    low, high = (float(end) for end in np.quantile(errors, (0.025, 0.975)))
    return _told(
        "phrase_holdout_ece_if_calibrated", float(np.mean(errors)), f"mean of {DRAWS} draws", low, high, seeds
    )


def _pooled(trials: Sequence[Asked]) -> Asked:
    """All trials as one: a calibration error of few reports is mostly the noise of its bins."""
    return Asked(
        np.concatenate([one.critical for one in trials]),
        [row for one in trials for row in one.rows],
        {"ours": np.concatenate([one.scores["ours"] for one in trials])},
        trials[0].right,
    )


def _is_held_out_institution(name: str) -> bool:
    return name in {f"institution_holdout_{one}_auroc" for one in institutions()}


def _told(
    name: str,
    value: float,
    unit: str,
    low: float | None = None,
    high: float | None = None,
    n: int | None = None,
) -> Figure:
    return Figure(value, unit, low, high, n, EXPECTED.get(name, ""))


if __name__ == "__main__":
    main()
