"""A model of real free text: the documentation strings of Python's own modules, told apart by what they are about."""

import ast
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support.reporters import RecordingReporter
from tests.support.reports import report_of
from tests.support.tickets import ticket

from epochd.artifact.predict import Model
from epochd.data.tables.catalog import Catalog
from epochd.registry.operations import check
from epochd.serving import rows
from epochd.serving.predictor import Predictor
from epochd.worker.execute import execute

MODULES = {
    "network": "asyncio.base_events asyncio.events asyncio.streams asyncio.transports email.message ftplib http.client "
    "http.cookiejar imaplib ipaddress mailbox smtplib socket socketserver ssl urllib.request xmlrpc.client",
    "numbers": "_pydatetime _pydecimal calendar collections datetime decimal fractions functools heapq numbers random "
    "statistics",
}


def documentation() -> pl.DataFrame:
    """A row for each function, class and module with a documentation string of more than two words."""
    found = []
    for topic, names in MODULES.items():
        for name in names.split():
            spec = find_spec(name)
            if spec is None or not str(spec.origin).endswith(".py"):
                continue
            nodes = ast.walk(ast.parse(Path(spec.origin).read_text(encoding="utf-8")))
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            texts = dict.fromkeys(ast.get_docstring(node) for node in nodes if isinstance(node, kinds))
            found += [(text, len(text), topic) for text in texts if text and len(text.split()) > 2]
    table = pl.DataFrame(found, ["text", "size", "topic"], orient="row").unique("text", maintain_order=True)
    return table.sample(fraction=1, shuffle=True, seed=0)


@pytest.fixture(scope="module")
def texts() -> pl.DataFrame:
    return documentation()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, texts: pl.DataFrame) -> Path:
    """The folder of a model that is trained as a server would have it trained: by what its checks have decided."""
    place = tmp_path_factory.mktemp("texts")
    texts.write_parquet(place / "texts.parquet")
    options = {"dataset": "texts.parquet", "target_column": "topic", "framework": "pytorch", "hidden_units": [32]}
    options |= {"epochs": 8, "learning_rate": 0.01, "report": True}
    given = ticket(place, task_id="t", dataset_roots=[place], **options)
    found, checked = check(given.spec, Catalog([place]))
    assert found.problems == []
    assert found.types == {"text": "text", "size": "number"}
    execute(given.model_copy(update={"checked": checked}), RecordingReporter())
    return given.artifact_dir


def about(folder: Path) -> dict:
    return json.loads((folder / "model.json").read_text(encoding="utf-8"))


def test_a_model_of_free_text_is_much_better_than_the_majority(folder: Path, texts: pl.DataFrame) -> None:
    metrics = about(folder)["metrics"]
    majority = texts["topic"].value_counts()["count"].max() / texts.height
    assert majority < 0.75
    assert metrics["validation"]["accuracy"] > 0.85
    assert metrics["verified"] is True


def test_the_graph_takes_encoded_rows_and_says_why(folder: Path) -> None:
    onnx = about(folder)["onnx"]
    assert (onnx["starts_at"], onnx["inputs"][0]["shape"]) == ("features", [-1, 513])
    assert "'text' is free text" in onnx["reason"]


def test_the_server_predicts_what_the_reference_does(folder: Path, texts: pl.DataFrame) -> None:
    loaded, reference = Predictor.load(folder), Model.load(folder)
    assert loaded.scorer.engine == "onnxruntime"
    sample = texts.drop("topic").head(50)
    found = loaded.predict(sample).frame()
    expected = reference.predict(sample)
    assert found["prediction"].to_list() == expected["prediction"].to_list()
    np.testing.assert_allclose(found["probability_network"], expected["probability_network"], atol=1e-5)


def test_rows_in_json_are_predicted_as_the_table_is_and_a_missing_text_is_one_without_words(
    folder: Path, texts: pl.DataFrame
) -> None:
    loaded = Predictor.load(folder)
    given = [{"text": text, "size": len(text)} for text in texts["text"].head(5)]
    frame = rows.frame_of(rows.rows_of(given, 10).columns, loaded.expected)
    assert_frame_equal(loaded.predict(frame).frame(), loaded.predict(texts.drop("topic").head(5)).frame())
    strange = rows.frame_of({"text": [None, "", "…"], "size": [1, 1, 1]}, loaded.expected)
    found = loaded.predict(strange).frame()
    assert found.n_unique() == 1


def test_the_report_measures_the_text_as_one_column(folder: Path) -> None:
    assert "text, hashed" in report_of(folder)


def test_a_client_learns_that_the_model_reads_text(folder: Path) -> None:
    inputs = Predictor.load(folder).inputs
    assert [(one.name, one.kind) for one in inputs] == [("text", "text"), ("size", "number")]
    assert inputs[0].example
