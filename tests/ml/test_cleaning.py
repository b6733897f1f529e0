"""Every line of the catalogue of bad input: mended and counted, or refused with a fixed word."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tasks.ml.errors import Unreadable
from tasks.ml.reading import cleaning
from tasks.ml.reading.cleaning import CHARACTERS_MAX, RAW_MAX, clean, raw_sha

LAUDO = "CONCLUSÃO: punção de nódulo à direita – “benigno”. CLÍNICA: índice de É"


def repaired(raw: object) -> tuple[str, dict[str, int]]:
    cleaned = clean(raw)
    return cleaned.text, cleaned.repairs


def test_a_sound_report_is_left_as_it_is() -> None:
    assert repaired(LAUDO) == (LAUDO, {})


def test_nul_bytes_are_removed_and_counted() -> None:
    assert repaired("Nód\0ulo\0\0") == ("Nódulo", {"nul": 3})


def test_other_control_characters_are_removed_and_counted() -> None:
    assert repaired("Nódulo\x07 sólido\x1b\tde 5 mm, sem outras alterações") == (
        "Nódulo sólido\tde 5 mm, sem outras alterações",
        {"controls": 2},
    )


def test_lone_surrogates_become_the_sign_for_the_unreadable() -> None:
    assert repaired("Nódulo \ud800 sólido") == ("Nódulo \ufffd sólido", {"lone_surrogates": 1})


def test_halves_of_a_pair_are_joined() -> None:
    assert clean("Nódulo \ud83d\ude00").text == "Nódulo 😀"


def test_bytes_that_sqlite_let_through_as_text_are_read_as_windows_1252() -> None:
    escaped = "Conclusão".encode("cp1252").decode("utf-8", "surrogateescape")
    assert repaired(escaped) == ("Conclusão", {"stray_bytes": 1})


@pytest.mark.parametrize("times", [1, 2, 3])
@pytest.mark.parametrize("misread_as", ["latin-1", "cp1252"])
def test_mojibake_is_undone_where_the_round_trip_is_strict(times: int, misread_as: str) -> None:
    mangled = "Conclusão: punção à esquerda"
    for _ in range(times):
        mangled = mangled.encode().decode(misread_as)
    assert clean(mangled).text == "Conclusão: punção à esquerda"
    assert clean(mangled).repairs["mojibake"] >= 3


def test_a_mangled_line_is_mended_beside_a_sound_one() -> None:
    assert clean("Punção\n" + "Punção".encode().decode("latin-1")).text == "Punção\nPunção"


@pytest.mark.parametrize("sound", ["“AMANHÔ", "É” MÃE", "Ação Â° nº", "PUNÇÃO — Ã", "naïve Zoë", "Î©"])
def test_what_only_looks_like_mojibake_is_kept(sound: str) -> None:
    assert clean(sound).text == sound
    # a line that mixes sound and mangled letters cannot be proved mangled
    assert clean(f"ã {sound}").text == f"ã {sound}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be"])
def test_bytes_are_read_in_the_encoding_they_are_in(encoding: str) -> None:
    cleaned = clean(LAUDO.encode(encoding))
    assert cleaned.text == LAUDO
    assert sum(count for name, count in cleaned.repairs.items() if name.startswith("bytes_")) == 1


def test_windows_1252_marks_read_as_latin_1_are_mended() -> None:
    assert repaired(LAUDO.encode("cp1252").decode("latin-1")) == (LAUDO, {"windows_1252_marks": 3})


def test_hl7_escapes_become_what_they_stand_for() -> None:
    text = r"Nódulo \T\ cisto\.br\5 \S\ 3\.sp2\Fim\X0D0A\\H\negrito\N\ \E\ \F\ \R\ \Xc3a7\ \Xe7\ C:\temp"
    assert clean(text).text == "Nódulo & cisto\n5 ^ 3\nFim\nnegrito \\ | ~ ç ç C:\\temp"


def test_rtf_leaves_its_text() -> None:
    rtf = (
        r"{\rtf1\ansi\ansicpg1252{\fonttbl{\f0 Arial;}}{\*\generator Word;}{\info{\author Fulano}}"
        r"\pard\b Conclus\'e3o:\b0  n\'f3dulo \{5 mm\}\par "
        r"Ic\u225?one \u-10179?\u-8704? e {\uc0 \u231}a\line fim}"
    )
    assert repaired(rtf) == ("Conclusão: nódulo {5 mm}\nIcáone 😀 e ça\nfim", {"rtf": 1})


def test_html_leaves_its_text() -> None:
    html = (
        "<html><head><title>x</title><style>p {color: red}</style></head><body>"
        "<p>Conclus&atilde;o:<br/>n&oacute;dulo &lt; 5&nbsp;mm</p>"
        "<table><tr><td>a</td><td>b</td></tr></table>"
    )
    assert repaired(html) == ("Conclusão:\nnódulo < 5 mm\n\n\ta\tb", {"html": 1})


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<html><head><meta charset=utf-8><title>x</title><body><p>Maligno</p></body></html>", "Maligno"),
        ("Laudo 12\n<html><head><title>x</title><body><p>Maligno</p></body></html>", "Laudo 12\n\nMaligno"),
        ("<html><head></head><body>Um</body></html><html><head><meta><body> Dois</body></html>", "Um Dois"),
        ("<html><head><title>x</title><style>p {color: red}</style><p>Maligno</p></html>", "Maligno"),
        ("<html><head><meta charset=utf-8>\nLaudo: maligno", "Laudo: maligno"),
        ("<html><head><style>p {}</style><title>x</title></head>\n<body>Maligno</body></html>", "Maligno"),
    ],
    ids=["body", "after a line", "two documents", "no body either", "no tag either", "closed"],
)  # fmt: skip
def test_a_head_left_open_hides_no_body(html: str, text: str) -> None:
    assert clean(html).text == text


def test_entities_outside_html_are_read() -> None:
    assert repaired("n&oacute;dulo &amp; cisto, P&D") == ("nódulo & cisto, P&D", {"entities": 2})


def test_a_comparison_is_no_tag() -> None:
    assert clean("nódulo <5 mm, Ki-67 > 20% e <b").text == "nódulo <5 mm, Ki-67 > 20% e <b"


@pytest.mark.parametrize("raw", [b"%PDF-1.7\n%\xe2\xe3", "%PDF-1.4 texto", "\ufeff %PDF-1.4"])
def test_a_pdf_is_refused(raw: object) -> None:
    with pytest.raises(Unreadable, match=r"^pdf$"):
        clean(raw)


@pytest.mark.parametrize("raw", [b"PK\x03\x04word", b"\xd0\xcf\x11\xe0", bytes(range(1, 32)) * 9])
def test_what_is_no_text_at_all_is_refused(raw: bytes) -> None:
    with pytest.raises(Unreadable, match=r"^binary$"):
        clean(raw)


def test_more_than_a_million_characters_are_refused_with_their_number() -> None:
    assert clean("a" * CHARACTERS_MAX).text
    for raw in ("a" * 2_000_000, b"a" * (RAW_MAX + 1)):
        with pytest.raises(Unreadable, match=r"^too_long$") as refused:
            clean(raw)
        assert refused.value.counts == {"characters": len(raw)}


def test_markup_may_be_longer_than_its_text() -> None:
    picture = r"{\pict " + "ff" * 600_000 + "}"
    assert clean(r"{\rtf1 Conclus\'e3o " + picture + "}").text == "Conclusão"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (None, "no_text"),
        ("", "empty"),
        (" \n\u200b\u00a0", "empty"),
        (b"", "empty"),
        ("--- 123 / 4,5 ---", "no_letters"),
        (42, "not_text"),
        ("<p></p>", "empty"),
    ],
)
def test_empty_and_letterless_texts_are_refused(raw: object, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        clean(raw)


def test_bidi_and_zero_width_marks_are_removed_and_counted() -> None:
    assert repaired("be\u200bnig\u202eno\ufeff e ma\u00adligno\u2069") == (
        "benigno e maligno",
        {"invisible": 5},
    )


def test_accents_in_two_pieces_are_composed() -> None:
    assert repaired("Conclusa\u0303o") == ("Conclusão", {"composed": 1})


def test_line_ends_spaces_and_gaps_take_one_form() -> None:
    assert clean("a\r\nb\rc\x0bd\u2028e  \n\n\n\nf\u00a0g\t\n").text == "a\nb\nc\nd\ne\n\nf g"


def test_the_sha_is_the_raw_contents_and_tells_any_two_apart() -> None:
    raws = ["a", "a ", "a\0", "\ud800", "\ufffd", "", b"\xff", 42]
    assert len({raw_sha(raw) for raw in raws}) == len(raws)
    assert raw_sha(b"a") == raw_sha("a") == raw_sha(memoryview(b"a"))
    for text in ("Punção", "\ud800 só", "a\0b", "\U0001f642"):
        assert raw_sha(text) == raw_sha(text.encode("utf-8", "surrogatepass"))
    assert raw_sha(None) == raw_sha("")


def test_no_error_carries_text() -> None:
    with pytest.raises(Unreadable) as refused:
        clean("%PDF- CANARIO")
    assert "CANARIO" not in str(refused.value) + repr(refused.value)


anything = st.one_of(
    st.binary(max_size=300),
    st.text(max_size=300),
    st.text(st.characters(categories=["Cs", "Cc", "Cf", "Lu", "Ll"]), max_size=300),
    st.text("{}\\rtf1u'*<>p&;#x.bEX0F \n", max_size=300).map(lambda text: "{\\rtf" + text),
    st.text("{}\\'<>p/&;#x.brEXFHS0 \n", max_size=300),
)


@settings(max_examples=60, deadline=None)
@given(anything)
@example("{\\rtf1\\u-99999999 }a")
@example("&#1114112;&#xD800;a")
@example("{\\rtf1\\uc}\\'e9a")
def test_whatever_comes_is_read_or_refused_and_can_be_stored(raw: object) -> None:
    try:
        text = clean(raw).text
    except Unreadable:
        return
    assert text.strip()
    assert "\0" not in text
    assert text.encode("utf-8").decode("utf-8") == text


likely = st.lists(
    st.sampled_from(["nódulo", " ", "  ", "\n", "\t", "\n\n", "10 mm²", "1ª", "Ã©", "Â", "º", "<", "<br>"])
    | st.sampled_from(
        ["&amp;", "&", "\\.br\\", "\\", "\r\n", "\r", "\xad", "\xa0", "\x7f", "–", "{\\rtf1 a}"]
    )
    | st.characters(max_codepoint=0x17F),
    max_size=30,
).map("".join)


@settings(max_examples=300, deadline=None)
@given(likely | st.text(max_size=60))
@example("Ã³rgÃ£o")
@example("Â\xad")
@example("a\x85b")
def test_the_short_way_for_plain_text_is_the_long_way(text: str) -> None:
    def told() -> object:
        try:
            return clean(text)
        except Unreadable as refused:
            return refused.reason

    short = told()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cleaning, "_is_plain", lambda _: False)
        assert told() == short


def test_most_reports_go_the_short_way() -> None:
    """The control of the test above: both ways are taken."""
    assert cleaning._is_plain("Nódulo de 12 mm², à direita (1ª punção).\n\tSem atipias; 100 % benigno.")
    assert not any(
        map(cleaning._is_plain, ["a\rb", "Ã©", "a &lt; b", "\ud800", "–", "a\0", "\\.br\\", "a\xadb"])
    )
