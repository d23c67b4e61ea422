"""Saved models without a training: real data, a fitted encoder, and the network with its initial weights."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from epochd.artifact import pack
from epochd.core import specs
from epochd.core.arrays import FloatArray
from epochd.core.specs import TrainingSpec
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import Prepared, prepare
from epochd.data.tables.catalog import Catalog
from epochd.engines import network, reference
from epochd.engines.requirements import Workload
from epochd.loop import averaging, metrics
from epochd.loop.engine import Setup
from epochd.loop.history import history_row
from epochd.loop.state import LoopState
from epochd.onnx_graph import model as onnx_model
from epochd.onnx_graph.inputs import ONNX

TASK_ID = "epoch_training_20260101_000000_abcdef"
EPOCHS = 3
ROWS = 64
"""Validation rows that are scored."""


@dataclass(frozen=True, slots=True)
class Untrained:
    """A model folder, and the features of some validation rows with the raw outputs of the network for them."""

    folder: Path
    features: FloatArray
    outputs: FloatArray


def save_untrained(folder: Path, data: str | pl.DataFrame, *, graph: bool = False, **options: Any) -> Untrained:
    """Save the model of a built-in dataset or a table in a folder that is named after its task id; its history has
    three equal epochs. Only with ``graph`` has it an ONNX graph."""
    roots = []
    if isinstance(data, pl.DataFrame):
        folder.mkdir(parents=True, exist_ok=True)
        data.write_parquet(folder / "rows.parquet")
        data, roots = "rows.parquet", [folder]
    spec = specs.parse({"dataset": data, "target_column": "target", "epochs": EPOCHS} | options)
    prepared = prepare(spec, Catalog(roots))
    setup = network_of(spec, prepared)
    each = [replace(setup, spec=spec.model_copy(update={"seed": spec.seed + i})) for i in range(spec.members)]
    weights = averaging.joined([network.initial_weights(one) for one in each])
    assert prepared.validation is not None
    part = first_examples(prepared.validation.shaped(setup.inputs))
    if setup.masked:
        part.x[-1] = 0  # a row of padding only, as engines fill up batches
    encoder = prepared.encoder
    outputs = reference.model_outputs(setup, weights, part.x, encoder.target_units)
    scores = metrics.evaluation(outputs, part.y, prepared.task, units=encoder.target_units)
    scores.pop("rows")
    history = [history_row(epoch, scores, scores, prepared.task, 0.01, 2.0) for epoch in range(1, EPOCHS + 1)]
    state = LoopState(0.01, epoch=EPOCHS, best_epoch=2, history=history, best_weights=dict(weights))
    facts = {"framework": "none", "fingerprint": prepared.fingerprint, "dataset": data}
    about = pack.describe(TASK_ID, setup, prepared.encoder, state, {"validation": scores}, facts)
    exported = onnx_model.export(setup, encoder, weights) if graph else None
    if exported is not None:
        about["onnx"] = exported.about
    pack.pack(folder / TASK_ID, about, state, prepared.rows, others={ONNX: exported.file if exported else None})
    return Untrained(folder / TASK_ID, part.x, outputs)


def network_of(spec: TrainingSpec, prepared: Prepared) -> Setup:
    """The network over the prepared rows, as a worker builds it."""
    encoder, train = prepared.encoder, prepared.train
    shape = train.x.shape[1:] if isinstance(train, InMemoryDataset) else train.shape
    workload = Workload(prepared.task, shape, len(train), encoder.classes, encoder.embedded, encoder.masked)
    return workload.setup(spec, network.input_shape(spec, shape))


def first_examples(part: InMemoryDataset | MemmapDataset) -> InMemoryDataset:
    """The first examples of a part, in memory."""
    if isinstance(part, MemmapDataset):
        return next(part.slices(ROWS))
    return InMemoryDataset(part.x[:ROWS], part.y[:ROWS])
