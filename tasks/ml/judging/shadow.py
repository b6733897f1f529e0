"""Whether a challenger that scored along with the champion answers as it does: a rule of promotion."""

from __future__ import annotations

from tasks.ml.judging.resampling import wilson
from tasks.ml.judging.rules import Reason, Rules

RULE = "answers beside the champion"


def shadow_reason(reports: int, patients: int, same_label: int, rules: Rules) -> Reason:
    """What was found of reports scored along: the share that gets the same label, and its lower end.

    The lower end is Wilson's with each patient counted once: reports of one patient are no two cases.
    """
    asked = f"the same label for at least {rules.shadow_agreement:.2f} of them, by the lower end"
    if not reports:
        return Reason(RULE, False, "no report was scored along", asked)
    share = same_label / reports
    low, _ = wilson(share, patients)
    found = f"{share:.3f} of {reports:,} reports of {patients:,} patients, at least {low:.3f}"
    return Reason(RULE, low >= rules.shadow_agreement, found, asked)


def cut_short_reason(reports: int, patients: int, same_label: int, champion: int, rules: Rules) -> Reason:
    """What is said of a shadow that ends early because the champion was found damaged.

    It met every other rule, so only answers that surely are others are held against it: the upper end.
    """
    asked = f"the same label for {rules.shadow_agreement:.2f} of {rules.shadow_reports:,} reports"
    found = f"champion model {champion} was found damaged after {reports:,} of them"
    if not reports:
        return Reason(RULE, True, found, asked)
    share = same_label / reports
    _, high = wilson(share, patients)
    found = f"{found}; {share:.3f} got the same label, at most {high:.3f}"
    return Reason(RULE, high >= rules.shadow_agreement, found, asked)
