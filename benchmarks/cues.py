"""Which words of negation can a network from scratch read that it was never taught, and at what price?

    python -m benchmarks.cues                              every remedy, three seeds: an hour of one core
    python -m benchmarks.cues --seeds 1 --lessons 20000    a quick look, recorded nowhere
    python -m benchmarks.cues --remedy shipped --remedy nonsense_verbs

Lessons alone are read (tasks/ml/synthesis/lessons.py), and the head that answered them is asked about the
passages of the behaviour suite that a cue negates: does it say "not there" (denied, or a first level)
rather than "there in the highest degree"? Cues are of three kinds: those that are taught; those that are not,
but stand beside a word that is (não, nem, tampouco); and those where one unknown word is all that negates
(livre de, descartado). The control is unknown words that affirm (crivado de, campeiam): whoever takes
every unknown word for a negation is right on the third kind, and overlooks a cancer in the control.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.carryover import EXAM, Trial, split_for, written
from benchmarks.record import Figure, add
from tasks.ml.behaviour.suite import DATA, known_cues
from tasks.ml.behaviour.suite_file import NEGATION, SuiteFile
from tasks.ml.checked_yaml import CheckedFile
from tasks.ml.network.encoder import make_scratch
from tasks.ml.network.features import encode, last_linear
from tasks.ml.network.head import head_of, softmax_of
from tasks.ml.synthesis.chance import Stream, pick
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.language import Language
from tasks.ml.synthesis.lessons import LISTS, lessons, statements
from tasks.ml.synthesis.phrases import Phrase, parse
from tasks.ml.synthesis.wording import Wording
from tasks.ml.training.teaching import LESSONS, lessons_training, scratch_rate
from tasks.ml.training.training import train_body

COMMAND = "python -m benchmarks.cues"
SEEDS = 3
KINDS = ("taught", "beside_a_known_word", "one_unknown_word", "unknown_affirmation")
KNOWN_WORDS = ("não", "nem", "tampouco")

# none of these words is in a language file; {} stands for what is affirmed
AFFIRMATIONS = (
    "Campeiam {}.", "Material crivado de {}.", "Células acometidas por {}.", "O esfregaço ostenta {}.",
    "Material dotado de {}.", "Impõem-se {}.", "Flagram-se {}.", "O material acusa {}.",
    "Grassam {}.", "Pululam {}.", "Avultam {}.", "Amostra eivada de {}.",
)  # fmt: skip

# written down before the first run; shares of passages read as they are meant
EXPECTED = {
    "shipped_taught": ".95 to 1",
    "shipped_beside_a_known_word": ".85 to .95",
    "shipped_one_unknown_word": ".1 to .3: nothing in an unknown word says that it negates",
    "shipped_unknown_affirmation": ".8 to .95",
    "no_lists_taught": ".5 to .7",
    "quarter_of_the_forms_beside_a_known_word": ".7 to .85",
    "nonsense_verbs_beside_a_known_word": ".95 to 1",
    "nonsense_verbs_one_unknown_word": "0 to .2: an unknown verb affirms unless something denies it",
    "nonsense_privatives_one_unknown_word": ".5 to .9",
    "nonsense_privatives_unknown_affirmation": ".3 to .6: what the other figure is bought with",
    "more_pieces_one_unknown_word": ".1 to .3: as shipped",
}

Reword = Callable[[Language], Language]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--lessons", type=int, default=LESSONS)
    parser.add_argument("--remedy", action="append", choices=list(REMEDIES))
    asked = parser.parse_args(arguments)
    for name in asked.remedy or REMEDIES:
        figures = read(name, asked.lessons, asked.seeds)
        for key, figure in figures.items():
            print(f"{key:50} {figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})", flush=True)
        if (asked.lessons, asked.seeds) == (LESSONS, SEEDS):
            add("cues", COMMAND, figures)


def read(remedy: str, count: int, seeds: int) -> dict[str, Figure]:
    """By kind of cue the share of passages read as they are meant: mean and range over seeds."""
    passages = list(asked_about())
    shares: dict[str, list[float]] = defaultdict(list)
    for seed in range(seeds):
        right = np.array([one.absent for one in passages]) == reader(remedy, count, seed)(
            [one.text for one in passages]
        )
        for kind in KINDS:
            shares[kind].append(float(np.mean(right[[one.kind == kind for one in passages]])))
    return {
        f"{remedy}_{kind}": Figure(
            float(np.mean(some)), "share of passages", min(some), max(some), seeds,
            EXPECTED.get(f"{remedy}_{kind}", ""),
        )
        for kind, some in shares.items()
    }  # fmt: skip


# --- what is asked


@dataclass(frozen=True)
class Passage:
    """`absent`: whether a reader would take from it that what it names is not there."""

    kind: str
    text: str
    absent: bool


def asked_about() -> Iterator[Passage]:
    """Every passage that a cue of the suite negates, and the same findings after words that affirm."""
    cues = known_cues()
    for group in CheckedFile(DATA / f"{EXAM}.yaml", SuiteFile).content.pairs:
        if group.kind != NEGATION or group.effect == "same" or not isinstance(group.say, Mapping):
            continue
        for cue, text in group.say.items():
            beside = "beside_a_known_word" if cue.startswith(KNOWN_WORDS) else "one_unknown_word"
            yield Passage("taught" if cue in cues.seen else beside, text, absent=True)
    for findings in (
        "pleomorfismo nuclear, nucléolos proeminentes, figuras de mitose e necrose",
        "anisocariose, hipercromasia, indentações nucleares e células isoladas",
        "necrose e numerosas figuras de mitose",
    ):
        for form in AFFIRMATIONS:
            yield Passage("unknown_affirmation", form.format(findings), absent=False)


# --- who is asked


def reader(remedy: str, count: int, seed: int) -> Callable[[Sequence[str]], np.ndarray]:
    """texts -> (texts,) whether they say that it is not there, by a network that had so many lessons."""
    reword, vocabulary = REMEDIES[remedy]
    names = statements(EXAM)
    trial = Trial(seed)
    rows = [row for row in generator(EXAM).rows() if split_for(row, seed) == "train"]
    taught = written(rows, trial, trial.taught, "taught")
    spec = replace(trial.encoder, vocabulary=vocabulary or trial.encoder.vocabulary)
    model, tokenizer = make_scratch(taught.texts, names, spec, seed, patients=taught.rows)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        last_linear(model)[1].reset_parameters()  # as `teach` draws it, larger than BERT's own
    given = list(lessons(EXAM, count=count, seed=seed, wording=Reworded(reword=reword)))
    config = lessons_training(
        replace(trial.training, learning_rate=scratch_rate(count), checkpoint_every_steps=1_000_000)
    )
    with tempfile.TemporaryDirectory(prefix="laudos-cues-") as folder:
        train_body(
            model, tokenizer, [one.text for one in given], np.array([one.says for one in given]),
            config=config, checkpoint_folder=Path(folder), seed=seed,
        )  # fmt: skip
    ends = {name.partition("=")[0]: name for name in names if name not in LISTS}  # the last level of each
    firsts = {name.partition("=")[0]: name for name in reversed(names) if name not in LISTS}
    absent = [name in firsts.values() or name == LISTS[0] for name in names]
    present = [name in ends.values() or name == LISTS[1] for name in names]

    def answer(texts: Sequence[str]) -> np.ndarray:
        vectors = encode(
            model, tokenizer, texts, window_tokens=config.window_tokens, stride_tokens=config.stride_tokens
        ).vectors
        said = softmax_of(*head_of(model), vectors)
        return np.asarray(said[:, absent].sum(axis=1) > said[:, present].sum(axis=1))

    return answer


@dataclass(frozen=True)
class Reworded(Wording):
    """Everything there is to say, after a remedy went over each institution's language."""

    reword: Reword = lambda language: language

    def of(self, languages: Mapping[str, Language]) -> tuple[Language, ...]:
        return tuple(self.reword(language) for language in super().of(languages))


# --- the remedies


def _without_lists(language: Language) -> Language:
    return language.model_copy(update={"listings": None})


def _fewer_forms(share: float) -> Reword:
    def reword(language: Language) -> Language:
        assert language.listings is not None
        kept = {
            polarity: forms[: max(1, round(share * len(forms)))]
            for polarity, forms in (
                ("denied", language.listings.denied),
                ("affirmed", language.listings.affirmed),
            )
        }
        return language.model_copy(update={"listings": language.listings.model_copy(update=kept)})

    return reword


def _with_forms(denied: Sequence[str], affirmed: Sequence[str]) -> Reword:
    """More forms, in which <z> is a word that nobody knows; as many again as an institution has."""

    def reword(language: Language) -> Language:
        listings = language.listings
        assert listings is not None
        more = {
            "denied": listings.denied + _as_many(denied, listings.denied),
            "affirmed": listings.affirmed + _as_many(affirmed, listings.affirmed),
        }
        return language.model_copy(
            update={
                "symbols": {**language.symbols, "z": tuple(parse(stem) for stem in _stems())},
                "listings": listings.model_copy(update=more),
            }
        )

    return reword


def _as_many(forms: Sequence[str], as_these: Sequence[Phrase]) -> tuple[Phrase, ...]:
    return tuple(parse(forms[at % len(forms)]) for at in range(len(as_these))) if forms else ()


def _stems() -> Iterator[str]:
    """Words that are none: two or three syllables such as Portuguese has."""
    rng = Stream("cues", "stems")
    for _ in range(3000):
        syllables = [pick(rng, "bcdfglmnprstv") + pick(rng, "aeiou") for _ in range(pick(rng, (2, 2, 3)))]
        yield "".join(syllables) + pick(rng, ("", "r", "n", "s")) + pick(rng, "bcdfglmnprtv")


_VERBS = (
    ("não se <z>a <x>", "não se <z>am <x>", "o material não <z>a <x>", "as células não <z>am <x>",
     "não <z>a <x>", "<x> não <z>ad<os>", "não <z>ad<os> <x>"),
    ("<z>a-se <x>", "<z>am-se <x>", "o material <z>a <x>", "as células <z>am <x>", "<z>a <x>",
     "<x> <z>ad<os>", "<z>ad<os> <x>"),
)  # fmt: skip
_PRIVATIVES = (
    "material <z>o de <x>", "células <z>as de <x>", "esfregaço <z>ido de <x>", "<z>am-se <x>",
    "<x> <z>ad<os>", "<z>ad<os> <x>", "o material <z>e de <x>",
)  # fmt: skip

# a remedy: what it makes of a language, and the entries of the vocabulary where it is another one
REMEDIES: dict[str, tuple[Reword, int | None]] = {
    "shipped": (lambda language: language, None),
    "no_lists": (_without_lists, None),
    "quarter_of_the_forms": (_fewer_forms(0.25), None),
    "half_of_the_forms": (_fewer_forms(0.5), None),
    "nonsense_verbs": (_with_forms(*_VERBS), None),
    "nonsense_privatives": (_with_forms(_PRIVATIVES, ()), None),
    "fewer_pieces": (lambda language: language, 300),
    "more_pieces": (lambda language: language, 4000),
}


if __name__ == "__main__":
    main()
