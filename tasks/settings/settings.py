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
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from db.errors import ConfigurationError
from tasks.settings.encoder import with_encoder
from tasks.settings.errors import nearest, nearest_variable, require_known, told
from tasks.settings.house import MonitoringSettings, RetentionSettings, RolesSettings, ScheduleSettings
from tasks.settings.sections import ClassifierSettings as ClassifierSettings
from tasks.settings.sections import ScoringSettings
from tasks.settings.sources import SourceSettings
from tasks.settings.values import ZoneName, expanded, rooted_url

DEFAULT_FILE = "laudos.toml"
PREFIX = "LAUDOS_"
# folders are named by it: neither "..", which leads out of theirs, nor hidden, as what is half-written is
NAME = r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$"
# variables of ours that are no settings: where the file is, how errors are told, what tests need
BESIDE_SETTINGS = {"LAUDOS_CONFIG", "LAUDOS_DEBUG", "LAUDOS_PG_BIN", "LAUDOS_CORPORA"}
# from which level on a Prefect process tells its logs on stderr
CONSOLE_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"


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
    retention: RetentionSettings = RetentionSettings()
    schedules: ScheduleSettings = ScheduleSettings()
    roles: RolesSettings = RolesSettings()

    @model_validator(mode="before")
    @classmethod
    def _expanded(cls, merged: Any) -> Any:
        return expanded(merged, os.environ)

    @model_validator(mode="after")
    def _names_meet(self) -> Settings:
        for name, source in self.sources.items():
            require_known(f"sources.{name}.labels", source.labels, self.classifiers, "the classifiers")
        for name, classifier in self.classifiers.items():
            require_known(
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
        """sha256 of what decides results: not the URLs, which hold secrets, nor the folder and the roles."""
        content = self.model_dump(
            mode="json",
            exclude={
                "database": True,
                "folder": True,
                "roles": True,
                "sources": {"__all__": {"url"}},
                "scoring": {"dask"},
            },
        )
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def config_path() -> Path:
    """Which file `Settings.load()` reads."""
    return Path(os.environ.get("LAUDOS_CONFIG", DEFAULT_FILE))


def config_shown() -> str:
    """That file's whole path, and whether it is there."""
    path = config_path().resolve()
    return str(path) if path.is_file() else f"{path} (not there: defaults and LAUDOS_ variables)"


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
        os.environ[CONSOLE_LEVEL] = "INFO"
    if debug:
        os.environ["LAUDOS_DEBUG"] = "1"


@contextmanager
def heeding_only(config: Path) -> Iterator[None]:
    """Within: this file and no LAUDOS_ variable of the user's, for this process and those it starts.

    For scratch databases, which must never turn out to be the user's own. The environment comes back.
    """
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(PREFIX) and name not in BESIDE_SETTINGS]:
        del os.environ[name]
    os.environ["LAUDOS_CONFIG"] = str(config)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def wants_debug() -> bool:
    return os.environ.get("LAUDOS_DEBUG", "") not in ("", "0")


def postgres_bin() -> Path | None:
    """Where the user says that PostgreSQL's programs are, for scratch servers of tests and torture."""
    named = os.environ.get("LAUDOS_PG_BIN")
    return Path(named) if named else None


def prefect_server() -> str | None:
    """The address of the Prefect server that the user named; None where each command starts its own."""
    return os.environ.get("PREFECT_API_URL") or None


def console_level() -> str | None:
    """What the user has set; to be asked before `prepare_environment` sets the commands' own."""
    return os.environ.get(CONSOLE_LEVEL) or None


def prepare_for_hub() -> None:
    """For a command that asks a hub: nothing is reported to it, and what the user has set stays."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


def prepare_environment(settings: Settings) -> None:
    """Set what Prefect and transformers read at import; what the user has set stays."""
    quiet = {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # errors are told once, in one line, by the command; the API still receives every log
        CONSOLE_LEVEL: "CRITICAL",
        # its own 20 s are too few for a busy machine's first start
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        # a server of ours forgets flow runs after 90 days as it does events; ours is the ledger
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        # in memory, a stop of the server would leave a deployment's one slot taken for ever, and a restart
        # would end the run that holds it
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # torch's threads would spin while they wait for one another, which costs most on a busy machine
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    if "PREFECT_API_URL" not in os.environ and "PREFECT_HOME" not in os.environ:
        quiet["PREFECT_HOME"] = str(_folder_for_prefect(settings.folder))
    if not any(classifier.revision for classifier in settings.classifiers.values()):
        quiet["HF_HUB_OFFLINE"] = "1"
    for name, value in quiet.items():
        os.environ.setdefault(name, value)


def _folder_for_prefect(folder: Path) -> Path:
    """Prefect makes its folder, but not the ones above it."""
    home = folder / "prefect"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(f"the folder {home} cannot be made: {error.strerror}") from None
    return home


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
            parse_url(url, own=key == "database")
        except ConfigurationError as error:
            raise ConfigurationError(f"{key!r}: {error}") from None
    data = folder / settings.folder.expanduser()
    return settings.model_copy(
        update={
            "database": rooted_url(settings.database, folder),
            "folder": data,
            "sources": {
                name: source.model_copy(update={"url": rooted_url(source.url, folder)})
                for name, source in settings.sources.items()
            },
            "classifiers": {
                name: _with_suite(name, with_encoder(name, classifier, folder, data), folder)
                for name, classifier in settings.classifiers.items()
            },
        }
    )


def _with_suite(name: str, classifier: ClassifierSettings, folder: Path) -> ClassifierSettings:
    from tasks.ml.behaviour.suite import shipped  # reads YAML: not for `laudos --help`

    asked, known = classifier.behaviour, [*shipped(), "none"]
    if asked is None or asked in known:
        return classifier
    local = folder / Path(asked).expanduser()
    if not local.is_file():
        raise ConfigurationError(
            f"'classifiers.{name}.behaviour' is {asked!r}: no such file is here{nearest(asked, known)}"
        )
    return classifier.model_copy(update={"behaviour": str(local)})
