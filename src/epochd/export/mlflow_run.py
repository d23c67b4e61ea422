"""A training as a run in an MLflow tracking store: params, metrics per epoch, tags, files, and the model.

The model is a python_function of code that is stored with it (``mlflow_model.py``), which needs ONNX Runtime but
neither epochd nor pickle. MLflow's own flavour for ONNX cannot score tables with these graphs: it passes each column as
a vector, and cannot return probabilities beside labels.
"""

import logging
import os
import re
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

import epochd
from epochd.artifact import files
from epochd.artifact.pack import OUT_OF_FOLD
from epochd.core.errors import EpochdError, InvalidSpec
from epochd.export import graph_inputs, onnx_file
from epochd.export.graph_inputs import TableInput
from epochd.export.packages import require
from epochd.export.saved_model import SavedModel
from epochd.onnx_graph.inputs import FEATURES, ONNX

CODE = Path(__file__).with_name("mlflow_model.py")
FILES = "model.json", "history.csv", "splits.parquet", OUT_OF_FOLD
"""Files of the model folder that the run contains if there are any, in ``epochd``."""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false"}
"""Variables of MLflow, unless they are set: nothing is reported to its makers, no progress of copies is printed."""
METRICS_AT_ONCE = 1_000
"""MLflow's limit for one request."""
LONGEST_PARAM = 6_000
"""MLflow's limit for the value of a param, in characters."""
TYPES = {
    "number": "double",
    "boolean": "boolean",
    "text": "string",
    "date": "datetime",
    "time": "string",
    "list": "double",
}
"""MLflow's types of columns by kind of input."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """Where the run is recorded. ``uri`` is a tracking server, a database or a local folder; None: as MLflow is
    configured (``MLFLOW_TRACKING_URI``). ``name`` is that of the run, by default the training's."""

    uri: str | None = None
    experiment: str = "epochd"
    name: str | None = None


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A run: its id, the URI of its model (None: the model has no ONNX graph), and the local database, if it is one."""

    run_id: str
    model_uri: str | None
    database: str | None


def log(saved: SavedModel, tracking: Tracking) -> LoggedRun:
    """Record the training as a new run. Of a model without an ONNX graph all but the model is recorded.

    Raises FrameworkMissing without MLflow, EpochdError if the store refuses or cannot be reached.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    mlflow, exceptions = require("mlflow", "mlflow"), require("mlflow.exceptions", "mlflow")
    require("mlflow.pyfunc", "mlflow")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    database, artifacts = local_store(tracking.uri)
    if tracking.uri is not None:
        mlflow.set_tracking_uri(database or tracking.uri)
    try:
        run_id = _create_run(mlflow, saved, tracking, artifacts)
        with mlflow.start_run(run_id=run_id):
            _log_values(mlflow, saved, run_id)
            model_uri = log_model(mlflow, saved)
        mlflow.MlflowClient().set_terminated(run_id, end_time=_milliseconds(saved.saved_at))
    except exceptions.MlflowException as error:
        raise EpochdError(f"MLflow cannot record the run: {error}") from error
    return LoggedRun(run_id, model_uri, database)


def local_store(uri: str | None) -> tuple[str | None, str | None]:
    """For a local folder: a database in it, and the folder of the artifacts; MLflow writes runs no longer as plain
    files. None and None for a server, a database, or a folder with runs that an earlier MLflow has written."""
    if uri is None or "://" in uri or uri.startswith("databricks"):
        return None, None
    folder = Path(uri).absolute()
    if any(folder.glob("*/meta.yaml")):
        return None, None
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()


def _create_run(mlflow: Any, saved: SavedModel, tracking: Tracking, artifacts: str | None) -> str:
    """A new run that began when the training did; its experiment is created if it does not exist."""
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(tracking.experiment)
    if experiment is None:
        experiment_id = client.create_experiment(tracking.experiment, artifacts)
    else:
        experiment_id = experiment.experiment_id
    name = tracking.name or saved.model.setup.spec.name
    run = client.create_run(experiment_id, _milliseconds(saved.started_at), tags(saved), name)
    return str(run.info.run_id)


def tags(saved: SavedModel) -> dict[str, str]:
    facts = saved.about["facts"]
    found = {
        "epochd.task_id": saved.about["task_id"],
        "epochd.version": saved.about["versions"]["epochd"],
        "epochd.exported_by": epochd.__version__,
        "epochd.data_fingerprint": facts.get("fingerprint"),
        "epochd.dataset": facts.get("dataset"),
        "epochd.framework": facts.get("framework"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def _log_values(mlflow: Any, saved: SavedModel, run_id: str) -> None:
    """Params, metrics and files."""
    mlflow.log_params({name: str(value)[:LONGEST_PARAM] for name, value in saved.options.items()})
    found = metrics(mlflow.entities.Metric, saved)
    for first in range(0, len(found), METRICS_AT_ONCE):
        mlflow.MlflowClient().log_batch(run_id, metrics=found[first : first + METRICS_AT_ONCE])
    for name in (name for name in FILES if (saved.folder / name).is_file()):
        mlflow.log_artifact(str(saved.folder / name), "epochd")


def metrics(kind: Any, saved: SavedModel) -> list[Any]:
    """The history by epoch, and the scores of the saved weights as ``best_<part>_<score>`` at the best epoch."""
    found = [
        kind(_metric_name(name), value, _milliseconds(end), int(row["epoch"]))
        for row, end in zip(saved.history, saved.epoch_ends(), strict=True)
        for name, value in row.items()
        if name != "epoch"
    ]
    end, best = _milliseconds(saved.saved_at), int(saved.about["best_epoch"])
    for part, scores in saved.final_scores.items():
        found += [kind(_metric_name(f"best_{part}_{name}"), value, end, best) for name, value in scores.items()]
    return found


def log_model(mlflow: Any, saved: SavedModel) -> str | None:
    """Record the model with signature and input example; return its URI, or None if it has no ONNX graph."""
    with tempfile.TemporaryDirectory() as folder:
        graph, described = Path(folder) / ONNX, Path(folder) / "inputs.json"
        try:
            onnx_file.write(saved, graph)
        except InvalidSpec:  # the caller says that the run has no model
            return None
        session = onnxruntime.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        inputs = graph_inputs.table_inputs(saved, session)
        files.write_json(described, [about.as_json() for about in inputs])
        artifacts = {"graph": graph, "about": saved.folder / "model.json", "inputs": described}
        example = input_example(saved, inputs)
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(CODE),
            artifacts={name: str(path) for name, path in artifacts.items()},
            pip_requirements=[f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "pandas")],
            input_example=example,
            signature=signature(mlflow, saved, inputs),
        )
    return str(logged.model_uri)


def input_example(saved: SavedModel, inputs: list[TableInput]) -> Any:
    """One row as a pandas table, or as an array if the graph takes encoded features."""
    if inputs[0].kind == FEATURES:
        return np.zeros((1, *inputs[0].shape[1:]), np.float32)
    row = graph_inputs.example(saved)
    return require("pandas", "mlflow").DataFrame({name: [value] for name, value in row.items()})


def signature(mlflow: Any, saved: SavedModel, inputs: list[TableInput]) -> Any:
    """The types of the columns, and of the prediction and its probabilities."""
    types = require("mlflow.types", "mlflow")
    if inputs[0].kind == FEATURES:
        taken = [types.TensorSpec(np.dtype(np.float32), inputs[0].shape)]
    else:
        taken = [_column_spec(types, about) for about in inputs if about.kind != "lengths"]
    classes = saved.model.encoder.classes or ()
    given = [types.ColSpec(_label_type(classes), name) for name in saved.model.encoder.prediction_names]
    given += [types.ColSpec("double", f"probability_{label}") for label in classes]
    return mlflow.models.ModelSignature(types.Schema(taken), types.Schema(given))


def _column_spec(types: Any, about: TableInput) -> Any:
    name = TYPES[about.kind]
    return types.ColSpec(require("mlflow.types.schema", "mlflow").Array(name) if about.listed else name, about.column)


def _label_type(classes: tuple[Any, ...]) -> str:
    """MLflow's type of the prediction: that of the labels, double for a regression."""
    names = {bool: "boolean", int: "long", float: "double"}
    kinds = {type(label) for label in classes} or {float}
    return names.get(kinds.pop(), "string") if len(kinds) == 1 else "string"


def _metric_name(name: str) -> str:
    """A name with the characters that MLflow allows."""
    return re.sub(r"[^\w\-./ ]", "_", name)


def _milliseconds(seconds: float) -> int:
    return round(1000 * seconds)
