"""Which sentences of a report carried an answer: each is left out once, and the rest is read again.

What the label loses is the sentence's score (occlusion; Zeiler & Fergus 2014, "Visualizing and
understanding convolutional networks", here over sentences). It asks nothing of the network but answers, so
it fits every family. `python -m benchmarks.evidence` compares it with what gradients and attention say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from tasks.ml.predictor import Predictor

Floats = NDArray[np.float64]
Degree = Literal["strong", "some", "against", "none"]
Read = Callable[[Sequence[str]], Floats]  # texts -> probabilities (texts, labels)

METHOD: Final = "occlusion-1"  # raise the number when scores change
# each passage costs one reading of the whole report; neighbours of a longer one are taken together
PASSAGES_MAX: Final = 64
STRONG: Final = 0.5  # of the highest score
SOME: Final = 0.1

# a point inside a number ends nothing: "1.5 cm"
_END = re.compile(r"[.;](?=\s|$)|\n")
_WORD = re.compile(r"\w")


@dataclass(frozen=True)
class Span:
    """Characters `start` up to `end`, the latter left out, of a report's cleaned text."""

    start: int
    end: int


@dataclass(frozen=True)
class Passage:
    """A sentence and what it did: how far the label's log odds fall without it, in nats.

    Positive: it speaks for the label. Negative: against it.
    """

    start: int
    end: int
    score: float


def sentences(text: str, most: int = PASSAGES_MAX) -> list[Span]:
    """Sentences and clauses in their order, without the white space around them; `most` at most.

    They end at a full stop, a semicolon or the end of a line, and hold a letter or a digit each.
    """
    spans: list[Span] = []
    begun = 0
    for end in [*(found.end() for found in _END.finditer(text)), len(text)]:
        part = text[begun:end]
        if _WORD.search(part):
            start = begun + len(part) - len(part.lstrip())
            spans.append(Span(start, begun + len(part.rstrip())))
        begun = end
    together = -(-len(spans) // most) or 1
    groups = [spans[at : at + together] for at in range(0, len(spans), together)]
    return [Span(group[0].start, group[-1].end) for group in groups]


def evidence(read: Read, text: str, label: int) -> list[Passage]:
    """Every passage of a text with its score for the label of that number; none for a text without words.

    The text and all that is left of it without each passage are read in one call of `read`.
    """
    spans = sentences(text)
    if not spans:
        return []
    left = log_odds(read([text, *(without(text, [span]) for span in spans)]), label)
    return [
        Passage(span.start, span.end, float(left[0] - rest))
        for span, rest in zip(spans, left[1:], strict=True)
    ]


def without(text: str, spans: Sequence[Span]) -> str:
    """What is left of a text; the white space around what was left out stays."""
    parts, reached = [], 0
    for span in sorted(spans, key=lambda one: one.start):
        parts.append(text[reached : span.start])
        reached = span.end
    return "".join([*parts, text[reached:]])


def log_odds(probabilities: Floats, label: int) -> Floats:
    """log p - log(1 - p) of a label, (texts,); exact where p is nearly 1, for 1 - p is summed."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
    odds: Floats = logs[:, label] - logsumexp(np.delete(logs, label, axis=1), axis=1)
    return odds


def reader(predictor: Predictor, batch_tokens: int = 8192) -> Read:
    """How a model reads: whole texts, in batches of so many tokens."""
    return lambda texts: predictor.probabilities(predictor.vectors(texts, batch_tokens=batch_tokens).vectors)


def degrees(scores: Sequence[float]) -> list[Degree]:
    """How each passage is marked, beside the one that speaks most for the label.

    strong: at least half as much; some: at least a tenth; against: at least a tenth the other way.
    """
    most = max([0.0, *scores])
    return [_degree(score / most) if most else "none" for score in scores]


def _degree(share: float) -> Degree:
    if share >= STRONG:
        return "strong"
    if share >= SOME:
        return "some"
    return "against" if share <= -SOME else "none"
