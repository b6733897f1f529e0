"""The sections of laudos.toml that no report is read by: alarms, what is kept, schedules, roles."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field, model_validator

from tasks.settings.values import CronLine, Duration, Share, Strict

# a name that needs no quotes in SQL
_ROLE = r"^[a-z_][a-z0-9_]{0,62}$"


class MonitoringSettings(Strict):
    """When the monitor raises an alarm. Shares are of the last 24 hours."""

    quarantine_share: Share = Field(
        default=0.05, description="quarantined, of a source's new and changed reports"
    )
    review_share: Share = Field(default=0.5, description="left to a person, of a classifier's answers")
    silent_after: Duration = Field(
        default=timedelta(days=2), description="how long a source may bring nothing new"
    )
    free_space_gib: float = Field(
        default=1.0, ge=0, description="least free space where models and an embedded database lie"
    )


class RetentionSettings(Strict):
    """What the nightly run and `laudos models gc` take away; each removal is counted in the audit.

    Never: the champion, those a rollback would go to, a model with an open scoring job, one whose folder
    an encoder names.
    """

    rollbacks: int = Field(
        default=3, ge=1, description="how many rollbacks in a row must stay possible: these models are kept"
    )
    models: int = Field(
        default=10,
        ge=0,
        description="how many more models a classifier keeps, the newest",
    )
    leftovers_after: Duration = Field(
        default=timedelta(hours=24),
        description="how old a model folder without a row, or what a killed run left half-written, may grow",
    )
    checkpoints_after: Duration = Field(
        default=timedelta(days=14), description="how old the checkpoints of an unfinished training may grow"
    )
    pretrained: int = Field(
        default=3,
        ge=0,
        description="how many encoders that were pre-trained here a classifier keeps, the newest, besides "
        "those that a classifier names or a kept model was trained from",
    )
    trials_after: Duration = Field(
        default=timedelta(days=90),
        description="how long what was found of a back end or a cascade is kept after its last use",
    )
    features_after: Duration | None = Field(
        default=None,
        description="how old a stored vector may grow, which costs an encoding; default: as long as a kept "
        "model uses its encoder",
    )
    superseded_text_after: Duration | None = Field(
        default=None,
        description="how long an amended report keeps its earlier texts, unless a kept training set holds "
        "them; default: for ever",
    )


class ScheduleSettings(Strict):
    """Cron lines in `timezone`; an empty one switches the schedule off."""

    # at half past: the nightly run, which ingests first, starts on the hour
    ingest: CronLine = "30 * * * *"
    nightly: CronLine = "0 2 * * *"
    weekly_full: CronLine = "0 4 * * 0"


class RolesSettings(Strict):
    """What `laudos db roles` calls the three roles it creates on PostgreSQL."""

    writer: str = Field(default="laudos_writer", pattern=_ROLE, description="what laudos itself needs")
    reader: str = Field(default="laudos_reader", pattern=_ROLE, description="everything without text")
    auditor: str = Field(
        default="laudos_auditor", pattern=_ROLE, description="the reader's, and runs, decisions and the audit"
    )

    @model_validator(mode="after")
    def _differ(self) -> RolesSettings:
        if len({self.writer, self.reader, self.auditor}) < 3:
            raise ValueError("the three roles must have three names")
        return self
