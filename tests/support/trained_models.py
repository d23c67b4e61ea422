"""Models of three kinds, really trained on a server's data directory, and the server that has them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import polars as pl

from epochd.api.app import create_app
from epochd.core.events import ReportKind
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.data.tables.catalog import open_dataset
from epochd.worker.execute import execute
from tests.support.executors import FakeExecutor
from tests.support.house import House
from tests.support.reporters import RecordingReporter

BREAST = {"dataset": "breast_cancer", "target_column": "target", "output_path": "/models/breast/eu"}
MIXED = {"dataset": "mixed.parquet", "target_column": "y", "output_path": "/models/mixed", "embedding_threshold": 8}
SERIES = {
    "dataset": "series.parquet",
    "target_column": "value",
    "feature_columns": ["value"],
    "time_column": "day",
    "group_column": "shop",
    "sequence_length": 4,
    "horizon": 2,
    "model_type": "gru",
    "output_path": "/models/series",
}


@dataclass(frozen=True)
class Store:
    """A data directory, and the ids of the tasks that have trained its models."""

    folder: Path
    breast: tuple[str, str]
    mixed: str
    series: str


def breast(rows: int = 4) -> pl.DataFrame:
    return open_dataset("breast_cancer", []).read().drop("target").head(rows)


def mixed() -> pl.DataFrame:
    """Text of digits, booleans, dates, numbers with gaps, of cases of the dataset breast_cancer."""
    found = open_dataset("breast_cancer", []).read().head(200)
    size = pl.col("mean radius")
    return found.select(
        pl.when(size > 14).then(pl.lit("01")).otherwise(pl.lit("02")).alias("code"),
        (size > 15).alias("large"),
        (pl.date(2024, 1, 1) + pl.duration(days=size.cast(pl.Int64))).alias("day"),
        pl.when(size < 20).then("mean texture").alias("texture"),
        pl.when(pl.col("target") == 1).then(pl.lit("benign")).otherwise(pl.lit("malignant")).alias("y"),
    )


def series(days: int = 40) -> pl.DataFrame:
    """Sales of two shops, a row per day."""
    values = open_dataset("diabetes", []).read()["target"]
    shops = [("north", values.head(days)), ("south", values.slice(days, days))]
    return pl.concat(
        pl.DataFrame({"shop": shop, "value": found}).with_columns(
            (pl.date(2024, 1, 1) + pl.duration(days=pl.int_range(pl.len()))).alias("day")
        )
        for shop, found in shops
    )


async def train(house: House, **config: Any) -> str:
    """A task whose model is really trained, in this process; its id."""
    task_id = await house.start(**{"epochs": 2, "hidden_units": [8], "framework": "pytorch"} | config)
    worker = await (await house.worker()).begin()
    reporter, ticket = RecordingReporter(), worker.ticket
    assert isinstance(ticket, Ticket)
    await asyncio.to_thread(execute, ticket, reporter)
    kind, payload = reporter.reports[-1]
    assert kind is ReportKind.COMPLETED
    await worker.report(kind, **payload)
    await worker.end()
    return task_id


@asynccontextmanager
async def opened(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """A server on this data directory, whose workers the test plays."""
    executor = FakeExecutor()
    app = create_app(Settings(data_dir=folder, slots=1, **settings), executor=executor)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as http:
            yield House(app, executor, http)


async def build(folder: Path) -> Store:
    """Train all models in a new data directory."""
    (folder / "datasets").mkdir(parents=True)
    mixed().write_parquet(folder / "datasets" / "mixed.parquet")
    series().write_parquet(folder / "datasets" / "series.parquet")
    async with opened(folder) as house:
        older, newer = [await train(house, **BREAST, seed=seed) for seed in (1, 2)]
        return Store(folder, (older, newer), await train(house, **MIXED), await train(house, **SERIES))
