"""Real data for engine tests, standardised: breast_cancer (binary), digits (multiclass), diabetes (regression)."""

import os

import numpy as np
import pytest
from sklearn import datasets

from epochd.core import specs
from epochd.data.feed.dataset import InMemoryDataset
from epochd.engines import network
from epochd.loop.engine import Embedding, Setup

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
    "lstm": {"model_type": "lstm", "hidden_units": [8], "fold": True},
    "lstm-bidirectional": {"model_type": "lstm", "bidirectional": True, "fold": True},
    "gru": {"model_type": "gru", "hidden_units": [8], "fold": True},
    "gru-bidirectional": {"model_type": "gru", "bidirectional": True, "fold": True},
    "mlp-embeddings": {"model_type": "mlp", "codes": {4: 70, 1: 310}},
    "cnn-embedding": {"model_type": "cnn", "hidden_units": [8], "kernel_size": 2, "codes": {0: 70}, "windows": True},
    "lstm-embedding": {"model_type": "lstm", "hidden_units": [8], "codes": {1: 70}, "windows": True},
    "gru-embedding": {"model_type": "gru", "hidden_units": [8], "codes": {0: 70}, "windows": True},
    "cnn-masked": {"model_type": "cnn", "kernel_size": 3, "activation": "silu", "masked": True},
    "lstm-masked": {"model_type": "lstm", "hidden_units": [8], "masked": True},
    "lstm-masked-bidirectional": {"model_type": "lstm", "hidden_units": [8], "bidirectional": True, "masked": True},
    "gru-masked": {"model_type": "gru", "hidden_units": [8], "masked": True},
    "gru-masked-bidirectional": {"model_type": "gru", "bidirectional": True, "masked": True, "codes": {3: 70}},
}
"""Spec options by name, and what is done to the data: ``fold`` by input_shape, ``windows`` are folded before the engine
sees them, ``codes`` (channel → number) bins a channel for an embedding, ``masked`` takes digits of different widths."""
FOLDED = {"binary": [10, 3], "multiclass": [8, 8], "regression": [5, 2]}
FULL_INK = 16


@pytest.fixture
def make():
    """``make(task, model, **spec)`` → (setup, part); setup options: devices, class_weights."""

    def build(task="binary", model="mlp", *, devices=1, class_weights=None, **options):
        load, dtype, outputs = LOADERS[task]
        x, y = load(return_X_y=True)
        x, y = x[:ROWS], y[:ROWS]
        scaled = (x - x.mean(0)) / (x.std(0) + 1e-9)
        if task == "regression":
            y = (y - y.mean()) / y.std()
        chosen = dict(MODELS[model])
        fold, windows, masked = (chosen.pop(name, False) for name in ("fold", "windows", "masked"))
        codes = chosen.pop("codes", {})
        if fold:
            chosen["input_shape"] = FOLDED[task]
        elif windows:
            scaled = scaled.reshape(-1, *FOLDED[task])
        elif masked:
            assert task == "multiclass", "only digits come with a mask"
            scaled = scaled.reshape(-1, 8, 8).swapaxes(1, 2)
        for channel, number in codes.items():
            scaled[..., channel] = coded(scaled[..., channel], number)
        if masked:
            scaled = cut(scaled, x)
        spec = specs.parse({"target_column": "target", "task": task, "hidden_units": [12, 8]} | chosen | options)
        inputs = network.input_shape(spec, scaled.shape[1:])
        embeddings = tuple(Embedding(channel, n, network.vector_size(n)) for channel, n in codes.items())
        setup = Setup(
            spec,
            task,
            inputs,
            outputs,
            devices=devices,
            class_weights=class_weights,
            embeddings=embeddings,
            masked=masked,
        )
        return setup, InMemoryDataset(scaled.astype(np.float32).reshape(len(x), *inputs), y.astype(dtype))

    return build


def coded(values, codes):
    """Each value's code: its rank among all, in so many groups less ten, so that some codes are never seen."""
    ranks = np.argsort(np.argsort(values, axis=None, kind="stable"), kind="stable")
    return (ranks * (codes - 10) // ranks.size).reshape(values.shape)


def cut(columns, pixels):
    """Digits from the first to the last column with full ink, 1 … 8 (all where none has): padded, and with a mask.

    A few are padding and nothing else, as in batches that an engine fills up.
    """
    full = (pixels.reshape(-1, 8, 8) == FULL_INK).any(1)
    first = full.argmax(1)
    length = np.where(full.any(1), 8 - full[:, ::-1].argmax(1) - first, 8)
    length[::60] = 0
    exists = (np.arange(8) < length[:, None])[..., None]
    kept = np.minimum(first[:, None] + np.arange(8), 7)[..., None]
    return np.concatenate([np.take_along_axis(columns, kept, 1) * exists, exists], axis=-1)
