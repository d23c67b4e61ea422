"""A model of columns that are known in advance predicts rows of the future, whose target is empty."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.support.untrained import save_untrained

from epochd.api.protocols import open_inference
from epochd.artifact.predict import Model
from epochd.core.errors import DataError
from epochd.serving.predictor import Predictor
from epochd.serving.scorers import ReferenceScorer

HORIZONS = [1, 3]


def rows(length: int, group: str = "a", first: int = 0) -> pl.DataFrame:
    draw = np.random.default_rng(first)
    days = np.arange(first, first + length)
    holiday = [None if day % 11 == 5 else ["no", "yes", "half"][day % 3] for day in days]
    columns = {"day": days, "shop": group, "holiday": holiday, "price": draw.normal(size=length)}
    return pl.DataFrame(columns | {"open": days % 2 == 0, "target": np.sin(days * 0.4)})


@pytest.fixture(scope="module", params=["mlp", "gru", "cnn"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"time_column": "day", "group_column": "shop", "sequence_length": 4, "task": "regression", "frequency": 1}
    options |= {"feature_columns": ["target", "price"], "known_in_advance": ["open", "holiday", "price"]}
    options |= {"model_type": request.param, "hidden_units": [5], "horizon": HORIZONS}
    options |= {"embedding_threshold": 2} if request.param == "gru" else {}
    return save_untrained(tmp_path_factory.mktemp("known"), rows(90), graph=True, **options).folder


def future(given: pl.DataFrame, last: int) -> pl.DataFrame:
    """The rows, of which those after day ``last`` have nothing but what is known in advance."""
    return given.with_columns(target=pl.when(pl.col("day") <= last).then("target"))


def test_a_forecast_is_from_the_last_rows_with_a_target_and_of_the_rows_after_them(folder: Path) -> None:
    loaded, given = Predictor.load(folder), rows(12)
    assert loaded.scorer.engine == "onnxruntime"
    found = loaded.predict(future(given, 8))
    assert found.rows.tolist() == [8]
    reference = ReferenceScorer.load(folder, loaded.setup, loaded.encoder)
    expected = reference.score_windows(given, np.arange(5, 12)[None])
    np.testing.assert_allclose(found.values, expected, rtol=1e-5)
    longer = loaded.predict(future(rows(20).with_columns(price=pl.lit(0.0)), 8))
    assert longer.rows.tolist() == [8], "more rows of the future than needed change nothing"
    changed = given.with_columns(open=pl.when(day=11).then(~pl.col("open")).otherwise("open"))
    other = loaded.predict(future(changed, 8))
    assert other.values[0].tolist() != found.values[0].tolist(), "the row of the furthest target counts"


def test_each_row_that_enough_rows_follow_is_predicted(folder: Path) -> None:
    given = rows(12)
    found = Predictor.load(folder).predict(given, every_row=True)
    assert [label is not None for label in found.labels] == [False] * 3 + [True] * 6 + [False] * 3
    by_reference = Model.load(folder).predict(given)
    np.testing.assert_allclose(by_reference[3:9].to_numpy(), found.values[3:9], rtol=1e-5)


def test_too_few_rows_of_the_future_are_a_problem_of_the_last_known_row(folder: Path) -> None:
    loaded = Predictor.load(folder)
    given = pl.concat([future(rows(12), 8), future(rows(12, "b"), 10)])
    with pytest.raises(DataError) as caught:
        loaded.predict(given)
    [problem] = caught.value.problems
    assert problem.message.startswith(
        "row 23 is the last one with a value of 'target', and 1 rows follow; the model needs"
    )
    found = loaded.predict(given, on_error="skip")
    assert (found.rows.tolist(), [one.row for one in found.problems]) == ([8], [23])


def test_rows_none_of_which_is_of_the_future_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="row 12 is the last one with a value of 'target', and 0 rows follow"):
        Predictor.load(folder).predict(rows(12))


def test_tensors_have_the_rows_after_each_window_behind_it(folder: Path) -> None:
    loaded, given = Predictor.load(folder), rows(12)
    assert all(about.shape == [-1, 4 + HORIZONS[-1]] for about in open_inference.described_inputs(loaded))
    assert open_inference.described_outputs(loaded)[0].shape == [-1, len(HORIZONS)]
    index = np.arange(7)[None] + np.arange(3)[:, None]
    found = loaded.predict_windows(given, index)
    expected = loaded.predict(given, every_row=True)
    np.testing.assert_allclose(open_inference.output_arrays(found)["prediction"], expected.values[3:6], rtol=1e-6)
