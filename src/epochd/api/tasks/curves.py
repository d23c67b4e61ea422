"""The curves of a training as a chart draws them: all that has happened, in no more points than it has room for.

A long history is divided into buckets of equally many epochs. Each metric keeps the minimum and the maximum of a
bucket, in their order, so that no peak disappears.
"""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from fastapi import Query
from pydantic_core import from_json

from epochd.api.deps import ServiceDep
from epochd.api.responses import ErrorShape
from epochd.api.tasks.responses import CurvesOf, PastEvent
from epochd.api.tasks.routing import training_router
from epochd.store import events, jobs

router = training_router()

TIME = "time_per_epoch"


@router.get(
    "/curves/{task_id}",
    operation_id="get_curves",
    summary="Get the curves of a training for a chart",
    responses={404: {"model": ErrorShape, "description": "No such task"}},
)
async def curves(
    task_id: str,
    service: ServiceDep,
    points: Annotated[int, Query(ge=10, le=20_000, description="The largest number of rows.")] = 2_000,
    first: Annotated[int, Query(ge=1, le=2**31, description="The first epoch.")] = 1,
    last: Annotated[int | None, Query(ge=1, le=2**31, description="The last epoch. Default: the newest one.")] = None,
) -> CurvesOf:
    """The history in at most `points` rows, and every event but progress and checkpoints. If there are more epochs,
    `bucket` epochs become two rows, with the minimum and the maximum of each metric in the order of their epochs.
    A stream that follows the task from `last_seq` continues the curves.
    """
    job = await jobs.get(service.db, task_id)
    end = job.current_epoch if last is None else min(last, job.current_epoch)
    thinner = Thinner(first, end, points)
    async for texts in events.history(service.db, job):
        await asyncio.to_thread(thinner.add, texts)
    past = await events.without_progress(service.db, job)
    return CurvesOf(
        task_id=job.id,
        rows=thinner.finished(),
        bucket=thinner.bucket,
        missing=thinner.missing,
        first=first,
        last=max(end, first - 1),
        total_epochs=job.training.epochs,
        best_epoch=(job.best_metrics or {}).get("epoch"),
        events=[
            PastEvent(seq=event.seq, epoch=epoch, event={"type": event.type, "task_id": job.id, **event.payload})
            for event, epoch in past
        ],
        last_seq=job.last_seq,
    )


@dataclass
class Thinner:
    """Reduces the rows of the epochs ``first`` to ``last`` to at most ``points``."""

    first: int
    last: int
    points: int
    missing: dict[str, list[int]] = field(default_factory=dict)
    """Metric → the first epochs of the buckets in which it has values and lacks some."""

    def __post_init__(self) -> None:
        epochs = self.last - self.first + 1
        # Two rows for each bucket; the first and the last one may be incomplete.
        self.bucket = 1 if epochs <= self.points else -(-2 * epochs // (self.points - 4))
        self._elapsed = 0.0
        self._rows: list[dict[str, Any]] = []
        self._open: list[dict[str, Any]] = []

    def add(self, texts: Sequence[str]) -> None:
        """Add rows, each as JSON, in the order of epochs."""
        for text in texts:
            row = from_json(text)
            self._elapsed += row.get(TIME) or 0.0
            if not self.first <= row["epoch"] <= self.last:
                continue
            row["elapsed_seconds"] = round(self._elapsed, 6)
            if self._open and self._index(row) != self._index(self._open[0]):
                self._close()
            self._open.append(row)

    def finished(self) -> list[dict[str, Any]]:
        """All rows."""
        self._close()
        return self._rows

    def _index(self, row: dict[str, Any]) -> int:
        return int(row["epoch"] - 1) // self.bucket

    def _close(self) -> None:
        if len(self._open) > 1:
            self._rows.extend(self._extremes())
        else:
            self._rows.extend(self._open)
        self._open = []

    def _extremes(self) -> Iterator[dict[str, Any]]:
        """The two rows of the open bucket."""
        ends = self._open[0], self._open[-1]
        found = tuple({name: row[name] for name in ("epoch", "elapsed_seconds")} for row in ends)
        for name in dict.fromkeys(name for row in self._open for name in row if name not in found[0]):
            values = [row[name] for row in self._open if row.get(name) is not None]
            if 0 < len(values) < len(self._open):
                self.missing.setdefault(name, []).append(ends[0]["epoch"])
            low, high = (min(values), max(values)) if values else (None, None)
            is_rising = not values or values.index(low) <= values.index(high)
            for row, value in zip(found, (low, high) if is_rising else (high, low), strict=True):
                row[name] = value
        yield from found
