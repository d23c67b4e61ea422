"""Tickets of batch predictions, and the model that they use."""

from pathlib import Path
from typing import Any

from epochd.core import prediction_specs
from epochd.core.tickets import PredictionTicket
from epochd.worker.execute import execute
from tests.support.reporters import RecordingReporter
from tests.support.tickets import NOWHERE, ticket


def trained(folder: Path, **options: Any) -> Path:
    """The folder of a model that was trained for two epochs, on ``sample`` unless the options say otherwise."""
    values = {"dataset": "sample", "hidden_units": [8], "epochs": 2, "batch_size": 64, "dataset_roots": [folder]}
    given = ticket(folder, **values | options)
    execute(given, RecordingReporter())
    return given.artifact_dir


def prediction(data_dir: Path, model: Path, **values: Any) -> PredictionTicket:
    """The first attempt at a prediction. ``values`` are fields of the ticket, or else options of the prediction."""
    fields = {name: values.pop(name) for name in list(values) if name in PredictionTicket.model_fields}
    defaults = {"task_id": "task", "attempt": 1, "token": "secret", "server_url": NOWHERE, "dataset_roots": [data_dir]}
    spec = prediction_specs.parse({"model": "model", "dataset": "rows.parquet"} | values)
    return PredictionTicket(**{**defaults, "data_dir": data_dir, "spec": spec, "model_dir": model} | fields)
