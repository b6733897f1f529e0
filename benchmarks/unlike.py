"""Texts that no model for breast cytology should answer alone, and honest ones that it might."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np

from benchmarks.corpora import Missing, Rows, corpora_folder
from benchmarks.record import Figure
from benchmarks.trained_here import EXAM, Reports, written
from tasks.ml.errors import Unreadable
from tasks.ml.network.conformal import decide
from tasks.ml.network.familiarity import Familiarity, fit_limit, known_pairs, sketches_of
from tasks.ml.network.predictor import Predictor
from tasks.ml.reading.cleaning import clean
from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.synthesis.wording import Wording

PROSE = Path(__file__).parent / "prose.pt.txt"
TEXTS = 300  # of a kind, where there are so many
NUBES_WORDS = 80  # sentences of one record are joined up to a report's length
# what comes in when a form was saved empty, or the text lies elsewhere
HARDLY_ANY = (
    "", ".", "-", "x", "Laudo.", "ok", "Vide anexo.", "Laudo em anexo.", "Ver sistema.", "A seguir.",
    "Em andamento.", "Sem alterações.", "Mama direita.", "Mama esquerda, nódulo.", "Citologia.",
    "PAAF de mama.", "PAAF de nódulo de mama direita, quadrante superior externo.", "Material insuficiente.",
    "Laudo sem efeito, ver laudo corrigido.", "Exame não realizado por ausência da paciente.",
    "Resultado: vide documento digitalizado.", "Aguardando segunda leitura.", "Teste.", "12345", "1. 2. 3.",
)  # fmt: skip


def kinds(asked: Reports, english: Rows) -> dict[str, list[str]]:
    """Kind -> texts, cleaned as ingest does; what it would put in quarantine is asked all the same."""
    rng = np.random.default_rng(0)
    mammography = [one.text for one in synthesize("mammography", mode="findings", reports_per_row=1, seed=0)]
    found = {
        "spanish_sentences": [row["text"] for row in _nubes()],
        "spanish_records": _records(_nubes()),
        "english_pathology": [row["text"] for row in english],
        "portuguese_prose": PROSE.read_text(encoding="utf-8").splitlines(),
        "shuffled_words": shuffled(asked.texts, rng),
        "hardly_any_text": list(HARDLY_ANY),
        "another_exam": mammography,
    }
    return {kind: _some(texts, rng) for kind, texts in found.items()}


def shuffled(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Each report's words in another order."""
    return [" ".join(rng.permutation(text.split())) for text in texts]


def review_shares(predictor: Predictor, texts: dict[str, list[str]], asked: Reports) -> dict[str, Figure]:
    """Of each kind the share a person is shown; beside it, were there nothing but the probabilities."""
    figures: dict[str, Figure] = {}
    alone: list[float] = []
    for kind, some in {**texts, "ordinary": asked.texts}.items():
        read = predictor.vectors(some)
        answers = predictor.from_vectors(read.vectors, read.sketches)
        unsure = decide(predictor.probabilities(read.vectors), predictor.facts.thresholds)
        shares = {
            "review": np.mean([one.decision == "review" for one in answers]),
            "unfamiliar": np.mean([one.because == "unfamiliar" for one in answers]),
            "unsure_alone": np.mean([decision == "review" for decision in unsure]),
        }
        figures |= {f"{kind}_{name}": Figure(float(v), "share", n=len(some)) for name, v in shares.items()}
        if kind != "ordinary":
            alone.append(float(shares["unsure_alone"]))
    worst = min(figures[f"{kind}_review"].value for kind in texts)
    return {
        "ood_review_share_min": Figure(worst, "share of the worst kind", n=len(texts)),
        "ood_review_share_min_by_probabilities": Figure(min(alone), "share of the worst kind", n=len(texts)),
        **figures,
    }


def other_institutions(reports_per_row: int, rows: int | None) -> dict[str, Figure]:
    """Taught by all institutions but one: the share of that one's honest reports called unfamiliar."""
    names = list(generator(EXAM).grammar.languages)
    figures = {}
    for name in names:
        others = Wording(institutions=tuple(other for other in names if other != name))
        taught, calibration = (
            written(split, reports_per_row, rows, others) for split in ("train", "calibration")
        )
        asked = written("asked", 2, rows, Wording(institutions=(name,)))
        found = _fitted(taught, calibration).unfamiliar(sketches_of(asked.texts))
        figures[f"never_taught_{name}_unfamiliar"] = Figure(float(found.mean()), "share", n=len(found))
    return figures


def real_reports(train: Rows, test: Rows) -> dict[str, Figure]:
    """The same on real English reports: every fourth of the training file calibrates."""
    texts = [row["text"] for row in train]
    taught = [text for place, text in enumerate(texts) if place % 4]
    known = known_pairs(taught, [str(place) for place in range(len(taught))])
    familiarity = Familiarity(known, fit_limit(known, sketches_of(texts[::4])))
    asked = [row["text"] for row in test]
    rng = np.random.default_rng(0)
    found = {"ordinary": asked, "shuffled_words": shuffled(asked, rng), "spanish_records": _records(_nubes())}
    return {
        f"tcga_{kind}_unfamiliar": Figure(
            float(familiarity.unfamiliar(sketches_of(some)).mean()), "share", n=len(some)
        )
        for kind, some in found.items()
    }


def _fitted(taught: Reports, calibration: Reports) -> Familiarity:
    known = known_pairs(taught.texts, taught.rows)
    return Familiarity(known, fit_limit(known, sketches_of(calibration.texts)))


def _nubes() -> Rows:
    path = corpora_folder() / "nubes" / "nubes_sentences.csv"
    if not path.exists():
        raise Missing(f"no NUBes sentences at {path}; set LAUDOS_CORPORA to the folder that holds nubes")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _records(sentences: Rows) -> list[str]:
    """Neighbouring sentences of one sample and section, joined up to a report's length."""
    records: list[str] = []
    for _, some in groupby(sentences, lambda row: (row["sample"], row["section"])):
        words: list[str] = []
        for row in some:
            words += row["text"].split()
            if len(words) >= NUBES_WORDS:
                records.append(" ".join(words))
                words = []
    return records


def _some(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    places = sorted(rng.permutation(len(texts))[:TEXTS])
    return [_cleaned(texts[place]) for place in places]


def _cleaned(text: str) -> str:
    try:
        return clean(text).text
    except Unreadable:
        return text
