"""The code of a model in MLflow, which is stored with it and runs without epochd.

MLflow executes this file when the model is recorded and whenever it is loaded ("models from code"); nothing is
unpickled. A row of a table is one example: cells of list columns, and with sliding windows all cells, are lists.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc import PythonModel

ROWS_AT_ONCE = 4_096
NO_TIME = np.iinfo(np.int64).min
"""A missing date or time."""


class GraphModel(PythonModel):  # type: ignore[misc]
    """Table in, ``prediction`` and the probability of each class out. A model whose graph starts at encoded features
    takes these, as a float32 array."""

    def load_context(self, context: Any) -> None:
        self.inputs = json.loads(Path(context.artifacts["inputs"]).read_text(encoding="utf-8"))
        about = json.loads(Path(context.artifacts["about"]).read_text(encoding="utf-8"))
        self.classes, self.horizons = about["classes"], about["encoder"].get("horizons", [])
        self.session = onnxruntime.InferenceSession(context.artifacts["graph"], providers=["CPUExecutionProvider"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        anyhow = next((about for about in self.inputs if about.get("steps") and about["kind"] == "list"), None)
        if anyhow is None or not len(model_input):
            return self._predicted(model_input)
        sizes = np.array([max(len(cell), anyhow["steps"]) for cell in model_input[anyhow["column"]]])
        of_size = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
        found = pd.concat([self._predicted(model_input.iloc[rows]).set_axis(rows) for rows in of_size])
        return found.sort_index()

    def _predicted(self, model_input: Any) -> pd.DataFrame:
        parts = [
            self._scored(model_input[first : first + ROWS_AT_ONCE])
            for first in range(0, max(1, len(model_input)), ROWS_AT_ONCE)
        ]
        return pd.concat(parts, ignore_index=True)

    def _scored(self, rows: Any) -> pd.DataFrame:
        if isinstance(rows, pd.DataFrame):
            feeds = {about["name"]: tensor(rows, about) for about in self.inputs}
        else:
            feeds = {self.inputs[0]["name"]: np.asarray(rows, np.float32)}
        names = [output.name for output in self.session.get_outputs()]
        found = dict(zip(names, self.session.run(names, feeds), strict=True))
        if self.horizons:
            return pd.DataFrame(found["value"], columns=[f"prediction_{horizon}" for horizon in self.horizons])
        if "value" in found:
            return pd.DataFrame({"prediction": found["value"].reshape(-1)})
        columns = {"prediction": found["label"].reshape(-1)}
        columns |= {f"probability_{label}": found["probabilities"][:, i] for i, label in enumerate(self.classes)}
        return pd.DataFrame(columns)


def tensor(rows: pd.DataFrame, about: dict[str, Any]) -> Any:
    """The tensor of an input, (rows, shape[1])."""
    column, steps = rows[about["column"]], about["shape"][1]
    if about["kind"] == "lengths":
        return np.array([[len(cell)] for cell in column], np.int64)
    cells = column if about["listed"] else column.to_frame().itertuples(index=False, name=None)
    flat = pd.Series([value for cell in cells for value in cell], dtype=None if about["listed"] else column.dtype)
    found = converted(flat, about)
    if about["kind"] != "list":
        return found.reshape(len(rows), steps)
    if steps < 0:
        steps = max([about["steps"], *(len(cell) for cell in column)])
    out = np.full((len(rows), steps), np.nan)
    out[np.arange(steps) < np.array([len(cell) for cell in column])[:, None]] = found
    return out


def converted(values: pd.Series, about: dict[str, Any]) -> Any:
    """Values as the graph takes them: numbers and booleans float64 with NaN, text, times in microseconds."""
    if about["kind"] == "text":
        return values.astype(object).where(values.notna(), about["missing"]).to_numpy(object)
    if about["kind"] in ("date", "time"):
        return microseconds(values, about)
    return pd.to_numeric(values).to_numpy(np.float64, na_value=np.nan)


def microseconds(values: pd.Series, about: dict[str, Any]) -> Any:
    """Local dates since 1970, or times since midnight."""
    if about["kind"] == "time":
        found = pd.to_timedelta(values.map(str, na_action="ignore")).astype("timedelta64[us]")
    else:
        found = pd.to_datetime(values).astype("datetime64[us]")
    numbers = found.to_numpy().astype(np.int64)
    numbers[found.isna().to_numpy()] = NO_TIME
    return numbers


set_model(GraphModel())
