"""How much more than chance allows a property of the text goes with the label.

For a property x (a word, a heading, a length), averaged over each unit's reports, the statistic is

    T = sum over units of (y - p) (x - E[x])

y is 1 for units of a label, p the probability of that label before the text is read, E[x] what is expected of
x then. **Given the measurements**: p = P(label | measurements), E[x | measurements]. A text that was
written from the measurements alone knows nothing of y beyond them, so y is as good as drawn anew, with
probability p, unit by unit: the null of conditional randomisation (Candes, Fan, Janson and Lv 2018,
"Panning for gold: model-X knockoffs"). Subtracting E[x] makes T insensitive to small errors of p (Shah and
Peters 2020, "The hardness of conditional independence testing"). **Outright**: p is the label's share and
E[x] the mean.

The null's tail is computed, not sampled: a family of thousands of words at a level of 1e-4 asks for tails of
1e-8. T is a sum of independent terms whose distribution is known exactly, so Lugannani and Rice's saddlepoint
formula applies (1980, "Saddle point approximation for the distribution of the sum of independent random
variables"); errors over the family are bounded by Bonferroni.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import log_ndtr

from tasks.ml.arrays import Floats, Ints

CLOSER_LOOK_Z = 3.0  # nearer to the middle the normal distribution will do
CLOSER_LOOK_MAX = 400  # properties a label: the most extreme ones
NOTHING_LEFT = 1e-9  # variance of what remains of a property that E[x] explains wholly


@dataclass(frozen=True)
class Tested:
    """Of each property: how sure its tie to a label is, and to which label."""

    p: Floats  # (properties,) two-sided, Bonferroni over labels
    z: Floats  # (properties,) of the label with which it is surest
    label: Ints  # (properties,) that label; with two labels the one it speaks for


@dataclass(frozen=True)
class Chance:
    """A null: what is known of each unit before its text is read."""

    truth: Floats  # (units, labels) 0 or 1
    probability: Floats  # (units, labels)
    residual: Floats | None  # (units, units): times x, x - E[x]; None where E[x] is the mean

    def test(self, properties: Floats) -> Tested:
        """(units, properties)"""
        x = np.asarray(properties, dtype=np.float64)
        rest = x - x.mean(axis=0) if self.residual is None else self.residual @ x
        rest[:, rest.var(axis=0) < NOTHING_LEFT] = 0.0
        labels = [1] if self.truth.shape[1] == 2 else range(self.truth.shape[1])
        per_label = [self._one(rest, label) for label in labels]
        p = np.array([one[0] for one in per_label])
        z = np.array([one[1] for one in per_label])
        best, each = p.argmin(axis=0), np.arange(x.shape[1])
        z = z[best, each]
        label = np.where(z > 0, 1, 0) if self.truth.shape[1] == 2 else best
        return Tested(np.minimum(1.0, p[best, each] * len(per_label)), z, label.astype(np.int64))

    def _one(self, rest: Floats, label: int) -> tuple[Floats, Floats]:
        """Two-sided p and z of each property against one label."""
        chance = self.probability[:, label]
        t = (self.truth[:, label] - chance) @ rest
        sd = np.sqrt((chance * (1 - chance)) @ rest**2)
        z = np.divide(t, sd, out=np.zeros_like(t), where=sd > 0)
        log_p = log_ndtr(-np.abs(z))
        closer = np.argsort(-np.abs(z))[:CLOSER_LOOK_MAX]
        closer = closer[np.abs(z[closer]) > CLOSER_LOOK_Z]
        if closer.size:
            sign = np.sign(t[closer])
            log_p[closer] = log_upper_tail(chance, rest[:, closer].T * sign[:, None], np.abs(t[closer]))
        return np.minimum(1.0, 2 * np.exp(log_p)), z


def log_upper_tail(chance: Floats, weights: Floats, observed: Floats) -> Floats:
    """log P(sum of w (Y - chance) >= observed) with Y independent 0 or 1, by Lugannani and Rice.

    chance: (units,); weights: (properties, units); observed: (properties,), more than a few standard
    deviations above 0. At the very end of what is possible: the probability of that end.
    """
    highest = (np.maximum(weights, 0) * (1 - chance) + np.maximum(-weights, 0) * chance).sum(axis=1)
    sure = np.where(weights > 0, np.log(chance), np.where(weights < 0, np.log1p(-chance), 0.0)).sum(axis=1)
    inside = observed < highest * (1 - 1e-9)
    log_p = np.array(sure)
    if inside.any():
        log_p[inside] = np.maximum(_saddlepoint(chance, weights[inside], observed[inside]), sure[inside])
    return log_p


def _saddlepoint(chance: Floats, weights: Floats, observed: Floats) -> Floats:
    odds = np.log(chance) - np.log1p(-chance)

    def slopes(t: Floats) -> tuple[Floats, Floats]:
        tilted = 1 / (1 + np.exp(-np.clip(odds + t[:, None] * weights, -700, 700)))
        return (weights * (tilted - chance)).sum(axis=1), (weights**2 * tilted * (1 - tilted)).sum(axis=1)

    low, high = np.zeros(len(observed)), 1 / np.abs(weights).max(axis=1)
    for _ in range(60):  # until the root is bracketed
        short = slopes(high)[0] < observed
        if not short.any():
            break
        high = np.where(short, high * 2, high)
    for _ in range(50):
        middle = (low + high) / 2
        short = slopes(middle)[0] < observed
        low, high = np.where(short, middle, low), np.where(short, high, middle)
    t = (low + high) / 2
    cumulant = (np.logaddexp(0, odds + t[:, None] * weights) - np.logaddexp(0, odds)).sum(axis=1)
    cumulant -= t * (weights @ chance)
    w = np.sqrt(2 * np.maximum(t * observed - cumulant, 1e-12))
    u = t * np.sqrt(np.maximum(slopes(t)[1], 1e-300))
    # normal tail + density * (1/u - 1/w), in logarithms: both are far out; Phi(-w) = density * mills
    log_density = -(w**2) / 2 - 0.5 * np.log(2 * np.pi)
    mills = np.exp(log_ndtr(-w) - log_density)
    return np.asarray(log_density + np.log(np.maximum(mills + 1 / u - 1 / w, 1e-300)))
