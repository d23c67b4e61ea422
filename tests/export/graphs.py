"""Small ONNX graphs with the inputs and outputs of a model's graph: one tensor of (rows, 1) per column, or
(rows, steps) for lists and sliding windows. Their arithmetic is simple enough to be repeated in a test."""

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BONUS = {"keys_strings": ["UA", ""], "values_int64s": [100, 1000], "default_int64": 0}


def constant(name: str, value: object, dtype: type = np.float64) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(value, dtype), name)


def graph(nodes: Sequence[onnx.NodeProto], inputs, outputs, constants) -> bytes:
    """``inputs`` and ``outputs`` are (name, type, columns)."""
    shaped = [
        [helper.make_tensor_value_info(name, kind, ["rows", columns]) for name, kind, columns in part]
        for part in (inputs, outputs)
    ]
    built = helper.make_graph(nodes, "model", *shaped, constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model.SerializeToString()


def of_flights() -> bytes:
    """value = delay (0 if missing) + 100 if the carrier is UA, 1000 if it is missing, + days since 1970."""
    node = helper.make_node
    nodes = [
        node("IsNaN", ["dep_delay"], ["unknown"]),
        node("Where", ["unknown", "zero", "dep_delay"], ["delay"]),
        node("LabelEncoder", ["carrier"], ["bonus_i"], domain="ai.onnx.ml", **BONUS),
        node("Cast", ["bonus_i"], ["bonus"], to=TensorProto.DOUBLE),
        node("Equal", ["day", "no_day"], ["undated"]),
        node("Where", ["undated", "zero_i", "day"], ["micro"]),
        node("Div", ["micro", "a_day"], ["days_i"]),
        node("Cast", ["days_i"], ["days"], to=TensorProto.DOUBLE),
        node("Sum", ["delay", "bonus", "days"], ["value"]),
    ]
    double, text, whole = TensorProto.DOUBLE, TensorProto.STRING, TensorProto.INT64
    inputs = [("carrier", text, 1), ("dest", text, 1), ("dep_delay", double, 1), ("tailnum", text, 1)]
    inputs += [("air_time", double, 1), ("day", whole, 1)]
    constants = [
        constant("zero", 0.0),
        constant("zero_i", 0, np.int64),
        constant("no_day", np.iinfo(np.int64).min, np.int64),
        constant("a_day", 86_400_000_000, np.int64),
    ]
    return graph(nodes, inputs, [("value", double, 1)], constants)


def of_windows() -> bytes:
    """value = the mean temperature of the window."""
    double = TensorProto.DOUBLE
    nodes = [helper.make_node("ReduceMean", ["temp"], ["value"], axes=[1], keepdims=1)]
    inputs = [("temp", double, 6), ("humid", double, 6), ("origin", TensorProto.STRING, 6), ("wind_dir", double, 6)]
    return graph(nodes, inputs, [("value", double, 1)], [])


def of_lists(steps: int) -> bytes:
    """Probabilities of two classes from the share of steps that exist; labels 3 and 8."""
    double, whole = TensorProto.DOUBLE, TensorProto.INT64
    nodes = [
        helper.make_node("Cast", ["lengths"], ["n"], to=double),
        helper.make_node("Div", ["n", "steps"], ["share"]),
        helper.make_node("Sub", ["one", "share"], ["rest"]),
        helper.make_node("Concat", ["share", "rest"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["share", "rest"], ["more"]),
        helper.make_node("Where", ["more", "three", "eight"], ["label"]),
    ]
    constants = [constant("steps", float(steps)), constant("one", 1.0)]
    constants += [constant("three", 3, np.int64), constant("eight", 8, np.int64)]
    inputs = [("c0", double, steps), ("ink", TensorProto.STRING, 1), ("lengths", whole, 1)]
    return graph(nodes, inputs, [("label", whole, 1), ("probabilities", double, 2)], constants)


def of_features(width: int) -> bytes:
    """value = the sum of the encoded features: a graph that starts after the encoder."""
    nodes = [
        helper.make_node("ReduceSum", ["features", "last"], ["sum"], keepdims=1),
        helper.make_node("Cast", ["sum"], ["value"], to=TensorProto.DOUBLE),
    ]
    inputs, outputs = [("features", TensorProto.FLOAT, width)], [("value", TensorProto.DOUBLE, 1)]
    return graph(nodes, inputs, outputs, [constant("last", [-1], np.int64)])
