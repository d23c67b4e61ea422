"""The report that is saved with a model. A training does not fail because of its report: what goes wrong is a warning.

The page is drawn from these values later, when no ticket waits (``worker.__main__``). The modules that compute them are
imported when the first report is written, so that a training that has none need not wait.
"""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import polars as pl

from epochd.core.arrays import FloatArray
from epochd.core.events import ReportKind
from epochd.core.tickets import Ticket
from epochd.data.feed.dataset import InMemoryDataset, MemmapDataset
from epochd.data.prepare import Prepared
from epochd.data.tables.catalog import Catalog
from epochd.engines import network
from epochd.loop.engine import Setup
from epochd.loop.state import LoopState
from epochd.report import drawing, language, values
from epochd.report.values import Mark, Metrics, ReportData, Usage, Warned

logger = logging.getLogger(__name__)

MOST_SECONDS, LEAST_SECONDS, SHARE = 10.0, 1.0, 0.2
"""The time for repeated predictions: a share of the training's, within these bounds."""
MAX_WINDOWS = 2_000_000
"""Windows whose times and groups are read again, at most."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A training that has ended, with its best weights in the engine, whose ``outputs`` these are. ``parts`` are in the
    shape of the network's inputs. ``about`` is the content of ``model.json``, ``marks`` are as in ``JobSink``.
    ``out_of_fold`` are the raw outputs for the training rows by networks that have not trained on them, if there are
    folds: the validation rows are the training rows then."""

    ticket: Ticket
    prepared: Prepared
    setup: Setup
    outputs: Callable[[FloatArray], FloatArray]
    parts: Mapping[str, InMemoryDataset | MemmapDataset | None]
    state: LoopState
    about: dict[str, Any]
    marks: Sequence[Mapping[str, Any]]
    warnings: Sequence[str]
    out_of_fold: FloatArray | None = None


def write(finished: Finished, emit: Callable[[ReportKind, dict[str, Any]], None]) -> dict[str, str]:
    """The report's values and what its page is drawn from (``drawing.draw``), by the names of their files; none if
    reports are switched off, or after a warning in the task's log if it fails."""
    if not finished.ticket.report:
        return {}
    try:
        data = report_data(finished)
        return {language.VALUES: values.as_json(data), language.PAGE_DATA: drawing.page_data(data)}
    except Exception as error:
        logger.exception("the report could not be written")
        reason = f"{type(error).__name__}: {error}".strip().split("\n", 1)[0][:300]
        message = f"the model is saved without a report, which could not be written: {reason}"
        emit(ReportKind.LOG, {"level": "warning", "message": message})
        return {}


def report_data(finished: Finished) -> ReportData:
    """All that the report contains."""
    from epochd.report import assemble, comparison

    finished = of_one_horizon(finished)
    ticket, prepared, about, history = finished.ticket, finished.prepared, finished.about, finished.state.history
    threshold = about.get("decision_threshold") if prepared.task == "binary" else None
    trained = assemble.Trained(
        finished.outputs,
        ticket.spec,
        prepared.task,
        prepared.encoder,
        finished.setup.inputs,
        example_shape(prepared),
        {name: dataset for name, dataset in finished.parts.items() if dataset is not None and len(dataset)},
        prepared.rows if finished.out_of_fold is None else prepared.rows | {"validation": prepared.rows["train"]},
        threshold,
        seconds_to_measure(history),
        lambda part: window_order(ticket, prepared, part),
        {} if finished.out_of_fold is None else {"validation": finished.out_of_fold},
    )
    metrics, final = metrics_of(about), about.get("metrics", {})
    baselines = final.get("baselines", {})
    main_metric = final.get("main_metric", "loss")
    marks = [Mark(**mark) for mark in finished.marks]
    parts = [assemble.part(trained, name) for name in trained.shown_parts]
    usage = Usage(ticket.server_url, ticket.spec.artifact_folder, ticket.task_id, assemble.usage_rows(trained))
    fields = type(ticket.spec).model_fields.items()
    return ReportData(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        about={name: value for name, value in about.items() if name != "encoder"},
        labels=trained.labels,
        history=history,
        marks=marks,
        watched=ticket.spec.watched,
        metrics=metrics,
        baseline=baselines,
        decision_threshold=0.5 if threshold is None and prepared.task == "binary" else threshold,
        parts=parts,
        importances=assemble.measured(trained) if _has_importances(prepared) else None,
        profile=assemble.profile(trained),
        usage=usage,
        warnings=[
            *plain_warnings(finished),
            *comparison.warnings(about, main_metric, metrics, baselines, parts, marks),
        ],
        defaults={name: field.get_default() for name, field in fields if not field.is_required()},
        summary={"parameters": network.model_parameters(finished.setup)},
    )


def of_one_horizon(finished: Finished) -> Finished:
    """The training as one of its largest horizon, which is what the figures of a report show of several."""
    if not finished.prepared.encoder.horizons:
        return finished
    encoder = replace(finished.prepared.encoder, horizons=())
    parts = {name: None if part is None else replace(part, y=part.y[:, -1]) for name, part in finished.parts.items()}
    return replace(
        finished,
        prepared=replace(finished.prepared, encoder=encoder),
        outputs=lambda x: finished.outputs(x)[:, -1:],
        parts=parts,
    )


def _has_importances(prepared: Prepared) -> bool:
    """Whether there are columns to compare with each other: a column of pictures is all that a model knows."""
    return len(prepared.encoder.columns) > 0 and prepared.encoder.image is None


def seconds_to_measure(history: Sequence[Mapping[str, Any]]) -> float:
    """The time for importances."""
    trained = sum(row.get("time_per_epoch") or 0.0 for row in history)
    return min(MOST_SECONDS, max(LEAST_SECONDS, SHARE * trained))


def example_shape(prepared: Prepared) -> tuple[int, ...]:
    """The shape of an encoded example; its last axis are the channels of the encoder."""
    train = prepared.train
    return train.x.shape[1:] if isinstance(train, InMemoryDataset) else train.shape


def metrics_of(about: Mapping[str, Any]) -> dict[str, Metrics]:
    """The metrics of each part in ``model.json``, held-out ones first."""
    known = about.get("metrics", {})
    return {part: known[part] for part in ("validation", "test", "train") if part in known}


def plain_warnings(finished: Finished) -> Iterator[Warned]:
    """The warnings of the server and of the worker, each once."""
    for message in dict.fromkeys([*finished.ticket.warnings, *finished.warnings]):
        yield Warned("plain", {"text": message})


def window_order(ticket: Ticket, prepared: Prepared, part: str) -> Any:
    """The time and the group of each window's target, read from the dataset; None for other examples than windows."""
    from epochd.report.assemble import Order

    spec = ticket.spec
    if spec.sequence_length is None or spec.time_column is None or sum(map(len, prepared.rows.values())) > MAX_WINDOWS:
        return None
    is_other = part == "validation" and spec.validation_dataset is not None
    catalog = Catalog.of_ticket(ticket)
    source = catalog.validation_of(spec) if is_other else catalog.of(spec)
    names = [name for name in (spec.time_column, spec.group_column) if name is not None]
    table: pl.DataFrame = source.apply(lambda lazy: lazy.select(names).collect())
    chosen = table[prepared.rows[part]]
    return Order(chosen[spec.time_column], None if spec.group_column is None else chosen[spec.group_column])
