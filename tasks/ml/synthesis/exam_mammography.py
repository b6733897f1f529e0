"""Mammography: BI-RADS 0 to 6, from made-up examinations with published odds.

No table of examinations may be shipped, so this one is drawn, always the same: what an examination shows
and whether a lesion is malignant, then its descriptors, each as often as publications found it in
malignant or in benign lesions. The category follows from the descriptors alone: what the odds add up to
falls into the bands of likelihood by which the atlas defines BI-RADS 3, 4 and 5. The atlas also names
descriptors that are biopsied however likely; here they weigh by their odds alone, so that some of those
examined as `estavel` come to 3, a distortion without a scar or fine pleomorphic calcifications among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import exp, log
from pathlib import Path

from tasks.ml.synthesis.chance import Rng, Stream, happens, pick, stray
from tasks.ml.synthesis.exams import Row
from tasks.ml.synthesis.grammar import load
from tasks.ml.synthesis.observer import CodedObserver, coded_columns, coded_row
from tasks.ml.synthesis.odds import drawn, load_odds
from tasks.ml.synthesis.wording import EVERYTHING, Wording
from tasks.ml.synthesis.writer import ReportWriter

DATA = Path(__file__).parent / "data"
EXAMINATIONS = 1200

# what describes each kind of lesion, beside what is described in every examination
_DESCRIBED_BY = {
    "nodulo": ("nodulo_forma", "nodulo_margem", "nodulo_densidade"),
    "calcificacoes": ("calcificacoes_morfologia", "calcificacoes_distribuicao"),
    "assimetria": ("assimetria",),
    "distorcao": (),
}
_SEEN_AROUND = ("comparacao", "pele_e_mamilo", "linfonodos")
_SHOWN = {"nodulo": "presente", "calcificacoes": "suspeitas_a_descrever", "distorcao": "presente"}
# in or around a mass, what its holding fat does not outweigh
_SUSPICIOUS = {
    "nodulo_forma": ("irregular",),
    "nodulo_margem": ("microlobulada", "indistinta", "espiculada"),
    "pele_e_mamilo": ("espessamento", "retracao"),
    "linfonodos": ("aumentados",),
}

Levels = dict[str, str]


class Mammography:
    def __init__(
        self, folder: Path = DATA / "mammography", odds: Path = DATA / "mammography_odds.yaml"
    ) -> None:
        self.grammar = load(folder, ())
        self._exam = self.grammar.exam
        told_by = {lesion: (*names, *_SEEN_AROUND) for lesion, names in _DESCRIBED_BY.items()}
        self._odds = load_odds(odds, self._exam, told_by)
        self._log_odds = {name: one.log_odds() for name, one in self._odds.descriptors.items()}
        self.columns = coded_columns(self._exam)

    def rows(self) -> list[Row]:
        """1,200 examinations: the category as label, one column of 0 and 1 for each level of each finding."""
        return [self._row(number) for number in range(EXAMINATIONS)]

    def fit(self, train_rows: Sequence[Row], wording: Wording = EVERYTHING) -> ReportWriter:
        """There is nothing to fit: the levels are what was measured."""
        return ReportWriter(self.grammar, CodedObserver(self._exam, self.category), wording)

    def category(self, levels: Mapping[str, str], strayed: float = 0.0) -> int:
        """BI-RADS by the bands of likelihood; `strayed` is a reader's leaning, in log-odds of malignancy."""
        if levels["malignidade_conhecida"] == "comprovada":
            return 6
        if levels["estudo"] == "incompleto":
            return 0
        lesion = _lesion(levels)
        if lesion is None:
            usual = levels["calcificacoes"] != "benignas" and levels["linfonodos"] != "intramamario"
            return 1 if usual and levels["distorcao"] != "cicatriz" else 2
        suspicious = any(levels[name] in seen for name, seen in _SUSPICIOUS.items())
        if lesion == "nodulo" and levels["nodulo_densidade"] == "gordurosa" and not suspicious:
            return 2
        risk = self._odds.lesions[lesion].risk
        told_by = (*_DESCRIBED_BY[lesion], *_SEEN_AROUND)
        total = log(risk / (1 - risk)) + sum(self._log_odds[name][levels[name]] for name in told_by) + strayed
        likelihood, bands = 1 / (1 + exp(-total)), self._odds.bands
        if likelihood <= bands.probably_benign_max:
            return 3
        return 5 if likelihood >= bands.highly_suggestive_min else 4

    def _row(self, number: int) -> Row:
        key = f"mamografia-{number}"
        rng = Stream("mammography", key)
        levels = self._examination(rng)
        category = self.category(levels, stray(rng, self._odds.bands.reader_stray))
        return Row(key, f"birads_{category}", coded_row(self._exam, levels))

    def _examination(self, rng: Rng) -> Levels:
        """Levels of every finding; those of a lesion that is not there stay at their first level."""
        levels = {name: finding.levels[0] for name, finding in self._exam.findings.items()}
        levels["composicao"] = drawn(rng, self._odds.composition.shares)
        kind = drawn(rng, self._odds.mix.shares)
        if kind in ("negativa", "benigna"):
            levels["comparacao"] = pick(rng, ("sem_anteriores", "estavel"))
            if kind == "benigna":
                levels |= pick(rng, _BENIGN)
            return levels
        malignant = kind == "conhecida" or happens(rng, self._odds.malignant_lesions.share)
        levels |= self._described(rng, malignant)
        if kind == "incompleta":
            levels["estudo"] = "incompleto"
        if kind == "conhecida":
            levels["malignidade_conhecida"] = "comprovada"
        return levels

    def _described(self, rng: Rng, malignant: bool) -> Levels:
        """A lesion, as malignant or benign ones look."""
        frequencies = {
            name: one.frequency * (one.risk if malignant else 1 - one.risk)
            for name, one in self._odds.lesions.items()
        }
        lesion = drawn(rng, frequencies)
        shown = {lesion: _SHOWN[lesion]} if lesion in _SHOWN else {}
        return shown | {
            name: drawn(rng, self._odds.descriptors[name].shares(malignant=malignant))
            for name in (*_DESCRIBED_BY[lesion], *_SEEN_AROUND)
        }


_BENIGN: tuple[Levels, ...] = (
    {"calcificacoes": "benignas"},
    {"linfonodos": "intramamario"},
    {"distorcao": "cicatriz"},
    {"calcificacoes": "benignas", "distorcao": "cicatriz"},
    {"nodulo": "presente", "nodulo_margem": "circunscrita", "nodulo_densidade": "gordurosa"},
)


def _lesion(levels: Mapping[str, str]) -> str | None:
    for name, level in _SHOWN.items():
        if levels[name] == level:
            return name
    return "assimetria" if levels["assimetria"] != "ausente" else None


def generator() -> Mammography:
    return Mammography()
