"""Words that tell: names of the labels, single words, pairs of words, and the best rule made of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import csr_matrix

from tasks.ml.arrays import Bools
from tasks.ml.audit.corpus import Corpus
from tasks.ml.audit.family import LEVEL, MEASURE, Family, Nulls, of_phrases
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.result import Check, Evidence, untested, verdict
from tasks.ml.audit.words import Counted, Words, plain

NEGATIONS = (
    "sem", "nao", "nunca", "nega", "nenhum", "ausen", "inexist", "livre", "isent", "afast", "descart",
)  # fmt: skip
NEAR = 4  # words within which a negation counts
NUMBER_WITHIN = 2  # words after a label's name in which its number may stand
RULE_WORDS = 3


def stems(corpus: Corpus) -> list[str]:
    """Beginnings of words that name a label: those given, and each word of a label's name less its ending."""
    named = [word for label in set(corpus.labels) for word in re.findall(r"[^\W\d_]+", plain(label))]
    cut = [re.sub(r"(?<=\w{4})(?:[aeo]s?|s)$", "", word) for word in named if len(word) > 2]
    return sorted({*cut, *map(plain, corpus.label_words)})


def label_words(ground: Ground) -> Check:
    """Whether words that name a label, said or denied, go with it."""
    words, spoken = ground.words, ground.spoken
    denied = near_negation(words)
    columns: dict[str, Bools] = {}
    apart = []
    for stem in stems(ground.corpus):
        places = words.where(words.chosen(word.startswith(stem) for word in words.vocabulary))
        said = [("", places), (", denied", places & denied), (", not denied", places & ~denied)]
        for how, where in (*said, *numbered(words, places)):
            held = words.holds(where)
            if 0 < held.sum() < words.reports:
                columns[f"{stem}…{how}"] = held
                apart.append(spoken is not None and not any(word.startswith(stem) for word in spoken))
    if not columns:
        return Check("label_words", "passed", MEASURE, note="no word of a label's name, or like it, occurs")
    presence = csr_matrix(np.array(list(columns.values()), dtype=np.float64).T)
    family = of_phrases(Counted(tuple(columns), presence), ground.units, apart)
    return ground.nulls.check("label_words", family)


def near_negation(words: Words) -> Bools:
    """(words,) whether one of the few words before it, in the same report, denies."""
    cue = words.where(words.chosen(word.startswith(NEGATIONS) for word in words.vocabulary))
    near = np.zeros(len(words.ids), dtype=bool)
    for back in range(1, NEAR + 1):
        near[back:] |= cue[:-back] & (words.report[back:] == words.report[:-back])
    return near


def numbered(words: Words, places: Bools) -> Iterator[tuple[str, Bools]]:
    """For each digit: which of these words stand shortly before it, as in BI-RADS 4."""
    for digit in filter(str.isdigit, words.vocabulary):
        is_it = words.ids == words.vocabulary.index(digit)
        before = np.zeros(len(words.ids), dtype=bool)
        for ahead in range(1, NUMBER_WITHIN + 1):
            before[:-ahead] |= is_it[ahead:] & (words.report[ahead:] == words.report[:-ahead])
        yield f" {digit}", places & before


def single_words(ground: Ground) -> Check:
    return _phrases_check("words", ground.word_family, ground.nulls)


def word_pairs(ground: Ground) -> Check:
    """Neighbouring words; those that a finding has a part in may be explained by it."""
    counted = ground.words.pairs(ground.least)
    sides = [[pair.split(" ")[side] for pair in counted.phrases] for side in (0, 1)]
    apart = ground.apart(sides[0]) & ground.apart(sides[1])
    return _phrases_check("word_pairs", of_phrases(counted, ground.units, apart), ground.nulls)


def _phrases_check(name: str, family: Family, nulls: Nulls) -> Check:
    if nulls.given is not None:
        return nulls.check(name, family)
    p, label = nulls.examine(family)
    telling = nulls.evidence(family, p, label, np.flatnonzero(p <= LEVEL))
    return untested(name, "cannot be told from findings without measurements; look at them yourself", telling)


def keyword_rule(ground: Ground) -> Check:
    """Whether a word, or one of a few, answers better on its own than all measurements do.

    The rule is sought on one half of the groups and judged on the other: mean recall over labels.
    """
    counted, units, probability = ground.single_words, ground.units, ground.probability
    first = np.unique(np.array(ground.corpus.groups), return_inverse=True)[1] % 2 == 0
    if not counted.phrases or first.all():
        return Check("keyword_rule", "passed", "", note="no word is frequent enough")
    best, rule, label = 0.0, [0], 0
    for candidate in range(len(units.labels)):
        positive = units.report_truth == candidate
        chosen = _rule(counted.presence[first], positive[first])
        score = _mean_recall(_said(counted.presence[~first], chosen), positive[~first])
        if score > best:
            best, rule, label = score, chosen, candidate
    shown = tuple(
        Evidence(counted.phrases[one], units.labels[label], int(counted.reports[one]), best) for one in rule
    )
    if probability is None:
        return untested("keyword_rule", f"the best is right in {best:.3f}, mean over labels", shown)
    known = probability[units.of_report].argmax(axis=1)
    limit = _mean_recall(known == label, units.report_truth == label)
    state = verdict(best > limit)
    measure = "mean recall of a rule of few words, against that of the measurements"
    return Check("keyword_rule", state, measure, best, limit, len(counted.phrases), shown)


def _rule(presence: csr_matrix, positive: Bools) -> list[int]:
    """Up to RULE_WORDS words, any of which speaks for the label, each the best beside those before it."""
    weights = np.where(positive, 0.5 / max(positive.sum(), 1), -0.5 / max((~positive).sum(), 1))
    rule: list[int] = []
    covered = np.zeros(len(positive), dtype=bool)
    while len(rule) < RULE_WORDS:
        # what covering a report gains or costs in mean recall, where it is not covered yet
        gained = presence.T @ np.where(covered, 0.0, weights)
        if rule and gained.max() <= 0:
            break
        rule.append(int(gained.argmax()))
        covered = _said(presence, rule)
    return rule


def _said(presence: csr_matrix, rule: Sequence[int]) -> Bools:
    return np.asarray(np.asarray(presence[:, rule].sum(axis=1)).ravel() > 0)


def _mean_recall(said: Bools, positive: Bools) -> float:
    if positive.all() or not positive.any():
        return 0.0
    return float((said[positive].mean() + (~said[~positive]).mean()) / 2)
