"""Ways to more wordings of the training reports: what they may change, and what they never do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tasks.ml.checked_yaml import BadFile
from tasks.ml.reading.sections import clauses, folded, joined, sections
from tasks.ml.synthesis.exams import exams, generator
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.variety.augment import WAYS, Augmentation, augmented, course, moved
from tasks.ml.variety.synonyms import Synonyms, shipped

EVERYTHING = Augmentation(1.0, 1.0, 1.0, 1.0)
AMBIGUOUS = {"exame", "relatorio", "laudo"}  # whole reports stand under them


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = generator("paaf").rows()[:60]
    return [one.text for one in synthesize("paaf", mode="findings", reports_per_row=4, seed=1, rows=rows)]


class Middling:
    """Chance that never falls on an edge: everything with a share above a half happens."""

    def random(self) -> float:
        return 0.5


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def test_an_epoch_reads_the_same_wherever_it_is_made_and_no_two_are_alike(texts: list[str]) -> None:
    first = augmented(texts, EVERYTHING, seed=1, epoch=0)
    assert first == augmented(texts, EVERYTHING, seed=1, epoch=0)
    assert first != augmented(texts, EVERYTHING, seed=1, epoch=1)
    assert first != augmented(texts, EVERYTHING, seed=2, epoch=0)


def test_a_report_is_its_sections_and_findings_are_their_clauses(texts: list[str]) -> None:
    for text in texts:
        parts = sections(text)
        assert "".join(one.text + one.gap for one in parts) == text
        for one in parts:
            assert joined(*clauses(one.text)) == one.text

    # a slip of the typist in a heading makes it one nobody knows
    found = [any(one.kind == "findings" for one in sections(text)) for text in texts]
    assert sum(found) > 0.95 * len(texts)


def test_shuffling_keeps_every_word(texts: list[str]) -> None:
    told = [moved(text, np.random.default_rng(number), dropped_max=0.0) for number, text in enumerate(texts)]
    assert [words(text) for text in told] == [words(text) for text in texts]
    assert sum(a != b for a, b in zip(told, texts, strict=True)) > len(texts) / 2


def test_never_more_than_half_of_the_clauses_are_left_out(texts: list[str]) -> None:
    def movable(text: str) -> int:
        return sum(len(clauses(one.text)[0]) for one in sections(text) if one.kind == "findings")

    told = [moved(text, np.random.default_rng(number)) for number, text in enumerate(texts)]
    kept = [(len(words(after)), movable(after), movable(before))
            for before, after in zip(texts, told, strict=True) if movable(before) > 2]  # fmt: skip
    assert all(size and after >= before / 2 - 1 for size, after, before in kept)
    assert any(after < before for _, after, before in kept)


def test_no_way_empties_a_report_and_nothing_is_done_to_one_without_headings() -> None:
    bare = "sem particularidades"
    for text in ("", "x", bare, "Micro", "Micro:", "Micro:\n- um", "Dados: a.", "\n\n"):
        told = augmented([text, "Dados: b."], EVERYTHING, seed=0, epoch=0)[0]
        assert bool(told.strip()) == bool(text.strip())
    assert augmented([bare], Augmentation(clauses=1.0, sections=1.0), seed=0, epoch=0) == [bare]


def test_a_section_under_a_heading_nobody_knows_is_never_mixed_or_dropped() -> None:
    text = "Dados: 40 anos.\nMama direita:\n- cisto\n- espessamento\n\nConclusão\nBenigno."
    told = augmented([text, "Dados: 90 anos.\nConclusão\nMaligno."], EVERYTHING, seed=0, epoch=0)
    assert [one.kind for one in sections(text)] == ["context", "other", "other"]
    only_mixed = augmented(
        [text, "Dados: 90 anos.\nConclusão\nMaligno."], Augmentation(sections=1.0), seed=0, epoch=0
    )
    assert only_mixed[0].split("\n", 1)[1] == text.split("\n", 1)[1]
    assert len(told) == 2


def test_sections_come_from_the_given_reports_alone(texts: list[str]) -> None:
    """Findings stay; every other sentence stood in one of the reports that were given, of any label."""
    taught, others = texts[:100], texts[100:]
    told = augmented(taught, Augmentation(sections=1.0), seed=3, epoch=0)
    known = {one.text for text in taught for one in sections(text)}
    strange = {one.text for text in others for one in sections(text)} - known
    used = {one.text for text in told for one in sections(text)}
    assert not used & strange
    for before, after in zip(taught, told, strict=True):
        kept = [[one.text for one in sections(text) if one.kind != "context"] for text in (before, after)]
        assert kept[0] == kept[1]
    assert sum(a != b for a, b in zip(told, taught, strict=True)) > len(taught) / 2


def test_every_heading_of_the_exams_is_known_for_what_it_is() -> None:
    for exam in exams():
        for language in generator(exam).grammar.languages.values():
            for name, section in language.sections.items():
                for heading in section.headings:
                    kind = sections(f"{heading}:\nNódulo.")[0].kind
                    if "nota" in name or name == "macroscopia" or folded(heading) in AMBIGUOUS:
                        assert kind != "findings"
                    else:
                        assert kind == ("context" if section.lines else "findings"), heading


def test_an_exchange_never_turns_a_clause_into_one_of_another_level() -> None:
    grammar = generator("paaf").grammar
    levels: dict[tuple[str, str], set[str]] = {}
    said = [
        (clause, text)
        for institution, all_clauses in grammar.clauses.items()
        for clause in all_clauses
        for text in clause.phrase.realisations(grammar.languages[institution].symbols)
    ]
    for clause, text in said:
        levels.setdefault((clause.finding, text), set()).add(clause.level)
    changed = 0
    for clause, text in said:
        told = shipped().exchanged(text, 1.0, Middling())
        changed += told != text
        meant = levels.get((clause.finding, told), {clause.level})
        assert clause.level in meant
    assert changed > len(said) / 20


def test_an_exchange_keeps_capitals_and_leaves_parts_of_words() -> None:
    told = shipped().exchanged("NÚCLEOS. Núcleos; perinúcleos, leve-se", 1.0, Middling())
    assert told == "CARIONTES. Cariontes; perinúcleos, leve-se"


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{strength: mild, agreement: fs, words: [leve]}", "line 2"),
        ("{strength: mild, agreement: fs, words: [leve, Discreta]}", "line 2.*small letters"),
        ("{strength: mild, agreement: fs, words: [leve, leve]}", "line 2.*twice"),
        ("{strength: huge, agreement: fs, words: [leve, discreta]}", "line 2"),
    ],
)
def test_a_slip_in_the_synonyms_is_told_with_its_line(tmp_path: Path, line: str, complaint: str) -> None:
    file = tmp_path / "synonyms.yaml"
    file.write_text(f"groups:\n  - {line}\n", "utf-8")
    with pytest.raises(BadFile, match=complaint):
        Synonyms(file)


def test_noise_leaves_numbers_and_short_words_alone() -> None:
    text = "não há, sem 1,9 cm BI-RADS 5 de mama " + "anisocariose acentuada " * 30
    told = augmented([text], Augmentation(noise=1.0), seed=0, epoch=0)[0]
    assert told != text
    assert re.findall(r"\b\d+\b", text) == re.findall(r"\b\d+\b", told)
    assert told.startswith(("não há, sem 1,9 cm BI-RADS 5 de mama", "nao ha, sem 1,9 cm BI-RADS 5 de mama"))


def test_a_course_takes_as_many_steps_as_the_reports_alone(texts: list[str]) -> None:
    plain, more = (course(texts, Augmentation.of(ways), 1, 2.5) for ways in ((), WAYS))
    assert (plain.texts, plain.passes) == (texts, 2.5)
    assert len(more.texts) == 3 * len(texts)
    assert more.passes * len(more.texts) == pytest.approx(2.5 * len(texts))
    assert list(more.report[: len(texts)]) == list(more.report[-len(texts) :]) == list(range(len(texts)))
