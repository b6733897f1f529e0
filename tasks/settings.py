"""The only reader of the environment and of laudos.toml.

`Settings.load()` looks at $LAUDOS_CONFIG, else ./laudos.toml; every key can be overridden by the
environment (LAUDOS_DATABASE, LAUDOS_SOURCES__HIS__URL...). Secrets stay out of the file: any value
may say ${NAME}, which is taken from the environment. Relative paths, SQLite URLs among them, start
at the folder of the file, so that a command from cron finds what the same command found by hand.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Iterable
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from db.errors import ConfigurationError
from tasks.settings_errors import nearest, nearest_variable, told
from tasks.settings_values import CronLine, Duration, Share, ZoneName, expanded, rooted_url

DEFAULT_FILE = "laudos.toml"
PREFIX = "LAUDOS_"
NAME = r"^[A-Za-z0-9_.-]{1,64}$"
# variables of ours that are no settings: where the file is, how errors are told, what the tests need
BESIDE_SETTINGS = {"LAUDOS_CONFIG", "LAUDOS_DEBUG", "LAUDOS_PG_BIN"}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceSettings(_Strict):
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
    timezone: ZoneName | None = Field(
        default=None,
        description="zone of updated_at where the column has none; default: the top-level timezone",
    )
    overlap: Duration = Field(
        default=timedelta(hours=6),
        description="how far behind the watermark each ingest reads again: "
        "longer than the longest transaction at the source",
    )
    page_rows: int = Field(default=1000, ge=1, le=100_000, description="rows a transaction")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class SyntheticSettings(_Strict):
    """Labelled training reports written from a table of measurements."""

    exam: str = Field(default="paaf", description="which generator")
    mode: Literal["findings", "full", "seed"] = Field(
        default="findings",
        description="findings: no conclusion; full: with one; seed: the leaky recipe, to show what a leak is",
    )
    reports_per_row: int = Field(default=12, ge=1, le=1000)
    reserved_share: Share = Field(
        default=0.0,
        description="share of measurement rows kept out of every training set "
        "(the demo writes its hospital from them)",
    )
    renew_after: Duration = Field(
        default=timedelta(days=7),
        description="how old a synthetic set may grow before the nightly run writes a new one",
    )


class TrainingSettings(_Strict):
    """How a classifier is trained."""

    window_tokens: int = Field(
        default=256, ge=16, le=8192, description="tokens a window; longer reports are read in several"
    )
    stride_tokens: int = Field(default=64, ge=0, description="tokens two neighbouring windows share")
    hidden_size: int = Field(default=128, ge=16, description="scratch encoder: width")
    layers: int = Field(default=2, ge=1, le=48, description="scratch encoder: depth")
    attention_heads: int = Field(default=2, ge=1)
    vocabulary: int = Field(default=4000, ge=100, description="scratch encoder: WordPiece entries")
    epochs: float = Field(default=3.0, gt=0)
    learning_rate: float | None = Field(
        default=None, gt=0, description="default: 1e-3 for a scratch encoder, 3e-5 for a pretrained one"
    )
    batch_reports: int = Field(default=32, ge=1)
    max_train_reports: int | None = Field(
        default=None, ge=1, description="stop at so many reports of the training split; default all"
    )

    @model_validator(mode="after")
    def _windows_advance(self) -> TrainingSettings:
        if self.stride_tokens >= self.window_tokens // 2:
            raise ValueError("stride_tokens must be less than half of window_tokens")
        return self


class PromotionSettings(_Strict):
    """What a challenger must show before it answers. Recorded with its sha at every decision."""

    margin: Share = Field(
        default=0.02,
        description="how much worse than the champion it may be, overall and per class, "
        "at the lower end of a one-sided 95 % interval",
    )
    class_margin: Share = Field(default=0.05, description="the same, for each class's recall")
    holdout_patients_min: int = Field(default=20, ge=2, description="fewer patients than this decide nothing")
    beat_baselines: bool = Field(
        default=True, description="must beat the keyword rule and the majority class"
    )


class ClassifierSettings(_Strict):
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
        default="scratch", description="scratch, a local folder, or a hub name with revision"
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
            _require_known(where, named, self.labels, "the labels")
        return self


class ScoringSettings(_Strict):
    chunks: int = Field(default=200, ge=1, le=100_000, description="pieces a backlog is cut into at most")
    chunk_reports_min: int = Field(default=64, ge=1, description="reports a piece at least")
    batch_tokens: int = Field(default=8192, ge=64, description="tokens a forward pass")
    lease: Duration = Field(
        default=timedelta(minutes=15),
        description="how long a worker may be silent before its piece is given to another",
    )


class MonitoringSettings(_Strict):
    """When the monitor raises an alarm. Shares are of the last 24 hours."""

    quarantine_share: Share = Field(
        default=0.05, description="quarantined, of a source's new and changed reports"
    )
    review_share: Share = Field(default=0.5, description="left to a person, of a classifier's answers")
    silent_after: Duration = Field(
        default=timedelta(days=2), description="how long a source may bring nothing new"
    )


class ScheduleSettings(_Strict):
    """Cron lines in `timezone`; an empty one switches the schedule off."""

    # at half past: the nightly run, which ingests first, starts on the hour
    ingest: CronLine = "30 * * * *"
    nightly: CronLine = "0 2 * * *"
    weekly_full: CronLine = "0 4 * * 0"


class Settings(BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        nested_model_default_partial_update=True,
    )

    database: str = Field(
        default="sqlite:///laudos-data/laudos.db", description="where laudos keeps its own tables"
    )
    folder: Path = Field(default=Path("laudos-data"), description="model folders, checkpoints and exports")
    timezone: ZoneName = "America/Sao_Paulo"
    seed: int = 0
    sources: dict[Annotated[str, Field(pattern=NAME)], SourceSettings] = Field(default_factory=dict)
    classifiers: dict[Annotated[str, Field(pattern=NAME)], ClassifierSettings] = Field(default_factory=dict)
    scoring: ScoringSettings = ScoringSettings()
    monitoring: MonitoringSettings = MonitoringSettings()
    schedules: ScheduleSettings = ScheduleSettings()

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, merged: Any) -> Any:
        return expanded(merged, os.environ)

    @model_validator(mode="after")
    def _names_meet(self) -> Settings:
        for name, source in self.sources.items():
            _require_known(f"sources.{name}.labels", source.labels, self.classifiers, "the classifiers")
        for name, classifier in self.classifiers.items():
            _require_known(
                f"classifiers.{name}.sources", classifier.sources or [], self.sources, "the sources"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = config_path()
        toml = TomlConfigSettingsSource(settings_cls, toml_file=path if path.exists() else None)
        return init_settings, env_settings, toml

    @classmethod
    def load(cls) -> Settings:
        """The settings in force. Raises ConfigurationError naming each wrong key and the nearest one."""
        path = config_path()
        if "LAUDOS_CONFIG" in os.environ and not path.is_file():
            raise ConfigurationError(f'{path} is no file; write one with "laudos init --to {path}"')
        try:
            settings = cls()
            _refuse_unknown_variables(path)
            return _rooted(settings, path.parent.resolve())
        except ValidationError as error:
            problem = told(error, cls)
        except tomllib.TOMLDecodeError as error:
            problem = f"not valid TOML: {error}"
        except UnicodeDecodeError:
            problem = "not UTF-8; save it as UTF-8"
        except SettingsError:
            problem = "a LAUDOS_... variable that stands for a list or a table must hold JSON"
        except OSError as error:
            problem = f"cannot be read: {error.strerror}"
        except ConfigurationError as error:
            problem = str(error)
        raise ConfigurationError(f"{path}: {problem}")

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.timezone)

    def classifier(self, name: str) -> ClassifierSettings:
        if name not in self.classifiers:
            raise ConfigurationError(
                f"no classifier {name!r} in the configuration{nearest(name, self.classifiers)}"
            )
        return self.classifiers[name]

    def source(self, name: str) -> SourceSettings:
        if name not in self.sources:
            raise ConfigurationError(f"no source {name!r} in the configuration{nearest(name, self.sources)}")
        return self.sources[name]

    def sha(self) -> str:
        """sha256 of what decides results: everything but the URLs, which hold secrets, and the folder."""
        content = self.model_dump(
            mode="json", exclude={"database": True, "folder": True, "sources": {"__all__": {"url"}}}
        )
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def config_path() -> Path:
    """Which file `Settings.load()` reads."""
    return Path(os.environ.get("LAUDOS_CONFIG", DEFAULT_FILE))


def write_template(path: Path) -> None:
    """Write the commented laudos.toml. Raises ConfigurationError where a file already stands."""
    if path.exists():
        raise ConfigurationError(f"{path} exists and was left alone; name another file with --to")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(files("deployments").joinpath("laudos.template.toml").read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from None


def overrule_environment(*, config: Path | None, verbose: bool, debug: bool) -> None:
    """What the command line says counts more than the environment, for this process and its children."""
    if config is not None:
        os.environ["LAUDOS_CONFIG"] = str(config.absolute())
    if verbose:
        os.environ["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "INFO"
    if debug:
        os.environ["LAUDOS_DEBUG"] = "1"


def wants_debug() -> bool:
    return os.environ.get("LAUDOS_DEBUG", "") not in ("", "0")


def prepare_environment(settings: Settings) -> None:
    """Set what Prefect and transformers read at import; what the user has set stays."""
    quiet = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # errors are told once, in one line, by the command; the API still receives every log
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
        # its own 20 s are too few for a busy machine's first start
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    }
    if "PREFECT_API_URL" not in os.environ:
        quiet["PREFECT_HOME"] = str(settings.folder / "prefect")
    if not any(classifier.revision for classifier in settings.classifiers.values()):
        quiet["HF_HUB_OFFLINE"] = "1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


def _require_known(where: str, named: Iterable[str], known: Iterable[str], what: str) -> None:
    for name in named:
        if name not in known:
            raise ValueError(f"{where} names {name!r}, which is none of {what}{nearest(name, known)}")


def _refuse_unknown_variables(path: Path) -> None:
    """A misspelt variable would change nothing, silently. What the file names by ${...} is the user's."""
    written = path.read_text(encoding="utf-8") if path.exists() else ""
    for name in os.environ:
        key = name.removeprefix(PREFIX).split("__")[0].lower()
        ours = name.startswith(PREFIX) and name not in BESIDE_SETTINGS
        if ours and key not in Settings.model_fields and f"${{{name}}}" not in written:
            raise ConfigurationError(
                f"unknown environment variable {name}{nearest_variable(name, PREFIX, Settings)}"
            )


def _rooted(settings: Settings, folder: Path) -> Settings:
    """The settings with every path absolute and every URL's driver known to be there."""
    from db.engine import parse_url  # SQLAlchemy takes a moment: not for `laudos --help`

    urls = {f"sources.{name}.url": source.url for name, source in settings.sources.items()}
    for key, url in {"database": settings.database, **urls}.items():
        try:
            parse_url(url)
        except ConfigurationError as error:
            raise ConfigurationError(f"{key!r}: {error}") from None
    return settings.model_copy(
        update={
            "database": rooted_url(settings.database, folder),
            "folder": folder / settings.folder.expanduser(),
            "sources": {
                name: source.model_copy(update={"url": rooted_url(source.url, folder)})
                for name, source in settings.sources.items()
            },
            "classifiers": {
                name: _with_encoder(name, classifier, folder)
                for name, classifier in settings.classifiers.items()
            },
        }
    )


def _with_encoder(name: str, classifier: ClassifierSettings, folder: Path) -> ClassifierSettings:
    if classifier.encoder == "scratch" or classifier.revision:
        return classifier
    local = folder / Path(classifier.encoder).expanduser()
    if not local.is_dir():
        raise ConfigurationError(
            f"'classifiers.{name}.encoder' is {classifier.encoder!r}: no folder of that name is here, "
            "and a hub name needs its revision, all 40 hex digits, beside it"
        )
    return classifier.model_copy(update={"encoder": str(local)})
