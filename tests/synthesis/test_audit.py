"""The audit finds every planted leak, and raises no alarm over honest findings."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.planted_leaks import LEAKS, Clean
from tasks.ml.audit.audit import CHECKS, audit
from tasks.ml.audit.chance import log_upper_tail
from tasks.ml.audit.corpus import Corpus, Units
from tasks.ml.audit.ground import Ground
from tasks.ml.audit.near_duplicates import SIMILAR, similar_pairs
from tasks.ml.audit.words import Words, plain, with_slips
from tasks.ml.errors import UnfitData
from tasks.ml.splits import split_of
from tasks.ml.synthesis.audit import LABEL_WORDS, audit_reports, findings_words
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import SyntheticReport, synthesize

A_ROW = 3  # reports: few, so that the tests are quick; strengths are raised in return
ROWS = generator("paaf").rows()


def written(mode: str = "findings", seed: int = 0, a_row: int = A_ROW) -> list[SyntheticReport]:
    return list(synthesize("paaf", mode=mode, reports_per_row=a_row, seed=seed))  # type: ignore[arg-type]


def corpus_of(reports: Sequence[SyntheticReport]) -> Corpus:
    keys = [one.row_key for one in reports]
    return Corpus(
        [one.text for one in reports],
        [one.label for one in reports],
        keys,
        {row.key: row.measurements for row in ROWS},
        [split_of(key) for key in keys],
        findings_words("paaf", conclude=False),
        LABEL_WORDS,
    )


@pytest.fixture(scope="module")
def clean() -> Clean:
    return Clean.of("paaf", ROWS, written(), "maligno")


# --- leaks


@pytest.mark.parametrize("name", LEAKS)
def test_a_planted_leak_is_found_by_the_check_for_it(name: str, clean: Clean) -> None:
    leak = LEAKS[name]
    spoiled = corpus_of(leak.plant(clean, min(1.0, 2.5 * leak.strength)))
    assert [check.name for check in audit(spoiled, {leak.check}).failed] == [leak.check]


def _clauses_sorted(text: str, *, backwards: bool) -> str:
    """Its list, sentences or clauses between semicolons in the order of the alphabet, or against it."""
    lines = text.split("\n")
    for between in ("; ", ". "):
        lines = [between.join(sorted(line.split(between), reverse=backwards)) for line in lines]
    at = [place for place, line in enumerate(lines) if line.startswith("- ")]
    for place, line in zip(at, sorted((lines[place] for place in at), reverse=backwards), strict=True):
        lines[place] = line
    return "\n".join(lines)


SLIGHT = [  # the check, what it should find, and a report changed where it is maligno (1) or not (0)
    ("numbers", "long number: odd", lambda text, bad, of: f"{text}\nProtocolo {20_000 + 2 * of + bad}."),
    ("numbers", "time minute: odd", lambda text, bad, of: f"{text}\nLiberado 10:{10 + 2 * (of % 20) + bad}."),
    ("marks", "longest run of one mark", lambda text, bad, of: f"{text}\n{'-' * (20 + bad)}\nfim"),
    ("layout", "a part in capitals", lambda text, bad, of: text[:-30] + text[-30:].upper() if bad else text),
    (
        "layout",
        "clauses in alphabetical order",
        lambda text, bad, of: _clauses_sorted(text, backwards=not bad),
    ),
]


@pytest.mark.parametrize(("check", "what", "change"), SLIGHT)
def test_what_no_person_would_see_is_found_as_well(
    check: str, what: str, change: Callable[[str, int, int], str], clean: Clean
) -> None:
    spoiled = [
        replace(one, text=change(one.text, int(one.label == "maligno"), at))
        for at, one in enumerate(clean.reports)
    ]
    told = audit(corpus_of(spoiled), {check}).check(check)
    assert told.state == "failed"
    assert what in {one.what for one in told.found}


def test_honest_findings_pass_every_check_although_words_go_with_the_label(clean: Clean) -> None:
    corpus = corpus_of(clean.reports)
    told = audit(corpus)
    assert [check.name for check in told.checks] == list(CHECKS)
    assert told.passed, [check.name for check in told.failed]
    # the negative control: without the measurements the same words look like leaks
    blind = audit(replace(corpus, measurements=None), {"words"}).check("words")
    assert blind.found
    assert blind.state == "untested"


def test_the_seed_recipe_fails_and_the_phrase_is_named() -> None:
    reports = written("seed", a_row=2)
    told = audit_reports(
        "paaf", "seed", *zip(*((one.text, one.label, one.row_key) for one in reports), strict=True)
    )
    assert {"label_words", "words", "word_pairs", "keyword_rule", "whole_text"} <= {
        check.name for check in told.failed
    }
    assert "maligno" in {one.what for one in told.check("words").found}


def test_a_conclusion_drawn_from_the_measurements_passes_and_one_drawn_from_the_label_does_not() -> None:
    reports = written("full", a_row=2)
    texts, labels, keys = zip(*((one.text, one.label, one.row_key) for one in reports), strict=True)
    checks = {"label_words", "words", "word_pairs", "keyword_rule", "whole_text"}
    assert audit_reports("paaf", "full", texts, labels, keys, checks).passed
    # the category's word beside the label, in words that conclusions are told in
    told = [f"{text}\nNeoplasia {label[:-1]}a." for text, label in zip(texts, labels, strict=True)]
    assert not audit_reports("paaf", "full", told, labels, keys, checks).passed


def test_the_result_s_numbers_quote_no_report(clean: Clean) -> None:
    spoiled = LEAKS["row_number"].plant(clean, 1.0)
    told = audit(corpus_of(spoiled), {"row_words", "words"})
    found = {one.what for check in told.checks for one in check.found}
    assert found
    numbers = json.dumps(told.numbers)
    assert json.loads(numbers)["passed"] is False
    assert not [what for what in found if what in numbers]


def test_a_label_that_only_a_digit_tells_apart_is_a_label_s_word() -> None:
    told = [(f"Laudo {at}. Categoria BI-RADS {2 + at % 3 // 2}.", "ab"[at % 3 // 2]) for at in range(90)]
    texts, labels = zip(*told, strict=True)
    corpus = Corpus(texts, labels, [str(at) for at in range(90)], label_words=("rads",))
    found = audit(corpus, {"label_words"}).check("label_words")
    assert (found.state, found.found[0].what) == ("failed", "rads… 2")
    shuffled = [str(label) for label in np.random.default_rng(6).permutation(labels)]
    assert audit(replace(corpus, labels=shuffled), {"label_words"}).passed


# --- a user's own reports


def test_without_measurements_it_says_what_it_cannot_tell(clean: Clean) -> None:
    bare = replace(corpus_of(clean.reports), measurements=None, findings_words=None, splits=None)
    told = audit(bare)
    untested = {check.name for check in told.checks if check.state == "untested"}
    assert untested == {
        "words", "word_pairs", "keyword_rule", "near_duplicates", "printed_measurements", "whole_text",
        "ceiling",
    }  # fmt: skip
    assert "without measurements" in told.check("words").note
    assert told.passed


@pytest.mark.parametrize("name", ["label_word", "capitals", "twins", "row_number"])
def test_without_measurements_shortcuts_are_found_all_the_same(name: str, clean: Clean) -> None:
    leak = LEAKS[name]
    spoiled = corpus_of(leak.plant(clean, 0.8))
    bare = replace(spoiled, measurements=None, findings_words=None)
    assert not audit(bare, {leak.check}).passed


def test_what_cannot_be_audited_is_said_plainly() -> None:
    with pytest.raises(UnfitData, match="two labels"):
        audit(Corpus(["a"], ["x"], ["1"]))
    with pytest.raises(UnfitData, match="one entry a report"):
        audit(Corpus(["a", "b"], ["x", "y"], ["1"]))
    with pytest.raises(UnfitData, match="1 groups have no measurements"):
        audit(Corpus(["a", "b"] * 2, ["x", "y"] * 2, ["1", "2", "3", "4"], {key: [0.0] for key in "123"}))
    with pytest.raises(UnfitData, match="a single row or patient"):
        audit(Corpus(["a", "b", "c"], ["x", "y", "y"], ["1", "2", "3"]))


def test_a_large_corpus_is_sampled_by_whole_groups() -> None:
    corpus = Corpus(["t"] * 60, ["a", "b"] * 30, [str(number // 6) for number in range(60)])
    assert corpus.sampled() is corpus
    fewer = corpus.sampled(groups_max=5, reports_max=60)
    assert sorted(Counter(fewer.groups).values()) == [6] * 5
    thinner = corpus.sampled(groups_max=10, reports_max=20)
    assert sorted(Counter(thinner.groups).values()) == [2] * 10


# --- the arithmetic


def test_the_tail_is_the_exact_one() -> None:
    rng = np.random.default_rng(1)
    chance, weights = rng.uniform(0.02, 0.98, 14), rng.normal(size=14)
    draws = np.array(list(itertools.product((0, 1), repeat=14)))
    p = np.where(draws == 1, chance, 1 - chance).prod(axis=1)
    sums = (draws - chance) @ weights
    for quantile in (0.99, 0.999, 0.9999):
        observed = np.sort(sums)[int(quantile * len(sums))]
        exact = np.log(p[sums >= observed - 1e-12].sum())
        found = log_upper_tail(chance, weights[None, :], np.array([observed]))[0]
        assert found == pytest.approx(exact, rel=0.06)
    most = np.array([sums.max()])
    assert log_upper_tail(chance, weights[None, :], most)[0] == pytest.approx(np.log(p[sums.argmax()]))


def test_chance_alone_is_not_called_a_leak(clean: Clean) -> None:
    nulls = Ground(corpus_of(clean.reports)).nulls
    assert nulls.given is not None
    noise = np.random.default_rng(2).binomial(A_ROW, 0.2, size=(len(nulls.units), 2000)) / A_ROW
    for chance in (nulls.given, nulls.outright):
        p = chance.test(noise).p
        assert 0.001 < (p < 0.02).mean() < 0.04
        assert p.min() > 1e-6


def test_units_are_groups_and_without_measurements_a_group_s_labels_too() -> None:
    corpus = Corpus(["t"] * 5, ["a", "a", "b", "b", "b"], ["1", "1", "1", "2", "2"], {"1": [0.0], "2": [1.0]})
    assert Units.of(corpus).truth.tolist() == [0, 1]
    assert Units.of(replace(corpus, measurements=None)).truth.tolist() == [0, 1, 1]
    averages = Units.of(corpus).averaging @ np.array([3.0, 0.0, 0.0, 1.0, 2.0])
    assert averages.tolist() == [1.0, 1.5]


def test_near_duplicates_are_those_a_comparison_of_all_pairs_finds() -> None:
    rng = np.random.default_rng(4)
    texts = [" ".join(f"w{word}" for word in rng.integers(60, size=50)) for _ in range(60)]
    for number in range(20):  # up to five words changed
        words = texts[number].split()
        for place in rng.integers(50, size=number // 4):
            words[place] = "outra"
        texts.append(" ".join(words))

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.split()
        return {tuple(words[at : at + 5]) for at in range(len(words) - 4)}

    sets = [runs(text) for text in texts]
    close = [
        (a, b)
        for a, b in itertools.combinations(range(len(texts)), 2)
        if len(sets[a] & sets[b]) >= SIMILAR * len(sets[a] | sets[b])
    ]
    assert 3 < len(close) < 20
    # letters for digits: every number is one word to the audit
    spelt = [text.translate(str.maketrans("0123456789", "abcdefghij")) for text in texts]
    assert similar_pairs(Words.of(spelt)) == close


def test_a_mistyped_word_of_a_finding_is_still_a_finding_s() -> None:
    assert {"celulas", "cleulas", "clulas", "celuas"} <= with_slips({plain("Células")})
    assert with_slips({"nus"}) == {"nus"}
