"""A saved model of a config with a rule for holes predicts from no window that crosses one."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.support.untrained import save_untrained

from epochd.artifact.predict import Model
from epochd.core.errors import DataError
from epochd.serving.predictor import Predictor

WINDOWS = {
    "feature_columns": ["x"],
    "time_column": "t",
    "group_column": "g",
    "sequence_length": 3,
    "model_type": "gru",
    "hidden_units": [4],
    "task": "regression",
}


def rows(times: list[int], group: str = "a") -> pl.DataFrame:
    x = np.sin(np.array(times) * 0.7)
    return pl.DataFrame({"t": times, "g": group, "x": x, "target": x * 3})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gaps")
    return save_untrained(folder, rows(list(range(60))), graph=True, frequency=1, **WINDOWS).folder


def test_each_row_is_predicted_unless_its_window_crosses_a_hole(folder: Path) -> None:
    given = rows([0, 1, 2, 3, 7, 8, 9, 10])
    found = Predictor.load(folder).predict(given, every_row=True)
    assert [label is not None for label in found.labels] == [False, False, True, True, False, False, True, True]
    even = Predictor.load(folder).predict(rows([7, 8, 9]), every_row=True)
    assert found.labels[6] == pytest.approx(even.labels[2])
    by_reference = Model.load(folder).predict(given)["prediction"]
    assert by_reference.is_null().to_list() == [label is None for label in found.labels]


def test_a_group_whose_last_window_crosses_a_hole_is_refused_with_the_rows(folder: Path) -> None:
    given = pl.concat([rows([0, 1, 2, 7]), rows([3, 4, 5, 6], "b")])
    loaded = Predictor.load(folder)
    with pytest.raises(DataError) as caught:
        loaded.predict(given)
    [problem] = caught.value.problems
    assert problem.field == "t"
    assert problem.message.startswith("row 4: the last 3 rows have a hole: row 4 ('7') is 5 after the row before it")
    found = loaded.predict(given, on_error="skip")
    assert [label is None for label in found.labels] == [True, False]
    assert [one.row for one in found.problems] == [4]
