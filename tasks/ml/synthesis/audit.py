"""Reports written for an exam, audited with all that is known of it: its measurements, and its language."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product

from tasks.ml.audit.audit import audit
from tasks.ml.audit.corpus import Corpus
from tasks.ml.audit.result import Audit
from tasks.ml.audit.words import plain, words_of
from tasks.ml.splits import split_of
from tasks.ml.synthesis.exams import Mode, generator
from tasks.ml.synthesis.phrases import Choice, Number, Phrase, Symbol

# what joins findings, and marks that a dictated report says aloud: the more there is to say, the more of them
BETWEEN_FINDINGS = frozenset(("e", "ou", "nem", "virgula", "ponto", "paragrafo"))
# what means a label without being its name, in either language
LABEL_WORDS = ("malign", "benign", "carcin", "neopl", "cancer", "tumor", "metast", "birads", "yokohama")


def audit_reports(
    exam: str,
    mode: Mode,
    texts: Sequence[str],
    labels: Sequence[str],
    row_keys: Sequence[str],
    only: Collection[str] = (),
) -> Audit:
    """What these reports on the exam's rows give away besides their findings.

    In `full` mode the conclusion is derived from the measurements as the findings are, so its words count as
    findings': they may go with the label as far as the measurements explain, and no further.
    """
    measured = {row.key: row.measurements for row in generator(exam).rows()}
    corpus = Corpus(
        texts,
        labels,
        row_keys,
        measured,
        [split_of(key) for key in row_keys],
        findings_words(exam, conclude=mode == "full") | BETWEEN_FINDINGS,
        LABEL_WORDS,
    )
    return audit(corpus, only)


@lru_cache(maxsize=4)
def findings_words(exam: str, *, conclude: bool) -> frozenset[str]:
    """Every plain word that the exam's findings, or its conclusions too, can be told in."""
    grammar = generator(exam)._grammar  # type: ignore[attr-defined]
    phrases = [
        phrase for finding in grammar.findings.values() for level in finding.levels for phrase in level
    ]
    if conclude:
        phrases += [phrase for category in grammar.conclusion.categories for phrase in category]
    said = {
        word
        for phrase in phrases
        for text in _said(phrase, grammar.symbols)
        for word in words_of(plain(text))
    }
    for word, short in grammar.typing.abbreviations.words.items():
        if set(words_of(plain(word))) <= said:
            said |= set(words_of(plain(short)))
    return frozenset(said)


def _said(phrase: Phrase, symbols: Mapping[str, Sequence[Phrase]]) -> Iterator[str]:
    yield from map("".join, product(*(_ways(part, symbols) for part in phrase.parts)))


def _ways(part: str | Number | Symbol | Choice, symbols: Mapping[str, Sequence[Phrase]]) -> Sequence[str]:
    if isinstance(part, str):
        return (part,)
    if isinstance(part, Number):
        return ("1",)
    options = part.options if isinstance(part, Choice) else symbols[part.name]
    return [said for option in options for said in _said(option, symbols)]
