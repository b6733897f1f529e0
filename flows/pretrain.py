"""An encoder that has read the hospital's own reports: freeze, pre-train, hold against its start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from tasks.classifiers import the_classifier
from tasks.database import open_database
from tasks.ledger import recorded_run
from tasks.pretraining.gain import compare_with_control
from tasks.pretraining.learning import UNLABELLED, Asked
from tasks.pretraining.pretrain import pretrain_encoder
from tasks.settings.settings import Settings
from tasks.step import Name, flow
from tasks.training.training_set import freeze_training_set

# an encoder's name, or where its folder lies
Start = Annotated[str, Field(pattern=r"^[\w./~ -]+$", max_length=400)]


@dataclass(frozen=True)
class PretrainSummary:
    """What a pre-training came to; `encoder` is what `classifiers.X.encoder` takes.

    Perplexities before and after on reports of patients who taught nothing. Macro F1 of a head on the frozen
    encoder and on the one it started from (`control_`), `gain` the difference with its 95 % interval over
    patients, all on the calibration split; `helped` only where the whole interval is above 0.
    """

    classifier: str
    run_id: int
    snapshot_id: int
    encoder: str
    start: str
    labelled: int
    unlabelled: int
    patients: int
    windows: int
    tokens: int
    steps: int
    reused: bool
    exam_reports: int
    perplexity_before: float
    perplexity_after: float
    f1_macro: float
    control_f1_macro: float
    gain: float
    gain_low: float | None
    gain_high: float | None
    helped: bool
    judged_reports: int
    judged_patients: int
    notes: tuple[str, ...]


@flow("pretrain", run_name="pretrain {classifier} {day}")
def pretrain(
    classifier: Name | None = None,
    start: Start | None = None,
    epochs: float | None = None,
    unlabelled: int = UNLABELLED,
    whole_words: bool = True,
    next_sentence: bool = False,
    accumulate: int = 1,
) -> PretrainSummary:
    """Go on training an encoder on the hospital's own reports, or begin one, and say whether it helped.

    No model changes: who finds that it helped names the folder in `classifiers.X.encoder`. Raises
    NothingToWorkOn where there are no reports of training patients, or no labels to judge by.
    """
    settings = Settings.load()
    engine = open_database(settings)
    name = the_classifier(settings, classifier)
    asked = Asked(start, epochs, unlabelled, whole_words, next_sentence, accumulate)
    with recorded_run(engine, settings, "pretrain", exclusive="model") as run:
        snapshot_id = freeze_training_set(run.id, name)
        made = pretrain_encoder(run.id, name, snapshot_id, asked)
        helped = compare_with_control(run.id, name, snapshot_id, made.name)
    told = {key: value for key, value in vars(made).items() if key not in ("name", "folder")}
    return PretrainSummary(
        classifier=name,
        run_id=run.id,
        snapshot_id=snapshot_id,
        encoder=made.folder,
        helped=helped.gain_low is not None and helped.gain_low > 0,
        **told,
        **vars(helped),
    )
