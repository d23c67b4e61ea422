"""Scales as a graph: ``data.encoding.scaling`` for many columns at once, in float64."""

from collections.abc import Sequence

import numpy as np

from epochd.data.encoding.scaling import Knots, Linear, Scale
from epochd.data.encoding.values import Float64
from epochd.onnx_graph.builder import Graph

BOOLEAN = Linear(0.5, 0.5)
"""0 and 1 as -1 and 1."""
BLOCK = 16
"""Knots that are compared at once. Two comparisons with at most 16 values find one of 256 knots."""


def linear_first(scales: Sequence[Scale]) -> list[int]:
    """Positions of the linear scales, then of the others: the order that ``apply`` takes."""
    return sorted(range(len(scales)), key=lambda i: isinstance(scales[i], Knots))


def apply(graph: Graph, values: str, missing: str, scales: Sequence[Scale]) -> str:
    """Scaled values, 0 where ``missing``; all have the shape (…, columns)."""
    linear = [scale for scale in scales if isinstance(scale, Linear)]
    knots = [scale for scale in scales if isinstance(scale, Knots)]
    if linear and knots:
        sizes = graph.constant([len(linear), len(knots)])
        first, last = graph.ops("Split", values, sizes, outputs=2, axis=-1)
        _, absent = graph.ops("Split", missing, sizes, outputs=2, axis=-1)
        scaled = graph.concat([_apply_linear(graph, first, linear), _apply_knots(graph, last, absent, knots)])
    else:
        scaled = _apply_linear(graph, values, linear) if linear else _apply_knots(graph, values, missing, knots)
    return graph.op("Where", missing, graph.constant(0.0), scaled)


def _apply_linear(graph: Graph, values: str, scales: Sequence[Linear]) -> str:
    centred = graph.op("Sub", values, graph.constant([scale.centre for scale in scales]))
    return graph.op("Div", centred, graph.constant([scale.scale for scale in scales]))


def _apply_knots(graph: Graph, values: str, missing: str, scales: Sequence[Knots]) -> str:
    """Scores interpolated by NumPy's formula, slope x (value - knot) + score, at the last knot that is not larger."""
    low, high = ([scale.values[end] for scale in scales] for end in (0, -1))
    first = graph.constant(low)
    inside = graph.op("Where", missing, first, graph.op("Min", graph.op("Max", values, first), graph.constant(high)))
    place = _last_knot(graph, inside, scales)
    size = _blocks(scales) * BLOCK
    knots, scores, slopes = (
        graph.op("Gather", graph.constant(_table(part, size)), place, axis=0)
        for part in (
            [scale.values for scale in scales],
            [scale.scores for scale in scales],
            [[*(np.diff(scale.scores) / np.diff(scale.values)), 0.0] for scale in scales],
        )
    )
    return graph.op("Add", graph.op("Mul", slopes, graph.op("Sub", inside, knots)), scores)


def _last_knot(graph: Graph, inside: str, scales: Sequence[Knots]) -> str:
    """The position of the last knot that is not larger, in a table with one line of knots per column."""
    blocks = _blocks(scales)
    table = _table([scale.values for scale in scales], blocks * BLOCK, np.inf).reshape(len(scales), blocks, BLOCK)
    each = graph.op("Unsqueeze", inside, graph.constant([-1]))
    begins = graph.constant(np.arange(len(scales)) * blocks - 1)
    block = graph.op("Add", _count(graph, each, graph.constant(table[:, :, 0])), begins)
    within = graph.op("Gather", graph.constant(table.reshape(-1, BLOCK)), block, axis=0)
    before = graph.op("Sub", graph.op("Mul", block, graph.constant(BLOCK)), graph.constant(1))
    return graph.op("Add", before, _count(graph, each, within))


def _count(graph: Graph, values: str, knots: str) -> str:
    """How many knots are not larger, int64 in the shape of the values without the last axis."""
    found = graph.cast(graph.op("GreaterOrEqual", values, knots), "FP32")
    return graph.cast(graph.op("ReduceSum", found, graph.constant([-1]), keepdims=0), "INT64")


def _blocks(scales: Sequence[Knots]) -> int:
    return -(-max(len(scale.values) for scale in scales) // BLOCK)


def _table(lines: Sequence[Sequence[float]], size: int, rest: float = 0.0) -> Float64:
    """The lines one after another, each filled up to ``size``."""
    found = np.full((len(lines), size), rest)
    for line, values in zip(found, lines, strict=True):
        line[: len(values)] = values
    return found.reshape(-1)
