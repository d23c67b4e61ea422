"""The four networks as a graph: ``engines.reference`` node by node, with the canonical weights as constants."""

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto

from epochd.engines import network
from epochd.loop.engine import Setup
from epochd.onnx_graph.builder import Graph
from epochd.onnx_graph.columns import Encoded, step_mask

Weights = Mapping[str, npt.NDArray[Any]]
"""The canonical weights, float32."""
GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}
"""ONNX's gates as positions in the canonical ones: i, o, f, c of i, f, g, o; and z, r, h of r, z, n."""


def forward(graph: Graph, setup: Setup, weights: Weights, rows: Encoded) -> str:
    """Raw outputs, float32 (rows, outputs), of rows (rows, *setup.inputs)."""
    x, weights = _embedded(graph, setup, weights, rows), _reordered(setup, weights, rows.channels)
    match setup.spec.model_type:
        case "mlp":
            hidden = _mlp(graph, setup, weights, x)
        case "cnn":
            hidden = _cnn(graph, setup, weights, x, rows.lengths)
        case _:
            hidden = _recurrent(graph, setup, weights, x, rows.lengths)
    return _dense(graph, weights, "output", hidden)


def folded(graph: Graph, setup: Setup, rows: Encoded) -> Encoded:
    """Rows of plain features (rows, features) in the shape that ``input_shape`` gives them, in the encoder's order."""
    assert rows.plain is not None
    features = len(rows.channels)
    ordered = graph.take(rows.plain, np.argsort(rows.channels).tolist(), features)
    shaped = graph.op("Reshape", ordered, graph.constant([0, *setup.inputs]))
    return Encoded(shaped, tuple(range(setup.inputs[-1])))


def _embedded(graph: Graph, setup: Setup, weights: Weights, rows: Encoded) -> str:
    """The inputs of the first hidden layer: plain features and the vectors of codes, (rows, *hidden_inputs)."""
    vectors = [
        graph.op("Gather", graph.constant(weights[f"embedding.{i}.weight"]), codes)
        for i, codes in enumerate(rows.codes)
    ]
    parts = [] if rows.plain is None else [rows.plain]
    if vectors:
        found = graph.concat(vectors)
        parts.append(found if len(setup.inputs) > 1 else graph.op("Flatten", found))
    return graph.concat(parts)


def _reordered(setup: Setup, weights: Weights, channels: Sequence[int]) -> Weights:
    """The weights, where those of the first hidden layer expect the plain channels in this order."""
    place = {channel: position for position, channel in enumerate(network.plain_channels(setup))}
    width = network.hidden_inputs(setup)[-1]
    order = [*(place[channel] for channel in channels), *range(len(channels), width)]
    if order == list(range(width)):
        return weights
    first = {}
    for name, values in weights.items():
        if name.startswith(("hidden.0.weight_ih", "hidden.0.weight")) and "weight_hh" not in name:
            by_channel = values.reshape(len(values), -1, width) if setup.spec.model_type == "mlp" else values
            axis = 2 if setup.spec.model_type == "mlp" else 1
            first[name] = np.take(by_channel, order, axis).reshape(values.shape)
    return {**weights, **first}


def _mlp(graph: Graph, setup: Setup, weights: Weights, x: str) -> str:
    hidden = x if len(setup.inputs) == 1 else graph.op("Flatten", x)
    for i in range(len(setup.spec.hidden_units)):
        hidden = _activate(graph, setup, _dense(graph, weights, f"hidden.{i}", hidden))
    return hidden


def _cnn(graph: Graph, setup: Setup, weights: Weights, x: str, lengths: str | None) -> str:
    *space, width = network.hidden_inputs(setup)
    axes = len(space)
    if width == 1:
        hidden = graph.op("Reshape", x, graph.constant([0, 1, *space]))
    else:
        hidden = graph.op("Transpose", x, perm=[0, axes + 1, *range(1, axes + 1)])
    exists = None
    if lengths is not None:
        steps = graph.cast(step_mask(graph, lengths, space[0]), "FP32")
        exists = graph.op("Unsqueeze", steps, graph.constant([1]))
        hidden = graph.op("Mul", hidden, exists)
    for i in range(len(setup.spec.hidden_units)):
        hidden = _activate(graph, setup, _convolve(graph, weights, f"hidden.{i}", hidden))
        if exists is not None:
            hidden, exists = graph.op("Mul", hidden, exists), _max_pool(graph, exists, space)
        hidden, space = _max_pool(graph, hidden, space), network.pooled(space)
    return graph.op("Flatten", hidden)


def _convolve(graph: Graph, weights: Weights, layer: str, x: str) -> str:
    """Zero-padded to the same size; of an odd number of zeros, the last one is behind."""
    kernel, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
    sizes = kernel.shape[2:]
    pads = [*((size - 1) // 2 for size in sizes), *(size // 2 for size in sizes)]
    return graph.op("Conv", x, graph.constant(kernel), graph.constant(bias), kernel_shape=sizes, pads=pads)


def _max_pool(graph: Graph, x: str, space: Sequence[int]) -> str:
    window = [min(2, size) for size in space]
    return x if prod(window) == 1 else graph.op("MaxPool", x, kernel_shape=window, strides=window)


def _recurrent(graph: Graph, setup: Setup, weights: Weights, x: str, lengths: str | None) -> str:
    """The last state of each direction of the last layer, (rows, directions x units)."""
    directions, layers = 1 + setup.spec.bidirectional, setup.spec.hidden_units
    ends = ""
    if lengths is not None:
        ends = graph.op("Cast", graph.op("Squeeze", lengths, graph.constant([1])), to=TensorProto.INT32)
    hidden = graph.op("Transpose", x, perm=[1, 0, 2])
    for i, units in enumerate(layers[:-1]):
        found = _layer(graph, setup, weights, f"hidden.{i}", hidden, ends, output=0)
        if directions == 1:
            hidden = graph.op("Squeeze", found, graph.constant([1]))
        else:
            by_row = graph.op("Transpose", found, perm=[0, 2, 1, 3])
            hidden = graph.op("Reshape", by_row, graph.constant([0, 0, directions * units]))
    last = _layer(graph, setup, weights, f"hidden.{len(layers) - 1}", hidden, ends, output=1)
    if directions == 1:
        return graph.op("Squeeze", last, graph.constant([0]))
    return graph.op("Flatten", graph.op("Transpose", last, perm=[1, 0, 2]))


def _layer(graph: Graph, setup: Setup, weights: Weights, layer: str, x: str, ends: str, output: int) -> str:
    """The layer's output of this number: 0 the states of all steps, (steps, directions, rows, units), or 1 the last
    ones, (directions, rows, units)."""
    kind, directions = setup.spec.model_type, ("", "_reverse") if setup.spec.bidirectional else ("",)

    def in_order(name: str) -> npt.NDArray[Any]:
        """A weight of all directions, (directions, gates x units, …)."""
        found = np.stack([weights[f"{layer}.{name}{direction}"] for direction in directions])
        gates = found.reshape(len(directions), network.GATES[kind], -1, *found.shape[2:])
        return gates[:, GATES[kind]].reshape(found.shape)

    inputs = in_order("bias_ih")
    biases = np.concatenate([inputs, in_order("bias_hh") if kind == "gru" else np.zeros_like(inputs)], axis=1)
    recurrent = in_order("weight_hh")
    return graph.op(
        kind.upper(),
        x,
        *(graph.constant(values) for values in (in_order("weight_ih"), recurrent, biases)),
        ends,
        output=output,
        hidden_size=recurrent.shape[2],
        direction="bidirectional" if setup.spec.bidirectional else "forward",
        linear_before_reset=1 if kind == "gru" else None,
    )


def _dense(graph: Graph, weights: Weights, layer: str, x: str) -> str:
    weight, bias = weights[f"{layer}.weight"], weights[f"{layer}.bias"]
    return graph.op("Gemm", x, graph.constant(weight), graph.constant(bias), transB=1)


def _activate(graph: Graph, setup: Setup, x: str) -> str:
    match setup.spec.activation:
        case "relu":
            return graph.op("Relu", x)
        case "tanh":
            return graph.op("Tanh", x)
        case "silu":
            return graph.op("Mul", x, graph.op("Sigmoid", x))
        case "gelu":
            return graph.op("Gelu", x, approximate="tanh")
