"""Scores a model that has just been written as a server would: its files are loaded again, and the raw rows of the
dataset are predicted by the serving engine. What a training reports of its model is what the saved files score.

Rows whose file has changed or cannot be read any more are not scored, nor are sliding windows of a table that is too
large for memory; the metrics are then those that the training has measured, and ``verified`` is false.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from epochd.core.arrays import FloatArray, IntArray
from epochd.core.errors import ModelDiffers
from epochd.data.encoding.encoder import Encoder
from epochd.data.encoding.values import Float64
from epochd.data.prepare import Prepared
from epochd.data.splitting import sliding_windows, sort_keys
from epochd.data.tables import pictures
from epochd.data.tables.catalog import Catalog
from epochd.data.tables.table import BATCH_ROWS, Table, rows_in_batch, select_rows
from epochd.loop import metrics
from epochd.serving.predictor import Predictor

RELATIVE, RELATIVE_ROUGH = 1e-3, 5e-2
"""Allowed relative differences: of float32 on a CPU, and of GPUs and mixed precision, which round more."""
ABSOLUTE = 1e-6
ROWS_AT_LIMIT = 2
"""Rows whose prediction may change with the last bits of an output."""
COMPARED = ("loss", "accuracy", "brier", "r2", "mae", "rmse")
FROM_LOGARITHMS = ("loss", "log_loss")
TINY = float(np.finfo(np.float64).tiny)
"""Smaller probabilities have no logarithm in float64."""
Scored = Iterator[tuple[Float64, FloatArray | IntArray]]
"""Scores (rows, classes or 1) and encoded targets (rows,) of rows that were predicted together."""


@dataclass(frozen=True, slots=True)
class RawRows:
    """Where the raw rows of a training are, and how many bytes of them may be held in memory."""

    catalog: Catalog
    prepared: Prepared
    limit: int


def verified_metrics(
    folder: Path, rows: RawRows, measured: Mapping[str, Any], *, is_rough: bool = False
) -> dict[str, Any]:
    """The final metrics that a training has ``measured``, with those that the model in ``folder`` has on the validation
    and test rows, on the training rows if there are none; and ``verified``. The validation rows of folds are not
    predicted by the model as a whole. ``is_rough`` allows the differences of GPUs and mixed precision.

    Raises ModelDiffers if a metric differs more than rounding explains, DataError if the rows cannot be read.
    """
    predictor = Predictor.load(folder, verify=False)
    found = dict(measured)
    held_out = ("test",) if predictor.setup.spec.folds is not None else ("validation", "test")
    for side in [side for side in held_out if side in measured] or ["train"]:
        scores = served_metrics(predictor, rows, side, measured)
        if scores is None:
            return {**measured, "verified": False}
        check(side, measured[side], scores, RELATIVE_ROUGH if is_rough else RELATIVE)
        found[side] = scores
    return {**found, "verified": True}


def served_metrics(
    predictor: Predictor, rows: RawRows, side: str, measured: Mapping[str, Any]
) -> dict[str, Any] | None:
    """All metrics of a side by the serving engine; None for windows of a table that is too large for memory."""
    encoder, spec = predictor.encoder, predictor.setup.spec
    separate = side == "validation" and spec.validation_dataset is not None
    dataset = spec.validation_dataset if separate else spec.dataset
    opened = pictures.opened(rows.catalog, spec, dataset, encoder.feature_names)
    source = opened.following(encoder.readings, encoder.kinds)
    names = [*encoder.feature_names, encoder.target_column, *predictor.ordering]
    dataset = getattr(rows.prepared, side)

    def scored(lazy: pl.LazyFrame) -> dict[str, Any] | None:
        table = Table.of(lazy.select(cs.by_name(list(dict.fromkeys(names)))), rows.limit, pictures.of(source))
        if predictor.forecasts and table.frame is None:
            return None
        tally = metrics.tally(
            predictor.task,
            dataset.y,
            weights=dataset.weights,
            units=encoder.target_units,
            threshold=measured.get("decision_threshold", 0.5),
            horizons=spec.horizons,
        )
        is_saturated = False
        for scores, target in _scores(predictor, table, rows.prepared.rows[side]):
            is_saturated |= has_lost_outputs(scores, encoder)
            part = slice(tally.rows, tally.rows + len(target))
            tally.add(raw_outputs(scores, encoder), target, None if dataset.weights is None else dataset.weights[part])
        kept = FROM_LOGARITHMS if is_saturated else ()
        found = metrics.described(tally, encoder.classes)
        return found | {name: measured[side][name] for name in kept if name in measured[side]}

    return source.apply(scored)


def check(side: str, measured: Mapping[str, Any], served: Mapping[str, Any], relative: float = RELATIVE) -> None:
    """Raise ModelDiffers if the saved model scores otherwise than the training has measured."""
    for name in ("rows", *COMPARED):
        first, second = measured.get(name), served.get(name)
        if first is None or second is None:
            continue
        size = max(abs(first), abs(second), 1.0 if name == "r2" else 0.0)
        allowed = ROWS_AT_LIMIT / served["rows"] if name == "accuracy" else ABSOLUTE
        if abs(first - second) > allowed + relative * size * (name != "rows"):
            raise ModelDiffers(
                f"the saved model does not score as the trained one: {name} on the {side} rows was {first:.6g} in the "
                f"training and is {second:.6g} with the saved files. No model was saved; the checkpoint with the "
                "weights is kept. Retry the task to save the model again, and if that fails, report a bug of epochd"
            )


def has_lost_outputs(scores: Float64, encoder: Encoder) -> bool:
    """Whether the raw outputs of some scores cannot be computed again, so that their loss is not known."""
    return encoder.target_units.is_bounded(scores) if encoder.classes is None else bool((scores < TINY).any())


def raw_outputs(scores: Float64, encoder: Encoder) -> Float64:
    """Logits or standardised values, (rows, outputs), of probabilities or values in the unit of the target."""
    if encoder.classes is None:
        return encoder.target_units.standardised(scores)
    logarithms: Float64 = np.log(np.maximum(scores, TINY))
    return logarithms[:, 1:] - logarithms[:, :1] if encoder.task == "binary" else logarithms


def _scores(predictor: Predictor, table: Table, chosen: IntArray) -> Scored:
    if predictor.forecasts and table.frame is not None:
        yield from _scores_of_windows(predictor, table.frame, chosen)
        return
    encoder = predictor.encoder
    for first, frame in table.batches([*encoder.feature_names, encoder.target_column]):
        part = chosen[rows_in_batch(chosen, first, frame.height)] - first
        if len(part):
            raw = select_rows(frame, part)
            yield predictor.scorer.score(raw), encoder.target(raw)


def _scores_of_windows(predictor: Predictor, frame: pl.DataFrame, chosen: IntArray) -> Scored:
    """Each of the ``chosen`` rows by the window that ends the largest horizon before it."""
    spec = predictor.setup.spec
    assert spec.time_column is not None
    assert spec.sequence_length is not None
    groups = None if spec.group_column is None else sort_keys.GroupNumbers()(frame.get_column(spec.group_column))
    order = sliding_windows.order(sort_keys.time_keys(frame.get_column(spec.time_column)), groups)
    ends = sliding_windows.inverse_order(order)[chosen] - spec.furthest
    for first in range(0, len(chosen), BATCH_ROWS):
        part = slice(first, first + BATCH_ROWS)
        index = order[ends[part][:, None] + np.arange(1 - spec.sequence_length, 1 + predictor.encoder.reach)]
        rows = sliding_windows.target_rows(spec, order, ends[part] + 1 - spec.sequence_length)
        target = predictor.encoder.target(frame[rows.reshape(-1)]).reshape(rows.shape)
        yield predictor.scorer.score_windows(frame, index), target
