"""A model for Keras 3, from standard layers: the file loads on every backend, in safe mode, without custom objects.

Layers get the canonical weights in Keras's layouts: dense (in, out), convolution (*kernel, in, out), recurrent (in,
gates x units), and for gru the gates z, r, n with both biases in one array.
"""

from pathlib import Path
from typing import Any

import numpy as np

from epochd.artifact.predict import Model
from epochd.core.arrays import FloatArray
from epochd.core.target_scale import FLOAT32_BOUNDS
from epochd.data.encoding.encoder import Encoder
from epochd.engines import network
from epochd.engines.reference import Weights
from epochd.export.packages import require, require_keras
from epochd.export.saved_model import SavedModel
from epochd.loop import averaging
from epochd.loop.engine import Setup

OUTPUTS = {"binary": "probability", "multiclass": "probabilities", "regression": "value"}
"""The name of the output by task: the probability of the second class, of each class, or the target in its unit."""
Tensor = Any


def write(saved: SavedModel, path: Path) -> None:
    """Write a ``.keras`` file. Raises FrameworkMissing without Keras."""
    build(require_keras(), saved.model).save(path)


def write_savedmodel(saved: SavedModel, folder: Path) -> None:
    """Write a TensorFlow SavedModel whose signature ``serving_default`` names its input ``features`` and its output as
    in ``OUTPUTS``. Raises FrameworkMissing without TensorFlow."""
    keras, tf = require_keras("tensorflow"), require("tensorflow", "tensorflow")
    model, name = build(keras, saved.model), OUTPUTS[saved.model.setup.task]
    archive = keras.export.ExportArchive()
    archive.track(model)
    features = tf.TensorSpec((None, *saved.model.setup.inputs), tf.float32, name="features")
    archive.add_endpoint("serve", lambda features: {name: model(features)}, input_signature=[features])
    archive.write_out(str(folder), verbose=False)


def build(keras: Any, model: Model) -> Any:
    """The Keras model: features (rows, *inputs) → probabilities or values (rows, outputs). Several networks are models
    within it, whose outputs are averaged."""
    setup, encoder, kind = model.setup, model.encoder, model.setup.spec.model_type
    parts = averaging.divided(model.weights, setup.spec.members)
    if len(parts) == 1:
        return build_network(keras, setup, encoder, parts[0], kind)
    each = [build_network(keras, setup, encoder, part, f"{kind}_{i}") for i, part in enumerate(parts)]
    features = keras.Input(setup.inputs, name="features")
    return keras.Model(features, keras.layers.Average()([one(features) for one in each]), name=kind)


def build_network(keras: Any, setup: Setup, encoder: Encoder, weights: Weights, name: str) -> Any:
    """A Keras model of one network."""
    features = keras.Input(setup.inputs, name="features")
    x, exists = embed(keras, setup, features)
    match setup.spec.model_type:
        case "mlp":
            x = mlp(keras, setup, x)
        case "cnn":
            x = cnn(keras, setup, x, exists)
        case _:
            x = recurrent(keras, setup, x, exists)
    activation = {"binary": "sigmoid", "multiclass": "softmax"}.get(setup.task)
    x = keras.layers.Dense(setup.outputs, activation, name="output")(x)
    if setup.task == "regression":
        x = restored(keras, encoder, x)
    built = keras.Model(features, x, name=name)
    for layer, arrays in layer_weights(setup, weights).items():
        built.get_layer(layer).set_weights(arrays)
    return built


def restored(keras: Any, encoder: Encoder, x: Tensor) -> Tensor:
    """The target in its own unit."""
    if encoder.target_transform is None:
        return keras.layers.Rescaling(encoder.target_scale, encoder.target_mean, name="value")(x)
    numbers = keras.layers.Rescaling(encoder.target_scale, encoder.target_mean, name="logarithm")(x)
    return keras.ops.expm1(keras.ops.clip(numbers, *FLOAT32_BOUNDS))


def embed(keras: Any, setup: Setup, features: Tensor) -> tuple[Tensor, Tensor | None]:
    """Codes replaced by their vectors, without the mask; and the mask, (rows, steps, 1), if there is one."""
    layers = keras.layers
    if not (setup.embeddings or setup.masked):
        return features, None
    parts = [features[..., run] for run in network.plain_runs(setup)]
    for i, embedding in enumerate(setup.embeddings):
        table = layers.Embedding(embedding.codes, embedding.size, name=f"embedding_{i}")
        parts.append(table(features[..., embedding.channel]))
    x = layers.Concatenate()(parts) if len(parts) > 1 else parts[0]
    return x, first_step_exists(keras, features[..., -1:]) if setup.masked else None


def first_step_exists(keras: Any, mask: Tensor) -> Tensor:
    """The mask (rows, steps, 1) with ones at the first step: a row of padding only counts as a sequence of one step."""
    ones = keras.layers.Rescaling(0.0, 1.0)(mask[:, :1])
    return keras.layers.Concatenate(axis=1)([ones, mask[:, 1:]]) if mask.shape[1] > 1 else ones


def activate(keras: Any, setup: Setup, x: Tensor) -> Tensor:
    """Keras's activations, with the tanh form of gelu, which the layer for it cannot name."""
    if setup.spec.activation == "gelu":
        return keras.ops.gelu(x, approximate=True)
    return keras.layers.Activation(setup.spec.activation)(x)


def mlp(keras: Any, setup: Setup, x: Tensor) -> Tensor:
    x = keras.layers.Flatten()(x) if len(setup.inputs) > 1 else x
    for i, units in enumerate(setup.spec.hidden_units):
        x = activate(keras, setup, keras.layers.Dense(units, name=f"hidden_{i}")(x))
    return x


def cnn(keras: Any, setup: Setup, x: Tensor, exists: Tensor | None) -> Tensor:
    layers, directions = keras.layers, len(setup.inputs) - 1
    convolution, pooling = (getattr(layers, f"{kind}{directions}D") for kind in ("Conv", "MaxPooling"))
    if exists is not None:
        x = layers.Multiply()([x, exists])
    for i, filters in enumerate(setup.spec.hidden_units):
        found = convolution(filters, setup.spec.kernel_size, padding="same", name=f"hidden_{i}")(x)
        x, pool = activate(keras, setup, found), pooling(tuple(min(2, size) for size in found.shape[1:-1]))
        if exists is not None:
            x, exists = layers.Multiply()([x, exists]), pool(exists)
        x = pool(x)
    return layers.Flatten()(layers.Permute((directions + 1, *range(1, directions + 1)))(x))


def recurrent(keras: Any, setup: Setup, x: Tensor, exists: Tensor | None) -> Tensor:
    """The layers' own masks: a masked step keeps the state, so that the last real step gives the result, and the
    reverse direction begins there."""
    layers, spec = keras.layers, setup.spec
    kind = layers.LSTM if spec.model_type == "lstm" else layers.GRU
    mask = None if exists is None else exists[..., 0] > 0.5
    last = len(spec.hidden_units) - 1
    for i, units in enumerate(spec.hidden_units):
        name = f"hidden_{i}"
        layer = kind(units, return_sequences=i < last, name=name)
        x = (layers.Bidirectional(layer, name=name) if spec.bidirectional else layer)(x, mask=mask)
    return x


def layer_weights(setup: Setup, weights: Weights) -> dict[str, list[FloatArray]]:
    """The arrays of each layer by its name, in the order and layouts of Keras."""
    found = {f"embedding_{i}": [weights[f"embedding.{i}.weight"]] for i in range(len(setup.embeddings))}
    for i in range(len(setup.spec.hidden_units)):
        layer = f"hidden.{i}"
        if setup.spec.model_type in network.GATES:
            directions = ("", "_reverse") if setup.spec.bidirectional else ("",)
            found[f"hidden_{i}"] = [array for end in directions for array in cell_weights(setup, weights, layer, end)]
        else:
            kernel = weights[f"{layer}.weight"]
            found[f"hidden_{i}"] = [kernel.transpose(*range(2, kernel.ndim), 1, 0), weights[f"{layer}.bias"]]
    return found | {"output": [weights["output.weight"].T, weights["output.bias"]]}


def cell_weights(setup: Setup, weights: Weights, layer: str, direction: str) -> list[FloatArray]:
    """Kernel, recurrent kernel and bias of one direction."""
    names = ["weight_ih", "weight_hh", "bias_ih"]
    if setup.spec.model_type == "lstm":
        kernel, recurrent_kernel, bias = (weights[f"{layer}.{name}{direction}"] for name in names)
        return [kernel.T, recurrent_kernel.T, bias]
    gates = (_zrn(weights[f"{layer}.{name}{direction}"]) for name in [*names, "bias_hh"])
    kernel, recurrent_kernel, bias, recurrent_bias = gates
    return [kernel.T, recurrent_kernel.T, np.stack([bias, recurrent_bias])]


def _zrn(weight: FloatArray) -> FloatArray:
    """Gates r, z, n → z, r, n on the first axis."""
    r, z, n = np.split(weight, 3)
    return np.concatenate([z, r, n])
