"""Construction of an ONNX graph, node by node.

The versions are those that ONNX Runtime 1.20 and later run: opset 20 is the first one with ``Gelu``.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

import epochd
from epochd.onnx_graph.inputs import Datatype, Input, Output

OPSET, ML_OPSET, IR_VERSION = 20, 3, 9
ML = "ai.onnx.ml"
TYPES: dict[Datatype, int] = {
    "BOOL": TensorProto.BOOL,
    "INT64": TensorProto.INT64,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
ROWS, STEPS = "rows", "steps"
"""The names of the variable dimensions: the first one, and that of lists of any length."""


class Graph:
    """A graph under construction. Tensors are known by their names, which begin with an operator's name and are never
    those of inputs or outputs."""

    def __init__(self, inputs: Sequence[Input], outputs: Sequence[Output]) -> None:
        self._inputs, self._outputs = inputs, outputs
        self._taken = {*(part.name for part in inputs), *(part.name for part in outputs)}
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: npt.ArrayLike, dtype: npt.DTypeLike | None = None) -> str:
        """A constant tensor; Python's integers are int64, its floats float64; text needs the dtype object."""
        name = self._name("Constant")
        self._constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def op(
        self, operator: str, *inputs: str, into: str | None = None, output: int = 0, domain: str = "", **attributes: Any
    ) -> str:
        """The output of a new node, which is called ``into`` if given; of several outputs the one of this number."""
        name = into or self._name(operator)
        outputs = [*[""] * output, name]
        self._nodes.append(helper.make_node(operator, inputs, outputs, name, domain=domain, **attributes))
        return name

    def ops(self, operator: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """The outputs of a new node with several."""
        names = [self._name(operator) for _ in range(outputs)]
        self._nodes.append(helper.make_node(operator, inputs, names, names[0], **attributes))
        return names

    def concat(self, tensors: Sequence[str], axis: int = -1) -> str:
        """The tensors side by side; a single one unchanged."""
        return tensors[0] if len(tensors) == 1 else self.op("Concat", *tensors, axis=axis)

    def take(self, tensor: str, positions: Sequence[int], size: int) -> str:
        """These positions of the last axis, which has ``size`` of them; the tensor unchanged if they are all of it."""
        if list(positions) == list(range(size)):
            return tensor
        return self.op("Gather", tensor, self.constant(positions, np.int64), axis=-1)

    def cast(self, tensor: str, datatype: Datatype, into: str | None = None) -> str:
        return self.op("Cast", tensor, into=into, to=TYPES[datatype])

    def model(self, about: str, metadata: dict[str, str]) -> onnx.ModelProto:
        """The complete model with its description and metadata."""
        inputs, outputs = [_tensor(part) for part in self._inputs], [_tensor(part) for part in self._outputs]
        graph = helper.make_graph(self._nodes, "model", inputs, outputs, self._constants, about)
        model = helper.make_model(
            graph,
            producer_name="epochd",
            producer_version=epochd.__version__,
            doc_string=about,
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ML, ML_OPSET)],
        )
        helper.set_model_props(model, metadata)
        return model

    def _name(self, operator: str) -> str:
        name = f"{operator}_{len(self._taken)}"
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def _tensor(part: Input | Output) -> onnx.ValueInfoProto:
    shape = [ROWS, *(STEPS if size < 0 else size for size in part.shape[1:])]
    return helper.make_tensor_value_info(part.name, TYPES[part.datatype], shape, part.description)
