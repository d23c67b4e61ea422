"""A saved model with several horizons answers with a column for each."""

import json

import numpy as np
import polars as pl
import pytest
from tests.support.untrained import Untrained, save_untrained

from epochd.artifact.predict import Model
from epochd.serving.answers import Options, encoded
from epochd.serving.predictor import Predictor
from epochd.serving.scorers import ReferenceScorer

HORIZONS = [1, 2, 24]
NAMES = ["prediction_1", "prediction_2", "prediction_24"]


def rows(length: int, first: int = 0) -> pl.DataFrame:
    hours = pl.datetime_range(pl.datetime(2024, 1, 1), pl.datetime(2024, 1, 1) + pl.duration(hours=length - 1), "1h")
    wave = (pl.int_range(first, first + length) * 0.26).sin()
    return pl.select(t=hours).with_columns(target=100 + 20 * wave)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Untrained:
    options = {"feature_columns": ["target"], "time_column": "t", "sequence_length": 5, "task": "regression"}
    options |= {"model_type": "lstm", "hidden_units": [4], "horizon": HORIZONS}
    return save_untrained(tmp_path_factory.mktemp("horizons"), rows(300), graph=True, **options)


def test_forecasts_have_a_value_and_a_time_for_each_horizon(saved: Untrained) -> None:
    loaded, given = Predictor.load(saved.folder), rows(30)
    assert [output.name for output in loaded.outputs] == NAMES
    found = loaded.predict(given)
    table = found.frame(given.select("t"))
    assert table.columns == ["t", "forecast_time_1", "forecast_time_2", "forecast_time_24", *NAMES]
    ahead = [table[f"forecast_time_{horizon}"][0] - given["t"][-1] for horizon in HORIZONS]
    assert [step.total_seconds() / 3600 for step in ahead] == HORIZONS
    reference = ReferenceScorer.load(saved.folder, loaded.setup, loaded.encoder)
    expected = reference.score_windows(given, np.arange(25, 30)[None])
    np.testing.assert_allclose(table.select(NAMES).to_numpy(), expected, rtol=1e-5)
    assert len(set(expected[0].tolist())) == 3


def test_each_row_has_all_horizons_or_none(saved: Untrained) -> None:
    given = rows(8)
    found = Predictor.load(saved.folder).predict(given, every_row=True)
    table = found.frame()
    assert table.columns == NAMES
    assert [row[0] is None for row in table.rows()] == [True] * 4 + [False] * 4
    assert all(len({value is None for value in row}) == 1 for row in table.rows())
    np.testing.assert_allclose(Model.load(saved.folder).predict(given)[4:].to_numpy(), table[4:].to_numpy(), rtol=1e-5)
    answer = json.loads(encoded({"success": True}, found, pl.DataFrame(), Options()))
    assert list(answer["predictions"][7]) == NAMES
    assert answer["predictions"][0] == dict.fromkeys(NAMES)
