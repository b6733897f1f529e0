"""The sections of laudos.toml that say how models are made and how they score; sources stand in
sources.py, the rest in house.py: every key, what it means, and what it is by default.

`laudos init` writes the same keys with longer words (deployments/laudos.template.toml); a test holds
the two together.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, model_validator

from tasks.settings.errors import require_known
from tasks.settings.values import Address, Duration, Share, Strict


class SyntheticSettings(Strict):
    """Labelled training reports written from a table of measurements."""

    exam: str = Field(default="paaf", description="which generator")
    mode: Literal["findings", "full", "seed"] = Field(
        default="findings",
        description="findings: no conclusion; full: with one; seed: the leaky recipe, to show what a leak is",
    )
    reports_per_row: int = Field(
        default=30,
        ge=1,
        le=1000,
        description="more of them carry over better to words never read (benchmarks/RESULTS.md, synthesis)",
    )
    reserved_share: Share = Field(
        default=0.0,
        description="share of measurement rows kept out of every training set "
        "(the demo writes its hospital from them)",
    )
    renew_after: Duration = Field(
        default=timedelta(days=7),
        description="how old a synthetic set may grow before the nightly run writes a new one",
    )
    kept_share: float = Field(
        default=0.1,
        ge=0,
        le=0.5,
        description="share of a new set's training reports that may be hard ones of the set before: "
        "those that the champion got wrong or was unsure of",
    )


Pooling = Literal["network", "max", "attention", "sentences"]


class TrainingSettings(Strict):
    """How a classifier is trained."""

    window_tokens: int = Field(
        default=512, ge=16, le=8192, description="tokens a window; longer reports are read in several"
    )
    stride_tokens: int = Field(default=64, ge=0, description="tokens two neighbouring windows share")
    windows: Literal["even", "conclusion"] = Field(
        default="even",
        description='how a longer report is cut: evenly; or "conclusion": with its conclusion whole in one '
        "window wherever it fits (docs/whole-reports.md)",
    )
    hidden_size: int = Field(default=128, ge=16, description="scratch encoder: width")
    layers: int = Field(default=2, ge=1, le=48, description="scratch encoder: depth")
    attention_heads: int = Field(default=2, ge=1)
    vocabulary: int = Field(default=1500, ge=100, description="scratch encoder: WordPiece entries")
    epochs: float | None = Field(
        default=None,
        gt=0,
        description="default: a scratch encoder reads some 25,000 reports in 2 to 10; a pretrained one reads "
        "each 3 times",
    )
    learning_rate: float | None = Field(
        default=None,
        gt=0,
        description="default: 1e-3 for a scratch encoder, 5e-4 after lessons, 3e-5 for a pretrained one",
    )
    lessons: int | None = Field(
        default=None,
        ge=0,
        description="single clauses that the network reads before reports, each with the finding it states; "
        "default: 100,000 for a scratch encoder that synthetic reports teach, else none",
    )
    batch_reports: int = Field(default=32, ge=1, description="reports, or windows of them, that a step reads")
    batch_tokens: int = Field(
        default=16_384,
        ge=64,
        description="tokens of them held at once, padding included, or one window that is longer: memory "
        "grows with it, what is learnt does not depend on it (docs/training.md)",
    )
    last_layers: int | None = Field(
        default=None,
        ge=1,
        description="of a pretrained encoder: only so many last layers, and the head, learn; default: all",
    )
    layer_decay: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="learning rate of a layer, in those of the one above it; 0.9 changes least what a "
        "pretrained encoder knows best",
    )
    loss: Literal["plain", "balanced", "focal"] = Field(
        default="plain",
        description="what the network is trained on: balanced lets reports of rarer labels weigh more, focal "
        "those that it gets wrong; probabilities are calibrated afterwards either way (docs/training.md)",
    )
    early_stopping: int | None = Field(
        default=None,
        ge=1,
        description="so many looks, of ten, at held-out training reports that find them no better answered "
        "end the training; the best weights are kept; default: it ends with its last step",
    )
    max_minutes: float | None = Field(
        default=None,
        gt=0,
        description="the training of a whole network ends after so many, with the best it has by then",
    )
    mixed_precision: bool = Field(
        default=False,
        description="a whole network is trained in bfloat16 where the machine computes in it: faster, other "
        "last digits (docs/training.md)",
    )
    pooling: Pooling | None = Field(
        default=None,
        description="what the head reads: what the network's own does, and of several windows the mean; "
        "or, of several, the highest of each number; or all tokens of the report, by weights that are "
        "learnt; or those of a scratch encoder that reads each sentence by itself (docs/whole-reports.md); "
        "default: sentences after lessons, else network",
    )
    linear_reader: bool | None = Field(
        default=None,
        description="beside the network a linear reader of tokens, pairs and letters answers, too "
        "(docs/training.md); default: beside a scratch encoder only",
    )
    max_train_reports: int | None = Field(
        default=None,
        ge=1,
        description="stop at so many reports of the training split, one of each label among them; "
        "default all",
    )
    augment: list[Literal["clauses", "synonyms", "noise", "sections"]] | None = Field(
        default=None,
        description="how the reports change from epoch to epoch when the whole network is trained "
        "(docs/variety.md); default: clauses after lessons, else not at all",
    )

    @model_validator(mode="after")
    def _windows_advance(self) -> TrainingSettings:
        if self.stride_tokens >= self.window_tokens // 2:
            raise ValueError("stride_tokens must be less than half of window_tokens")
        return self


class PromotionSettings(Strict):
    """What a challenger must show before it answers. Recorded with its sha at every decision."""

    margin: Share = Field(
        default=0.02,
        description="how much worse than the champion it may be in macro F1, at the lower end of an interval "
        "that is wider at every look at one holdout",
    )
    class_margin: Share = Field(default=0.05, description="the same, for each class's recall")
    ece_margin: Share = Field(
        default=0.03, description="the same, for the expected calibration error, of which less is better"
    )
    error: Share = Field(
        default=0.05,
        gt=0,
        description="with what probability any challenger that is worse by a margin may get through, "
        "over all looks at one holdout",
    )
    holdout_patients_min: int = Field(default=20, ge=2, description="fewer patients than this decide nothing")
    beat_baselines: bool = Field(
        default=True, description="must beat the keyword rule and the majority class"
    )
    behaviour_margin: Share = Field(
        default=0.05,  # two trainings on the same reports under two seeds differ by as much
        description="the same, for the share right of the behaviour suite's pairs",
    )
    negation_margin: Share = Field(default=0.05, description="the same, for its pairs on negation alone")
    fairness_margin: Share = Field(
        default=0.2,
        description="how far apart an institution, or another protected group, and all others may surely be "
        "in sensitivity; groups too small to be judged decide nothing; 1: nothing is asked",
    )
    fairness_review_margin: Share = Field(
        default=0.5, description="the same, for the share of reports left to a person"
    )
    size_mib_max: float = Field(
        default=2048.0,
        ge=0,
        description="budget: MiB that may be loaded of it: weights, vocabulary, what laudos adds; "
        "0: nothing is asked",
    )
    slower_max: float = Field(
        default=3.0,
        ge=0,
        description="budget: how many times as long as with the champion a report may take to read, in "
        "processor time of both side by side; 0: nothing is asked",
    )
    report_ms_max: float = Field(
        default=0.0,
        ge=0,
        description="budget: how many ms of this machine's processor time a report may take; "
        "0: nothing is asked",
    )
    behaviour_floor: Share = Field(
        default=0.0,
        description="least share right of the behaviour suite, by the lower end of its 95 % interval; "
        "0: nothing is asked",
    )
    approval: Literal["automatic", "person"] = Field(
        default="automatic",
        description="who lets a challenger answer that met every rule: the plan, or a person "
        "(laudos models approve)",
    )
    approval_within: Duration = Field(
        default=timedelta(days=7),
        description="how long a challenger may score along, and then wait for a person, before it is refused",
    )
    shadow_reports: int = Field(
        default=0,
        ge=0,
        description="new reports it scores along with the champion, answering none, before it may answer",
    )
    shadow_agreement: Share = Field(
        default=0.9,
        description="least share of these that get the champion's label, by the lower end of a 95 % interval",
    )


class ClassifierSettings(Strict):
    """One question asked of every report."""

    labels: list[str] = Field(min_length=2)
    critical: str = Field(description="the label that must not be missed")
    sensitivity_floor: Share = Field(
        default=0.85,
        description="least sensitivity for the critical label on the holdout, "
        "by the lower end of its 95 % interval",
    )
    review_error: Share = Field(
        default=0.05,
        description="share of each class's reports that may get a wrong sure answer; "
        "decides what goes to a person",
    )
    critical_review_error: Share = Field(default=0.02, description="the same for the critical label")
    encoder: str = Field(
        default="scratch",
        description='one that "laudos encoders" lists, a local folder, or a hub name with its revision',
    )
    revision: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{40}$", description="the hub revision, all 40 hex digits"
    )
    training_labels: list[Literal["source", "feedback", "synthetic"]] = Field(
        default=["source", "feedback"], description="whose labels teach"
    )
    sources: list[str] | None = Field(default=None, description="which sources it reads; default all")
    label_values: dict[str, str] = Field(
        default_factory=dict, description="what the sources write -> label, such as M = 'maligno'"
    )
    keywords: dict[str, list[str]] = Field(
        default_factory=dict, description="label -> words, for the keyword rule every model is compared with"
    )
    behaviour: str | None = Field(
        default=None,
        description="its behaviour suite: paaf, mammography, a file of one's own, or none; default: that of "
        "the exam it learns from synthetic reports of",
    )
    synthetic: SyntheticSettings = SyntheticSettings()
    training: TrainingSettings = TrainingSettings()
    promotion: PromotionSettings = PromotionSettings()

    @model_validator(mode="after")
    def _fits_together(self) -> ClassifierSettings:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ")
        for where, named in (
            ("critical", [self.critical]),
            ("label_values", self.label_values.values()),
            ("keywords", self.keywords),
        ):
            require_known(where, named, self.labels, "the labels")
        if self.training.pooling == "sentences" and self.encoder != "scratch":
            raise ValueError(
                'training.pooling = "sentences" needs encoder = "scratch": a pretrained encoder has learnt '
                'to read sentences together; use "attention" or leave it out'
            )
        return self

    @property
    def has_linear_reader(self) -> bool:
        """Whether a linear reader answers beside the network."""
        asked = self.training.linear_reader
        return self.encoder == "scratch" if asked is None else asked


class ScoringSettings(Strict):
    chunk_reports_max: int = Field(
        default=1000, ge=1, description="the pieces of a backlog begin with so many reports each, at most"
    )
    chunk_reports_min: int = Field(
        default=64, ge=1, description="and end with so many, or with chunk_reports_max where that is less"
    )
    batch_tokens: int = Field(
        default=4096,
        ge=64,
        description="tokens a forward pass, at most; on a processor a wide network is given fewer, "
        "as many as its cache holds, and a GPU 65,536 where this asks for fewer",
    )
    backend: Literal[
        "auto", "torch-fp32", "torch-bf16", "openvino-fp32", "openvino-bf16", "cuda-fp32", "cuda-bf16"
    ] = Field(
        default="auto",
        description="what computes the network (docs/speed.md); auto: the fastest of full precision that "
        "answers as torch-fp32 does, tried once a model and machine",
    )
    cascade: bool = Field(
        default=False,
        description="let a student (laudos distill) answer where it is sure and agrees with the champion, "
        "which reads the rest (docs/speed.md)",
    )
    shift_level: float = Field(
        default=1e-4,
        ge=0,
        le=0.05,
        description="how seldom a job whose reports are like those that calibrated the model may be taken "
        "for another population, all of which goes to a person: once in 10,000 jobs, one an hour for a year "
        "being 8,760; 0: jobs are not tested",
    )
    lease: Duration = Field(
        default=timedelta(minutes=15),
        description="how long a worker may be silent before its piece is given to another",
    )
    dask: Address | None = Field(
        default=None,
        description="scheduler of a Dask cluster whose workers score, such as tcp://host:8786; default: this "
        "process does (docs/operating.md)",
    )

    @model_validator(mode="after")
    def _pieces_shrink(self) -> ScoringSettings:
        smallest, largest = self.chunk_reports_min, self.chunk_reports_max
        if "chunk_reports_min" in self.model_fields_set and smallest > largest:
            raise ValueError(
                f"chunk_reports_min, {smallest}, is more than chunk_reports_max, {largest}: lower it"
            )
        return self
