"""A synthetic report's id tells its seed, its row and the institution whose words it is in."""

from __future__ import annotations

import pytest

from tasks.ml.synthesis.exams import generator
from tasks.ml.synthesis.report_ids import ReportId, institution_of, parsed
from tasks.ml.synthesis.reports import synthesize
from tasks.ml.synthesis.wording import Wording


def test_a_report_is_in_the_words_of_the_institution_its_id_tells() -> None:
    """Written anew with only that institution's language, the text is the same; with another's it is not."""
    exam = "paaf"
    made = generator(exam)
    rows = made.rows()[:8]

    def written(*institutions: str) -> dict[str, str]:
        wording = Wording(institutions or None)
        reports = synthesize(exam, mode="full", reports_per_row=2, seed=5, rows=rows, wording=wording)
        return {one.external_id: one.text for one in reports}

    whole = written()
    told = {external_id: institution_of(exam, external_id) for external_id in whole}
    assert set(told.values()) == set(made.grammar.languages)
    for institution in made.grammar.languages:
        alone = written(institution)
        for external_id, text in whole.items():
            assert (alone[external_id] == text) is (told[external_id] == institution)


def test_an_id_is_taken_apart_whatever_its_row_is_called() -> None:
    assert parsed("s-3-a-b-7-012") == ReportId(-3, "a-b-7", 12)
    with pytest.raises(ValueError, match="not the id of a synthetic report"):
        parsed("L2024-17")
