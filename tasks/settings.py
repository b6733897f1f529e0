"""The only reader of the environment and of laudos.toml.

`Settings.load()` looks at $LAUDOS_CONFIG, else ./laudos.toml; every key can be overridden by the
environment (LAUDOS_DATABASE, LAUDOS_SOURCES__HIS__URL...). Secrets stay out of the file: any value
may say ${NAME}, which is taken from the environment.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from db.errors import ConfigurationError

DEFAULT_FILE = "laudos.toml"
NAME = r"^[A-Za-z0-9_.-]{1,64}$"

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


def _duration(value: Any) -> Any:
    """'6h', '30min', '45s', '2d' or a number of seconds."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|min|h|d)\s*", value)
        if not match:
            raise ValueError("a duration looks like 45s, 30min, 6h or 2d")
        return timedelta(seconds=float(match[1]) * _UNITS[match[2]])
    return timedelta(seconds=value) if isinstance(value, (int, float)) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(_Strict):
    """A table or view that reports arrive in, and which column is what."""

    url: str = Field(description="any SQLAlchemy URL; keep the password in the environment: ${HIS_PASSWORD}")
    table: str = Field(description="table or view")
    schema_: str | None = Field(None, alias="schema", description="database schema, where it is not the default")
    id: str = Field(description="column that identifies a report for ever")
    text: str = Field(description="column with the report's text")
    updated_at: str | None = Field(None, description="column that moves when a row changes; without it every run compares everything")
    patient: str | None = Field(None, description="column that identifies the patient; without it every report counts as a patient of its own")
    date: str | None = Field(None, description="column with the date the report bears")
    labels: dict[str, str] = Field(default_factory=dict, description="classifier -> column with its true label, where known")
    timezone: str | None = Field(None, description="zone of updated_at where the column has none; default: the top-level timezone")
    overlap: Duration = Field(timedelta(hours=6), description="how far behind the watermark each ingest reads again: longer than the longest transaction at the source")
    page_rows: int = Field(1000, ge=1, le=100_000, description="rows a transaction")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SyntheticSettings(_Strict):
    """Labelled training reports written from a table of measurements."""

    exam: str = Field("paaf", description="which generator")
    mode: Literal["findings", "full", "seed"] = Field("findings", description="findings: no conclusion; full: with one; seed: the leaky recipe, only to show what a leak is")
    reports_per_row: int = Field(12, ge=1, le=1000)
    reserved_share: Share = Field(0.0, description="share of measurement rows kept out of every training set (the demo writes its hospital from them)")
    renew_after: Duration = Field(timedelta(days=7), description="how old a synthetic set may grow before the nightly run writes a new one")


class TrainingSettings(_Strict):
    """How a classifier is trained."""

    window_tokens: int = Field(256, ge=16, le=8192, description="tokens a window; longer reports are read in several")
    stride_tokens: int = Field(64, ge=0, description="tokens two neighbouring windows share")
    hidden_size: int = Field(128, ge=16, description="scratch encoder: width")
    layers: int = Field(2, ge=1, le=48, description="scratch encoder: depth")
    attention_heads: int = Field(2, ge=1)
    vocabulary: int = Field(4000, ge=100, description="scratch encoder: WordPiece entries")
    epochs: float = Field(3.0, gt=0)
    learning_rate: float | None = Field(None, gt=0, description="default: 1e-3 for a scratch encoder, 3e-5 for a pretrained one")
    batch_reports: int = Field(32, ge=1)
    max_train_reports: int | None = Field(None, ge=1, description="stop at so many reports of the training split; default all")

    @model_validator(mode="after")
    def _windows_advance(self) -> TrainingSettings:
        if self.stride_tokens >= self.window_tokens // 2:
            raise ValueError("stride_tokens must be less than half of window_tokens")
        return self


class PromotionSettings(_Strict):
    """What a challenger must show before it answers. Recorded with its sha at every decision."""

    margin: Share = Field(0.02, description="how much worse than the champion it may be, overall and per class, at the lower end of a one-sided 95 % interval")
    class_margin: Share = Field(0.05, description="the same, for each class's recall")
    holdout_patients_min: int = Field(20, ge=2, description="fewer patients than this decide nothing")
    beat_baselines: bool = Field(True, description="must beat the keyword rule and the majority class")


class ClassifierSettings(_Strict):
    """One question asked of every report."""

    labels: list[str] = Field(min_length=2)
    critical: str = Field(description="the label that must not be missed")
    sensitivity_floor: Share = Field(0.85, description="least sensitivity for the critical label on the holdout, by the lower end of its 95 % interval")
    review_error: Share = Field(0.05, description="share of each class's reports that may get a wrong sure answer; decides what goes to a person")
    critical_review_error: Share = Field(0.02, description="the same for the critical label")
    encoder: str = Field("scratch", description="scratch, a local folder, or a hub name together with revision")
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$", description="the hub revision, all 40 hex digits")
    training_labels: list[Literal["source", "feedback", "synthetic"]] = Field(default_factory=lambda: ["source", "feedback"])
    sources: list[str] | None = Field(None, description="which sources it reads; default all")
    label_values: dict[str, str] = Field(default_factory=dict, description="what the sources write -> label, such as M = 'maligno'")
    keywords: dict[str, list[str]] = Field(default_factory=dict, description="label -> words, for the keyword rule every model is compared with")
    synthetic: SyntheticSettings = Field(default_factory=SyntheticSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    promotion: PromotionSettings = Field(default_factory=PromotionSettings)

    @model_validator(mode="after")
    def _fits_together(self) -> ClassifierSettings:
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels must differ")
        for where, named in (("critical", [self.critical]), ("label_values", self.label_values.values()), ("keywords", self.keywords)):
            for value in named:
                if value not in self.labels:
                    raise ValueError(f"{where} names {value!r}, which is none of the labels{_nearest(value, self.labels)}")
        return self


class ScoringSettings(_Strict):
    chunks: int = Field(200, ge=1, le=100_000, description="pieces a backlog is cut into at most")
    chunk_reports_min: int = Field(64, ge=1, description="reports a piece at least")
    batch_tokens: int = Field(8192, ge=64, description="tokens a forward pass")
    lease: Duration = Field(timedelta(minutes=15), description="how long a worker may be silent before its piece is given to another")


class ScheduleSettings(_Strict):
    """Cron lines in `timezone`; an empty one switches the schedule off."""

    ingest: str = "0 * * * *"
    nightly: str = "0 2 * * *"
    weekly_full: str = "0 4 * * 0"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="LAUDOS_", env_nested_delimiter="__", nested_model_default_partial_update=True
    )

    database: str = Field("sqlite:///laudos-data/laudos.db", description="where laudos keeps its own tables")
    folder: Path = Field(Path("laudos-data"), description="model folders, checkpoints and exports")
    timezone: str = "America/Sao_Paulo"
    seed: int = 0
    sources: dict[Annotated[str, Field(pattern=NAME)], SourceSettings] = Field(default_factory=dict)
    classifiers: dict[Annotated[str, Field(pattern=NAME)], ClassifierSettings] = Field(default_factory=dict)
    scoring: ScoringSettings = Field(default_factory=ScoringSettings)
    schedules: ScheduleSettings = Field(default_factory=ScheduleSettings)

    @field_validator("timezone")
    @classmethod
    def _zone_exists(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError):
            raise ValueError(f"no time zone is called {name!r}; America/Sao_Paulo is one") from None
        return name

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = _config_path()
        toml = TomlConfigSettingsSource(settings_cls, toml_file=path if path.exists() else None)
        return init_settings, env_settings, toml

    @classmethod
    def load(cls) -> Settings:
        """The settings in force. Raises ConfigurationError naming each wrong key and the nearest right one."""
        try:
            return cls()
        except ValidationError as error:
            problems = "; ".join(_told(problem) for problem in error.errors())
        raise ConfigurationError(f"{_config_path()}: {problems}")

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def classifier(self, name: str) -> ClassifierSettings:
        if name not in self.classifiers:
            raise ConfigurationError(
                f"no classifier {name!r} in the configuration{_nearest(name, self.classifiers)}"
            )
        return self.classifiers[name]

    def source(self, name: str) -> SourceSettings:
        if name not in self.sources:
            raise ConfigurationError(f"no source {name!r} in the configuration{_nearest(name, self.sources)}")
        return self.sources[name]

    def sha(self) -> str:
        """sha256 of what decides results: everything but the URLs, which hold secrets."""
        content = self.model_dump(mode="json", exclude={"database": True, "sources": {"__all__": {"url"}}})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _config_path() -> Path:
    return Path(os.environ.get("LAUDOS_CONFIG", DEFAULT_FILE))


def _nearest(name: str, known: Any) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(map(repr, known))}" if known else "; none is configured"


def _told(problem: Any) -> str:
    """One validation problem in words; values are left out, for they may be secrets."""
    where = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        known = _keys_beside(problem["loc"])
        return f"unknown key {where!r}{_nearest(str(problem['loc'][-1]), known)}"
    if problem["type"] == "missing":
        return f"{where!r} is missing"
    return f"{where!r}: {problem['msg'].removeprefix('Value error, ')}"


def _keys_beside(location: tuple[Any, ...]) -> list[str]:
    """The keys that would have been right where the unknown one stands."""
    model: type[BaseModel] = Settings
    for part in location[:-1]:
        for inner in _models_in(model.model_fields[part].annotation) if part in model.model_fields else []:
            model = inner
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models_in(part)]
