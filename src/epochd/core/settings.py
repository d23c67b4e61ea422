"""The one settings table: name, default, help. Read once when the server starts.

Each field is set by the environment variable ``EPOCHD_<NAME>`` or by the matching option of
``epochd serve``. Options of a single training live in its spec, never here.
"""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as Unparsable

from epochd.core.errors import Problem, SettingsError

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

Listed = Annotated[list[str], NoDecode]


class Settings(BaseSettings):
    """All settings of the server. Lists are comma-separated in the environment."""

    model_config = SettingsConfigDict(env_prefix="EPOCHD_", use_attribute_docstrings=True, frozen=True)

    data_dir: Path = Path("epochd-data")
    """Where everything is kept: database, artifacts, checkpoints, logs."""
    host: str = "127.0.0.1"
    """The address to listen on. Anything but loopback requires ``tokens``."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port to listen on; 0 takes a free one."""
    tokens: Annotated[list[SecretStr], NoDecode] = []
    """Bearer tokens that may use the API. Empty: open, on loopback only."""
    allowed_hosts: Listed = []
    """Host names, besides loopback and ``host``, that requests may be addressed to."""
    database_url: SecretStr | None = None
    """A SQLAlchemy URL, such as ``postgresql+psycopg://user:password@host/epochd``. Absent: SQLite in ``data_dir``."""
    data_roots: Listed = []
    """Folders that datasets may be read from by path. ``<data_dir>/datasets`` always is one."""
    default_dataset: str = "sample"
    """The dataset of a config that names none."""
    connections: dict[str, SecretStr] = {}
    """Databases that datasets may be queried from: a JSON object of names and SQLAlchemy URLs (SQLite, PostgreSQL)."""
    upload_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 10_240
    """The largest dataset file that may be uploaded, in MiB."""
    slots: Annotated[int, Field(ge=1, le=1024)] = max(1, min(4, (os.cpu_count() or 1) // 2))
    """How many trainings run at once."""
    gpus: str = "auto"
    """GPUs to give to trainings: ``auto`` takes all of the machine, ``none`` none, otherwise ids such as ``0,1``."""
    jobs_per_worker: Annotated[int, Field(ge=1, le=100_000)] = 32
    """How many trainings one worker process may complete before a fresh one takes its place."""
    resident_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 256
    """Encoded rows of a training that take more memory than this, in MiB, are streamed from files instead."""
    cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 20_480
    """What these files may take together, in MiB; the least recently used are dropped first."""
    memory_mb: Annotated[int, Field(ge=256, le=100_000_000)] | None = None
    """The memory that one training may use, in MiB. Absent: the machine's memory divided by ``slots``."""
    lease_seconds: Annotated[float, Field(ge=1, le=3600)] = 15.0
    """How long a worker may be silent before its training is taken from it."""
    checkpoint_seconds: Annotated[float, Field(ge=0, le=86400)] = 30.0
    """Training time between two checkpoints, longer where they would cost more than 2 % of it; 0 takes one before
    every chunk of steps."""
    grace_seconds: Annotated[float, Field(ge=1, le=604_800)] = 900.0
    """How long a worker trains on while its server is away, before it saves a checkpoint and ends."""
    hang_seconds: Annotated[float, Field(ge=1, le=604_800)] = 300.0
    """A training that has not finished a step for so long says so in its log."""
    log_mb: Annotated[int, Field(ge=1, le=100_000)] = 16
    """What the log of one attempt may take, in MiB; the older half gives way."""
    pause_wait_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long ``pause`` waits for the worker before it answers 202."""
    log_level: str = "info"
    """debug, info, warning or error."""

    @field_validator("tokens", "allowed_hosts", "data_roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK

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
        """Every folder a dataset path may lie in, the server's own first."""
        return [self.data_dir / "datasets", *map(Path, self.data_roots)]

    @property
    def database(self) -> str:
        """The SQLAlchemy URL, with its password: never log it."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite+aiosqlite:///{(self.data_dir / 'epochd.db').absolute()}"


def load(**overrides: object) -> Settings:
    """Read the environment, apply the command line's overrides (None means not given), check the whole."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("the settings make no sense", _problems(error)) from None
    except Unparsable:  # its text may hold a password
        problem = Problem("EPOCHD_CONNECTIONS", "it is not JSON", 'write {"name": "postgresql://…"}')
        raise SettingsError("the settings make no sense", [problem]) from None
    if not settings.is_loopback and not settings.tokens:
        raise SettingsError(
            f"refusing to listen on {settings.host} without tokens: anyone who reaches it could run trainings. "
            "Set EPOCHD_TOKENS to one or more secrets, or listen on 127.0.0.1"
        )
    return settings


def _problems(error: ValidationError) -> list[Problem]:
    return [
        Problem(f"EPOCHD_{str(e['loc'][0]).upper()}" if e["loc"] else "settings", e["msg"], "")
        for e in error.errors(include_url=False, include_input=False)
    ]
