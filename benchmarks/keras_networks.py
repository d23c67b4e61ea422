"""The same networks as epochd's, as a Keras user writes them. The backend is KERAS_BACKEND, set before the import."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import layers

KERNEL = 3


def network(model: str, inputs: Sequence[int], units: Sequence[int], dropout: float, outputs: int = 1) -> Any:
    """A Sequential for rows of shape ``inputs`` (channels last) that gives logits or plain numbers."""
    return keras.Sequential(
        [keras.Input(tuple(inputs)), *_hidden(model, inputs, units, dropout), layers.Dense(outputs)]
    )


def _hidden(model: str, inputs: Sequence[int], units: Sequence[int], dropout: float) -> Iterator[Any]:
    for i, width in enumerate(units):
        match model:
            case "mlp":
                yield layers.Dense(width, activation="relu")
            case "cnn" if len(inputs) == 2:
                yield layers.Conv1D(width, KERNEL, padding="same", activation="relu")
                yield layers.MaxPooling1D(2)
            case "cnn":
                yield layers.Conv2D(width, KERNEL, padding="same", activation="relu")
                yield layers.MaxPooling2D(2)
            case _:
                recurrent = {"lstm": layers.LSTM, "gru": layers.GRU}[model]
                yield recurrent(width, return_sequences=i < len(units) - 1)
        yield layers.Dropout(dropout)
    if model == "cnn":
        yield layers.Flatten()
