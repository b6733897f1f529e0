"""The order of review: the least sure first, and nothing twice while something else is left."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.ml.labels.review_order import review_order, uncertainty


def answers(*sure: float) -> np.typing.NDArray[np.float64]:
    return np.array([[one, 1 - one] for one in sure])


def test_uncertainty_is_one_where_torn_and_nothing_where_sure() -> None:
    found = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.6, 0.3, 0.1]])
    assert uncertainty(found) == pytest.approx([1.0, 0.0, 0.7])


def test_the_least_sure_comes_first_and_its_double_last() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1], [-1, 0.2]], np.float32)
    order = review_order(vectors, answers(0.52, 0.51, 0.7, 0.8), 4).tolist()
    assert order[0] == 1
    assert order[-1] == 0  # the same report: what the other's label says of it is known
    assert sorted(order) == [0, 1, 2, 3]


def test_by_uncertainty_alone_the_double_would_be_second() -> None:
    assert np.argsort(-uncertainty(answers(0.52, 0.51, 0.7, 0.8))).tolist()[1] == 0


def test_every_kind_of_report_is_asked_for_before_one_is_asked_for_twice() -> None:
    rng = np.random.default_rng(0)
    kinds = rng.permutation(np.repeat(np.arange(6), [40, 4, 4, 4, 4, 4]))
    vectors = (np.eye(6)[kinds] + rng.normal(0, 0.02, (60, 6))).astype(np.float32)
    order = review_order(vectors, answers(*rng.uniform(0.5, 0.6, 60)), 15)
    assert set(kinds[order[:6]]) == set(range(6))
    # two in three are of one kind: six drawn by chance are hardly ever of six kinds
    drawn = [len(set(kinds[rng.permutation(60)[:6]])) for _ in range(100)]
    assert np.mean(drawn) < 4


def test_more_than_there_are_gives_all_and_none_gives_none() -> None:
    assert sorted(review_order(np.eye(3, dtype=np.float32), answers(0.5, 0.6, 0.9), 10)) == [0, 1, 2]
    assert len(review_order(np.empty((0, 3), np.float32), np.empty((0, 2)), 10)) == 0
