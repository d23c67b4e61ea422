"""The settings of the server: name, default and help, read once at its start from ``EPOCHD_<NAME>`` or the options of
``epochd serve``."""

import os
from pathlib import Path
from typing import Annotated

import pydantic_settings
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from epochd.core.errors import Problem, SettingsError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

SECRETS = frozenset({"tokens", "database_url", "connections"})
"""Settings whose values are never shown, and that are no options of the command line."""

CommaSeparated = Annotated[list[str], NoDecode]


class Settings(BaseSettings):
    """All settings of the server. Lists are comma-separated in the environment."""

    model_config = SettingsConfigDict(env_prefix="EPOCHD_", use_attribute_docstrings=True, frozen=True)

    data_dir: Path = Path("epochd-data")
    """The data directory: database, artifacts, checkpoints, logs."""
    host: str = "127.0.0.1"
    """The address to listen on. Any address except loopback requires ``tokens``."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port to listen on; 0 selects a free one."""
    tokens: Annotated[list[SecretStr], NoDecode] = []
    """Bearer tokens that give access to the API. Empty: no token is needed, and the server listens on loopback
    only."""
    allowed_hosts: CommaSeparated = []
    """Host names that requests may be addressed to, in addition to loopback and ``host``."""
    database_url: SecretStr | None = None
    """A SQLAlchemy URL, such as ``postgresql+psycopg://user:password@host/epochd``. Default: SQLite in ``data_dir``."""
    data_roots: CommaSeparated = []
    """Folders from which datasets may be read by path, in addition to ``<data_dir>/datasets``."""
    default_dataset: str = "sample"
    """The dataset of a config that names none."""
    connections: dict[str, SecretStr] = {}
    """Databases that datasets may be queried from: a JSON object of names and SQLAlchemy URLs (SQLite, PostgreSQL)."""
    upload_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 10_240
    """The maximum size of an uploaded dataset file, in MiB."""
    slots: Annotated[int, Field(ge=1, le=1024)] = max(1, min(4, (os.cpu_count() or 1) // 2))
    """The number of trainings that run at the same time."""
    gpus: str = "auto"
    """The GPUs for trainings: ``auto`` uses all GPUs of the machine, ``none`` uses none, or a list of ids such as
    ``0,1``."""
    jobs_per_worker: Annotated[int, Field(ge=1, le=100_000)] = 32
    """The number of trainings after which a worker process is replaced by a new one."""
    resident_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 256
    """The maximum size of a training's encoded rows in memory, in MiB. Larger ones are streamed from cache files."""
    cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 20_480
    """The maximum total size of these cache files, in MiB; the least recently used are deleted first."""
    memory_mb: Annotated[int, Field(ge=256, le=100_000_000)] | None = None
    """The memory limit of one training, in MiB. Default: the machine's memory divided by ``slots``."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """How long a worker may go without a report before its training is requeued."""
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86400)] = 30.0
    """Training time between two checkpoints, longer if checkpoints would take more than 2 % of it; 0 saves one before
    every chunk of steps."""
    grace_seconds: Annotated[float, Field(ge=1, le=604_800)] = 900.0
    """How long a worker continues to train while the server is unreachable, before it saves a checkpoint and exits."""
    hang_seconds: Annotated[float, Field(ge=1, le=604_800)] = 300.0
    """How long a training may go without finishing a step before a warning is added to its log."""
    log_mb: Annotated[int, Field(ge=1, le=100_000)] = 16
    """The maximum size of one attempt's log, in MiB; beyond it the older half is deleted."""
    pause_wait_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long ``pause`` waits for the worker before it answers 202."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @field_validator("tokens", "allowed_hosts", "data_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints"

    @property
    def removals_dir(self) -> Path:
        return self.data_dir / "removals"

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    @property
    def logs_dir(self) -> Path:
        return self.data_dir / "logs"

    @property
    def dataset_roots(self) -> list[Path]:
        """Every folder that may contain datasets, the server's own first."""
        return [self.data_dir / "datasets", *map(Path, self.data_roots)]

    @property
    def database(self) -> str | Path:
        """The SQLAlchemy URL, including its password (never log it), or the path of the SQLite file: a URL could not
        contain every path."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return (self.data_dir / "epochd.db").absolute()


def load(**overrides: object) -> Settings:
    """The environment's settings with the overrides that are not None. Raises SettingsError with every problem."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        problems = []
        for invalid in error.errors(include_url=False):
            name = str(invalid["loc"][0]) if invalid["loc"] else "settings"
            value = "" if name in SECRETS else f"={invalid['input']!s:.80}"
            reason = invalid["msg"][0].lower() + invalid["msg"][1:]
            problems.append(Problem(f"EPOCHD_{name.upper()}", f"EPOCHD_{name.upper()}{value}: {reason}"))
        raise SettingsError(f"invalid settings: {'; '.join(p.message for p in problems)}", problems) from None
    except pydantic_settings.SettingsError:  # its text may contain a password
        problem = Problem("EPOCHD_CONNECTIONS", "EPOCHD_CONNECTIONS: not valid JSON", 'use {"name": "postgresql://…"}')
        raise SettingsError(f"invalid settings: {problem.message}", [problem]) from None
    if settings.host not in LOOPBACK and not settings.tokens:
        raise SettingsError(
            f"invalid settings: EPOCHD_HOST={settings.host} without tokens: anyone who can reach this address could "
            "run trainings. Set EPOCHD_TOKENS to one or more secrets, or EPOCHD_HOST to 127.0.0.1"
        )
    return settings
