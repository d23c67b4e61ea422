"""The trainings that are timed: sizes, network, and data from a fixed seed.

Speed does not depend on what the numbers mean, so these are drawn; what is learnt is for ``quality.py``.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from epochd.core import specs
from epochd.data.feed.dataset import InMemoryDataset
from epochd.loop.engine import Setup


@dataclass(frozen=True)
class Case:
    """``inputs`` is one row's shape; all are binary, Adam, dropout 0.2."""

    title: str
    rows: int
    inputs: tuple[int, ...]
    model_type: str
    hidden_units: tuple[int, ...]
    batch_size: int

    @property
    def setup(self) -> Setup:
        config: dict[str, Any] = {
            "target_column": "y",
            "model_type": self.model_type,
            "hidden_units": list(self.hidden_units),
            "batch_size": self.batch_size,
            "dropout_rate": 0.2,
            "early_stopping_patience": None,
        }
        return Setup(specs.parse(config), "binary", self.inputs, 1)

    def data(self) -> InMemoryDataset:
        draw = np.random.default_rng(0)
        x = draw.normal(size=(self.rows, *self.inputs)).astype(np.float32)
        return InMemoryDataset(x, (x.reshape(self.rows, -1).sum(1) > 0).astype(np.float32))


CASES = {
    "a": Case("10,000 x 3, mlp 128-64-32, batch 32", 10_000, (3,), "mlp", (128, 64, 32), 32),
    "b": Case("100,000 x 50, mlp 256-128-64-32, batch 256", 100_000, (50,), "mlp", (256, 128, 64, 32), 256),
    "lstm": Case("2,000 x 50 x 8, lstm 64-32, batch 32", 2_000, (50, 8), "lstm", (64, 32), 32),
    "gru": Case("2,000 x 50 x 8, gru 64-32, batch 32", 2_000, (50, 8), "gru", (64, 32), 32),
    "cnn": Case("2,000 x 50 x 8, cnn 64-32, batch 32", 2_000, (50, 8), "cnn", (64, 32), 32),
}
