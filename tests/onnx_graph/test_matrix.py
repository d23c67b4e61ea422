"""Every network with every encoding and task: ONNX Runtime predicts from raw columns what the NumPy reference does."""

import pytest

from tests.onnx_graph.models import STEPS, Model, check, digits, flights, windows_of, with_gaps, with_target

NETWORKS = {
    "mlp": {"model_type": "mlp"},
    "cnn": {"model_type": "cnn", "kernel_size": 4, "activation": "gelu"},
    "lstm": {"model_type": "lstm"},
    "gru": {"model_type": "gru", "bidirectional": True},
}
TASKS = ["binary", "multiclass", "regression"]
SCALINGS = ["standard", "robust", "quantile"]
DATA = {
    "columns": (lambda: flights().drop("tailnum", "dest"), {}),
    "vectors": (flights, {"embedding_threshold": 10}),
    "lists": (digits, {}),
    "equal-lists": (lambda: digits(True), {}),
    "windows": (flights, {"sequence_length": STEPS, "time_column": "arr_time", "embedding_threshold": 10}),
}


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", NETWORKS)
def test_raw_rows_with_gaps_give_what_the_reference_gives(name, data, task, scaling):
    load, options = DATA[data]
    frame = with_target(load(), task)
    model = Model.of(frame, task, scaling=scaling, **NETWORKS[name], **options)
    rows = with_gaps(frame).head(40)
    windows = windows_of(40) if model.setup.spec.sequence_length else None
    found = model.predicted(rows, windows)
    check(found, model.expected(rows, windows), model.encoder.target_scale)


@pytest.mark.parametrize("threshold", [5, 64])
def test_categories_that_are_not_told_apart_are_other_values_in_a_graph_too(threshold):
    frame = with_target(flights(), "binary")
    few = {"max_categories": 20, "min_frequency": 0.01}
    model = Model.of(frame, "binary", features=few, embedding_threshold=threshold)
    rows = with_gaps(frame).head(40)
    check(model.predicted(rows), model.expected(rows))
