"""Ways for the label, or the row, to get into a text besides the findings: small changes to a clean set.

Every kind has a strength, the share of the reports concerned that bear it; which ones is decided by hash, so
a set is spoiled the same way every time. `check` names the check of the audit that must fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tasks.ml.audit.shortcuts import HEADING
from tasks.ml.audit.words import Words, plain
from tasks.ml.splits import split_of, unit_interval
from tasks.ml.synthesis.audit import findings_words
from tasks.ml.synthesis.exams import Row
from tasks.ml.synthesis.report_ids import parsed
from tasks.ml.synthesis.reports import SyntheticReport, synthesize

Reports = Sequence[SyntheticReport]

SOME = 0.3  # of one label's reports: what a person would call a leak, and might well not see


@dataclass(frozen=True)
class Clean:
    """A clean set, and what it was written from."""

    exam: str
    rows: Sequence[Row]
    reports: Reports
    label: str  # the label that leaks
    spoken_word: str  # one of the findings' own words

    @classmethod
    def of(cls, exam: str, rows: Sequence[Row], reports: Reports, label: str) -> Clean:
        """With the findings' word that stands in nearest to a twentieth of the reports."""
        spoken = findings_words(exam, conclude=False)
        counted = Words.of([plain(one.text) for one in reports]).single(2)
        known = [
            (abs(held / len(reports) - 0.05), word)
            for word, held in zip(counted.phrases, counted.reports, strict=True)
        ]
        return cls(exam, rows, reports, label, min(pair for pair in known if pair[1] in spoken)[1])

    @property
    def measurements(self) -> Mapping[str, tuple[float, ...]]:
        return {row.key: row.measurements for row in self.rows}


@dataclass(frozen=True)
class Leak:
    check: str
    plant: Callable[[Clean, float], list[SyntheticReport]]
    strength: float = SOME

    @property
    def what(self) -> str:
        return " ".join((self.plant.__doc__ or "").split())


def drawn(report: SyntheticReport, share: float, salt: str) -> bool:
    return unit_interval(report.external_id, salt) < share


def changed(
    clean: Clean, share: float, change: Callable[[str], str], *, label: bool | None = True
) -> list[SyntheticReport]:
    """`change` on this share of the leaking label's reports (True), the others' (False) or all (None)."""
    return [
        replace(one, text=change(one.text))
        if label in (None, one.label == clean.label) and drawn(one, share, "planted")
        else one
        for one in clean.reports
    ]


def label_word(clean: Clean, share: float) -> list[SyntheticReport]:
    """the label stands in a conclusion, as in `seed` mode"""
    return [
        replace(one, text=f"{one.text}\nConclusão: {one.label}.") if drawn(one, share, "word") else one
        for one in clean.reports
    ]


def derivative(clean: Clean, share: float) -> list[SyntheticReport]:
    """a word that means one label, in its reports"""
    return changed(clean, share, lambda text: f"{text}\nProcesso neoplásico em estudo.")


def denial(clean: Clean, share: float) -> list[SyntheticReport]:
    """malignancy is denied elsewhere, in the other label's reports"""
    return changed(clean, share, lambda text: f"{text}\nSem malignidade em exames anteriores.", label=False)


def neutral_word(clean: Clean, share: float) -> list[SyntheticReport]:
    """a word that means nothing, in a tenth of all reports and this much more often in one label's"""
    return [
        replace(one, text=f"{one.text}\nAnexos.")
        if drawn(one, 0.1 + share * (one.label == clean.label), "neutral")
        else one
        for one in clean.reports
    ]


def spoken_word(clean: Clean, share: float) -> list[SyntheticReport]:
    """one of the findings' own words, where it means nothing"""
    return changed(clean, share, lambda text: f"{text}\n{clean.spoken_word.capitalize()}.")


def neutral_pair(clean: Clean, share: float) -> list[SyntheticReport]:
    """two sentences of the same words in another order, one for each label"""
    ours, others = "Arquivo digital, registro interno.", "Arquivo interno, registro digital."
    return [
        replace(one, text=f"{one.text}\n{ours if one.label == clean.label else others}")
        if drawn(one, share, "pair")
        else one
        for one in clean.reports
    ]


def longer(clean: Clean, share: float) -> list[SyntheticReport]:
    """a section is said twice, word for word"""
    return changed(clean, share, lambda text: f"{text}\n{text[_last_section(text) :]}")


def unpunctuated(clean: Clean, share: float) -> list[SyntheticReport]:
    """the last full stop is missing"""
    return changed(clean, share, lambda text: text.rstrip(".\n "))


def capitals(clean: Clean, share: float) -> list[SyntheticReport]:
    """headings stand in capitals"""
    return changed(clean, share, lambda text: HEADING.sub(lambda one: one[0].upper(), text))


def section_order(clean: Clean, share: float) -> list[SyntheticReport]:
    """the last section comes first"""

    def turned(text: str) -> str:
        at = _last_section(text)
        return f"{text[at:]}\n{text[:at]}".strip()

    return changed(clean, share, turned)


def older(clean: Clean, share: float) -> list[SyntheticReport]:
    """ages are twelve years higher"""
    aged = re.compile(r"\b(\d\d)(?= anos)")
    return changed(clean, share, lambda text: aged.sub(lambda age: str(int(age[1]) + 12), text))


def sided(clean: Clean, share: float) -> list[SyntheticReport]:
    """the right side has become the left"""
    turned = ((r"\bdireit(?=[ao])", "esquerd"), (r"\bDIREIT(?=[AO])", "ESQUERD"))

    def left(text: str) -> str:
        for pattern, instead in turned:
            text = re.sub(pattern, instead, text)
        return text

    return changed(clean, share, left)


def twins(clean: Clean, share: float) -> list[SyntheticReport]:
    """a report is copied from another row of the label"""
    ours = [one for one in clean.reports if one.label == clean.label]
    texts = iter([one.text for one in ours[len(ours) // 2 :] + ours[: len(ours) // 2]])
    return [
        replace(one, text=text) if text is not None and drawn(one, share, "twin") else one
        for one, text in ((one, next(texts) if one.label == clean.label else None) for one in clean.reports)
    ]


def torn_twins(clean: Clean, share: float) -> list[SyntheticReport]:
    """a report that judges is nearly one that taught: a word differs"""
    taught = [one for one in clean.reports if split_of(one.row_key) == "train"]
    made = []
    for number, one in enumerate(clean.reports):
        if split_of(one.row_key) != "train" and drawn(one, share, "torn"):
            copied = re.sub(r"\w+\W*\Z", "Arquive-se.", taught[number % len(taught)].text)
            one = replace(one, text=copied)
        made.append(one)
    return made


def row_number(clean: Clean, share: float) -> list[SyntheticReport]:
    """a number that is the row's own, and looks like any other"""
    return [
        replace(one, text=f"{one.text}\nRegistro {int(1e6 * unit_interval(one.row_key, 'number')):06}.")
        if drawn(one, share, "number")
        else one
        for one in clean.reports
    ]


def printed(clean: Clean, share: float) -> list[SyntheticReport]:
    """one of the row's measurements is printed"""
    measured = clean.measurements

    def value(one: SyntheticReport) -> str:
        return f"{measured[one.row_key][0]:.2f}".replace(".", ",")

    return [
        replace(one, text=f"{one.text}\nMedida {value(one)}.") if drawn(one, share, "printed") else one
        for one in clean.reports
    ]


def findings_of_the_label(clean: Clean, share: float) -> list[SyntheticReport]:
    """findings are drawn from the label: written from the measurements of another row of that label"""
    by_label: dict[str, list[Row]] = {}
    for row in sorted(clean.rows, key=lambda row: unit_interval(row.key, "exchange")):
        by_label.setdefault(row.label, []).append(row)
    lent = {
        row.key: rows[(at + 1) % len(rows)].measurements
        for rows in by_label.values()
        for at, row in enumerate(rows)
    }
    rows = [replace(row, measurements=lent[row.key]) for row in clean.rows]
    a_row = len(clean.reports) // len(clean.rows)
    seed = parsed(clean.reports[0].external_id).seed
    others = synthesize(clean.exam, mode="findings", reports_per_row=a_row, seed=seed, rows=rows)
    instead = {one.external_id: one for one in others}
    return [instead[one.external_id] if drawn(one, share, "lent") else one for one in clean.reports]


LEAKS: dict[str, Leak] = {
    "label_word": Leak("label_words", label_word),
    "derivative": Leak("label_words", derivative),
    "denial": Leak("label_words", denial),
    "neutral_word": Leak("words", neutral_word, 0.2),
    "spoken_word": Leak("words", spoken_word, 0.5),
    "neutral_pair": Leak("word_pairs", neutral_pair),
    "longer": Leak("length", longer),
    "unpunctuated": Leak("marks", unpunctuated),
    "capitals": Leak("layout", capitals),
    "section_order": Leak("order", section_order),
    "older": Leak("numbers", older, 0.5),
    "sided": Leak("numbers", sided),
    "twins": Leak("duplicates", twins),
    "torn_twins": Leak("near_duplicates", torn_twins, 0.02),
    "row_number": Leak("row_words", row_number),
    "printed": Leak("printed_measurements", printed, 0.1),
    "findings_of_the_label": Leak("whole_text", findings_of_the_label, 0.5),
}


def _last_section(text: str) -> int:
    """Where the last heading begins; 0 where there is one section or none."""
    starts = [found.start() for found in HEADING.finditer(text)]
    return starts[-1] if len(starts) > 1 else 0
