"""When the monitor raises its voice. Each alarm says what was found, what was asked, and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from db.metrics import Metric
from db.monitoring import Answers, Intake, Trouble
from db.shift import Told, Verdict
from tasks.ml.network.cascade import Agreement
from tasks.settings.house import MonitoringSettings
from tasks.settings.settings import ClassifierSettings

# fewer rows than this and one broken report, or one unsure answer, is already a large share
ROWS_MIN = 20
# a source that is always half broken is not news: a jump is
USUAL_TIMES = 2.0


def quarantine_jumps(
    now: Sequence[Intake], before: Sequence[Intake], limits: MonitoringSettings
) -> Iterator[str]:
    """Sources of whose new and changed rows more than the limit, and twice the usual, went to quarantine."""
    usual = {one.source: _refused_share(one) for one in before if _brought(one)}
    for one in now:
        share, normal = _refused_share(one), usual.get(one.source)
        if _brought(one) >= ROWS_MIN and share > max(limits.quarantine_share, USUAL_TIMES * (normal or 0)):
            compared = "the first that came in" if normal is None else f"usually {normal:.0%}"
            yield (
                f"{one.source}: {one.refused + one.beside:,} of {_brought(one):,} new rows ({share:.0%}) "
                f"went to quarantine, {compared}; `laudos quarantine list --source {one.source}` tells why"
            )


def silences(
    intake: Sequence[Intake], configured: Sequence[str], now: datetime, limits: MonitoringSettings
) -> Iterator[str]:
    """Configured sources that brought nothing new for longer than `silent_after`, or never."""
    last = {one.source: one.last_report_at for one in intake}
    for name in configured:
        at = last.get(name)
        if at is None:
            yield f"{name}: nothing ever came in; run `laudos ingest --source {name}` and see what it says"
        elif now - at > limits.silent_after:
            yield f"{name}: nothing new since {at:%Y-%m-%d %H:%M} UTC; ask whether its feed still runs"


def backlogs(overdue: Mapping[str, int]) -> Iterator[str]:
    """Classifiers with reports that waited for the champion all day, and nobody at work on them."""
    for classifier, reports in sorted(overdue.items()):
        if reports:
            yield (
                f"{classifier}: {reports:,} reports have waited for the champion for more than a day, and "
                "nobody is at work on them; run `laudos classify` and see what it says, and `laudos doctor`"
            )


def indecision(
    answers: Sequence[Answers],
    limits: MonitoringSettings,
    champions: Mapping[str, int | None],
    unpromised: Mapping[str, Sequence[str]],
) -> Iterator[str]:
    """Classifiers whose champion left more than the limit of its answers to a person, and why.

    champions: classifier -> who answers now; unpromised: classifier -> a sentence for each label of its
    champion that too few calibration reports bear (tasks/ml/network/conformal.py).
    """
    # a former champion's answers of the same day would hide what the present one does
    answers = [one for one in answers if one.model_id == champions.get(one.classifier)]
    for classifier in sorted({one.classifier for one in answers}):
        counts = [(one.decision == "review", one.reports) for one in answers if one.classifier == classifier]
        every = sum(reports for _, reports in counts)
        unsure = sum(reports for review, reports in counts if review)
        if every >= ROWS_MIN and unsure / every > limits.review_share:
            because = (
                f"{'; '.join(unpromised[classifier])}: have more reports of it labelled and retrain, or "
                "raise `review_error` (of the critical label `critical_review_error`)"
                if unpromised.get(classifier)
                else "the reports may have changed: compare `laudos models show`"
            )
            yield (
                f"{classifier}: {unsure / every:.0%} of {every:,} answers were left to a person, more than "
                f"{limits.review_share:.0%}; {because}"
            )


def shifts(verdicts: Sequence[Told]) -> Iterator[str]:
    """Classifiers with a job of another population than calibrated the champion, or one that may be."""
    # of several jobs the worst is told: shifted, then not tested where it should have been
    worst_last = sorted(verdicts, key=lambda one: _weight(one.verdict))
    for classifier, last in sorted({one.classifier: one for one in worst_last}.items()):
        found = last.verdict
        if found.state == "shifted":
            yield (
                f"{classifier}: the reports of job {last.job_id} are unlike those that calibrated the "
                f"champion ({found.patients:,} patients beside {found.calibration_patients:,}, by "
                f"{found.seen_in}, AUROC {found.auroc:.2f}); nothing is promised of them, so whatever it is "
                "sure of waits for a person as `shifted`: ask what changed, have some labelled "
                "(`laudos labels next`), and run `laudos retrain`"
            )
        elif found.because in _UNTESTED:
            yield (
                f"{classifier}: job {last.job_id} could not be tested for a shift "
                f"({_UNTESTED[found.because]}); it was answered as if there were none"
            )


def _weight(found: Verdict) -> int:
    return 2 if found.state == "shifted" else int(found.because in _UNTESTED)


_UNTESTED = {"failed": "the test failed; see the log", "killed": "two processes that read for it were killed"}


def misses(
    figures: Mapping[str, Sequence[Metric]], classifiers: Mapping[str, ClassifierSettings]
) -> Iterator[str]:
    """Champions whose sensitivity on the hospital's own labels is surely below the floor."""
    for name, measured in sorted(figures.items()):
        floor = classifiers[name].sensitivity_floor
        for one in measured:
            sensitivity = (one.population, one.name, one.slice) == ("source", "sensitivity", "all")
            if sensitivity and one.value is not None and one.high is not None and one.high < floor:
                yield (
                    f"{name}: sensitivity for {classifiers[name].critical} is {one.value:.2f} (at most "
                    f"{one.high:.2f}) on {one.n:,} labelled reports of the hospital, below the floor of "
                    f"{floor:.2f}; have these reports read by a person, and see `laudos models rollback`"
                )


def failed_runs(troubles: Sequence[Trouble]) -> Iterator[str]:
    """Runs that failed or crashed, with the reason the ledger keeps."""
    for one in troubles:
        times = "" if one.times == 1 else f" ({one.times} times)"
        yield f"{one.kind} run {one.run_id} {one.state}{times}: {one.failure or 'its process went away'}"


def _brought(intake: Intake) -> int:
    # what stands beside a report is among the new already, unless only the scoring failed, of older ones
    return max(intake.new + intake.updated + intake.refused, intake.refused + intake.beside)


def _refused_share(intake: Intake) -> float:
    return (intake.refused + intake.beside) / _brought(intake) if _brought(intake) else 0.0


def cascades(audits: Mapping[str, Agreement]) -> Iterator[str]:
    """Classifiers whose students answered otherwise than was promised: these answer no more."""
    for classifier, found in sorted(audits.items()):
        breach = found.breach()
        if breach is not None:
            yield (
                f"{classifier}: its cascade is switched off and the champion reads everything, for {breach}; "
                "`laudos distill` makes another student, or set `scoring.cascade` to false"
            )
