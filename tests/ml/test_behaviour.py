"""Minimal pairs: what the shipped suites hold, how a wrong file is told, and what a run makes of a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from tasks.ml import synthesis
from tasks.ml.behaviour.run import SuiteRun, headline, run_suite
from tasks.ml.behaviour.suite import Pair, UnknownSuite, bare, known_cues, load_suite, names_cue, shipped
from tasks.ml.behaviour.suite_file import NEGATION
from tasks.ml.checked_yaml import BadFile
from tasks.ml.errors import UnfitData

LANGUAGE = Path(synthesis.__file__).parent / "data"
LABELS = ["benigno", "maligno"]
REQUIRED = {
    "negation", "uncertainty", "family_history", "own_history", "contralateral", "prior_findings",
    "laterality", "decimal_point", "typos", "accents_lost", "upper_case", "ocr_noise", "section_order",
    "irrelevant_addition", "conclusion_against_findings", "severity", "severity_words",
}  # fmt: skip

# ------------------------------------------------------------------ the shipped suites


@pytest.mark.parametrize(("name", "pairs_min"), [("paaf", 300), ("mammography", 120)])
def test_a_shipped_suite_is_broad(name: str, pairs_min: int) -> None:
    suite = load_suite(name)
    assert len(suite.pairs) >= pairs_min
    assert {pair.kind for pair in suite.pairs} >= REQUIRED
    assert {pair.cue for pair in suite.pairs if pair.kind == NEGATION} == set(known_cues().forms)


def test_there_are_forty_cues_and_half_of_them_never_seen() -> None:
    cues = known_cues()
    assert len(cues.forms) >= 40
    assert len(cues.unseen) >= 20


def said(content: str, form: str) -> bool:
    """Whether a language file can say this form of a cue; its words may come from a choice ([a|b])."""
    words = [re.escape(word) for word in bare(form.removesuffix("-")).split()]
    pattern = r"\b" + r"\W+(?:[^\[\]\n]*\|)?".join(words) + ("" if form.endswith("-") else r"\b")
    return re.search(pattern, content) is not None


def language() -> str:
    """Every language file, without comments."""
    contents = [path.read_text("utf-8") for path in sorted(LANGUAGE.rglob("*.yaml"))]
    return bare(re.sub(r"(?m)(^|\s)#.*$", "", "\n".join(contents)))


def test_no_unseen_cue_is_in_the_language_that_teaches() -> None:
    content = language()
    told = [form for forms in known_cues().unseen.values() for form in forms if said(content, form)]
    assert told == []


@pytest.mark.skipif(not (LANGUAGE / "paaf").is_dir(), reason="one language alone does not use every cue")
def test_every_seen_cue_is_in_the_language_that_teaches() -> None:
    content = language()
    assert [
        cue for cue, forms in known_cues().seen.items() if not any(said(content, form) for form in forms)
    ] == []


@pytest.mark.parametrize("phrase", ["[núcleos|células] isentos de sulcos", "não [exibem|mostram] mitoses"])
def test_an_unseen_cue_would_be_found_in_a_choice(phrase: str) -> None:
    forms = [form for forms in known_cues().unseen.values() for form in forms]
    assert any(said(bare(phrase), form) for form in forms)
    assert not any(said(bare("[sem|ausência de] sulcos"), form) for form in forms)


@pytest.mark.parametrize("name", ["paaf", "mammography"])
def test_what_an_unseen_cue_negates_no_seen_one_does(name: str) -> None:
    seen = [form for forms in known_cues().seen.values() for form in forms]

    def helped(pair: Pair) -> bool:
        new = [form for form in seen if names_cue(pair.changed, [form]) and not names_cue(pair.base, [form])]
        return bool(new)

    assert [pair.id for pair in load_suite(name).pairs if pair.seen is False and helped(pair)] == []


# ------------------------------------------------------------------ files

SMALL = """
critical: [maligno]
bases:
  ruim: {says: critical, text: "Há necrose.\\nMama direita, 1,5 cm."}
  bom: {says: other, text: "Fundo limpo."}
  meio: {says: open, text: "Alguns debris."}
pairs:
  - kind: negation
    effect: flip
    of: ruim
    instead_of: "Há necrose."
    say: {livre de: "Livre de necrose.", não há: "Não há necrose."}
  - kind: side
    effect: same
    of: ruim
    replace: [{direita: esquerda}]
  - kind: typed
    effect: same
    of: [ruim, bom]
    make: upper_case
  - kind: order
    effect: same
    of: ruim
    lines: [[1, 0]]
  - kind: added
    effect: same
    of: meio
    after: Alguns
    add: [poucos]
  - kind: severity
    effect: higher
    of: meio
    instead_of: debris
    say: [debris e necrose, debris e mitoses]
"""


@pytest.mark.parametrize("name", shipped())
def test_a_side_that_is_exchanged_is_exchanged_wherever_it_stands(name: str) -> None:
    sides = [re.compile("direit[ao]"), re.compile("esquerd[ao]")]
    for pair in load_suite(name).pairs:
        if pair.kind == "laterality":
            before = [len(side.findall(bare(pair.base))) for side in sides]
            after = [len(side.findall(bare(pair.changed))) for side in sides]
            assert before == after[::-1] or min(after) == 0, pair.id


@pytest.mark.parametrize("name", shipped())
def test_the_other_breast_is_spoken_of_where_one_was_named(name: str) -> None:
    named = re.compile("direit[ao]|esquerd[ao]|duas mamas|mama [de]\\b")
    for pair in load_suite(name).pairs:
        if "contralateral" in bare(pair.changed) or "outra mama" in bare(pair.changed):
            assert named.search(bare(pair.base)), pair.id


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(content: str) -> Path:
        path = tmp_path / "meu.yaml"
        path.write_text(content, encoding="utf-8")
        return path

    return write


def test_a_file_of_ones_own_gives_one_pair_for_each_base_and_change(written: Callable[[str], Path]) -> None:
    changed = {pair.id: pair.changed for pair in load_suite(written(SMALL)).pairs}
    assert changed == {
        "negation/ruim/livre de": "Livre de necrose.\nMama direita, 1,5 cm.",
        "negation/ruim/não há": "Não há necrose.\nMama direita, 1,5 cm.",
        "side/ruim/1": "Há necrose.\nMama esquerda, 1,5 cm.",
        "typed/ruim/1": "HÁ NECROSE.\nMAMA DIREITA, 1,5 CM.",
        "typed/bom/1": "FUNDO LIMPO.",
        "order/ruim/1": "Mama direita, 1,5 cm.\nHá necrose.",
        "added/meio/1": "Alguns poucos debris.",
        "severity/meio/1": "Alguns debris e necrose.",
        "severity/meio/2": "Alguns debris e mitoses.",
    }


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("effect: flip", "effect: flop", r"meu.yaml, line 9, pairs.0.effect"),
        ("of: ruim", "of: rum", r"line 10, pairs.0.of.0: nothing is called 'rum'; did you mean 'ruim'"),
        ("say: {livre de:", "say: {livre da:", r"line 12, pairs.0.say.livre da: nothing is called"),
        ("Livre de necrose", "Sem necrose", r"line 12, .*: the text does not use 'livre de' or 'livres de'"),
        ("direita: esquerda", "direto: reto", r"line 16, .*'direto' does not stand in the base report"),
        ("[[1, 0]]", "[[1, 1]]", r"line 24, .*: give each of 0 to 1 once"),
        ('"Fundo limpo."', '"FUNDO LIMPO."', r"line 20, .*: nothing changes in 'bom'"),
        ("after: Alguns", "after: Todos", r"line 28, .*: 'Todos' stands 0 times"),
        ("effect: higher", "effect: flip", r"line 32, .*: 'meio' is open: there is no decision to flip"),
        (
            "make: upper_case",
            "make: upper_case\n    add: [x]",
            r"line 17, pairs.2: a group changes its bases",
        ),
        ("kind: side", "kind: negation", r"line 13, pairs.1: say names a cue"),
        ("critical: [maligno]", "cues: {seen: {zero: [zero]}}\ncritical: [maligno]", r"line 2, cues: a cue"),
        (
            "e mitoses]",
            "e necrose]",
            r"line 30, pairs.5: severity/meio/2 is the same pair .* severity/meio/1",
        ),
        ("instead_of: debris\n", "instead_of: debris\n    of: bom\n", r"line 34: 'of' is given twice"),
    ],
)
def test_an_error_names_file_line_and_place(
    written: Callable[[str], Path], right: str, wrong: str, told: str
) -> None:
    assert SMALL.count(right) >= 1
    with pytest.raises(BadFile, match=told):
        load_suite(written(SMALL.replace(right, wrong, 1)))


def test_a_suite_that_is_not_there_is_told_with_those_that_are() -> None:
    assert shipped() == ["mammography", "paaf"]
    with pytest.raises(UnknownSuite, match=r"no behaviour suite 'paf'.*mammography, paaf"):
        load_suite("paf")


def test_the_sha_moves_with_what_decides_and_not_with_comments(written: Callable[[str], Path]) -> None:
    sha = load_suite(written(SMALL)).sha
    assert load_suite(written("# note\n" + SMALL)).sha == sha
    for old, new in (
        ("mitoses", "núcleos bizarros"),
        ("critical: [maligno]", "tolerance: 0.2\ncritical: [x]"),
    ):
        assert load_suite(written(SMALL.replace(old, new))).sha != sha


# ------------------------------------------------------------------ runs


def probabilities(critical: Sequence[float]) -> np.ndarray:
    return np.stack([1 - np.array(critical), np.array(critical)], axis=1)


def run_with(score: Callable[[str], float], path: Path | str) -> SuiteRun:
    return run_suite(
        load_suite(path), lambda texts: probabilities([score(t) for t in texts]), LABELS, "maligno"
    )


def words_that_count(text: str) -> float:
    """Knows findings, and no negation."""
    return 0.9 if re.search("necrose|mitoses", text.lower()) else 0.1


def reader(text: str) -> float:
    negated = re.search("(livre de|não há) necrose", text.lower())
    return 0.1 if negated else words_that_count(text)


def test_a_reader_who_understands_negation_is_right_throughout(written: Callable[[str], Path]) -> None:
    run = run_with(reader, written(SMALL))
    assert run.failed == []
    assert {name: (share.right, share.pairs) for name, share in run.shares.items() if "=" not in name} == {
        "all": (9, 9),
        "invariance": (5, 5),
        "direction": (4, 4),
        "cues_seen": (1, 1),
        "cues_unseen": (1, 1),
    }
    low, high = run.shares["all"].interval
    assert low < 1 == high


def test_one_who_counts_words_fails_on_negation_only(written: Callable[[str], Path]) -> None:
    run = run_with(words_that_count, written(SMALL))
    assert {pair.kind for pair in run.failed} == {"negation"}
    assert run.shares["kind=negation"].right == 0
    assert run.shares["direction"].right == 2
    assert headline(run) == {"unseen_negation_share": 0, "invariance_share": 1, "direction_share": 0.5}


@pytest.mark.parametrize("constant", [0.0, 0.5, 1.0])
def test_one_who_says_the_same_of_everything_is_right_where_nothing_should_move(constant: float) -> None:
    run = run_with(lambda _: constant, "paaf")
    assert run.shares["invariance"].value == 1
    # at 1 a probability cannot rise, so staying there is right
    risen = sum(pair.effect == "higher" for pair in run.suite.pairs)
    fallen = sum(pair.effect == "lower" for pair in run.suite.pairs)
    assert run.shares["direction"].right == {0.0: fallen, 0.5: 0, 1.0: risen}[constant]


def test_a_model_that_reads_the_other_way_round_flips_nothing(written: Callable[[str], Path]) -> None:
    run = run_with(lambda text: 1 - reader(text), written(SMALL))
    assert run.shares["direction"].right == 0


@pytest.mark.parametrize(
    ("before", "after", "right"),
    [
        (0.40, 0.45, {"same", "higher"}),
        (0.40, 0.41, {"same"}),
        (0.030, 0.034, {"same", "higher"}),  # little in probability, much in odds
        (0.030, 0.032, {"same"}),
        (0.40, 0.55, {"higher"}),
        (0.55, 0.45, {"lower", "flip"}),
        (0.990, 0.985, {"same", "higher", "lower"}),  # as high as it goes; and it fell
        (0.990, 0.960, {"same", "lower"}),
        (0.001, 0.002, {"same", "higher", "lower"}),  # it rose; and it is as low as it goes
        (0.001, 0.001, {"same", "lower"}),
        (0.95, 0.20, {"lower", "flip"}),
        (0.20, 0.95, {"higher"}),  # a flip from the wrong decision is none
    ],
)
def test_what_counts_as_same_higher_lower_and_flipped(
    written: Callable[[str], Path], before: float, after: float, right: set[str]
) -> None:
    group = "\n  - {kind: k_EFFECT, effect: EFFECT, of: b, instead_of: um, say: [dois EFFECT]}"
    groups = "".join(group.replace("EFFECT", effect) for effect in ("same", "higher", "lower", "flip"))
    path = written(f"critical: [maligno]\nbases: {{b: {{says: critical, text: um}}}}\npairs:{groups}\n")
    run = run_with(lambda text: before if text == "um" else after, path)
    assert {pair.effect for pair, held in zip(run.suite.pairs, run.right, strict=True) if held} == right


def test_every_text_is_asked_for_once_and_all_in_one_call(written: Callable[[str], Path]) -> None:
    calls: list[list[str]] = []

    def answer(texts: Sequence[str]) -> np.ndarray:
        calls.append(list(texts))
        return probabilities([0.3] * len(texts))

    run_suite(load_suite(written(SMALL)), answer, LABELS, "maligno")
    assert len(calls) == 1
    assert len(calls[0]) == len(set(calls[0])) == 12


def test_the_suites_critical_labels_count_together_and_else_the_classifiers_own() -> None:
    suite = load_suite("mammography")
    birads = [f"birads_{category}" for category in range(7)]
    run = run_suite(suite, lambda texts: np.full((len(texts), 7), 1 / 7), birads, "birads_5")
    assert run.before == pytest.approx(np.full(len(suite.pairs), 3 / 7))
    run = run_suite(
        suite, lambda texts: probabilities([0.3] * len(texts)), ["normal", "suspeito"], "suspeito"
    )
    assert run.before == pytest.approx(np.full(len(suite.pairs), 0.3))
    with pytest.raises(UnfitData, match="'outro' is none of the labels normal, suspeito"):
        run_suite(suite, lambda texts: probabilities([0.3] * len(texts)), ["normal", "suspeito"], "outro")


def test_the_example_of_the_documentation_is_a_suite(written: Callable[[str], Path]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "behaviour.md").read_text("utf-8")
    (example,) = re.findall(r"(?ms)^```yaml\n(.*?)^```", page)
    assert [pair.id for pair in load_suite(written(example)).pairs] == [
        "negation/necrose/livre de",
        "negation/necrose/sem",
        "laterality/necrose/1",
        "laterality/necrose/2",
        "family_history/necrose/1",
    ]
