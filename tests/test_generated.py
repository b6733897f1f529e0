"""What the benchmark of levers lets through of what its networks write."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.generated.checks import Copies, Sample, plant, sieve
from benchmarks.generated.networks import Writer, causal, masked
from benchmarks.generated.writing import continued, replaced
from tasks.ml.arrays import Ints
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import synthesize

SMALL = Writer(hidden_size=16, layers=1, heads=1, vocabulary=400, steps=3, batch_blocks=2, block_tokens=32)
SECRET = "123456789"
Taught = tuple[list[str], Ints, list[str]]


@pytest.fixture(scope="module")
def taught() -> Taught:
    rows = generator("paaf").rows()[:80]
    made = list(synthesize("paaf", mode="findings", reports_per_row=2, seed=1, rows=rows))
    labels = np.array([one.label == "maligno" for one in made], np.int64)
    return [one.text for one in made], labels, [one.row_key for one in made]


@pytest.fixture(scope="module")
def fresh() -> dict[int, str]:
    """By label, findings in an order and number that no report of `taught` has."""
    grammar = generator("paaf").grammar
    said = {0: "tipico", 1: "acentuado"}
    clauses = grammar.clauses["universitario"]
    symbols = grammar.languages["universitario"].symbols
    told = {}
    for label, level in said.items():
        phrases = [clause.phrase for clause in clauses if clause.level == level]
        told[label] = "Achados: " + ". ".join(next(iter(one.realisations(symbols))) for one in phrases[::4])
    return told


def reasons(sample: Sample, taught: Taught) -> list[str]:
    return list(sieve([sample], taught[0], taught[1], [SECRET], seed=0).refused)


@pytest.mark.parametrize("label", [0, 1])
def test_a_report_whose_findings_were_flipped_is_refused_and_an_honest_one_is_not(
    taught: Taught, fresh: dict[int, str], label: int
) -> None:
    of = int(np.flatnonzero(taught[1] == label)[0])
    assert not reasons(Sample(fresh[label], fresh[label], of), taught)
    assert reasons(Sample(fresh[1 - label], fresh[1 - label], of), taught) == ["unfaithful"]


def test_a_canary_is_refused_whatever_else_it_says(taught: Taught, fresh: dict[int, str]) -> None:
    of = int(np.flatnonzero(taught[1] == 1)[0])
    told = f"{fresh[1]} registro {SECRET}"
    assert reasons(Sample(told, told, of), taught) == ["canary"]


def test_a_copy_is_refused_even_in_capitals_and_without_accents(taught: Taught) -> None:
    text = taught[0][5]
    assert reasons(Sample(text.upper(), text.upper(), 5), taught) == ["copied"]


def test_a_sample_nearly_the_same_as_a_report_is_refused(taught: Taught) -> None:
    """The words that are new are no copy, yet the whole is hardly another report."""
    assert reasons(Sample(taught[0][5] + " xilofone", "xilofone", 5), taught) == ["near_duplicate"]


def test_a_shared_run_counts_from_the_share_on_and_never_across_two_reports() -> None:
    copies = Copies(["um dois tres quatro", "cinco seis sete oito"])
    assert copies.exceeds("um dois tres novo", 0.5)
    assert not copies.exceeds("um dois novo outro", 0.5)
    assert not copies.exceeds("tres quatro cinco seis", 0.5)
    assert copies.exceeds("UM DÓIS TRÊS novo", 0.5)


def test_each_canary_stands_in_one_report(taught: Taught) -> None:
    planted, secrets = plant(taught[0], seed=0)
    assert len(set(secrets)) == 20
    assert all(sum(secret in text for text in planted) == 1 for secret in secrets)
    assert len(planted) == len(taught[0])


def test_samples_belong_to_the_report_they_were_made_from(taught: Taught) -> None:
    texts, _, rows = taught
    told = continued(causal(texts, rows, SMALL, seed=0), texts[:8], seed=0)
    assert sorted(one.report for one in told) == list(range(8))
    again = continued(causal(texts, rows, SMALL, seed=0), texts[:8], seed=0)
    assert [one.text for one in again] == [one.text for one in told]


def test_a_replacement_leaves_numbers_denials_and_degrees(taught: Taught) -> None:
    texts, _, rows = taught
    text = "nucleos sem atipia, nao se observa necrose acentuada, 1,9 cm; fundo limpo, celulas coesas " * 3
    network = masked(texts, rows, SMALL, seed=0)
    # a draw that changes nothing is no other report, and left out
    told = next(one.text for seed in range(20) for one in replaced(network, [text], seed=seed))
    plain = network[1].decode(network[1](text)["input_ids"], skip_special_tokens=True)
    assert told != plain
    for word in ("sem", "nao", "acentuada", "1, 9 cm"):
        assert told.count(word) >= plain.count(word) > 0
