"""A batch prediction: the same file, whatever interrupts it; rows that cannot be scored; windows; memory."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from tests.support.predictions import prediction, trained
from tests.support.reporters import Killed, RecordingReporter

from epochd.artifact.predict import Model
from epochd.core.errors import DataChanged, DataError, NotFound, RowsNotScored
from epochd.core.events import ReportKind
from epochd.core.jobs import Command
from epochd.data.tables.catalog import open_dataset
from epochd.serving.predictor import Predictor
from epochd.worker import prediction_parts
from epochd.worker.predict import execute


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("model"))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_parts, "MAX_ROWS", 100)


def rows(**columns: Any) -> pl.DataFrame:
    """The 569 rows of ``sample`` with their numbers, and with these columns."""
    return open_dataset("sample", []).read().drop("target").with_row_index("id").with_columns(**columns)


Predict = Callable[..., pl.DataFrame]


@pytest.fixture
def predicted(tmp_path: Path, model: Path) -> Predict:
    """Predicts a frame and reads the file."""

    def run(frame: pl.DataFrame, reporter: RecordingReporter | None = None, **options: Any) -> pl.DataFrame:
        frame.write_parquet(tmp_path / "rows.parquet")
        given = prediction(tmp_path, model, **options)
        assert execute(given, reporter or RecordingReporter()) is ReportKind.COMPLETED
        return pl.read_parquet(given.output_dir / "predictions.parquet")

    return run


def digest(folder: Path) -> str:
    [file] = (folder / "predictions" / "task").glob("predictions.*")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def in_one_go(tmp_path: Path, model: Path, **options: Any) -> str:
    """The digest of the file of an undisturbed prediction, whose folders are deleted."""
    execute(prediction(tmp_path, model, **options), RecordingReporter())
    found = digest(tmp_path)
    shutil.rmtree(tmp_path / "predictions")
    return found


def attempts(tmp_path: Path, model: Path, **options: Any) -> Iterator[RecordingReporter]:
    """Reporters for attempts that end early, until one completes the prediction."""
    for number in range(1, 20):
        reporter = RecordingReporter(**options)
        yield reporter
        try:
            kind = execute(prediction(tmp_path, model, attempt=number, output_format="csv"), reporter)
        except Killed:
            continue
        if kind is ReportKind.COMPLETED:
            return
    raise AssertionError("the prediction does not end")


def test_each_row_has_the_prediction_of_the_model_in_the_order_of_the_rows(predicted: Predict, model: Path) -> None:
    frame = rows()
    expected = Model.load(model).predict(frame)
    assert_frame_equal(predicted(frame, id_columns=["id"]), pl.concat([frame.select("id"), expected], how="horizontal"))


def test_columns_are_passed_through_and_probabilities_left_out(predicted: Predict) -> None:
    frame = rows()
    assert predicted(frame, echo=True, probabilities=False).columns == [*frame.columns, "prediction"]
    assert "probability_0" in predicted(frame, task_id="other").columns


def test_the_reports_count_the_rows(predicted: Predict) -> None:
    reporter = RecordingReporter()
    predicted(rows(), reporter)
    assert reporter.kinds == [ReportKind.STARTED, ReportKind.ROWS, ReportKind.ROWS, ReportKind.COMPLETED]
    first, last = reporter.of(ReportKind.ROWS)
    assert (first["progress"]["rows_done"], last["progress"]["rows_done"]) == (100, 569)
    assert last["checkpoint"]["step"] == last["progress"]["rows_total"] == 569
    [completed] = reporter.of(ReportKind.COMPLETED)
    assert completed["artifact"] == "predictions/task/predictions.parquet"
    assert completed["summary"]["output"]["rows"] == 569


@pytest.mark.parametrize("end", ["paused after each part", "killed after each part"])
def test_the_file_is_the_same_as_without_interruptions(tmp_path: Path, model: Path, end: str) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")
    expected = in_one_go(tmp_path, model, output_format="csv")
    how = {"chunks": 1} if end.startswith("paused") else {"dies": 1}
    reporters = list(attempts(tmp_path, model, **how))
    assert digest(tmp_path) == expected
    assert len(reporters) == 6
    resumed = [reporter.of(ReportKind.STARTED)[0]["resumed"] for reporter in reporters]
    assert resumed == [None, *({"rows_done": 100 * number} for number in range(1, 6))]
    assert not (tmp_path / "checkpoints" / "task" / "parts").exists()


def test_a_damaged_part_is_computed_again(tmp_path: Path, model: Path) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")
    expected = in_one_go(tmp_path, model)
    execute(prediction(tmp_path, model), RecordingReporter(chunks=3))
    file = tmp_path / "checkpoints" / "task" / "parts" / "000001" / "rows.parquet"
    file.write_bytes(file.read_bytes()[:-9] + b"123456789")
    reporter = RecordingReporter()
    execute(prediction(tmp_path, model), reporter)
    assert reporter.of(ReportKind.STARTED)[0]["resumed"] == {"rows_done": 100}
    assert digest(tmp_path) == expected


def test_a_crash_before_the_last_report_does_not_predict_again(tmp_path: Path, model: Path) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")
    execute(prediction(tmp_path, model), before := RecordingReporter())
    execute(prediction(tmp_path, model, attempt=2), after := RecordingReporter())
    assert after.reports == before.reports[-1:]


def test_a_cancelled_prediction_leaves_nothing(tmp_path: Path, model: Path) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")
    reporter = RecordingReporter(chunks=2, command=Command.CANCEL)
    assert execute(prediction(tmp_path, model), reporter) is ReportKind.CANCELLED
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "rows.parquet"]


def test_data_that_have_changed_while_paused_are_refused(tmp_path: Path, model: Path) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")
    execute(prediction(tmp_path, model), RecordingReporter(chunks=2))
    rows().head(500).write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(DataChanged, match="the dataset has changed since this prediction was paused"):
        execute(prediction(tmp_path, model), RecordingReporter())


def test_data_that_change_while_they_are_read_are_refused(tmp_path: Path, model: Path) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")

    def change(kind: ReportKind, payload: dict[str, Any]) -> None:
        if kind is ReportKind.ROWS and payload["progress"]["rows_done"] == 569:
            rows(extra=1).write_parquet(tmp_path / "rows.parquet")

    with pytest.raises(DataChanged, match="has changed while it was read"):
        execute(prediction(tmp_path, model), RecordingReporter(look=change))
    assert not (tmp_path / "predictions" / "task").exists()


def test_a_model_that_was_removed_is_named(tmp_path: Path) -> None:
    rows().write_parquet(tmp_path / "rows.parquet")
    with pytest.raises(NotFound, match="the model gone was removed"):
        execute(prediction(tmp_path, tmp_path / "gone"), RecordingReporter())


BAD = pl.when(pl.col("id").is_in([7, 250, 251])).then(float("inf")).otherwise(pl.col("feature2"))


def test_rows_that_cannot_be_scored_are_named_and_refused(tmp_path: Path, predicted: Predict) -> None:
    with pytest.raises(RowsNotScored) as caught:
        predicted(rows(feature2=BAD))
    assert [problem.message for problem in caught.value.problems] == [
        "row 8 of column 'feature2' is infinite or too large: inf"
    ]
    assert not (tmp_path / "predictions" / "task").exists()


def test_rows_that_cannot_be_scored_are_skipped_and_counted(predicted: Predict, model: Path) -> None:
    reporter = RecordingReporter()
    found = predicted(rows(feature2=BAD), reporter, on_error="skip", id_columns=["id"])
    empty = found.filter(pl.col("prediction").is_null())
    assert empty["id"].to_list() == [7, 250, 251]
    assert empty["probability_1"].null_count() == 3
    good = rows().filter(~pl.col("id").is_in([7, 250, 251]))
    assert_frame_equal(found.drop_nulls().drop("id"), Model.load(model).predict(good))
    [completed] = reporter.of(ReportKind.COMPLETED)
    assert completed["progress"]["skipped"] == 3
    assert [problem["message"][:7] for problem in completed["summary"]["problems"]] == ["row 8 o", "row 251", "row 252"]


def test_a_part_without_any_row_that_can_be_scored_is_empty_lines(predicted: Predict) -> None:
    spoiled = pl.when(pl.col("id") < 150).then(float("inf")).otherwise(pl.col("feature2"))
    found = predicted(rows(feature2=spoiled), on_error="skip")
    assert found["prediction"].is_null().to_list() == [True] * 150 + [False] * 419


def test_a_column_of_another_kind_is_no_matter_of_rows(predicted: Predict) -> None:
    with pytest.raises(DataError, match="has the type Struct"):
        predicted(rows(feature2=pl.struct("id")), on_error="skip")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id_columns": ["nr"]}, "no column 'nr'"),
        ({"id_columns": ["prediction"]}, "has the name of a column of predictions"),
        ({"echo": True, "output_format": "csv"}, "which a CSV file cannot hold"),
    ],
)
def test_what_cannot_be_passed_through_is_refused(predicted: Predict, options: dict[str, Any], message: str) -> None:
    frame = rows(prediction=1, pair=pl.concat_list("id", "id"))
    with pytest.raises(DataError, match=message):
        predicted(frame, **options)


def test_a_csv_file_has_a_byte_order_mark_on_request(tmp_path: Path, model: Path) -> None:
    rows(名=pl.lit("值")).write_parquet(tmp_path / "rows.parquet")
    given = prediction(tmp_path, model, output_format="csv", bom=True, id_columns=["名"], probabilities=False)
    execute(given, RecordingReporter())
    text = (given.output_dir / "predictions.csv").read_bytes()
    assert text.startswith("\ufeff名,prediction\n值,".encode())
    assert text.count(b"\n") == 570


def test_a_csv_dataset_whose_types_change_late_is_predicted(tmp_path: Path, model: Path) -> None:
    """The identifier of the last row is text: parts of the first reading, with numbers, are not used."""
    late = pl.col("id").cast(pl.String).replace("11379", "x-1")
    pl.concat([rows()] * 20).drop("id").with_row_index("id").with_columns(late).write_csv(tmp_path / "rows.csv")
    given = prediction(tmp_path, model, dataset="rows.csv", id_columns=["id"])
    execute(given, RecordingReporter())
    found = pl.read_parquet(given.output_dir / "predictions.parquet")
    assert found["id"].to_list() == [*map(str, range(11379)), "x-1"]


HOURS = 60
FORECAST = {
    "target_column": "temp",
    "feature_columns": ["temp"],
    "time_column": "hour",
    "group_column": "station",
    "sequence_length": 5,
    "horizon": 2,
    "model_type": "gru",
}


def weather() -> pl.DataFrame:
    """Hours of three stations, in no order; each station has a temperature of its own."""
    hour = pl.int_range(3 * HOURS) // 3
    frame = pl.select(hour=hour, station=pl.Series(["a", "b", "c"] * HOURS), number=pl.int_range(3 * HOURS))
    temperature = (pl.col("hour") * 7 % 24 + pl.col("number") % 3 * 10).cast(pl.Float64)
    return frame.with_columns(temp=temperature).sample(fraction=1, shuffle=True, seed=1)


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forecaster")
    weather().write_parquet(folder / "weather.parquet")
    return trained(folder, dataset="weather.parquet", **FORECAST)


def forecasts(tmp_path: Path, forecaster: Path, frame: pl.DataFrame, **options: Any) -> tuple[pl.DataFrame, int]:
    """The lines of the file, and how many rows were skipped."""
    frame.write_parquet(tmp_path / "rows.parquet")
    given = prediction(tmp_path, forecaster, **options)
    execute(given, reporter := RecordingReporter())
    [completed] = reporter.of(ReportKind.COMPLETED)
    return pl.read_parquet(given.output_dir / "predictions.parquet"), completed["progress"]["skipped"]


def test_each_complete_window_has_a_line_with_its_time_and_group(tmp_path: Path, forecaster: Path) -> None:
    found, skipped = forecasts(tmp_path, forecaster, frame := weather(), id_columns=["number"])
    expected = pl.concat([frame, Model.load(forecaster).predict(frame)], how="horizontal").drop_nulls()
    assert_frame_equal(found, expected.select("hour", "station", "number", "prediction"))
    assert (found.height, skipped) == (3 * (HOURS - 4), 0)


def test_windows_that_contain_a_row_without_a_usable_value_are_skipped(tmp_path: Path, forecaster: Path) -> None:
    spoiled = pl.when(number=92).then(float("inf")).otherwise(pl.col("temp"))  # station c, hour 30
    timeless = pl.when(number=5).then(None).otherwise(pl.col("hour"))  # station c, hour 1
    frame = weather().with_columns(temp=spoiled, hour=timeless)
    found, skipped = forecasts(tmp_path, forecaster, frame, on_error="skip")
    empty = found.filter(pl.col("prediction").is_null()).sort("hour")
    assert empty.select("station", "hour").rows() == [("c", hour) for hour in range(30, 35)]
    assert (found.height, skipped) == (3 * (HOURS - 4) - 1, 6)
    clean = Model.load(forecaster).predict(frame.filter(pl.col("station") == "a")).drop_nulls()
    assert_frame_equal(found.filter(station="a").select("prediction"), clean)


def test_a_row_without_a_time_is_refused(tmp_path: Path, forecaster: Path) -> None:
    frame = weather().with_columns(hour=pl.when(number=5).then(None).otherwise(pl.col("hour")))
    with pytest.raises(RowsNotScored, match="has no value of 'hour'"):
        forecasts(tmp_path, forecaster, frame)


def test_windows_go_on_after_a_pause(tmp_path: Path, forecaster: Path) -> None:
    whole, _ = forecasts(tmp_path, forecaster, weather(), task_id="whole")
    execute(prediction(tmp_path, forecaster), RecordingReporter(chunks=1))
    parts, _ = forecasts(tmp_path, forecaster, weather())
    assert parts.equals(whole)


def test_a_table_without_a_complete_window_leaves_an_empty_file(tmp_path: Path, forecaster: Path) -> None:
    found, skipped = forecasts(tmp_path, forecaster, weather().filter(pl.col("hour") < 4), on_error="skip")
    assert (found.shape, skipped) == ((0, 3), 0)


def test_windows_with_a_hole_in_time_are_not_complete(tmp_path: Path) -> None:
    frame = weather().with_columns(pl.col("hour").cast(pl.Int64)).filter(~pl.col("hour").is_in([20, 21, 40]))
    frame.write_parquet(tmp_path / "rows.parquet")
    model = trained(tmp_path, **FORECAST | {"dataset": "rows.parquet", "frequency": 1})
    found, skipped = forecasts(tmp_path, model, frame)
    assert (found.height, skipped) == (3 * (HOURS - 3 - 3 * 4), 0)
    expected = pl.concat([frame, Model.load(model).predict(frame)], how="horizontal").drop_nulls()
    assert_frame_equal(found, expected.select("hour", "station", "prediction"))


@pytest.mark.parametrize("model_type", ["gru", "cnn"])
def test_longer_lists_are_predicted_in_smaller_parts_and_cut_ones_are_told(tmp_path: Path, model_type: str) -> None:
    values = pl.select(v=pl.int_ranges(0, 1 + pl.int_range(200) % 5), target=pl.int_range(200) * 1.5)
    values.write_parquet(tmp_path / "lists.parquet")
    options = {"dataset": "lists.parquet", "target_column": "target", "task": "regression", "model_type": model_type}
    folder = trained(tmp_path, **options)
    longer = pl.select(v=pl.int_ranges(0, 1 + pl.int_range(150) % 40))
    longer.write_parquet(tmp_path / "rows.parquet")
    given = prediction(tmp_path, folder)
    execute(given, reporter := RecordingReporter())
    found = pl.read_parquet(given.output_dir / "predictions.parquet")
    expected = Model.load(folder).predict(longer)
    assert_frame_equal(found, expected, check_exact=False, rel_tol=1e-4)
    told = [entry["message"] for entry in reporter.of(ReportKind.LOG)]
    assert told == ([] if model_type == "gru" else [told[0]])
    assert all("lists of up to 40 elements" in message and "only the first 5" in message for message in told)
    loaded = prediction_parts.Model(Predictor.load(folder))
    usual, smaller = (prediction_parts.rows_per_part(loaded, 1, longest) for longest in (5, 50_000_000))
    assert 1 <= smaller < usual
