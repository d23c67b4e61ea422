"""The encoder as a graph: raw columns in, the features of the network out.

Columns of one kind are encoded together, with constants for all of them, so that the number of nodes does not grow with
that of the columns. The channels are therefore in another order than the encoder's; ``networks`` puts the weights of
the first layer in this order. Arithmetic is float64 where the encoder's is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from epochd.data.encoding.categorical import Codes, OneHot
from epochd.data.encoding.dates import CYCLES, Date
from epochd.data.encoding.encoder import Column, Encoder
from epochd.data.encoding.image import Image
from epochd.data.encoding.numeric import Boolean, Number
from epochd.data.encoding.scaling import Scale
from epochd.data.encoding.sequence import Channel
from epochd.data.encoding.text import HashedText
from epochd.engines import network
from epochd.loop.engine import Setup
from epochd.onnx_graph import calendar, scales
from epochd.onnx_graph.builder import ML, Graph
from epochd.onnx_graph.inputs import LENGTHS, MISSING_TIME, Input
from epochd.onnx_graph.scales import BOOLEAN

KNOWN = (Number, Boolean, OneHot, Codes, Date, Channel, Image)
Placed = tuple[Column, int, str]
"""A column, its first channel, and the name of its input."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Encoded rows. ``plain`` (float32, (rows, *space, channels)) has the encoder's ``channels`` in this order, without
    codes and mask; it is None if there are only codes. ``codes`` are those of each embedding, int64 (rows, steps), or
    (rows, 1) where rows have no steps. ``lengths`` (int64, (rows, 1)) are the numbers of real steps where sequences are
    masked."""

    plain: str | None
    channels: tuple[int, ...]
    codes: tuple[str, ...] = ()
    lengths: str | None = None


def obstacle(encoder: Encoder) -> str | None:
    """Why the graph cannot start at raw columns; None if it can."""
    unknown = [column for column in encoder.columns if not isinstance(column, KNOWN)]
    if unknown and isinstance(unknown[0], HashedText):
        return f"column {unknown[0].name!r} is free text, whose words are hashed, and ONNX has no operator for that"
    return f"the encoding {unknown[0].kind!r} of column {unknown[0].name!r} has no form in ONNX" if unknown else None


def encode(graph: Graph, encoder: Encoder, inputs: Sequence[Input], steps: int | None) -> Encoded:
    """The encoder's columns; with ``steps`` (sliding windows) for each step of each row."""
    if encoder.image is not None:
        return _with_pixels(graph, encoder.image, inputs[0].name)
    channel = 0
    placed: list[Placed] = []
    for column, part in zip(encoder.columns, inputs, strict=False):
        placed.append((column, channel, part.name))
        channel += column.width
    missing = {part.name: str(part.missing) for part in inputs if part.kind == "text"}
    blocks = Blocks(graph, steps)
    blocks.add_numbers([found for found in placed if isinstance(found[0], Number | Boolean)])
    blocks.add_dates([found for found in placed if isinstance(found[0], Date)])
    blocks.add_categories([found for found in placed if isinstance(found[0], OneHot)], missing)
    codes = tuple(_codes(graph, column, name) for column, _, name in placed if isinstance(column, Codes))
    plain, channels = blocks.concatenated()
    if encoder.steps is None:
        return Encoded(plain, channels, codes)
    lengths = next((part.name for part in inputs if part.kind == LENGTHS), None)
    lists = [found for found in placed if isinstance(found[0], Channel)]
    return _with_lists(graph, encoder, Encoded(plain, channels, lengths=lengths), lists)


@dataclass(slots=True)
class Blocks:
    """The parts of the encoded rows, each with the channels of its last axis: float64 ``numbers``, and ``flags``."""

    graph: Graph
    steps: int | None
    numbers: list[tuple[str, list[int]]] = field(default_factory=list)
    flags: list[tuple[str, list[int]]] = field(default_factory=list)

    def add_numbers(self, placed: Sequence[Placed]) -> None:
        """Columns of numbers and booleans: scaled values, and flags of those that are missing."""
        if not placed:
            return
        scaled: list[Scale] = [column.scale if isinstance(column, Number) else BOOLEAN for column, _, _ in placed]
        order = scales.linear_first(scaled)
        placed, scaled = [placed[i] for i in order], [scaled[i] for i in order]
        values = stacked(self.graph, [name for _, _, name in placed], self.steps)
        missing = self.graph.op("IsNaN", values)
        self.numbers.append((scales.apply(self.graph, values, missing, scaled), [first for _, first, _ in placed]))
        self._add_flags(missing, placed)

    def add_dates(self, placed: Sequence[Placed]) -> None:
        """Columns of dates and times: elapsed time, cycles, and flags of those that are missing."""
        if not placed:
            return
        graph, columns = self.graph, [column for column, _, _ in placed if isinstance(column, Date)]
        raw = stacked(graph, [name for _, _, name in placed], self.steps)
        missing = graph.op("Equal", raw, graph.constant(MISSING_TIME))
        times = graph.op("Where", missing, graph.constant(0), raw)
        self._add_elapsed(times, missing, columns, [first for _, first, _ in placed])
        cycles = list(_cycle_channels(placed))
        if cycles:
            angles = calendar.angles(graph, times, [(place, cycle) for cycle, place, _ in cycles], len(columns))
            turned = graph.op("Add", angles, graph.constant(math.pi / 2))  # ONNX Runtime 1.20 has no Cos of float64
            absent = graph.take(missing, 2 * [place for _, place, _ in cycles], len(columns))
            waves = graph.op("Sin", graph.concat([angles, turned]))
            channels = [channel + offset for offset in (0, 1) for _, _, channel in cycles]
            self.numbers.append((graph.op("Where", absent, graph.constant(0.0), waves), channels))
        self._add_flags(missing, placed)

    def add_categories(self, placed: Sequence[Placed], missing: dict[str, str]) -> None:
        """One-hot columns: each has a number for all its columns that are 1 somewhere, so that one comparison with all
        these numbers makes the columns."""
        ids: list[str] = []
        channels: list[int] = []
        owners: list[int] = []
        for place, (column, first, name) in enumerate(placed):
            assert isinstance(column, OneHot)
            texts = [*column.categories, *([missing[name]] if column.flag else [])]
            numbers = range(len(channels), len(channels) + len(texts))
            ids.append(_numbered(self.graph, name, texts, numbers, len(channels) + column.width - 1))
            channels += range(first, first + column.width)
            owners += [place] * column.width
        if ids:
            each = stacked(self.graph, ids, self.steps)
            each = self.graph.take(each, owners, len(owners)) if len(ids) > 1 else each
            self.flags.append((self.graph.op("Equal", each, self.graph.constant(np.arange(len(channels)))), channels))

    def concatenated(self) -> tuple[str | None, tuple[int, ...]]:
        """All parts as float32, and their channels."""
        parts = [
            self.graph.cast(self.graph.concat([tensor for tensor, _ in part]), "FP32")
            for part in (self.numbers, self.flags)
            if part
        ]
        channels = [channel for _, found in (*self.numbers, *self.flags) for channel in found]
        return (self.graph.concat(parts) if parts else None), tuple(channels)

    def _add_elapsed(self, times: str, missing: str, columns: Sequence[Date], first: Sequence[int]) -> None:
        elapsed = [(place, column.elapsed) for place, column in enumerate(columns) if column.elapsed is not None]
        if elapsed:
            places, scaled = [place for place, _ in elapsed], [scale for _, scale in elapsed]
            order = scales.linear_first(scaled)
            places, scaled = [places[i] for i in order], [scaled[i] for i in order]
            days = calendar.days(self.graph, self.graph.take(times, places, len(columns)))
            absent = self.graph.take(missing, places, len(columns))
            part = scales.apply(self.graph, days, absent, scaled)
            self.numbers.append((part, [first[place] for place in places]))

    def _add_flags(self, missing: str, placed: Sequence[Placed]) -> None:
        """The flag is the last channel of a column."""
        flagged = [
            (place, first + column.width - 1)
            for place, (column, first, _) in enumerate(placed)
            if isinstance(column, Number | Boolean | Date) and column.flag
        ]
        if flagged:
            tensor = self.graph.take(missing, [place for place, _ in flagged], len(placed))
            self.flags.append((tensor, [channel for _, channel in flagged]))


def stacked(graph: Graph, names: Sequence[str], steps: int | None) -> str:
    """Tensors of (rows, 1) as (rows, columns), or of (rows, steps) as (rows, steps, columns)."""
    if steps is None:
        return graph.concat(names)
    if len(names) == 1:
        return graph.op("Unsqueeze", names[0], graph.constant([-1]))
    apart = graph.op("Reshape", graph.concat(names), graph.constant([0, len(names), steps]))  # -1: any
    return graph.op("Transpose", apart, perm=[0, 2, 1])


def step_mask(graph: Graph, lengths: str, steps: int | str) -> str:
    """Whether each step exists, (rows, steps); ``steps`` may be a tensor of lists, (rows, steps)."""
    if isinstance(steps, int):
        return graph.op("Less", graph.constant(np.arange(steps)), lengths)
    size = graph.op("Squeeze", graph.op("Shape", steps, start=1, end=2), graph.constant([0]))
    each = graph.op("Range", graph.constant(0), size, graph.constant(1))
    return graph.op("Less", each, lengths)


def from_features(graph: Graph, setup: Setup, features: str) -> Encoded:
    """The parts of encoded rows, float32 (rows, *setup.inputs)."""
    size, plain = setup.inputs[-1], network.plain_channels(setup)
    codes, lengths = [], None
    for embedding in setup.embeddings:
        channel = graph.constant(embedding.channel if len(setup.inputs) > 1 else [embedding.channel])
        codes.append(graph.cast(graph.op("Gather", features, channel, axis=-1), "INT64"))
    if setup.masked:
        exists = graph.op("Gather", features, graph.constant(size - 1), axis=-1)
        counted = graph.cast(graph.op("ReduceSum", exists, graph.constant([1])), "INT64")
        lengths = graph.op("Max", counted, graph.constant(1))
    return Encoded(graph.take(features, plain, size) if plain else None, tuple(plain), tuple(codes), lengths)


def _with_pixels(graph: Graph, column: Image, name: str) -> Encoded:
    """The scaled pixels of pictures."""
    order = scales.linear_first(column.scales)
    pixels = graph.take(graph.cast(name, "FP64"), order, len(order))
    scaled = scales.apply(graph, pixels, graph.op("IsNaN", pixels), [column.scales[i] for i in order])
    return Encoded(graph.cast(scaled, "FP32"), tuple(order))


def _with_lists(graph: Graph, encoder: Encoder, rows: Encoded, lists: Sequence[Placed]) -> Encoded:
    """The scaled elements of lists, beside other columns repeated on each step that exists."""
    scaled = [column.scale for column, _, _ in lists if isinstance(column, Channel)]
    is_any = encoder.longer == "read"
    order = scales.linear_first(scaled)
    values = stacked(graph, [lists[i][2] for i in order], -1 if is_any else encoder.steps or 1)
    elements = scales.apply(graph, values, graph.op("IsNaN", values), [scaled[i] for i in order])
    parts, channels = [graph.cast(elements, "FP32")], [lists[i][1] for i in order]
    if rows.lengths is not None:
        mask = step_mask(graph, rows.lengths, lists[0][2] if is_any else encoder.steps or 1)
        exists = graph.op("Unsqueeze", mask, graph.constant([-1]))
        parts = [graph.op("Where", exists, parts[0], graph.constant(0, np.float32))]
        if rows.plain is not None:
            once = graph.op("Unsqueeze", rows.plain, graph.constant([1]))
            parts.append(graph.op("Mul", once, graph.cast(exists, "FP32")))
            channels += rows.channels
    lengths = graph.op("Max", rows.lengths, graph.constant(1)) if rows.lengths and encoder.masked else None
    return Encoded(graph.concat(parts), tuple(channels), lengths=lengths)


def _cycle_channels(placed: Sequence[Placed]) -> Iterator[tuple[str, int, int]]:
    """Each cycle of each column, those of one kind together: the cycle, the column's place, and the channel of its
    sine; the cosine is behind it."""
    for cycle in CYCLES:
        for place, (column, first, _) in enumerate(placed):
            assert isinstance(column, Date)
            if cycle in column.cycles:
                yield cycle, place, first + (column.elapsed is not None) + 2 * column.cycles.index(cycle)


def _codes(graph: Graph, column: Codes, name: str) -> str:
    """The code of each value, int64 in the shape of the input."""
    return _numbered(graph, name, column.categories, range(len(column.categories)), len(column.categories))


def _numbered(graph: Graph, text: str, known: Sequence[str], numbers: Sequence[int], otherwise: int) -> str:
    """The number of each known text, int64; ``otherwise`` for all other texts."""
    keys, found = (list(known), list(numbers)) if known else ([""], [otherwise])  # an empty attribute has no type
    return graph.op("LabelEncoder", text, domain=ML, keys_strings=keys, values_int64s=found, default_int64=otherwise)
