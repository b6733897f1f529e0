"""A grammar is written by hand: every mistake in it is told with its file, line and place."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ml.checked_yaml import BadFile
from tasks.ml.synthesis import exam_mammography
from tasks.ml.synthesis.chance import Stream
from tasks.ml.synthesis.exams import exams, generator
from tasks.ml.synthesis.grammar import Grammar, load
from tasks.ml.synthesis.phrases import Speaker, parse
from tasks.ml.synthesis.variety import cells, distinct_clauses, shared_phrases, word_runs

SMALL = Path(__file__).parent / "grammar"
COLUMNS = ("mean radius", "mean texture", "mean area")

Spoil = Callable[[str, str, str], Path]


@pytest.fixture
def small() -> Grammar:
    return load(SMALL, COLUMNS)


@pytest.fixture
def spoiled(tmp_path: Path) -> Spoil:
    def write(file: str, old: str, new: str) -> Path:
        folder = tmp_path / "small"
        shutil.copytree(SMALL, folder)
        text = (folder / file).read_text("utf-8")
        assert old in text
        (folder / file).write_text(text.replace(old, new, 1), "utf-8")
        return folder

    return write


# --- what is told of a mistake

MISTAKES = [
    # in which file, what is written instead of what, and what is told
    ("norte.yaml", "aspirado de <mama>", "aspirado de <mamma>", r"material.lines.0: .*did you mean 'mama'"),
    ("norte.yaml", "aspirado de <mama>", "aspirad<os> de <mama>", r"material.lines.0: .*'os'"),
    ("norte.yaml", "[pequenos|", "[[pequenos|", r"findings.tamanho.pequeno.0: '\[' is never closed"),
    ("norte.yaml", "[grandes|volumosos]", "grandes|volumosos]", r"grande.0: '\|' without its opening"),
    ("norte.yaml", "<29..78>", "<78..29>", r"sections.material.lines.0: <78..29> runs backwards"),
    ("norte.yaml", "<29..78>", "<29-78>", r"<29-78> is neither a symbol"),
    ("norte.yaml", '"direita",', '"direita <x",', r"symbols.lado.0: '<' is never closed"),
    ("norte.yaml", "once: [", "onse: [", r"onse: unknown key"),
    ("norte.yaml", "upper_case: 0.1", "upper_case: 6", r"typing.upper_case: .*less than or equal to 1"),
    ("norte.yaml", "  mama: [", "  lado: [", r"'lado' is given twice"),
    ("norte.yaml", '["direita",', "[42,", r"symbols.lado.0: a phrase is text; .* \(found a int\)"),
    ("norte.yaml", '["mama <lado>"]', '["<mama> <lado>"]', r"symbols.mama: it contains itself: mama > mama"),
    (
        "norte.yaml",
        "once: [lado]",
        "once: [lados]",
        r"once.0: nothing is called 'lados'; did you mean 'lado'",
    ),
    ("norte.yaml", "[[material, ", "[[xyz, ", r"layouts.0.0: .*known: material, micro"),
    ("norte.yaml", "layouts: [", "layouts: {[", r"expected|found"),
    ("norte.yaml", "openings: [", 'lines: ["a"], openings: [', r"micro: a section has either lines"),
    ("norte.yaml", "  fundo:\n", "  fundos:\n", r"findings.fundos: nothing is called .*did you mean 'fundo'"),
    (
        "sul.yaml",
        '    grande: ["tamanho nuclear grande", "aumento nuclear"]\n',
        "",
        r"tamanho: 'grande' is missing",
    ),
    ("sul.yaml", ', maligno: ["maligno"]', "", r"conclusion.categories: 'maligno' is missing"),
    ("exam.yaml", "[mean texture]", "[mean textur]", r"textura.from.0: .*did you mean 'mean texture'"),
    ("exam.yaml", "    noise: 0.05", "    nois: 0.05", r"findings.tamanho.noise: this is missing"),
    ("exam.yaml", "unmeasured: true", "unmeasured: false", r"nucleolos: a finding is either measured"),
    ("exam.yaml", "unmeasured: true", "unmeasured: true\n    weight: 1", r"only measured findings have a"),
    ("exam.yaml", "    weight: 1\n", "", r"at least one measured finding must have a weight"),
    ("exam.yaml", "[fina, grosseira]", "[fina, media, grosseira]", r"textura has 3 levels; 1 cuts make 2"),
    ("exam.yaml", "always: [sujo]", "always: [suja]", r"fundo.always.0: .*did you mean 'sujo'"),
    ("exam.yaml", "{fundo: [sujo]}", "{fundos: [sujo]}", r"necrose.only_with.fundos: .*mean 'fundo'"),
    ("exam.yaml", "  cuts: [0.5]\n  noise", "  cuts: [0.4, 0.5]\n  noise", r"3 categories need 1 cuts"),
    ("exam.yaml", "  cuts: [0.5]\n  noise", "  noise", r"conclusion: where findings are measured, two"),
    ("exam.yaml", "cuts: [0.5]", "cuts: [0.5, 0.4]", r"cuts: cuts must rise"),
    ("exam.yaml", "[mean radius, mean area]", "[mean area, mean area]", r"from: 'mean area' is given twice"),
    ("exam.yaml", "[fina, grosseira]", "[fina, fina]", r"levels: 'fina' is given twice"),
    ("exam.yaml", "benigno, maligno]", "benigno, benigno]", r"categories: 'benigno' is given twice"),
    ("norte.yaml", '"cariomegalia evidente"]', '""]', r"tamanho.grande.1: this can come out without a word"),
    ("norte.yaml", '"textura lisa"]', '"[, ...|lisa]"]', r"textura.fina.1: this can come out without"),
    ("norte.yaml", 'tamanho: ["cariomegalia"', 'tamanho: [" "', r"listings.findings.tamanho.0: .*a word"),
    ("norte.yaml", '["lesão benigna"]', '["[|]"]', r"conclusion.categories.benigno.0: .*without a word"),
    ("norte.yaml", 'tamanho: ["cariomegalia"', 'tamanho: ["carioc<os>"', r"findings.tamanho.0: .*'os'"),
    ("norte.yaml", "[micro]]", "[material]]", r"layouts.1: a layout needs one section with openings"),
    ("norte.yaml", "[micro]]", "[micro, micro]]", r"layouts.1: a layout needs one section with openings"),
    ("norte.yaml", "  mama: [", "  x: [a]\n  mama: [", r"symbols.x: a symbol's name is made of a to z"),
    ("norte.yaml", "  mama: [", "  posição: [a]\n  mama: [", r"symbols.posição: a symbol's name is made"),
    (
        "norte.yaml",
        '"cariomegalia evidente"',
        '"núcleos miúdos"',
        r"grande.1: 'núcleos miúdos' is said of peq",
    ),
    (
        "norte.yaml",
        "{chance: 0.5, lines",
        "{chance: 0,5, lines",
        r"distractors.material.5: .*point here: 0.5",
    ),
    ("norte.yaml", '["lesão benigna"]', '"lesão benigna"', r"categories.benigno: a list is wanted here"),
    ("norte.yaml", '["lesão benigna"]', "&a [*a]", r"contains itself"),
    (
        "norte.yaml",
        '["lesão benigna"]',
        f'["{"[a|b]" * 40}"]',
        r"said in 1,099,511,627,776 ways, and 100,000",
    ),
    ("norte.yaml", '["lesão benigna"]', "!!python/name:os.system []", r"could not determine a constructor"),
    ("norte.yaml", "lesão benigna", "les\0ão", r"a character that no text holds"),
]


@pytest.mark.parametrize(("file", "old", "new", "told"), MISTAKES)
def test_a_mistake_is_told_with_its_place(file: str, old: str, new: str, told: str, spoiled: Spoil) -> None:
    with pytest.raises(BadFile, match=rf"^{re.escape(file)}, line \d+.*({told})"):
        load(spoiled(file, old, new), COLUMNS)


def test_the_line_that_is_named_is_the_line_of_the_mistake(spoiled: Spoil) -> None:
    folder = spoiled("norte.yaml", "aspirado de <mama>", "aspirado de <mamma>")
    with pytest.raises(BadFile) as caught:
        load(folder, COLUMNS)
    line = int(re.search(r"line (\d+)", str(caught.value))[1])  # type: ignore[index]
    assert "<mamma>" in (folder / "norte.yaml").read_text("utf-8").splitlines()[line - 1]


def test_an_empty_file_and_an_exam_nobody_words_are_said_to_be_so(tmp_path: Path) -> None:
    (tmp_path / "exam.yaml").write_text("# nada\n")
    with pytest.raises(BadFile, match=r"exam\.yaml is empty"):
        load(tmp_path, ())
    shutil.copy(SMALL / "exam.yaml", tmp_path)
    with pytest.raises(BadFile, match="holds no institution's language"):
        load(tmp_path, COLUMNS)


def test_a_file_that_is_no_file_of_the_exam_s_language_is_told_by_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(SMALL, folder)
    (folder / "._norte.yaml").write_bytes(b"\0\5\x16")  # as macOS leaves it beside a file
    load(folder, COLUMNS)
    (folder / "oeste.yml").write_text("about: x")
    with pytest.raises(BadFile, match=r"oeste\.yml: an institution's file ends in \.yaml; rename it"):
        load(folder, COLUMNS)
    (folder / "oeste.yml").rename(folder / "oeste.yaml")
    for encoding, line in (("latin-1", 2), ("utf-16", 1)):
        (folder / "oeste.yaml").write_text("about: x\nonce: [não]", encoding)
        with pytest.raises(BadFile, match=rf"oeste\.yaml, line {line}: this is not UTF-8; save"):
            load(folder, COLUMNS)
    (folder / "oeste.yaml").unlink()
    (folder / "oeste.yaml").mkdir()
    with pytest.raises(BadFile, match=r"oeste\.yaml in .* cannot be read"):
        load(folder, COLUMNS)
    with pytest.raises(BadFile, match=r"exam\.yaml in .* cannot be read: No such file"):
        load(tmp_path, COLUMNS)


# --- what mammographic descriptors say

ODDS = exam_mammography.DATA / "mammography_odds.yaml"
WRONG_ODDS = [
    ("negativa: 0.13", "negativo: 0.13", r"mix.shares.negativo: .*did you mean 'negativa'"),
    ("negativa: 0.13, benigna: 0.17", "benigna: 0.30", r"mix.shares: 'negativa' is missing"),
    ("negativa: 0.13", "negativa: 0.93", r"mix.shares: shares add up to 1; these to 1.80"),
    ("adiposa: 0.10", "adiposa: 0.80", r"composition.shares: shares add up to 1; these to 1.70"),
    ("amorfas: 0.34", "amorfas: 0.94", r"calcificacoes_morfologia.frequency: shares add up to 1"),
    ("frequency: 0.50", "frequency: 0.90", r"lesions: shares add up to 1; these to 1.40"),
    ("oval: [40, 140], ", "", r"descriptors.nodulo_forma.counts: 'oval' is missing"),
    ("oval: [40, 140]", "oval: [-40, 140]", r"nodulo_forma.counts.oval.0: .*greater than or equal to 0"),
    ("gordurosa: 0.005", "gordurosa: 0", r"nodulo_densidade.risk.gordurosa: .*greater than 0"),
    ("hiperdensa: 0.702", "hiperdensa: 1", r"nodulo_densidade.risk.hiperdensa: .*less than 1"),
    ("risk: 0.294", "risk: 0", r"lesions.nodulo.risk: .*greater than 0"),
    ("  distorcao:\n", "  estudo:\n", r"lesions.estudo: nothing is called 'estudo'"),
    ("  linfonodos:\n", "  estudo:\n", r"descriptors.estudo: nothing is called 'estudo'"),
    ("benign_max: 0.02", "benign_max: 0.96", r"bands: probably_benign_max lies below highly_suggestive"),
]


@pytest.mark.parametrize(("old", "new", "told"), WRONG_ODDS)
def test_odds_that_cannot_be_meant_are_told_with_their_place(
    old: str, new: str, told: str, tmp_path: Path
) -> None:
    path, text = tmp_path / "odds.yaml", ODDS.read_text("utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(BadFile, match=rf"^odds.yaml, line \d+, .*({told})"):
        exam_mammography.Mammography(odds=path)


# --- phrases


@given(st.text("ab[]|<> .,0123", max_size=30))
def test_any_text_is_a_phrase_or_a_value_error(text: str) -> None:
    try:
        phrase = parse(text)
    except ValueError:
        return
    symbols = dict.fromkeys(phrase.symbols(), (parse("x"),))
    said = Speaker(symbols, (), Stream("any")).say(phrase)
    assert not set(said) & set("[]|<>")
    assert re.sub(r"[0-9]+(,[0-9])?", "#", said) in {
        re.sub(r"[0-9]+(,[0-9])?", "#", one) for one in phrase.realisations(symbols)
    }


def test_numbers_stay_within_their_bounds_and_reach_them() -> None:
    speaker = Speaker({}, (), Stream("numbers"))
    assert {speaker.say(parse("<2..4>")) for _ in range(100)} == {"2", "3", "4"}
    assert {speaker.say(parse("<0,9..1,1>")) for _ in range(100)} == {"0,9", "1,0", "1,1"}


def test_a_symbol_said_once_stays_what_it_was() -> None:
    sides = {"lado": (parse("direita"), parse("esquerda"))}
    for seed in range(20):
        first, second = Speaker(sides, ["lado"], Stream("side", seed)).say(parse("<lado> <lado>")).split()
        assert first == second


# --- how much there is to say


def test_realisations_are_counted_once_each_and_a_number_once(small: Grammar) -> None:
    found = {(one.institution, one.finding, one.level): one for one in cells(small)}
    few = found["norte", "tamanho", "pequeno"]
    assert (few.phrases, few.realisations) == (3, 5)  # three choices, one fixed, one with a number in it
    assert distinct_clauses(small) == sum(one.realisations for one in found.values())


def test_words_that_two_institutions_share_are_found_with_both_lines(spoiled: Spoil) -> None:
    folder = spoiled("sul.yaml", "células de tamanho habitual", "[SEM|sem] o aumento: dos vistos")
    assert not shared_phrases(load(folder, COLUMNS))
    north = folder / "norte.yaml"
    north.write_text(north.read_text("utf-8").replace("sem aumento dos", "sem o aumento dos"), "utf-8")
    (shared,) = shared_phrases(load(folder, COLUMNS))
    assert shared.words == "sem o aumento dos"
    for institution, line in shared.places:
        assert "o aumento" in (folder / f"{institution}.yaml").read_text("utf-8").splitlines()[line - 1]


def test_word_runs_know_neither_case_nor_accents_nor_punctuation() -> None:
    assert list(word_runs("Não há, NÚCLEOS grandes", 3)) == ["nao ha nucleos", "ha nucleos grandes"]


@pytest.mark.parametrize("exam", exams())
def test_each_exam_has_ten_thousand_clauses_in_three_institutions_that_share_none(exam: str) -> None:
    grammar = generator(exam).grammar
    assert distinct_clauses(grammar) >= 10_000
    assert len(grammar.languages) >= 3
    assert [shared.words for shared in shared_phrases(grammar)] == []
