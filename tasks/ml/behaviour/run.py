"""What a model makes of a suite: which pairs it gets right, by kind, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from tasks.ml.arrays import Bools, Floats
from tasks.ml.behaviour.suite import Pair, Suite
from tasks.ml.errors import UnfitData
from tasks.ml.judging.resampling import wilson


@dataclass(frozen=True)
class Share:
    """`right` of `pairs`, and the ends of Wilson's 95 % interval, which takes the pairs for independent."""

    right: int
    pairs: int

    @property
    def value(self) -> float:
        return self.right / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.value, self.pairs)


@dataclass(frozen=True, eq=False)
class SuiteRun:
    """before, after: (pairs,) the probability of the critical labels; right: (pairs,) as was expected."""

    suite: Suite
    before: Floats
    after: Floats
    right: Bools

    @property
    def failed(self) -> list[Pair]:
        return [pair for pair, right in zip(self.suite.pairs, self.right, strict=True) if not right]

    @property
    def shares(self) -> dict[str, Share]:
        """Of all pairs; of those that should stay (invariance) and move (direction); of negation by cues that
        teaching reports use (cues_seen) or never do (cues_unseen); and of each kind. Empty ones are left out.
        """
        pairs = self.suite.pairs
        chosen = {
            "all": [True] * len(pairs),
            "invariance": [pair.effect == "same" for pair in pairs],
            "direction": [pair.effect != "same" for pair in pairs],
            "cues_seen": [pair.seen is True for pair in pairs],
            "cues_unseen": [pair.seen is False for pair in pairs],
        }
        for kind in sorted({pair.kind for pair in pairs}):
            chosen[f"kind={kind}"] = [pair.kind == kind for pair in pairs]
        return {
            name: Share(int(self.right[mask].sum()), sum(mask)) for name, mask in chosen.items() if any(mask)
        }


def headline(run: SuiteRun) -> dict[str, float]:
    """The shares right that a benchmark tells first, 0 to 1; what the suite has no pairs for is left out."""
    named = {"unseen_negation": "cues_unseen", "invariance": "invariance", "direction": "direction"}
    shares = run.shares
    return {f"{name}_share": shares[part].value for name, part in named.items() if part in shares}


def run_suite(
    suite: Suite, probabilities: Callable[[Sequence[str]], ArrayLike], labels: Sequence[str], critical: str
) -> SuiteRun:
    """Ask for every text of the suite once, in one call: `probabilities(texts)` is (texts, labels).

    Critical are the suite's labels that the model has, together; where it has none of them, `critical`.
    Raises UnfitData where that is no label of the model either, or the answer has another shape.
    """
    columns = [labels.index(label) for label in suite.critical if label in labels]
    if not columns and critical not in labels:
        raise UnfitData(f"{critical!r} is none of the labels {', '.join(labels)}")
    texts = list(dict.fromkeys(text for pair in suite.pairs for text in (pair.base, pair.changed)))
    answered = np.asarray(probabilities(texts), dtype=np.float64)
    if answered.shape != (len(texts), len(labels)):
        raise UnfitData(f"{len(texts)} texts and {len(labels)} labels came back as {answered.shape}")
    scored = answered[:, columns or [labels.index(critical)]].sum(axis=1)
    by_text = dict(zip(texts, scored.tolist(), strict=True))
    before = np.array([by_text[pair.base] for pair in suite.pairs])
    after = np.array([by_text[pair.changed] for pair in suite.pairs])
    right = np.array(
        [_as_expected(suite, *one) for one in zip(suite.pairs, before.tolist(), after.tolist(), strict=True)]
    )
    return SuiteRun(suite, before, after, right)


def _as_expected(suite: Suite, pair: Pair, before: float, after: float) -> bool:
    """A model decides for critical where that is more probable than not."""
    decided, decides = before >= 0.5, after >= 0.5
    if pair.effect == "same":
        return decided == decides and abs(after - before) < suite.tolerance
    if pair.effect == "flip":
        return decided == (pair.says == "critical") and decides != decided
    if pair.effect == "lower":
        before, after = 1 - before, 1 - after
    return _rises(before, after, suite.margin, suite.saturated)


def _rises(before: float, after: float, margin: float, saturated: float) -> bool:
    """The odds by more than this share of them; near 0 however little; near 1 it may stay.

    Odds, because a sure model moves little in probability where it moves as it should.
    """
    if before > saturated:
        return after > saturated
    if before < 1 - saturated:
        return after > before
    return after * (1 - before) > (1 + margin) * before * (1 - after)
