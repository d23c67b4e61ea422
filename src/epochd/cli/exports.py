"""``epochd export``: a trained model in the form of another program."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from epochd.cli.console import DEFAULT_URL, Token, Url, connected, show, warn
from epochd.cli.language import word
from epochd.cli.prediction import is_folder
from epochd.export import Form


def export(
    model: Annotated[
        str, Argument(help="A model's name or a task's id on the server, or a model's folder on this machine.")
    ],
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
    version: Annotated[
        str | None, Option(help="A version on the server: a task's id or an alias. Default: latest.")
    ] = None,
    url: Url = DEFAULT_URL,
    token: Token = None,
) -> None:
    """Write a trained model in the form of another program, whose packages it needs. A model's folder on this machine
    needs no server."""
    from epochd.export.saved_model import SavedModel  # noqa: PLC0415 - 0.2 s for Polars, as above

    with model_folder(model, version, url, token) as folder:
        saved = SavedModel.load(folder)
        if to is Form.MLFLOW:
            log_run(saved, tracking_uri, experiment, run_name)
            return
        from epochd.export import forms  # noqa: PLC0415

        path = forms.write(saved, to, output, force=force)
        show(str(path), label=(word("exported"), "green"))


@contextmanager
def model_folder(model: str, version: str | None, url: str, token: str | None) -> Iterator[Path]:
    """The folder of a model on this machine; one on the server is downloaded to a temporary folder."""
    if is_folder(model):
        yield Path(model).expanduser()
        return
    with tempfile.TemporaryDirectory(prefix="epochd-") as folder, connected(url, token) as client:
        yield Path(client.download_model(model, folder, version))


def log_run(saved: Any, tracking_uri: str | None, experiment: str, run_name: str | None) -> None:
    """Record a ``SavedModel`` as a run in MLflow."""
    from epochd.export import mlflow_run  # noqa: PLC0415 - ONNX Runtime, which only this command needs

    run = mlflow_run.log(saved, mlflow_run.Tracking(tracking_uri, experiment, run_name))
    show(f"run {run.run_id} of the experiment {experiment}", label=(word("exported"), "green"))
    if run.model_uri is None:
        warn("the run contains no model, because this model has no ONNX graph")
    else:
        show(f"model: {run.model_uri}")
    if run.database is not None:
        show(f"look at it with  mlflow ui --backend-store-uri {run.database}")
