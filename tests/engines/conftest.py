"""Real data for engine tests, standardised: breast_cancer (binary), digits (multiclass), diabetes (regression)."""

import os
from math import prod

import numpy as np
import pytest
from sklearn import datasets

from epochd.core import specs
from epochd.data.arrays import Part
from epochd.engines import architecture
from epochd.loop.engine import Setup

os.environ.setdefault("JAX_NUM_CPU_DEVICES", "2")  # read by JAX when it starts; the suite splits batches over two

LOADERS = {
    "binary": (datasets.load_breast_cancer, np.float32, 1),
    "multiclass": (datasets.load_digits, np.int64, 10),
    "regression": (datasets.load_diabetes, np.float32, 1),
}
ROWS = 300
"""Few enough for a suite that runs on every engine, and no multiple of the batch size."""

MODELS = {
    "mlp": {"model_type": "mlp"},
    "mlp-gelu": {"model_type": "mlp", "activation": "gelu"},
    "cnn-1d": {"model_type": "cnn", "kernel_size": 3, "activation": "silu"},
    "cnn-2d": {"model_type": "cnn", "kernel_size": 2, "activation": "tanh", "fold": True},
    "lstm": {"model_type": "lstm", "fold": True},
    "lstm-bidirectional": {"model_type": "lstm", "bidirectional": True, "fold": True},
    "gru": {"model_type": "gru", "fold": True},
    "gru-bidirectional": {"model_type": "gru", "bidirectional": True, "fold": True},
}
FOLDED = {"binary": [10, 3], "multiclass": [8, 8], "regression": [5, 2]}


@pytest.fixture
def make():
    """``make(task, model, **spec)`` → (setup, part); setup options: devices, class_weights."""

    def build(task="binary", model="mlp", *, devices=1, class_weights=None, **options):
        load, dtype, outputs = LOADERS[task]
        x, y = load(return_X_y=True)
        x, y = x[:ROWS], y[:ROWS]
        x = (x - x.mean(0)) / (x.std(0) + 1e-9)
        if task == "regression":
            y = (y - y.mean()) / y.std()
        chosen = dict(MODELS[model])
        if chosen.pop("fold", False):
            chosen["input_shape"] = FOLDED[task]
        spec = specs.parse({"target_column": "target", "task": task, "hidden_units": [12, 8]} | chosen | options)
        inputs = architecture.input_shape(spec, x.shape[1])
        assert prod(inputs) == x.shape[1]
        setup = Setup(spec, task, inputs, outputs, devices=devices, class_weights=class_weights)
        return setup, Part(x.astype(np.float32).reshape(len(x), *inputs), y.astype(dtype))

    return build
