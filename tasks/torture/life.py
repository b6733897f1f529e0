"""A hospital's day: reports written, amended, taken back, deleted, and rows that nobody can read."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing.connection import Connection

from db.trial import Hospital, TrialRow
from tasks.settings.settings import Settings
from tasks.torture.scratch import SOURCE

_WORDS = [
    "punção",
    "aspirativa",
    "nódulo",
    "sólido",
    "cístico",
    "núcleos",
    "regulares",
    "pleomorfismo",
    "cromatina",
    "grosseira",
    "células",
    "ductais",
    "fundo",
    "hemorrágico",
    "material",
    "escasso",
    "conclusão",
    "benigno",
    "suspeito",
    "revisão",
]
_BROKEN: tuple[str | None, ...] = (None, "", "  \n\t ", "--- 12/34 ---", "%PDF-1.7 1 0 obj")


class Life:
    """What happens at a hospital, one change at a time, by its own clock."""

    def __init__(
        self, hospital: Hospital, rng: random.Random, clock: Callable[[], datetime], prefix: str
    ) -> None:
        self._hospital = hospital
        self._rng = rng
        self._clock = clock
        self._prefix = prefix  # two lives at one hospital write different ids
        self._written = 0
        self._ids: list[str] = []
        self._former: dict[str, list[str]] = {}  # the sound texts that a report has had

    def arrive(self, reports: int) -> None:
        """New reports, all sound, with one moment: that is how loads write them."""
        at = self._clock()
        self._hospital.put([self._row(at) for _ in range(reports)])

    def change(self) -> None:
        """One of the things that happen."""
        what = self._rng.choices(
            (
                self._new,
                self._amend,
                self._take_back,
                self._break,
                self._delete,
                self._nameless,
                self._quarrel,
            ),
            (30, 27, 8, 12, 12, 3, 8),
        )[0]
        what()

    def _new(self) -> None:
        self.arrive(self._rng.randint(1, 6))

    def _amend(self) -> None:
        if self._ids:
            external_id = self._rng.choice(self._ids)
            self._write(external_id, self._text())

    def _take_back(self) -> None:
        """An amendment is undone: a text that the report has had before."""
        if self._ids:
            external_id = self._rng.choice(self._ids)
            self._write(external_id, self._rng.choice(self._former[external_id]))

    def _write(self, external_id: str, text: str) -> None:
        self._former[external_id].append(text)
        self._hospital.amend(external_id, text, self._clock())

    def _break(self) -> None:
        """A row that cannot be read: a new one, or one that was sound until now."""
        text = self._rng.choice(_BROKEN)
        if self._ids and self._rng.random() < 0.5:
            self._hospital.amend(self._rng.choice(self._ids), text, self._clock(), sound=False)
        else:
            self._hospital.put([TrialRow(self._id(), text, self._clock(), sound=False)])

    def _delete(self) -> None:
        if len(self._ids) > 20:
            # a share of them, so that a hospital does not grow with the length of its day
            gone = self._rng.sample(self._ids, max(3, len(self._ids) // 20))
            self._ids = [one for one in self._ids if one not in gone]
            self._hospital.remove(gone)

    def _nameless(self) -> None:
        self._hospital.put([TrialRow(None, self._text(), self._clock(), sound=False)])

    def _quarrel(self) -> None:
        """Two contents of one id at one moment: neither counts."""
        at, external_id = self._clock(), self._id()
        self._hospital.put([TrialRow(external_id, self._text(), at) for _ in range(2)])

    def _id(self) -> str:
        self._written += 1
        return f"{self._prefix}{self._written:06}"

    def _row(self, at: datetime) -> TrialRow:
        external_id = self._id()
        self._ids.append(external_id)
        label = self._rng.choice(("benigno", "maligno", None, "INDETERMINADO"))
        text = self._text()
        self._former[external_id] = [text]
        return TrialRow(external_id, text, at, f"p{self._rng.randint(1, 500)}", "02/03/2026", label)

    def _text(self) -> str:
        # a number makes it one of a kind; the words make it a text
        words = self._rng.choices(_WORDS, k=self._rng.randint(5, 60))
        return f"Laudo {self._rng.getrandbits(48)}. {' '.join(words)}."


def live(settings: Settings, tell: Connection, seed: str, pause_s: float) -> None:
    """A hospital's day in a process of its own; goes on until killed."""
    hospital = Hospital.open(settings.source(SOURCE).url)
    life = Life(hospital, random.Random(seed), lambda: datetime.now(UTC), "d")
    while True:
        life.change()
        time.sleep(pause_s)
