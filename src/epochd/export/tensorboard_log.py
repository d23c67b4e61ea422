"""The history of a training as TensorBoard event files.

``train`` and ``validation`` are runs of their own with the same tags, so that TensorBoard draws both curves of a metric
in one chart. The folder above them has the config, as text and for the HParams tab. Events are made by TensorBoard's
own functions and record writer, which need no TensorFlow.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from epochd.export.packages import require
from epochd.export.saved_model import Row, SavedModel

SIDES = {"train_": "train", "val_": "validation"}
"""Prefixes of metrics in the history, and the runs that they belong to. All other columns belong to ``train``."""
VERSION = "brain.Event:2"
"""The content of the first event of every file."""


def write(saved: SavedModel, folder: Path) -> None:
    """Write the event files. Raises FrameworkMissing without TensorBoard."""
    start = saved.started_at
    write_events(folder, [(start, 0, summary) for summary in config_summaries(saved, start)])
    runs: dict[str, list[tuple[float, int, Any]]] = {}
    for row, end in zip(saved.history, saved.epoch_ends(), strict=True):
        for run, metrics in by_run(row).items():
            runs.setdefault(run, []).append((end, int(row["epoch"]), scalars(metrics)))
    for run, events in runs.items():
        write_events(folder / run, events)


def by_run(row: Row) -> dict[str, Row]:
    """The metrics of an epoch by run, without their prefixes."""
    found: dict[str, Row] = {}
    for name, value in row.items():
        if name != "epoch":
            prefix = next((prefix for prefix in SIDES if name.startswith(prefix)), "")
            found.setdefault(SIDES.get(prefix, "train"), {})[name.removeprefix(prefix)] = value
    return found


def scalars(metrics: Row) -> Any:
    """A summary of metrics in the form that all readers of event files know."""
    summary = require("tensorboard.compat.proto.summary_pb2", "tensorboard").Summary
    return summary(value=[summary.Value(tag=tag, simple_value=value) for tag, value in metrics.items()])


def config_summaries(saved: SavedModel, start: float) -> Iterator[Any]:
    """Summaries of the config: as text, and as hyperparameters with the metrics to compare them by."""
    text = require("tensorboard.plugins.text.summary_v2", "tensorboard")
    hparams = require("tensorboard.plugins.hparams.summary_v2", "tensorboard")
    task_id, options = str(saved.about["task_id"]), {name: _value(of) for name, of in saved.options.items()}
    about = json.dumps({"task_id": task_id} | saved.options, indent=1, ensure_ascii=False)
    yield text.text_pb("config", "\n".join(f"    {line}" for line in about.splitlines()))
    metrics = [
        hparams.Metric(tag, group=run, display_name=f"{run} {tag}")
        for run, found in by_run(saved.history[-1]).items()
        for tag in found
    ]
    columns = [hparams.HParam(name) for name in options]
    yield hparams.hparams_config_pb(columns, metrics, time_created_secs=start)
    yield hparams.hparams_pb(options, trial_id=task_id, start_time_secs=start)


def _value(option: Any) -> Any:
    """A hyperparameter's value: lists and objects as JSON text."""
    return option if isinstance(option, bool | int | float | str) else json.dumps(option, ensure_ascii=False)


def write_events(folder: Path, events: Sequence[tuple[float, int, Any]]) -> None:
    """Write one file of (seconds since 1970, step, summary); TensorBoard recognises it by its name."""
    event = require("tensorboard.compat.proto.event_pb2", "tensorboard").Event
    records = require("tensorboard.summary.writer.record_writer", "tensorboard")
    folder.mkdir(exist_ok=True)
    first = events[0][0]
    with (folder / f"events.out.tfevents.{int(first):010d}.epochd").open("wb") as file:
        writer = records.RecordWriter(file)
        writer.write(event(wall_time=first, file_version=VERSION).SerializeToString())
        for time, step, summary in events:
            writer.write(event(wall_time=time, step=step, summary=summary).SerializeToString())
