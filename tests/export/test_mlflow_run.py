"""A run in MLflow holds what the training was, and its model scores tables, in a process without epochd."""

import json
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from epochd.artifact.predict import Model
from epochd.data.tables.catalog import open_dataset
from epochd.export.saved_model import SavedModel
from tests.export import graphs, isolated
from tests.export.conftest import digits
from tests.support.untrained import save_untrained

LOG = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from epochd.export import mlflow_run
from epochd.export.saved_model import SavedModel
store, *folders = sys.argv[1:]
for folder in folders:
    run = mlflow_run.log(SavedModel.load(Path(folder)), mlflow_run.Tracking(store))
    print("\\n@" + json.dumps(asdict(run)))
"""
READ = """
import mlflow, numpy as np, pandas as pd
mlflow.set_tracking_uri(given["database"])
client = mlflow.MlflowClient()
run = client.get_run(given["flights"]["run_id"])
found = {"params": run.data.params, "tags": run.data.tags, "metrics": run.data.metrics}
found["status"], found["times"] = run.info.status, [run.info.start_time, run.info.end_time]
found["val_loss"] = [[m.step, m.value] for m in client.get_metric_history(run.info.run_id, "val_loss")]
found["artifacts"] = sorted(f.path for f in client.list_artifacts(run.info.run_id, "epochd"))
model = mlflow.pyfunc.load_model(given["bare"]["model_uri"])
found["bare"] = model.predict(pd.DataFrame(given["rows"])).to_dict("list")

model = mlflow.pyfunc.load_model(given["flights"]["model_uri"])
rows = pd.DataFrame({
    "carrier": ["UA", None, "AA"], "dest": ["IAH", "MIA", None], "dep_delay": [2.0, np.nan, -5.0],
    "tailnum": ["N1", "N2", None], "air_time": [100.0, 101.0, 102.0],
    "day": pd.to_datetime(["2013-01-01", None, "2013-01-03"]), "more": 1,
})
found["flights"] = model.predict(rows).to_dict("list")
found["inputs"] = {name: str(kind) for name, kind in model.metadata.get_input_schema().input_dict().items()}
found["example"] = len(model.predict(model.input_example))

model = mlflow.pyfunc.load_model(given["windows"]["model_uri"])
window = {"temp": [[1.0, 2, 3, 4, 5, 9]], "humid": [[1.0] * 6], "origin": [["EWR"] * 6], "wind_dir": [[1.0] * 6]}
found["windows"] = model.predict(pd.DataFrame(window)).to_dict("list")
model = mlflow.pyfunc.load_model(given["lists"]["model_uri"])
found["lists"] = model.predict(pd.DataFrame({"c0": [[1.0], [2.0] * 12], "ink": ["i1", None]})).to_dict("list")
model = mlflow.pyfunc.load_model(given["features"]["model_uri"])
found["features"] = model.predict(np.ones((2, 25), np.float32)).to_dict("list")
print("\\n@" + json.dumps(found))
import os
os.chdir(given["folder"])
"""
READ += isolated.documented("mlflow")


ROWS = open_dataset("breast_cancer", []).read().head(20)


def printed(text):
    return [json.loads(line[1:]) for line in text.splitlines() if line.startswith("@")]


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    """The folder of each model by name; all but the last with a graph."""
    folder = tmp_path_factory.mktemp("models")
    two = digits(1).filter(pl.col("target").is_in([3, 8]))
    lists = save_untrained(folder / "made", two, model_type="gru").folder
    steps = SavedModel.load(lists).model.encoder.steps
    sources = {"flights": model("mlp-embeddings").folder, "windows": model("mlp-windows").folder, "lists": lists}
    sources |= {"features": sources["flights"]}
    found = {name: shutil.copytree(source, folder / name) for name, source in sources.items()}
    built = [graphs.of_flights(), graphs.of_windows(), graphs.of_lists(steps), graphs.of_features(25)]
    for name, graph in zip(found, built, strict=True):
        (found[name] / "model.onnx").write_bytes(graph)
    return found | {"bare": model("mlp").folder}


@pytest.fixture(scope="module")
def found(saved, tmp_path_factory):
    """What a process that cannot import epochd reads from the store that another process has written."""
    folder = tmp_path_factory.mktemp("store")
    store = folder / "runs"
    done = subprocess.run(
        [sys.executable, "-c", LOG, store, *saved.values()], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    runs = dict(zip(saved, printed(done.stdout), strict=True))
    assert [run["model_uri"] is None for run in runs.values()] == [False] * 5
    out = isolated.run(
        READ, runs | {"database": runs["flights"]["database"], "folder": folder, "rows": ROWS.to_dict(as_series=False)}
    )
    assert "prediction" in out.splitlines()[-2], "the documented code scores the example of a model"
    (read,) = printed(out)
    return read


def test_a_run_has_the_options_the_history_and_where_it_comes_from(saved, found):
    about = SavedModel.load(saved["flights"])
    history = pl.read_csv(saved["flights"] / "history.csv")
    assert found["params"]["activation"] == "gelu"
    assert found["params"]["hidden_units"] == "[12, 8]"
    assert found["val_loss"] == [[epoch, pytest.approx(loss)] for epoch, loss in history[["epoch", "val_loss"]].rows()]
    assert found["metrics"]["best_validation_rmse"] == pytest.approx(about.about["metrics"]["validation"]["rmse"])
    assert found["tags"]["epochd.task_id"] == about.about["task_id"]
    assert found["tags"]["epochd.data_fingerprint"] == about.about["facts"]["fingerprint"]
    assert found["tags"]["epochd.version"]
    assert found["artifacts"] == ["epochd/history.csv", "epochd/model.json", "epochd/splits.parquet"]
    assert found["status"] == "FINISHED"
    assert found["times"][1] - found["times"][0] == pytest.approx(6_000, abs=1)


def test_a_model_scores_a_table_with_gaps(found):
    day = np.datetime64("2013-01-01").astype(int)
    expected = [2 + 100 + day, 1000, -5 + day + 2]
    assert found["flights"] == {"prediction": pytest.approx(expected, rel=1e-12)}
    assert found["inputs"]["day"] == "'day': datetime (required)"
    assert found["example"] == 1


def test_windows_and_lists_are_lists_in_the_cells(found):
    assert found["windows"] == {"prediction": [4.0]}
    assert found["lists"]["prediction"] == [8, 3]
    assert found["lists"]["probability_3"] == pytest.approx([1 / 16, 12 / 16])


def test_a_graph_that_starts_after_the_encoder_takes_encoded_features(found):
    assert found["features"] == {"prediction": [25.0, 25.0]}


def test_a_model_that_was_saved_without_a_graph_gets_one(saved, found):
    expected = Model.load(saved["bare"]).predict(ROWS)
    assert found["bare"]["prediction"] == expected["prediction"].to_list()
    np.testing.assert_allclose(found["bare"]["probability_1"], expected["probability_1"], atol=1e-5)
