"""What one institution says of an observation: a clause for each finding, or several findings in one list."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from tasks.ml.synthesis.agreement import ending
from tasks.ml.synthesis.chance import Rng, happens, integer, pick, shuffled
from tasks.ml.synthesis.language import AGREES, LISTED, Language, Listings
from tasks.ml.synthesis.medicine import Exam
from tasks.ml.synthesis.observer import Observation
from tasks.ml.synthesis.phrases import Phrase, Speaker
from tasks.ml.synthesis.wording import Wording

MENTIONED_MIN = 4  # a report on fewer findings than this is none
LISTED_MAX = 4  # findings in one list
REPEATED_SHARE = 0.5  # of the lists after a preposition: it is said again before each item
TRIES = 50  # to expand a clause to a wording that is allowed

_LIST = "\0"  # where the list will stand, while its form is expanded
_PREPOSITION = re.compile(r"\b(?:de|sem|com|a) $")
_PLAIN_JOIN = re.compile(r",? (?:(?:e|ou|nem) )?")


class Narrator:
    def __init__(self, exam: Exam, language: Language, wording: Wording) -> None:
        self._findings = exam.findings
        self._language = language
        self._wording = wording

    def said_of(
        self, mentioned: Sequence[str], observed: Observation, speaker: Speaker, rng: Rng
    ) -> list[str]:
        """On these findings, in this order; none on one for which no wording that is allowed is found."""
        lists = list(self._lists(mentioned, observed, rng))
        said: list[Callable[[], str]] = []
        for name in mentioned:
            of = next((group for group in lists if name in group), None)
            if of is None:
                said.append(partial(speaker.say_one, self._phrases(name, observed)))
            elif name == of[0]:
                said.append(partial(self._list_of, of, observed, speaker, rng))
        return [clause for say in said for clause in self._allowed(say)]

    def listed(self, group: Sequence[str], observed: Observation, speaker: Speaker, rng: Rng) -> list[str]:
        """On findings that are all at their first, or all at their last level: one clause, or none."""
        return list(self._allowed(partial(self._list_of, group, observed, speaker, rng)))

    def mentioned(self, observed: Observation, rng: Rng) -> list[str]:
        """What this observer writes down, in the order of the exam or, in half of the reports, any."""
        # how far each finding is from being left out: at least MENTIONED_MIN stay, the surest first
        margins = sorted(
            (-1.0 if self._level(name, observed) in finding.always else rng.random() - finding.mention, name)
            for name, finding in self._findings.items()
            if self._has_a_say(name, observed)
        )
        kept = {name for rank, (margin, name) in enumerate(margins) if margin < 0 or rank < MENTIONED_MIN}
        chosen = [name for name in self._findings if name in kept]
        return shuffled(rng, chosen) if happens(rng, 0.5) else chosen

    def _lists(self, mentioned: Sequence[str], observed: Observation, rng: Rng) -> Iterator[list[str]]:
        """Of the findings at their first level some, and of those at their last: each a list of its own."""
        listings = self._language.listings
        if listings is None or not happens(rng, listings.chance):
            return
        for is_at_end in (self._is_first, self._is_last):
            names = [name for name in mentioned if name in listings.findings and is_at_end(name, observed)]
            if names:
                yield shuffled(rng, names)[: integer(rng, 1, LISTED_MAX)]

    def _list_of(self, group: Sequence[str], observed: Observation, speaker: Speaker, rng: Rng) -> str:
        listings = self._language.listings
        assert listings is not None
        forms, joins = _of(listings, denied=self._is_first(group[0], observed))
        nouns = [speaker.say_one(listings.findings[name]) for name in group]
        between, last = pick(rng, joins)
        said = speaker.say_about(pick(rng, forms), {LISTED: _LIST, AGREES: ending(nouns)})
        before, _, after = said.partition(_LIST)
        if happens(rng, REPEATED_SHARE) and _PLAIN_JOIN.fullmatch(between) and _PLAIN_JOIN.fullmatch(last):
            again = found[0] if (found := _PREPOSITION.search(before)) else ""
            nouns = [nouns[0], *(again + noun for noun in nouns[1:])]
        text = last.join([between.join(nouns[:-1]), nouns[-1]]) if len(nouns) > 1 else nouns[0]
        return before + text + after

    def _allowed(self, say: Callable[[], str]) -> Iterator[str]:
        """One expansion that may be written, or none where none is found."""
        for _ in range(TRIES):
            clause = say().strip()
            if self._wording.allows(clause):
                yield clause
                return

    def _has_a_say(self, name: str, observed: Observation) -> bool:
        needed = self._findings[name].only_with.items()
        return all(self._level(other, observed) in levels for other, levels in needed)

    def _level(self, name: str, observed: Observation) -> str:
        return self._findings[name].levels[observed.levels[name]]

    def _phrases(self, name: str, observed: Observation) -> tuple[Phrase, ...]:
        return self._language.findings[name][self._level(name, observed)]

    def _is_first(self, name: str, observed: Observation) -> bool:
        return observed.levels[name] == 0

    def _is_last(self, name: str, observed: Observation) -> bool:
        return observed.levels[name] == len(self._findings[name].levels) - 1


def _of(listings: Listings, *, denied: bool) -> tuple[tuple[Phrase, ...], tuple[tuple[str, str], ...]]:
    if denied:
        return listings.denied, listings.denied_joins
    return listings.affirmed, listings.affirmed_joins
