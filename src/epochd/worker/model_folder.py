"""Saves the model of a finished training: the files are written, loaded again and scored as a server would score them,
and only then become the model's folder, with a report of these scores."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl

from epochd.artifact import files, pack
from epochd.core.errors import DataError
from epochd.core.events import ReportKind
from epochd.data.encoding.encoder import PREDICTION
from epochd.data.encoding.labels import label_column
from epochd.data.tables.catalog import Catalog
from epochd.onnx_graph import model as onnx_model
from epochd.onnx_graph.inputs import ONNX
from epochd.worker import model_report, verification
from epochd.worker.model_report import Finished

Emit = Callable[[ReportKind, dict[str, Any]], None]


def save(finished: Finished, emit: Emit, confirm: Callable[[], None], *, is_unchanged: Callable[[], bool]) -> None:
    """Write the model's folder and point ``latest`` to it; the ``metrics`` in ``about`` become those of its files.

    ``confirm`` is called last: a stale attempt must not overwrite the model of a newer one. ``is_unchanged`` tells
    whether the data still are those of the training. Raises what ``pack.saving`` raises, ModelDiffers, and what
    ``confirm`` raises; nothing is left then.
    """
    ticket, about, state = finished.ticket, finished.about, finished.state
    threshold = about["decision_threshold"] or 0.5
    exported = onnx_model.export(finished.setup, finished.prepared.encoder, state.best_weights, threshold)
    about["onnx"] = exported.about
    if exported.warning is not None:
        _warn(emit, exported.warning)
    separate = ticket.spec.validation_dataset is not None
    rows = {name: found for name, found in finished.prepared.rows.items() if not (separate and name == "validation")}
    shared = ticket.artifacts_dir if ticket.group_readable else None
    needed = sum(weights.nbytes for weights in state.best_weights.values()) + len(exported.file or b"")
    with pack.saving(ticket.artifact_dir, shared=shared, needed=needed) as path:
        pack.write(path, about, state, rows, {ONNX: exported.file, pack.OUT_OF_FOLD: _out_of_fold(finished)})
        about["metrics"] |= _verified(finished, path, emit, is_unchanged)
        files.write_json(path / "model.json", about)
        for name, content in model_report.write(finished, emit).items():
            (path / name).write_text(content, encoding="utf-8")
        confirm()


def _out_of_fold(finished: Finished) -> bytes | None:
    """The out-of-fold predictions as a Parquet file, one line for each training row; None without folds."""
    prepared, outputs = finished.prepared, finished.out_of_fold
    folds, encoder = prepared.folds, prepared.encoder
    if folds is None or outputs is None:
        return None
    found = encoder.decode(outputs, finished.about["decision_threshold"] or 0.5)
    targets = folds.targets.tolist()
    if encoder.classes is not None:
        targets = [encoder.classes[code] for code in targets]
    columns = {"row": prepared.rows["train"], "fold": folds.number + 1}
    columns |= {
        name: label_column(name, labels, encoder.classes)
        for name, labels in (("target", targets), (PREDICTION, found.labels))
    }
    if found.probabilities is not None:
        columns |= {
            f"probability_{label}": p for label, p in zip(encoder.classes or (), found.probabilities.T, strict=True)
        }
    content = BytesIO()
    pl.DataFrame(columns).write_parquet(content, compression="zstd")
    return content.getvalue()


def _verified(finished: Finished, path: Path, emit: Emit, is_unchanged: Callable[[], bool]) -> dict[str, Any]:
    """The metrics of the files; those of the training, after a warning, if its data cannot be read again."""
    ticket, measured = finished.ticket, finished.about["metrics"]
    is_rough = ticket.spec.mixed_precision or bool(ticket.gpus)
    catalog = Catalog.of_ticket(ticket)
    rows = verification.RawRows(catalog, finished.prepared, ticket.resident_mb * 2**20)
    try:
        if is_unchanged():
            return verification.verified_metrics(path, rows, measured, is_rough=is_rough)
        reason = "its dataset has changed since the training began"
    except DataError as error:
        reason = f"its dataset cannot be read any more: {error.message}"
    _warn(emit, f"the saved model was not scored again, because {reason}")
    return {**measured, "verified": False}


def _warn(emit: Emit, message: str) -> None:
    emit(ReportKind.LOG, {"level": "warning", "message": message})
