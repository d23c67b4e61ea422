"""A model as one ONNX file: encoder, network and decoding, with what is needed to call it in its metadata."""

import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from epochd.core.target_scale import LOG_BOUNDS
from epochd.data.encoding.encoder import Encoder
from epochd.loop import averaging
from epochd.loop.engine import Setup
from epochd.onnx_graph import columns, inputs, networks
from epochd.onnx_graph.builder import Graph
from epochd.onnx_graph.inputs import ONNX, Input, Start
from epochd.onnx_graph.networks import Weights

logger = logging.getLogger("epochd.onnx_graph")

MAX_BYTES = 2**31 - 2**24
"""Bytes of weights that fit into one file; a message of Protocol Buffers has less than 2 GiB."""
ABOUT = "Trained by epochd. Raw columns in, see the inputs' descriptions; rows are the first axis of every tensor."


@dataclass(frozen=True, slots=True)
class Exported:
    """The ``file`` (None: there can be none), what ``model.json`` says about it, and a ``warning`` if the graph does
    not start at the columns."""

    file: bytes | None
    about: dict[str, Any]
    warning: str | None = None


def export(setup: Setup, encoder: Encoder, weights: Weights, threshold: float = 0.5) -> Exported:
    """The model that starts at raw columns, or, where that is not possible, at encoded rows. It never fails, because
    the model can be used without this file: an unexpected error becomes the warning."""
    size = sum(values.nbytes for values in weights.values())
    if size > MAX_BYTES:
        return _nothing(f"the weights take {size / 2**30:.1f} GiB, and an ONNX file has less than 2 GiB")
    reason = columns.obstacle(encoder)
    starts: tuple[Start, ...] = ("features",) if reason else ("columns", "features")
    for start in starts:
        try:
            file = build(setup, encoder, weights, threshold=threshold, start=start).SerializeToString()
        except Exception as error:
            logger.exception("%s that starts at the %s could not be written", ONNX, start)
            reason = f"the graph that starts at the {start} cannot be written: {error!r}"
        else:
            warning = f"{ONNX} takes encoded rows instead of columns: {reason}" if reason else None
            return Exported(file, describe(setup, encoder, start, reason), warning)
    return _nothing(str(reason))


def _nothing(reason: str) -> Exported:
    about: dict[str, Any] = {"file": None, "starts_at": None, "reason": reason, "inputs": [], "outputs": []}
    return Exported(None, about, f"the model is saved without {ONNX}: {reason}")


def describe(setup: Setup, encoder: Encoder, start: Start, reason: str | None = None) -> dict[str, Any]:
    """The part ``onnx`` of ``model.json``."""
    return {
        "file": ONNX,
        "starts_at": start,
        "reason": reason,
        "inputs": [part.as_json() for part in _inputs(setup, encoder, start)],
        "outputs": [part.as_json() for part in inputs.outputs(encoder)],
    }


def build(
    setup: Setup,
    encoder: Encoder,
    weights: Weights,
    *,
    threshold: float = 0.5,
    start: Start = "columns",
) -> onnx.ModelProto:
    """The model as a graph. A binary model gives the second class where its probability is above ``threshold``."""
    taken = _inputs(setup, encoder, start)
    graph = Graph(taken, inputs.outputs(encoder))
    example = inputs.example_shape(encoder, setup.spec.sequence_length)
    if start == "features":
        features = taken[0].name
        if example != setup.inputs:
            features = graph.op("Reshape", features, graph.constant([0, *setup.inputs]))
        rows = columns.from_features(graph, setup, features)
    else:
        rows = columns.encode(graph, encoder.windowed, taken, setup.spec.sequence_length)
        if example != setup.inputs:
            rows = networks.folded(graph, setup, rows)
    each = [networks.forward(graph, setup, part, rows) for part in averaging.divided(weights, setup.spec.members)]
    if len(each) == 1:
        _decode(graph, encoder, each[0], threshold)
    else:
        _decode_average(graph, encoder, each, threshold)
    about = {
        "task": setup.task,
        "target": encoder.target_column,
        "classes": json.dumps(encoder.classes, ensure_ascii=False),
        "starts_at": start,
        "inputs": json.dumps([part.as_json() for part in taken], ensure_ascii=False),
    }
    return graph.model(ABOUT, about | ({"decision_threshold": repr(threshold)} if setup.task == "binary" else {}))


def _inputs(setup: Setup, encoder: Encoder, start: Start) -> list[Input]:
    length = setup.spec.sequence_length
    return [inputs.features_input(encoder, length)] if start == "features" else inputs.column_inputs(encoder, length)


def _decode(graph: Graph, encoder: Encoder, outputs: str, threshold: float) -> None:
    """``Encoder.decode`` in float64."""
    wide = graph.cast(outputs, "FP64")
    if encoder.classes is None:
        _restore(graph, encoder, wide, inputs.VALUE)
        return
    if encoder.task == "binary":
        number = graph.cast(graph.op("Greater", wide, graph.constant(logit(threshold))), "INT64")
        wide = graph.op("Mul", wide, graph.constant([0.0, 1.0]))  # the sigmoid of z is the softmax of (0, z)
    else:
        number = graph.op("ArgMax", outputs, axis=-1)
    graph.op("Softmax", wide, axis=-1, into=inputs.PROBABILITIES)
    graph.op("Gather", _labels(graph, encoder), number, into=inputs.LABEL)


def _decode_average(graph: Graph, encoder: Encoder, each: Sequence[str], threshold: float) -> None:
    """The mean of several networks' values, or of their class probabilities, with the label that follows from it."""
    wide = [graph.cast(outputs, "FP64") for outputs in each]
    if encoder.classes is None:
        _mean(graph, [_restore(graph, encoder, outputs) for outputs in wide], inputs.VALUE)
        return
    if encoder.task == "binary":
        wide = [graph.op("Mul", logit, graph.constant([0.0, 1.0])) for logit in wide]
    probabilities = _mean(graph, [graph.op("Softmax", logits, axis=-1) for logits in wide], inputs.PROBABILITIES)
    if encoder.task == "binary":
        second = graph.op("Gather", probabilities, graph.constant([1]), axis=-1)
        number = graph.cast(graph.op("Greater", second, graph.constant(threshold)), "INT64")
    else:
        number = graph.op("ArgMax", probabilities, axis=-1)
    graph.op("Gather", _labels(graph, encoder), number, into=inputs.LABEL)


def _mean(graph: Graph, tensors: Sequence[str], into: str) -> str:
    return graph.op("Mul", graph.op("Sum", *tensors), graph.constant(1 / len(tensors)), into=into)


def _restore(graph: Graph, encoder: Encoder, standardised: str, into: str | None = None) -> str:
    """``TargetScale.restored``. ONNX has no expm1: it is tanh(x / 2) (exp(x) + 1), exact near 0 too."""
    scaled = graph.op("Mul", standardised, graph.constant(encoder.target_scale))
    if encoder.target_transform is None:
        return graph.op("Add", scaled, graph.constant(encoder.target_mean), into=into)
    low, high = map(graph.constant, LOG_BOUNDS)
    bounded = graph.op("Min", graph.op("Max", graph.op("Add", scaled, graph.constant(encoder.target_mean)), low), high)
    half = graph.op("Tanh", graph.op("Mul", bounded, graph.constant(0.5)))
    return graph.op("Mul", half, graph.op("Add", graph.op("Exp", bounded), graph.constant(1.0)), into=into)


def _labels(graph: Graph, encoder: Encoder) -> str:
    classes = encoder.classes or ()
    dtypes: dict[str, Any] = {"BOOL": np.bool_, "INT64": np.int64, "FP64": np.float64}
    dtype = dtypes.get(inputs.label_type(classes), object)
    return graph.constant([str(label) for label in classes] if dtype is object else list(classes), dtype)


def logit(probability: float) -> float:
    """The output of a network for this probability of the second class; infinite for 0 and 1."""
    if not 0 < probability < 1:
        return math.inf if probability >= 1 else -math.inf
    return math.log(probability) - math.log1p(-probability)
