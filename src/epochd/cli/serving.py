"""``epochd serve``: each setting of the server as an option."""

from pathlib import Path
from typing import Annotated, Any

import typer

from epochd.core import settings as server_settings

EPILOG = (
    "Each option can also be set as EPOCHD_<NAME>; EPOCHD_TOKENS, EPOCHD_DATABASE_URL and EPOCHD_CONNECTIONS only so."
)


def setting(name: str) -> Any:
    """The option of one server setting; its help text is the settings table's own."""
    field = server_settings.Settings.model_fields[name]
    text = (field.description or "").replace("``", "")
    return typer.Option(help=text, show_default=str(field.get_default(call_default_factory=True) or "none"))


def serve(
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    allowed_hosts: Annotated[str | None, setting("allowed_hosts")] = None,
    data_roots: Annotated[str | None, setting("data_roots")] = None,
    default_dataset: Annotated[str | None, setting("default_dataset")] = None,
    upload_mb: Annotated[int | None, setting("upload_mb")] = None,
    slots: Annotated[int | None, setting("slots")] = None,
    gpus: Annotated[str | None, setting("gpus")] = None,
    jobs_per_worker: Annotated[int | None, setting("jobs_per_worker")] = None,
    resident_mb: Annotated[int | None, setting("resident_mb")] = None,
    cache_mb: Annotated[int | None, setting("cache_mb")] = None,
    memory_mb: Annotated[int | None, setting("memory_mb")] = None,
    lease_seconds: Annotated[float | None, setting("lease_seconds")] = None,
    checkpoint_seconds: Annotated[float | None, setting("checkpoint_seconds")] = None,
    grace_seconds: Annotated[float | None, setting("grace_seconds")] = None,
    hang_seconds: Annotated[float | None, setting("hang_seconds")] = None,
    log_mb: Annotated[int | None, setting("log_mb")] = None,
    pause_wait_seconds: Annotated[float | None, setting("pause_wait_seconds")] = None,
    log_level: Annotated[str | None, setting("log_level")] = None,
) -> None:
    """Run the training server until ctrl-C or SIGTERM."""
    settings = server_settings.load(**locals())
    from epochd.api.server import serve as run_server  # noqa: PLC0415 - 0.5 s that only this command needs

    run_server(settings)
