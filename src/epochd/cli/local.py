"""``epochd serve``: each setting of the server is an option."""

import gc
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from epochd.cli.language import Spoken
from epochd.core.settings import Settings, load

SERVE_EPILOG = (
    "Each option can also be set as EPOCHD_<NAME>; EPOCHD_TOKENS, EPOCHD_AGENT_TOKENS, EPOCHD_USERS, "
    "EPOCHD_RAY_TOKEN, EPOCHD_DATABASE_URL, EPOCHD_CONNECTIONS and EPOCHD_STORAGE_OPTIONS can be "
    "set in the environment only."
)


def setting(name: str) -> Any:
    """The command-line option for a server setting, with the help text of the setting."""
    field = Settings.model_fields[name]
    text = " ".join((field.description or "").replace("``", "").split())
    return Option(help=text, show_default=str(field.get_default(call_default_factory=True) or "none"))


def serve(
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    root_path: Annotated[str | None, setting("root_path")] = None,
    user_slots: Annotated[int | None, setting("user_slots")] = None,
    allowed_hosts: Annotated[str | None, setting("allowed_hosts")] = None,
    storage: Annotated[str | None, setting("storage")] = None,
    signed_urls: Annotated[bool | None, setting("signed_urls")] = None,
    storage_cache_mb: Annotated[int | None, setting("storage_cache_mb")] = None,
    dataset_urls: Annotated[str | None, setting("dataset_urls")] = None,
    shared: Annotated[bool | None, setting("shared")] = None,
    public_url: Annotated[str | None, setting("public_url")] = None,
    advertise_url: Annotated[str | None, setting("advertise_url")] = None,
    data_roots: Annotated[str | None, setting("data_roots")] = None,
    default_dataset: Annotated[str | None, setting("default_dataset")] = None,
    upload_mb: Annotated[int | None, setting("upload_mb")] = None,
    slots: Annotated[int | None, setting("slots")] = None,
    ray_address: Annotated[str | None, setting("ray_address")] = None,
    ray_cpus: Annotated[int | None, setting("ray_cpus")] = None,
    ray_memory_mb: Annotated[int | None, setting("ray_memory_mb")] = None,
    ray_labels: Annotated[str | None, setting("ray_labels")] = None,
    ray_python: Annotated[str | None, setting("ray_python")] = None,
    ray_runtime_env: Annotated[str | None, setting("ray_runtime_env")] = None,
    preempt: Annotated[bool | None, setting("preempt")] = None,
    gpus: Annotated[str | None, setting("gpus")] = None,
    jobs_per_worker: Annotated[int | None, setting("jobs_per_worker")] = None,
    warm_mb: Annotated[int | None, setting("warm_mb")] = None,
    resident_mb: Annotated[int | None, setting("resident_mb")] = None,
    cache_mb: Annotated[int | None, setting("cache_mb")] = None,
    memory_mb: Annotated[int | None, setting("memory_mb")] = None,
    lease_seconds: Annotated[float | None, setting("lease_seconds")] = None,
    checkpoint_seconds: Annotated[float | None, setting("checkpoint_seconds")] = None,
    grace_seconds: Annotated[float | None, setting("grace_seconds")] = None,
    hang_seconds: Annotated[float | None, setting("hang_seconds")] = None,
    log_mb: Annotated[int | None, setting("log_mb")] = None,
    reader_mb: Annotated[int | None, setting("reader_mb")] = None,
    reader_seconds: Annotated[float | None, setting("reader_seconds")] = None,
    predict_mb: Annotated[int | None, setting("predict_mb")] = None,
    predict_rows: Annotated[int | None, setting("predict_rows")] = None,
    served_models: Annotated[int | None, setting("served_models")] = None,
    served_mb: Annotated[int | None, setting("served_mb")] = None,
    group_readable: Annotated[bool | None, setting("group_readable")] = None,
    language: Annotated[Spoken | None, setting("language")] = None,
    report: Annotated[bool | None, setting("report")] = None,
    pause_wait_seconds: Annotated[float | None, setting("pause_wait_seconds")] = None,
    log_level: Annotated[str | None, setting("log_level")] = None,
    log_format: Annotated[str | None, setting("log_format")] = None,
    access_log: Annotated[bool | None, setting("access_log")] = None,
) -> None:
    """Run the training server until ctrl-C or SIGTERM."""
    settings = load(**locals())
    gc.disable()  # nothing of what is imported becomes garbage
    from epochd.api import server  # noqa: PLC0415 - 0.5 s that only this command needs

    gc.freeze()
    gc.enable()
    server.serve(settings)
