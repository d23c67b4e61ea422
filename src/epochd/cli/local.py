"""Commands that need no running server: ``epochd serve`` starts one, ``epochd predict`` applies a model, ``epochd
export`` writes it in the form of another program."""

import sys
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from epochd.cli.console import err, show
from epochd.core.errors import InvalidSpec, Problem
from epochd.core.settings import Settings, load
from epochd.core.text import visible
from epochd.export import Form

SERVE_EPILOG = (
    "Each option can also be set as EPOCHD_<NAME>; EPOCHD_TOKENS, EPOCHD_DATABASE_URL and EPOCHD_CONNECTIONS can "
    "be set in the environment only."
)


def setting(name: str) -> Any:
    """The command-line option for a server setting, with the help text of the setting."""
    field = Settings.model_fields[name]
    text = (field.description or "").replace("``", "")
    return Option(help=text, show_default=str(field.get_default(call_default_factory=True) or "none"))


def serve(
    data_dir: Annotated[Path | None, setting("data_dir")] = None,
    host: Annotated[str | None, setting("host")] = None,
    port: Annotated[int | None, setting("port")] = None,
    root_path: Annotated[str | None, setting("root_path")] = None,
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
    reader_mb: Annotated[int | None, setting("reader_mb")] = None,
    reader_seconds: Annotated[float | None, setting("reader_seconds")] = None,
    group_readable: Annotated[bool | None, setting("group_readable")] = None,
    report: Annotated[bool | None, setting("report")] = None,
    pause_wait_seconds: Annotated[float | None, setting("pause_wait_seconds")] = None,
    log_level: Annotated[str | None, setting("log_level")] = None,
    log_format: Annotated[str | None, setting("log_format")] = None,
    access_log: Annotated[bool | None, setting("access_log")] = None,
) -> None:
    """Run the training server until ctrl-C or SIGTERM."""
    settings = load(**locals())
    from epochd.api import server  # noqa: PLC0415 - 0.5 s that only this command needs

    server.serve(settings)


def predict(
    model: Annotated[Path, Argument(help="The model's folder, for example .../models/latest.")],
    file: Annotated[Path, Argument(help="The rows to predict: CSV, TSV or Parquet.")],
    output: Annotated[Path | None, Option(help="The CSV file to write. Default: standard output.")] = None,
) -> None:
    """Predict the rows of a file with a trained model. Needs no server and no framework."""
    from epochd.artifact.predict import predict_file  # noqa: PLC0415 - 0.2 s for Polars that only this command needs

    predictions = predict_file(model, file)
    if output is None:
        text = predictions.write_csv()
        sys.stdout.write(visible(text, keep="\n\t") if sys.stdout.isatty() else text)
    else:
        predictions.write_csv(output)
        show(f"{predictions.height} predictions written to {output}", to=err)


def export(
    model: Annotated[str, Argument(help="The model's folder, for example .../models/latest.")],
    to: Annotated[Form, Option(help="The form of the export.")],
    output: Annotated[Path | None, Option(help="The file or folder to write. Default: in the current folder.")] = None,
    force: Annotated[bool, Option("--force", help="Replace an existing file, or the folder of an export.")] = False,
    tracking_uri: Annotated[
        str | None, Option(help="For mlflow: a server, a database or a folder. Default: MLFLOW_TRACKING_URI.")
    ] = None,
    experiment: Annotated[
        str, Option(help="For mlflow: the experiment; it is created if it does not exist.")
    ] = "epochd",
    run_name: Annotated[str | None, Option(help="For mlflow: the run's name. Default: the training's name.")] = None,
) -> None:
    """Write a trained model in the form of another program. Needs no server, and the packages of that program only."""
    from epochd.export.saved_model import SavedModel  # noqa: PLC0415 - 0.2 s for Polars, as above

    saved = SavedModel.load(model_folder(model))
    if to is Form.MLFLOW:
        log_run(saved, tracking_uri, experiment, run_name)
    else:
        from epochd.export import forms  # noqa: PLC0415

        show(("exported", "green"), f" to {forms.write(saved, to, output, force=force)}")


def model_folder(model: str) -> Path:
    """The folder of a model on this machine. Raises InvalidSpec for anything else: the names and task ids of a server's
    models would be resolved here."""
    folder = Path(model)
    if not folder.is_dir():
        hint = "give the folder of a model, for example epochd-data/artifacts/models/latest"
        raise InvalidSpec([Problem("MODEL", f"{model} is no folder on this machine", hint)])
    return folder


def log_run(saved: Any, tracking_uri: str | None, experiment: str, run_name: str | None) -> None:
    """Record a ``SavedModel`` as a run in MLflow."""
    from epochd.export import mlflow_run  # noqa: PLC0415 - ONNX Runtime, which only this command needs

    run = mlflow_run.log(saved, mlflow_run.Tracking(tracking_uri, experiment, run_name))
    show(("exported", "green"), f" to run {run.run_id} of the experiment {experiment}")
    if run.model_uri is None:
        show(("warning:", "yellow"), " the run contains no model, because this model has no ONNX graph", to=err)
    else:
        show(f"model: {run.model_uri}")
    if run.database is not None:
        show(f"look at it with  mlflow ui --backend-store-uri {run.database}")
