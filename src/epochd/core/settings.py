"""The settings of the server: name, default and help, read once at its start from ``EPOCHD_<NAME>`` or the options of
``epochd serve``."""

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic_settings
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from epochd.core.errors import Problem, SettingsError, similar_names
from epochd.core.text import TOKEN_RULE, is_token, is_visible, shown, visible

PREFIX = "EPOCHD_"
OTHER_VARIABLES = frozenset({"EPOCHD_URL", "EPOCHD_TOKEN", "EPOCHD_NODE_ADDRESS", "EPOCHD_WORKER_OF"})
"""What the client and an agent read, and the mark of workers (``dispatch.host.processes``)."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

SECRETS = frozenset({"tokens", "agent_tokens", "users", "database_url", "connections", "ray_token", "storage_options"})
"""Settings whose values are never shown, and that are no options of the command line."""

KEPT_FROM_WORKERS = (PREFIX, "AWS_", "AZURE_", "GOOGLE_")
"""How variables of the environment begin that only the server gets: its settings, and keys of object stores."""

DATABASE_FILE = "epochd.db"
"""In the data folder, unless ``database_url`` is set."""

UserName = Annotated[str, Field(min_length=1, max_length=120)]
URL_PATTERN = r"^https?://[^/?#@\s]+(/[A-Za-z0-9._~-]+)*/?$"
"""An address without user, password, query and fragment."""
STORE_PATTERN = r"^(file:///|(s3|gs|az)://[^/?#@\s]+(/|$))[^?#@]*$"
"""The address of an object store or of a place in it, without a key, an endpoint or other options."""

CommaSeparated = Annotated[list[str], NoDecode]


class Settings(BaseSettings):
    """All settings of the server. Lists are comma-separated in the environment."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, use_attribute_docstrings=True, frozen=True)

    data_dir: Path = Path("epochd-data")
    """The data directory: database, artifacts, checkpoints, logs."""
    host: str = "127.0.0.1"
    """The address to listen on. Any address except loopback requires ``tokens``."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """The port to listen on; 0 selects a free one."""
    root_path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~-]+)*$")] = ""
    """The path prefix under which a reverse proxy serves the API, such as ``/epochd``."""
    tokens: Annotated[list[SecretStr], NoDecode] = []
    """Bearer tokens that give access to the API. Empty: no token is needed, and the server listens on loopback
    only."""
    agent_tokens: Annotated[list[SecretStr], NoDecode] = []
    """Bearer tokens that let agents join, and nothing else. Agents may also use one of ``tokens``."""
    users: dict[UserName, SecretStr] = {}
    """Named users: a JSON object of names and bearer tokens, which give access as ``tokens`` do. A task keeps the name
    of the user who has started it."""
    user_slots: Annotated[int, Field(ge=1, le=1024)] | None = None
    """How many tasks of one named user run at the same time; others of this user wait, and do not hold up those of
    other users. Default: no limit but ``slots``."""
    allowed_hosts: CommaSeparated = []
    """Host names that requests may be addressed to, in addition to loopback and ``host``."""
    database_url: SecretStr | None = None
    """A SQLAlchemy URL, such as ``postgresql+psycopg://user:password@host/epochd``. Default: SQLite in ``data_dir``."""
    storage: Annotated[str, Field(pattern=STORE_PATTERN)] | None = None
    """An object store that has all checkpoints, models, predictions and uploaded datasets: ``s3://bucket/prefix``,
    ``gs://bucket/prefix``, ``az://container/prefix`` or ``file:///folder``. The data directory is a cache of it then.
    Default: none, the data directory has them."""
    storage_options: dict[str, SecretStr] = {}
    """How to reach the object stores of ``storage`` and ``dataset_urls``: a JSON object with keys such as ``endpoint``,
    ``region``, ``access_key_id``, ``secret_access_key`` and ``allow_http``; for Azure ``account_name``. Default: what
    the environment says (``AWS_ACCESS_KEY_ID``, …)."""
    signed_urls: bool = True
    """Whether workers and agents exchange files with the store itself, by signed URLs; if not, the server passes all
    files on, and only it has to reach the store."""
    storage_cache_mb: Annotated[int, Field(ge=1, le=100_000_000)] = 51_200
    """The maximum total size of the copies in the data directory of what object stores have, in MiB; the least recently
    used are deleted first, but none that was used within the last hour."""
    dataset_urls: CommaSeparated = []
    """Addresses in object stores below which configs may name datasets, such as ``s3://bucket/tables/``."""
    shared: bool = False
    """Whether several servers share this database, and a data folder or ``storage``. Needs PostgreSQL."""
    public_url: Annotated[str, Field(pattern=URL_PATTERN)] | None = None
    """The URL at which workers reach any of the servers, such as that of a reverse proxy in front of them. Default: the
    address of the server that has started the worker."""
    advertise_url: Annotated[str, Field(pattern=URL_PATTERN)] | None = None
    """The URL at which the other servers that share the database reach this one. Default: ``host`` and ``port``."""
    data_roots: CommaSeparated = []
    """Folders from which datasets may be read by path, in addition to ``<data_dir>/datasets``."""
    default_dataset: str = "sample"
    """The dataset of a config that names none."""
    connections: dict[str, SecretStr] = {}
    """Databases that datasets may be queried from: a JSON object of names and SQLAlchemy URLs (SQLite, PostgreSQL)."""
    upload_mb: Annotated[int, Field(ge=1, le=10_000_000)] = 10_240
    """The maximum size of an uploaded dataset file, in MiB."""
    slots: Annotated[int, Field(ge=0, le=1024)] = max(1, min(4, (os.cpu_count() or 1) // 2))
    """The number of trainings that run at the same time on this machine; 0 leaves all of them to agents."""
    ray_address: Annotated[str, Field(pattern=URL_PATTERN)] | None = None
    """The address of a Ray cluster's dashboard, such as ``http://head:8265``, whose nodes then run trainings as well.
    Needs ``public_url``."""
    ray_token: SecretStr | None = None
    """The token of this cluster (``ray get-auth-token``)."""
    ray_cpus: Annotated[int, Field(ge=1, le=1024)] = 1
    """The number of CPUs of a Ray node that one training takes."""
    ray_memory_mb: Annotated[int, Field(ge=256, le=100_000_000)] | None = None
    """The memory that one training takes on a Ray node, in MiB, which is also its limit. Default: no limit."""
    ray_labels: dict[str, str] = {}
    """Only Ray nodes with these labels are used: a JSON object of names and values."""
    ray_python: str = "python"
    """The shell command that starts Python on a Ray node, with epochd and the frameworks installed there."""
    ray_runtime_env: dict[str, Any] = {}
    """The runtime environment of Ray in which trainings run there: a JSON object."""
    preempt: bool = False
    """Whether running tasks make room for a task of higher priority that cannot start: those of the lowest priority
    save a checkpoint, return to the queue, and continue exactly later."""
    gpus: str = "auto"
    """The GPUs for trainings: ``auto`` uses all GPUs of the machine, ``none`` uses none, or a list of ids such as
    ``0,1``."""
    jobs_per_worker: Annotated[int, Field(ge=1, le=100_000)] = 300
    """The number of trainings after which a worker process is replaced by a new one."""
    warm_mb: Annotated[int, Field(ge=0, le=100_000_000)] | None = None
    """How much memory idle worker processes beyond the slots may take, in MiB, so that each framework stays ready; 0
    keeps none. Default: a sixteenth of the machine's memory."""
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
    reader_mb: Annotated[int, Field(ge=256, le=100_000_000)] = 2_048
    """The memory limit of a process that reads datasets for the server, in MiB."""
    reader_seconds: Annotated[float, Field(ge=1, le=86_400)] = 600.0
    """How long the server may read a dataset for one request, or run the query of one."""
    predict_mb: Annotated[int, Field(ge=1, le=10_000)] = 64
    """The maximum size of the body of a prediction request, in MiB."""
    predict_rows: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """The maximum number of rows in a prediction request."""
    served_models: Annotated[int, Field(ge=1, le=100_000)] = 64
    """The number of models that the server keeps loaded for predictions; the least recently used ones are dropped."""
    served_mb: Annotated[int, Field(ge=16, le=10_000_000)] = 1_024
    """About how much memory these models may take together, in MiB."""
    group_readable: bool = False
    """Whether the group of the data folder may read the models that are saved from now on. Everything else in the data
    folder is readable for the server's user only."""
    language: Literal["zh", "en"] | None = None
    """The language of answers for clients that state none with ``Accept-Language``: zh or en. Default: Chinese, but
    English for the Open Inference Protocol and the protocol of MLflow. The command line uses it, too."""
    report: bool = True
    """Whether each model has a report; what it measures takes up to a second at the end of a short training."""
    pause_wait_seconds: Annotated[float, Field(ge=0, le=600)] = 10.0
    """How long ``pause`` waits for the worker before it answers 202."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe messages of the server's log: debug, info, warning or error."""
    log_format: Literal["text", "json"] = "text"
    """The form of the server's log: text, or json for one JSON object per line."""
    access_log: bool = True
    """Whether the server's log has a line for each request."""

    @field_validator("tokens", "agent_tokens", "allowed_hosts", "data_roots", "dataset_urls", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("ray_labels", "ray_runtime_env", mode="before")
    @classmethod
    def _object(cls, value: object) -> object:
        try:
            return json.loads(value) if isinstance(value, str) else value
        except json.JSONDecodeError as error:
            raise ValueError(f"not a JSON object: {error}") from None

    @field_validator("tokens", "agent_tokens")
    @classmethod
    def _sendable(cls, tokens: list[SecretStr]) -> list[SecretStr]:
        for number, token in enumerate(tokens, start=1):
            if not is_token(token.get_secret_value()):
                raise ValueError(f"no client can send token {number} of {len(tokens)}: {TOKEN_RULE}")
        return tokens

    @field_validator("users")
    @classmethod
    def _distinct(cls, users: dict[str, SecretStr], info: ValidationInfo) -> dict[str, SecretStr]:
        taken = {token.get_secret_value() for token in info.data.get("tokens", ())}
        for name, secret in users.items():
            token = secret.get_secret_value()
            if not is_visible(name):
                raise ValueError(f"the name {shown(name)} contains control or other invisible characters")
            if not is_token(token):
                raise ValueError(f"no client can send the token of {name}: {TOKEN_RULE}")
            if token in taken:
                raise ValueError(f"the token of {name} is given twice: each user needs a token of its own")
            taken.add(token)
        return users

    @field_validator("storage_options", mode="before")
    @classmethod
    def _texts(cls, options: object) -> object:
        if not isinstance(options, dict):
            return options
        plain = {name: str(value).lower() if isinstance(value, bool) else value for name, value in options.items()}
        return {name: str(value) if isinstance(value, int) else value for name, value in plain.items()}

    @field_validator("dataset_urls")
    @classmethod
    def _addresses(cls, urls: list[str]) -> list[str]:
        for url in urls:
            if not re.fullmatch(STORE_PATTERN, url):
                raise ValueError(f"{shown(url)} is not the address of a place in an object store")
        return [url if url.endswith("/") else f"{url}/" for url in urls]

    @field_validator("ray_runtime_env")
    @classmethod
    def _has_variables(cls, value: dict[str, Any]) -> dict[str, Any]:
        variables = value.get("env_vars", {})
        if not isinstance(variables, dict) or not all(isinstance(one, str) for one in variables.values()):
            raise ValueError("env_vars must be an object of names and texts")
        return value

    @field_validator("log_level", "log_format", "language", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("data_dir", "host", mode="before")
    @classmethod
    def _not_empty(cls, value: object) -> object:
        if value == "":
            raise ValueError("must not be empty; remove the variable for its default")
        return value

    @property
    def access_tokens(self) -> list[tuple[str, str | None]]:
        """Each token that gives access, and the name of its user; None for those of ``tokens``."""
        unnamed: list[tuple[str, str | None]] = [(token.get_secret_value(), None) for token in self.tokens]
        return unnamed + [(token.get_secret_value(), name) for name, token in self.users.items()]

    @property
    def requires_token(self) -> bool:
        """Whether the API can be used with a token only."""
        return bool(self.tokens or self.users)

    @property
    def artifacts_dir(self) -> Path:
        return self.data_dir / "artifacts"

    @property
    def checkpoints_dir(self) -> Path:
        return self.data_dir / "checkpoints"

    @property
    def predictions_dir(self) -> Path:
        return self.data_dir / "predictions"

    @property
    def removals_dir(self) -> Path:
        return self.data_dir / "removals"

    @property
    def cache_dir(self) -> Path:
        return self.data_dir / "cache"

    @property
    def bodies_dir(self) -> Path:
        """For bodies of requests and files of workers; it is emptied when the server starts."""
        return self.cache_dir / "bodies"

    @property
    def speeds_dir(self) -> Path:
        return self.data_dir / "speeds"

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
        return (self.data_dir / DATABASE_FILE).absolute()


def load(**overrides: object) -> Settings:
    """The environment's settings with the overrides that are not None. Raises SettingsError with every problem."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise invalid(_problem(**details) for details in error.errors(include_url=False)) from None
    except pydantic_settings.SettingsError as error:  # only its name is shown: its text may contain a password
        hint = 'use a JSON object such as {"name": "secret"}'
        found = re.search(r'field "(\w+)"', str(error))
        name = variable(found[1] if found else "connections")
        raise invalid([Problem(name, f"{name}: not valid JSON", hint)]) from None
    if settings.host not in LOOPBACK and not settings.requires_token:
        reason = (
            f"EPOCHD_HOST={settings.host} without tokens: anyone who can reach this address could run trainings. Set "
            "EPOCHD_TOKENS to one or more secrets, or EPOCHD_HOST to 127.0.0.1"
        )
        raise invalid([Problem("EPOCHD_HOST", reason)])
    if settings.ray_address is not None and settings.public_url is None:
        reason = (
            "EPOCHD_RAY_ADDRESS without EPOCHD_PUBLIC_URL: workers on a Ray node could not reach the server. Set "
            "EPOCHD_PUBLIC_URL to a URL at which the nodes reach it"
        )
        raise invalid([Problem("EPOCHD_PUBLIC_URL", reason)])
    if settings.shared and (problem := _why_not_shared(settings)) is not None:
        raise invalid([problem])
    return settings


def _why_not_shared(settings: Settings) -> Problem | None:
    """Why several servers cannot share what these settings name."""
    url = "" if settings.database_url is None else settings.database_url.get_secret_value()
    if url.startswith("postgres"):
        return None
    reason = (
        "EPOCHD_SHARED=true: only one server can use a SQLite database. Set EPOCHD_DATABASE_URL to a PostgreSQL URL, "
        "or unset EPOCHD_SHARED"
    )
    return Problem("EPOCHD_SHARED", reason)


def invalid(problems: Iterable[Problem]) -> SettingsError:
    """The error for wrong settings; each problem names the variable, its value and the reason."""
    found = list(problems)
    return SettingsError(f"invalid settings: {'; '.join(problem.message for problem in found)}", found)


def _problem(loc: tuple[int | str, ...], msg: str, input: object, **_: object) -> Problem:
    """What pydantic found in one setting; the value of a secret is not shown."""
    name, *place = map(str, loc)
    value = "".join(f": {part}" for part in place) if name in SECRETS else f"={visible(str(input))[:80]}"
    reason = msg.removeprefix("Value error, ")
    hint = re.sub(r"\s+", " ", Settings.model_fields[name].description or "").replace("``", "")
    return Problem(variable(name), f"{variable(name)}{value}: {reason[0].lower()}{reason[1:]}", hint)


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"{PREFIX}{name.upper()}"


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """A sentence for each variable that begins with ``EPOCHD_`` and is not read, with the nearest that is."""
    known = {*map(variable, Settings.model_fields), *OTHER_VARIABLES}
    unknown = sorted(name for name in environment if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [
        f"the environment variable {visible(name)[:80]} is not known and has no effect"
        + "".join(f"; did you mean {nearest}?" for nearest in similar_names(name, known, 1))
        for name in unknown
    ]
