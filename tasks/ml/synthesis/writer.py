"""From an observation to a report: clauses of one institution's language, sections, layout, typing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from tasks.ml.synthesis.chance import Rng, happens, pick
from tasks.ml.synthesis.grammar import Grammar
from tasks.ml.synthesis.language import Joint, Language
from tasks.ml.synthesis.narrator import Narrator
from tasks.ml.synthesis.observer import Observer
from tasks.ml.synthesis.phrases import Speaker
from tasks.ml.synthesis.typist import typed
from tasks.ml.synthesis.wording import EVERYTHING, Wording

_BLANKS = re.compile(r" {2,}")
_LOOSE = re.compile(r" +(?=[.;,:\n])")


class ReportWriter:
    """Writes reports on what `observer` sees, each in the language of an institution drawn by chance."""

    def __init__(self, grammar: Grammar, observer: Observer, wording: Wording = EVERYTHING) -> None:
        self._categories = grammar.exam.conclusion.categories
        self._observer = observer
        self._voices = [
            (language, Narrator(grammar.exam, language, wording))
            for language in wording.of(grammar.languages)
        ]

    def write(self, measurements: Sequence[float], rng: Rng, *, conclude: bool) -> str:
        """One report. `conclude` adds the category that an observer would give."""
        language, narrator = pick(rng, self._voices)
        observed = self._observer.observe(measurements, rng)
        speaker = Speaker(language.symbols, language.once, rng)

        def findings() -> str:
            told = narrator.mentioned(observed, rng)
            return joined(narrator.said_of(told, observed, speaker, rng), pick(rng, language.joints))

        sections = [
            (pick(rng, language.sections[name].headings), _body(name, language, findings, speaker, rng))
            for name in pick(rng, language.layouts)
        ]
        if conclude:
            said = language.conclusion.categories[self._categories[observed.category]]
            sections.append((pick(rng, language.conclusion.headings), _sentence(speaker.say_one(said))))
        return typed(tidy(_laid_out(sections, rng)), language.typing, rng)


def _body(name: str, language: Language, findings: Callable[[], str], speaker: Speaker, rng: Rng) -> str:
    section = language.sections[name]
    if section.lines is not None:
        body = _sentence(speaker.say_one(section.lines))
    else:
        body = f"{_sentence(speaker.say_one(section.openings or ()))} {findings()}".strip()
    distractor = language.distractors.get(name)
    if distractor is not None and happens(rng, distractor.chance):
        # after a list it starts a line of its own
        body += ("\n" if "\n" in body else " ") + _sentence(speaker.say_one(distractor.lines))
    return body


def joined(clauses: Sequence[str], joint: Joint) -> str:
    """Clauses as a list, as sentences, or as one sentence."""
    if joint == "list":
        return "\n" + "\n".join([f"- {clause}" for clause in clauses])
    if joint == "sentences":
        return " ".join([_sentence(clause) + "." for clause in clauses])
    return _sentence(("; " if joint == "semicolons" else ", ").join(clauses)) + "."


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def tidy(text: str) -> str:
    """Without the blanks that phrases leave behind where a choice came out empty."""
    return _LOOSE.sub("", _BLANKS.sub(" ", text)).strip()


def _laid_out(sections: Sequence[tuple[str, str]], rng: Rng) -> str:
    """Headings and bodies as one text: headings in capitals or not, on a line of their own or not."""
    capitals = happens(rng, 0.5)
    after_heading = "\n" if happens(rng, 0.35) else ": "
    between = pick(rng, ("\n", "\n", "\n\n"))
    return between.join(
        [f"{heading.upper() if capitals else heading}{after_heading}{body}" for heading, body in sections]
    )
