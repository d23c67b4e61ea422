"""Lists longer than any in training: lstm and gru read them, a cnn cuts them, an mlp refuses them."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.support.untrained import save_untrained

from epochd.artifact.predict import Model
from epochd.core.errors import DataError
from epochd.data.encoding import sequence
from epochd.data.encoding.encoder import Encoder
from epochd.serving.predictor import Predictor
from epochd.serving.scorers import ReferenceScorer

LONGEST = 7


def lists(sizes: list[int], seed: int = 0, *, other: bool = False) -> pl.DataFrame:
    draw = np.random.default_rng(seed)
    frame = {"v": [draw.normal(size=size).tolist() for size in sizes]}
    frame |= {"w": [draw.normal(size=size).tolist() for size in sizes]}
    scalars: dict[str, Any] = {"n": draw.normal(size=len(sizes))} if other else {}
    return pl.DataFrame(frame | scalars | {"target": draw.normal(size=len(sizes))})


def saved(folder: Path, sizes: list[int], model_type: str, *, other: bool = False) -> Path:
    options = {"model_type": model_type, "hidden_units": [5, 4], "task": "regression"}
    return save_untrained(folder, lists(sizes, other=other), graph=True, **options).folder


EQUAL, UNEVEN = [LONGEST] * 40, [1 + i % LONGEST for i in range(40)]
MIXED = [3, 12, LONGEST, 9, 12, 1, 30]


@pytest.mark.parametrize("model_type", ["lstm", "gru"])
@pytest.mark.parametrize("sizes", [EQUAL, UNEVEN])
@pytest.mark.parametrize("other", [False, True])
def test_each_list_is_read_as_if_it_were_alone(tmp_path: Path, model_type: str, sizes: list[int], other: bool) -> None:
    folder = saved(tmp_path, sizes, model_type, other=other)
    loaded, given = Predictor.load(folder), lists(MIXED, 5, other=other)
    assert loaded.scorer.engine == "onnxruntime"
    found = np.array(loaded.predict(given).labels)
    shorter = [i for i, size in enumerate(MIXED) if size <= LONGEST]
    np.testing.assert_array_equal(found[shorter], loaded.predict(given[shorter]).labels)
    alone = [loaded.predict(given[i]).labels[0] for i in range(given.height)]
    np.testing.assert_allclose(found, alone, rtol=1e-6)
    reference = ReferenceScorer.load(folder, loaded.setup, loaded.encoder).score(given)[:, 0]
    np.testing.assert_allclose(found, reference, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(Model.load(folder).predict(given)["prediction"], reference, rtol=1e-6)
    last = given.with_columns(pl.col("v").list.head(29).list.concat([5.0]) if MIXED[-1] == 30 else pl.col("v"))
    assert loaded.predict(last[-1:]).labels[0] != pytest.approx(found[-1]), "the end of a long list counts"


def test_a_cnn_reads_the_beginning_and_says_so(tmp_path: Path) -> None:
    loaded, given = Predictor.load(saved(tmp_path, UNEVEN, "cnn")), lists(MIXED, 5)
    found = loaded.predict(given)
    cut = loaded.predict(given.with_columns(pl.col("v", "w").list.head(LONGEST)))
    assert (found.labels, cut.warnings) == (cut.labels, [])
    assert found.warnings == [
        "4 of 7 rows have longer lists than any in training, the first in row 2 with 12 elements: "
        "only the first 7 of each list are read"
    ]
    reference = ReferenceScorer.load(loaded.folder, loaded.setup, loaded.encoder).score(given)[:, 0]
    np.testing.assert_allclose(found.labels, reference, rtol=1e-4, atol=1e-6)


def test_an_mlp_refuses_them(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="row 2 of column 'v' has 12 elements; the model reads at most 7"):
        Predictor.load(saved(tmp_path, EQUAL, "mlp")).predict(lists(MIXED, 5))


def test_rows_that_cannot_be_read_are_named_by_their_numbers_in_the_request(tmp_path: Path) -> None:
    folder = saved(tmp_path, UNEVEN, "gru")
    given = lists([3, 12, 9, 12], 5)
    spoilt = given.with_columns(v=pl.Series([*given["v"].to_list()[:3], [*[0.0] * 11, float("inf")]]))
    for predict in (Model.load(folder).predict, Predictor.load(folder).predict):
        with pytest.raises(DataError, match="row 4 of column 'v'"):
            predict(spoilt)
    found = Predictor.load(folder).predict(spoilt, on_error="skip")
    assert [label is None for label in found.labels] == [False, False, False, True]


def test_a_list_without_bound_is_refused_before_it_is_encoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sequence, "MAX_STEPS", 20)
    loaded = Predictor.load(saved(tmp_path, UNEVEN, "lstm"))
    with pytest.raises(DataError, match="row 7 of column 'v' has 30 elements; at most 20 are read"):
        loaded.predict(lists(MIXED, 5))
    assert [label is None for label in loaded.predict(lists(MIXED, 5), on_error="skip").labels] == [False] * 6 + [True]


def test_an_encoder_of_an_earlier_version_refuses_them_as_before(tmp_path: Path) -> None:
    state = Predictor.load(saved(tmp_path, UNEVEN, "gru")).encoder.as_json()
    assert Encoder.from_json(state).longer == "read"
    del state["longer"]
    assert Encoder.from_json(state).longer == "refused"
