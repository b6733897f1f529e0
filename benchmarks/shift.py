"""Where a whole night is another population: is the promise broken, is it seen, and what is it worth?

    python -m benchmarks.shift                       everything: some half an hour on one core
    python -m benchmarks.shift --rows 40 --splits 20 a quick look, recorded nowhere
    python -m benchmarks.shift --only tcga           one part

A scene is a calibration population and a night's. In each of 200 splits the patients are halved: one half's
ordinary reports set the limits of a class-conditional conformal classifier (and are the calibration side of
the test in tasks/ml/judging/shift.py), the other half's reports of the night are answered.

- **demo**: a model trained as the demo trains one, by the reports of all institutions but one; the night is
  honest reports of that one, of specimens that nobody saw.
- **tcga**: breast cancer or another by a head on a frozen MiniLM. The night is of the half of the tissue
  source sites that neither taught nor calibrated; or the longest third of the reports, the others
  calibrating; or the same reports with four times the share of breast cancer (`mix`), which breaks no promise
  that is made of each label and must not ring.

Of each scene: the worst of the labels' miss rates over the promise, answered as if nothing were (`_missed`),
with the refusal (a night that is refused has no sure answer, so none that is wrong), and with weighted
conformal limits (Tibshirani, Foygel Barber, Candes & Ramdas 2019, "Conformal prediction under covariate
shift") by the density ratio of the same kind of classifier, refused where the calibration reports of a label
are worth too few; how often the test rings; and the share of reports that goes to a person in each way.

**False alarms**: years of nights without a shift. In each year other patients calibrate, and every night is
drawn from the others: what is drawn again in another night is dependent, as a hospital's nights are.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from benchmarks.corpora import Rows, corpus, encoder_folder
from benchmarks.record import Figure, expecting, tell, write
from benchmarks.trained_here import ASKED_PER_ROW, ERRORS, EXAM, Reports, model_like_the_demos, written
from tasks.ml.arrays import Floats, Ints
from tasks.ml.judging.shift import PATIENTS_MAX, Population, compare
from tasks.ml.network.conformal import decide, fit_thresholds, prediction_sets, reports_needed
from tasks.ml.network.encoder import EncoderSpec, load_encoder
from tasks.ml.network.familiarity import fit_limit, known_pairs, scores, sketches_of
from tasks.ml.network.features import encode
from tasks.ml.network.head import fit_head, probabilities
from tasks.ml.network.predictor import Predictor
from tasks.ml.splits import unit_interval
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.wording import Wording

COMMAND = "python -m benchmarks.shift"
SPLITS, LEVEL = 200, 1e-4
YEARS, NIGHTS = 30, 365
TCGA_LABELS, TCGA_ERROR = ("BRCA", "other"), 0.05
TCGA_MIX = np.array([0.4, 0.6])  # one in ten is breast cancer
TAUGHT = 450  # rows of the training file
CHARACTERS = 1000  # of a TCGA report are read, for the time that encoding takes
FLOORS = (0.05, 0.01, 0.001, LEVEL)

# written down before the first run; that words are ranked beside vectors came after a first look, in which
# vectors alone did not tell one institution's reports from the others'
EXPECTED = {
    "demo_ditado_rings": ".8 to 1: three quarters of its reports are unfamiliar already",
    "demo_telegrafico_rings": ".7 to 1",
    "demo_universitario_rings": ".3 to .9: the nearest to the others",
    "tcga_sites_rings": ".5 to 1: sites write in their own form",
    "tcga_long_rings": ".9 to 1",
    "tcga_mix_rings": "0 to .02: the mix is allowed for",
    "tcga_mix_rings_without_weights": ".5 to 1: were it not",
    "demo_promises_broken": "3 of 6 or more",
    "demo_promises_broken_refused": "0",
    "false_alarms_a_night": "at most .0001",
    "false_alarms_a_night_at_level_0.01": ".002 to .01: Bonferroni over the halves is cautious",
    "seconds_a_test": ".02 to .2",
}


@dataclass(frozen=True, eq=False)
class Pool:
    """Reports that no training read, as the model sees them: (reports, hidden), (reports, labels)."""

    vectors: Floats
    probs: Floats
    truth: Ints
    patients: NDArray[np.str_]
    unknown: Floats  # (reports,) share of word pairs that no training report held
    unfamiliar: NDArray[np.bool_]  # (reports,) which go to a person for that alone

    def only(self, places: Ints | NDArray[np.bool_]) -> Pool:
        return Pool(*(getattr(self, one.name)[places] for one in fields(self)))

    def one_each(self, rng: np.random.Generator) -> Pool:
        """One report a patient, drawn by chance, in no order."""
        order = rng.permutation(len(self.truth))
        first = np.unique(self.patients[order], return_index=True)[1]
        return self.only(rng.permutation(order[first])[:PATIENTS_MAX])

    def population(self) -> Population:
        return Population(self.vectors, self.probs, self.unknown)


@dataclass(frozen=True, eq=False)
class Scene:
    """`mix`: (labels,) shares that the night's labels are drawn to."""

    name: str
    labels: Sequence[str]
    errors: Sequence[float]
    ordinary: Pool
    night: Pool
    mix: Floats | None = None

    def splits(self, count: int) -> Iterator[tuple[Pool, Pool, np.random.Generator]]:
        """What calibrates, what is answered, and chance for the rest of the split."""
        patients = np.unique(np.concatenate([self.ordinary.patients, self.night.patients]))
        for split in range(count):
            rng = np.random.default_rng(split)
            half = rng.permutation(patients)[: len(patients) // 2]
            known = self.ordinary.only(np.isin(self.ordinary.patients, half))
            asked = self.night.only(~np.isin(self.night.patients, half))
            yield known, asked if self.mix is None else _mixed(asked, self.mix, rng), rng


@dataclass(frozen=True, eq=False)
class Answered:
    """(splits, labels) missed, and (splits,) to a person: as if nothing were, with weights, and refused."""

    missed: Floats
    review: Floats
    weighted_missed: Floats
    weighted_review: Floats
    rings: NDArray[np.bool_]
    rings_unweighted: NDArray[np.bool_]
    auroc: Floats


def play(scene: Scene, splits: int) -> Answered:
    """Every split of a scene."""
    labels = len(scene.labels)
    missed, weighted = np.full((2, splits, labels), np.nan)
    review, weighted_review, auroc = np.zeros((3, splits))
    rings, unweighted = np.zeros((2, splits), np.bool_)
    for split, (known, asked, rng) in enumerate(scene.splits(splits)):
        thresholds = fit_thresholds(known.probs, known.truth, list(scene.errors))
        possible = prediction_sets(asked.probs, thresholds)
        missed[split] = _missed(possible, asked)
        review[split] = np.mean((np.array(decide(asked.probs, thresholds)) == "review") | asked.unfamiliar)
        sides = known.one_each(rng), asked.one_each(rng)
        possible = _weighted_sets(*sides, known, asked, scene.errors)
        weighted[split] = _missed(possible, asked)
        top = possible[np.arange(len(possible)), asked.probs.argmax(axis=1)]
        weighted_review[split] = 1 - np.mean(top & (possible.sum(axis=1) == 1) & ~asked.unfamiliar)
        calibration, night = sides
        found = compare(calibration.population(), calibration.truth, night.population(), split)
        rings[split], auroc[split] = found.p_value < LEVEL, found.auroc
        # the same with one label for all: no mix is allowed for
        blind = [Population(side.vectors, np.ones((len(side.truth), 1)), side.unknown) for side in sides]
        unweighted[split] = (
            compare(blind[0], np.zeros_like(calibration.truth), blind[1], split).p_value < LEVEL
        )
    return Answered(missed, review, weighted, weighted_review, rings, unweighted, auroc)


def figures_of(scene: Scene, splits: int) -> dict[str, Figure]:
    found, name = play(scene, splits), scene.name
    refused = np.where(found.rings[:, None], 0.0, found.missed)
    ways = {"": found.missed, "_refused": refused, "_weighted": found.weighted_missed}
    figures = {
        f"{name}_rings": _over(found.rings),
        f"{name}_rings_without_weights": _over(found.rings_unweighted),
        f"{name}_auroc": _over(found.auroc, "AUROC"),
        f"{name}_review": _over(found.review),
        f"{name}_review_refused": _over(np.where(found.rings, 1.0, found.review)),
        f"{name}_review_weighted": _over(found.weighted_review),
    }
    for way, missed in ways.items():
        for label, (called, error) in enumerate(zip(scene.labels, scene.errors, strict=True)):
            figures[f"{name}_{called.lower()}_missed{way}"] = _over(
                missed[:, label], expected=f"promised: at most {error:.2f}"
            )
        broken = sum(_is_broken(missed[:, label], error) for label, error in enumerate(scene.errors))
        figures[f"{name}_promises_broken{way}"] = Figure(broken, f"of {len(scene.labels)}", n=splits)
    return figures


def false_alarms(ordinary: Pool, years: int) -> dict[str, Figure]:
    """Nights of the very population that calibrated."""
    patients, found, took = np.unique(ordinary.patients), [], []
    for year in range(years):
        rng = np.random.default_rng([year, 1])
        half = rng.permutation(patients)[: len(patients) // 2]
        known = ordinary.only(np.isin(ordinary.patients, half)).one_each(rng)
        others = ordinary.only(~np.isin(ordinary.patients, half))
        for night in range(NIGHTS):
            asked = others.one_each(rng)
            asked = asked.only(np.arange(len(asked.truth) * 4 // 5))
            begun = time.perf_counter()
            found.append(compare(known.population(), known.truth, asked.population(), night).p_value)
            took.append(time.perf_counter() - begun)
    p_values = np.array(found).reshape(years, NIGHTS)
    figures = {"false_alarms_a_night": _over((p_values < LEVEL).ravel())}
    for floor in FLOORS[:-1]:
        figures[f"false_alarms_a_night_at_level_{floor}"] = _over((p_values < floor).ravel())
    figures["years_with_a_false_alarm"] = _over((p_values < LEVEL).any(axis=1))
    figures["seconds_a_test"] = Figure(float(np.median(took)), "s", min(took), max(took), len(took))
    return figures


def _missed(possible: NDArray[np.bool_], asked: Pool) -> Floats:
    """(labels,) the share of a label's reports for which it is not thought possible, and that no unfamiliar
    word sends to a person."""
    told = np.full(possible.shape[1], np.nan)
    for label in range(len(told)):
        theirs = asked.truth == label
        if theirs.any():
            told[label] = np.mean(~possible[theirs, label] & ~asked.unfamiliar[theirs])
    return told


def _weighted_sets(
    calibration: Pool, night: Pool, known: Pool, asked: Pool, errors: Sequence[float]
) -> NDArray[np.bool_]:
    """(asked, labels) which stay possible; every label, where its calibration reports are worth too few."""
    rows = np.vstack([calibration.vectors, night.vectors])
    mean, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-8)
    side = np.repeat([0, 1], [len(calibration.truth), len(night.truth)])
    model = LogisticRegression(C=1e-2, max_iter=300, class_weight="balanced").fit(
        (rows - mean) / spread, side
    )
    ratio_known, ratio_asked = (
        np.exp(np.clip(model.decision_function((pool.vectors - mean) / spread), -20, 20))
        for pool in (known, asked)
    )
    possible = np.ones((len(asked.truth), len(errors)), np.bool_)
    for label, error in enumerate(errors):
        theirs = known.truth == label
        weights, scores = ratio_known[theirs], 1 - known.probs[theirs, label]
        if not theirs.any() or weights.sum() ** 2 / (weights**2).sum() < reports_needed(error):
            continue
        order = np.argsort(scores)
        so_far = np.cumsum(weights[order])
        # the weight of the new report itself stands at infinity
        place = np.searchsorted(so_far, (1 - error) * (so_far[-1] + ratio_asked) - 1e-9)
        limit = np.append(scores[order], np.inf)[place]
        possible[:, label] = 1 - asked.probs[:, label] <= limit
    return possible


def _mixed(asked: Pool, mix: Floats, rng: np.random.Generator) -> Pool:
    """As many reports as there can be with these shares of labels."""
    counts = np.bincount(asked.truth, minlength=len(mix))
    size = int(np.min(counts / mix))
    drawn = [
        rng.permutation(np.flatnonzero(asked.truth == label))[: round(size * share)]
        for label, share in enumerate(mix)
    ]
    return asked.only(np.concatenate(drawn))


def _is_broken(missed: Floats, error: float) -> bool:
    """By more than splitting by chance explains: benchmarks/conformal.py, one promise at 1 %."""
    splits = int(np.isfinite(missed).sum())
    return bool(np.nanmean(missed) > error + 2.33 * np.nanstd(missed, ddof=1) / np.sqrt(splits))


def _over(found: NDArray[np.floating | np.bool_], unit: str = "share", expected: str = "") -> Figure:
    told = np.asarray(found, np.float64)
    mean, count = float(np.nanmean(told)), int(np.isfinite(told).sum())
    noise = 1.96 * float(np.nanstd(told, ddof=1)) / np.sqrt(count)
    return Figure(mean, unit, mean - noise, mean + noise, count, expected)


def demo(rows: int | None, splits: int, years: int) -> dict[str, Figure]:
    """A model for each institution that is left out; without a shift, nights of the last one's others."""
    names = list(generator(EXAM).grammar.languages)
    figures: dict[str, Figure] = {}
    ordinary: Pool | None = None
    for name in names:
        others, its_own = (
            Wording(institutions=tuple(one for one in names if (one == name) == own)) for own in (False, True)
        )
        with tempfile.TemporaryDirectory(prefix="laudos-shift-") as folder:
            predictor = model_like_the_demos(Path(folder), rows, others)
        ordinary, night = (
            _seen(predictor, written("asked", ASKED_PER_ROW, rows, wording)) for wording in (others, its_own)
        )
        figures |= figures_of(Scene(f"demo_{name}", predictor.labels, ERRORS, ordinary, night), splits)
    assert ordinary is not None
    for way in ("", "_refused", "_weighted"):
        broken = sum(figures[f"demo_{name}_promises_broken{way}"].value for name in names)
        figures[f"demo_promises_broken{way}"] = Figure(broken, f"of {len(names) * len(ERRORS)}", n=splits)
    return figures | false_alarms(ordinary, years)


def tcga(train: Rows, test: Rows, splits: int) -> dict[str, Figure]:
    """Whether a report is of the commonest type, by heads that the first rows of the training file teach."""
    model, tokenizer = load_encoder(EncoderSpec("folder", str(encoder_folder())), TCGA_LABELS)
    train = train[:TAUGHT]

    def read(rows: Rows) -> tuple[Floats, Ints]:
        texts = [row["text"][:CHARACTERS] for row in rows]
        told = encode(model, tokenizer, texts, window_tokens=256, stride_tokens=16)
        return told.vectors.astype(np.float64), np.array([int(row["type_code"] != "BRCA") for row in rows])

    (taught, taught_truth), (asked, truth) = read(train), read(test)
    patients = np.array([row["bcr_patient_barcode"] for row in test])
    sketches = sketches_of([row["text"] for row in test])

    def pool(teaches: NDArray[np.bool_]) -> Pool:
        """The test rows by a head that these of the training rows teach, two thirds of them, and fit."""
        fits = np.arange(len(train)) % 3 == 0
        some = [(taught[places], taught_truth[places]) for places in (teaches & ~fits, teaches & fits)]
        probs = probabilities(fit_head(*some[0], len(TCGA_LABELS), *some[1]), asked)
        # the training rows' own words, not those of the rows that fit
        texts = [row["text"] for row in _chosen(train, teaches & ~fits)]
        known = known_pairs(texts, [str(place) for place in range(len(texts))])
        limit = fit_limit(known, sketches_of([row["text"] for row in _chosen(train, teaches & fits)]))
        unknown = scores(known, sketches)
        return Pool(asked, probs, truth, patients, unknown, unknown > limit.score)

    near, everyone = _sites(test), pool(np.ones(len(train), np.bool_))
    of_sites = pool(_sites(train))
    length = np.array([len(row["text"]) for row in test])
    is_long = length > np.quantile(length, 2 / 3)
    sides = {
        "ordinary": (everyone, everyone, None),
        "mix": (everyone, everyone, TCGA_MIX),
        "sites": (of_sites.only(near), of_sites.only(~near), None),
        "long": (everyone.only(~is_long), everyone.only(is_long), None),
    }
    figures: dict[str, Figure] = {}
    for name, (ordinary, night, mix) in sides.items():
        errors = [TCGA_ERROR] * len(TCGA_LABELS)
        figures |= figures_of(Scene(f"tcga_{name}", TCGA_LABELS, errors, ordinary, night, mix), splits)
    return figures


def _chosen(rows: Rows, places: NDArray[np.bool_]) -> Rows:
    return [row for row, chosen in zip(rows, places, strict=True) if chosen]


def _sites(rows: Rows) -> NDArray[np.bool_]:
    """Which rows are of the half of the tissue source sites that teaches."""
    return np.array([unit_interval(row["bcr_patient_barcode"][5:7], "site") < 0.5 for row in rows])


def _seen(predictor: Predictor, asked: Reports) -> Pool:
    read = predictor.vectors(asked.texts)
    probs, told = predictor.probabilities(read.vectors), predictor.familiarity
    assert told is not None
    unknown, unfamiliar = scores(told.known, read.sketches), told.unfamiliar(read.sketches)
    rows = np.array(asked.rows)
    return Pool(read.vectors.astype(np.float64), probs, asked.truth, rows, unknown, unfamiliar)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--years", type=int, default=YEARS)
    parser.add_argument("--rows", type=int, help="so many specimens a split, and TCGA reports of a file")
    parser.add_argument("--only", action="append", choices=("demo", "tcga"))
    asked = parser.parse_args(arguments)
    parts: dict[str, Callable[[], dict[str, Figure]]] = {
        "demo": lambda: demo(asked.rows, asked.splits, asked.years),
        "tcga": lambda: tcga(*(rows[: asked.rows and 10 * asked.rows] for rows in corpus()), asked.splits),
    }
    figures: dict[str, Figure] = {}
    for name in asked.only or parts:
        figures |= parts[name]()
    figures = expecting(figures, EXPECTED)
    tell(figures)
    if asked.rows is None and asked.only is None and asked.splits >= SPLITS and asked.years >= YEARS:
        print(f"wrote {write('shift', COMMAND, figures)}")


if __name__ == "__main__":
    main()
