"""Reports written for an exam, audited with all that is known of it: its measurements, and its language."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache
from itertools import chain

from tasks.ml.audit.audit import audit
from tasks.ml.audit.corpus import Corpus
from tasks.ml.audit.result import Audit
from tasks.ml.audit.words import plain, words_of
from tasks.ml.splits import split_of
from tasks.ml.synthesis.agreement import ENDINGS
from tasks.ml.synthesis.exams import Mode, generator
from tasks.ml.synthesis.language import AGREES, LISTED, Language
from tasks.ml.synthesis.phrases import Phrase, parse

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
    """Every plain word that any institution tells the exam's findings in, or its conclusions too."""
    said: set[str] = set()
    for language in generator(exam).grammar.languages.values():
        words = {
            word
            for phrase in _phrases(language, conclude)
            for text in phrase.realisations(language.symbols | {LISTED: (parse(""),), AGREES: ENDINGS})
            for word in words_of(plain(text))
        }
        words |= {word for join in _joins(language) for word in words_of(plain(join))}
        for word, short in language.typing.abbreviations.words.items():
            if set(words_of(plain(word))) <= words:
                words |= set(words_of(plain(short)))
        said |= words
    return frozenset(said)


def _joins(language: Language) -> Iterator[str]:
    if language.listings is not None:
        yield from chain.from_iterable((*language.listings.denied_joins, *language.listings.affirmed_joins))


def _phrases(language: Language, conclude: bool) -> Iterator[Phrase]:
    for levels in language.findings.values():
        yield from chain.from_iterable(levels.values())
    if language.listings is not None:
        yield from chain(language.listings.denied, language.listings.affirmed)
        yield from chain.from_iterable(language.listings.findings.values())
    if conclude:
        yield from chain.from_iterable(language.conclusion.categories.values())
