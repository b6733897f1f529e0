"""Bad rows out of a seed, and cleaning held against them and against whatever Hypothesis thinks of."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.torture.garbage import cleaned
from tasks.torture.rubbish import HUGE, MOMENT, rubbish, texts

SEEDS = st.integers(0, 2**32)
ANYTHING = st.one_of(
    st.text(st.characters(exclude_categories=())),  # lone surrogates among them
    st.binary(),
    st.none(),
    st.integers(),
    st.floats(),
)


@given(seed=SEEDS)
@settings(max_examples=30, deadline=None)
def test_every_text_of_any_seed_is_cleaned_or_refused(seed: int) -> None:
    assert list(cleaned(texts(random.Random(seed), 60))) == []


@given(raw=st.lists(ANYTHING, max_size=20))
@settings(max_examples=200, deadline=None)
def test_whatever_hypothesis_thinks_of_is_cleaned_or_refused(raw: list[object]) -> None:
    assert list(cleaned(raw)) == []


@given(raw=st.lists(ANYTHING, min_size=1, max_size=4), seed=SEEDS)
@settings(max_examples=100, deadline=None)
def test_markup_and_bytes_around_anything_are_cleaned_or_refused(raw: list[object], seed: int) -> None:
    rng = random.Random(seed)
    glued = [str(one) + str(other) for one in texts(rng, 5) for other in raw]
    assert list(cleaned([*glued, *(text.encode("utf-8", "surrogatepass") for text in glued)])) == []


def test_one_seed_gives_the_same_rows_again_and_another_gives_others() -> None:
    one, again, other = (rubbish(random.Random(seed), 200) for seed in (7, 7, 8))
    assert one == again != other
    assert len(one) == 200
    assert sum(row.kind == "huge" for row in one) == HUGE
    # a source whose first moments are none is refused as a whole; that is another test's subject
    assert [row.updated_at == MOMENT for row in one[:100]].count(False) <= 5
