"""Real data for engine tests, standardised: breast_cancer (binary), iris (multiclass), diabetes (regression)."""

import numpy as np
import pytest
from sklearn import datasets

from epochd.core import specs
from epochd.data.arrays import Part
from epochd.loop.engine import Setup

LOADERS = {
    "binary": (datasets.load_breast_cancer, np.float32, 1),
    "multiclass": (datasets.load_iris, np.int64, 3),
    "regression": (datasets.load_diabetes, np.float32, 1),
}


@pytest.fixture
def make():
    """``make(task, **spec)`` → (setup, part)."""

    def build(task="binary", **options):
        load, dtype, outputs = LOADERS[task]
        x, y = load(return_X_y=True)
        x = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
        if task == "regression":
            y = (y - y.mean()) / y.std()
        spec = specs.parse({"target_column": "target", "task": task, "hidden_units": [16, 8], **options})
        return Setup(spec, task, (x.shape[1],), outputs), Part(x, y.astype(dtype))

    return build
