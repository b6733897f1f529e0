"""`sources.NAME` of laudos.toml: where reports arrive."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import ConfigDict, Field, model_validator

from tasks.settings.errors import require_known
from tasks.settings.values import Duration, Strict, ZoneName


class SourceSettings(Strict):
    """A table or view that reports arrive in, and which column is what."""

    url: str = Field(description="any SQLAlchemy URL; keep the password in the environment: ${HIS_PASSWORD}")
    table: str = Field(description="table or view")
    schema_: str | None = Field(
        default=None, alias="schema", description="database schema, where it is not the default"
    )
    id: str = Field(description="column that identifies a report for ever")
    text: str = Field(description="column with the report's text")
    updated_at: str | None = Field(
        default=None,
        description="column that moves when a row changes; without it every run compares everything",
    )
    patient: str | None = Field(
        default=None,
        description="column that identifies the patient; without it every report is a patient of its own",
    )
    date: str | None = Field(default=None, description="column with the date the report bears")
    labels: dict[str, str] = Field(
        default_factory=dict, description="classifier -> column with its true label, where known"
    )
    sex: str | None = Field(
        default=None, description="column with the patient's sex; this and the next four are for slices alone"
    )
    age: str | None = Field(default=None, description="column with the age in years; stored as a band")
    birth_date: str | None = Field(
        default=None,
        description="column with the date of birth, for the band where age tells none; never stored",
    )
    race: str | None = Field(default=None, description="column with the patient's race")
    institution: str | None = Field(
        default=None, description="column with where the report was written; default: the source's name"
    )
    institutions_max: int = Field(
        default=200,
        ge=1,
        le=5000,
        description="different institutions that the column may hold; one with more is refused, for it holds "
        "names of patients: raise it only for a network that is as large",
    )
    group_values: dict[Literal["sex", "race", "institution"], dict[str, str]] = Field(
        default_factory=dict, description="what the source writes -> what it means, such as '1' = 'male'"
    )
    timezone: ZoneName | None = Field(
        default=None,
        description="zone of updated_at where the column has none, and of the days of moments that have one; "
        "default: the top-level timezone",
    )
    overlap: Duration = Field(
        default=timedelta(hours=6),
        description="how far behind the watermark each ingest reads again: "
        "longer than the longest transaction at the source",
    )
    page_rows: int = Field(default=5000, ge=1, le=100_000, description="rows a transaction, at most")
    page_bytes: int = Field(
        default=8 * 2**20,
        ge=1000,
        le=2**30,
        description="bytes of text a transaction: a page ends where it is reached, or page_rows is",
    )

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @model_validator(mode="after")
    def _groups_fit(self) -> SourceSettings:
        meant = self.group_values.get("sex", {}).values()
        require_known("group_values.sex", meant, ("female", "male", "other"), "female, male and other")
        about: dict[str, str] = {f"group_values.{name}": name for name in self.group_values}
        if "institutions_max" in self.model_fields_set:
            about["institutions_max"] = "institution"
        for key, column in about.items():
            if column not in self.group_columns:
                raise ValueError(f"{key} is about a column that is not named: name {column}, or leave it out")
        return self

    @property
    def group_columns(self) -> dict[str, str]:
        """What each column that groups patients is for -> its name."""
        given = {name: getattr(self, name) for name in ("sex", "age", "birth_date", "race", "institution")}
        return {name: column for name, column in given.items() if column is not None}
