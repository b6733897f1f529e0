"""The picture of the page "tonight"."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from matplotlib.figure import Figure

from tasks.ml.pages import nights as picture


@pytest.mark.parametrize("letters", [1, 60])
def test_seven_labels_look_different_and_are_all_named_within_the_picture(
    monkeypatch: pytest.MonkeyPatch, letters: int
) -> None:
    drawn: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        drawn.append(figure)
        return b""

    monkeypatch.setattr(picture, "png", keep)
    days = [date(2026, 11, 21) + timedelta(days=at) for at in range(7)]
    labels = [f"birads_{at}{'x' * letters}" for at in range(7)]
    picture.nights(days, {label: [1] * 7 for label in labels}, [1] * 7, "birads")
    [figure] = drawn
    figure.draw_without_rendering()
    [axes] = figure.axes
    looks = {(bars.patches[0].get_facecolor(), bars.patches[0].get_hatch()) for bars in axes.containers}
    assert len(looks) == len(labels) + 1
    legend = (figure.legends or [axes.get_legend()])[0]
    box = legend.get_window_extent()
    assert len(legend.texts) == len(labels) + 1
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.width
    assert box.y1 <= axes.get_window_extent().y0
    named = [tick.get_window_extent() for tick in axes.get_xticklabels()]
    assert all(left.x1 < right.x0 for left, right in pairwise(named))
