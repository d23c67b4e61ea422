"""The latency of each route under load: many streams, a long queue and a long history.

Run it with ``make soak``. It fills a data directory with tasks, of which one has a very long history, starts a real
server on it, queues trainings, opens streams that are read, streams that nobody reads and connections whose request
never ends, and then requests each route in turns. It prints the median and the 99th percentile of each in milliseconds,
and the server's memory. The exit code is 1 if a percentile is above the limit.
"""

import argparse
import asyncio
import socket
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import httpx
import psutil
from latency import server
from sqlalchemy import insert, select

from epochd.core.events import Event, Type
from epochd.core.settings import Settings
from epochd.core.specs import TrainingSpec
from epochd.store import jobs, tables
from epochd.store.db import Database

MAX_P99_MS = 150.0
PREFIX = "/api/v1/epoch-training"
CONFIG: dict[str, Any] = {"dataset": "breast_cancer", "target_column": "target", "hidden_units": [8]}
ENDLESS = CONFIG | {"epochs": 100_000, "early_stopping_patience": None}
RUNNING = ENDLESS | {"hidden_units": [512, 512], "batch_size": 8}
"""Takes a processor, and about thirty milliseconds for an epoch."""
NOISE = [(n * 7919 % 1013) / 101_300 for n in range(1013)]
WARM_SECONDS = 10.0
"""How long the streams have to receive what has happened before they were opened."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (
        ("tasks", 10_000),
        ("epochs", 100_000),
        ("queued", 500),
        ("streams", 1_000),
        ("unread", 50),
        ("slow", 200),
    ):
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--rounds", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        [long] = asyncio.run(fill(data, options.tasks, options.epochs))
        with server(Path(__file__).parents[1] / "src", data) as url:
            sys.exit(asyncio.run(measure(url, long, options)))


async def fill(data: Path, tasks: int, epochs: int, long: int = 1) -> list[str]:
    """Store stopped tasks, the first ``long`` with a history of ``epochs``; their ids."""
    db = Database(Settings(data_dir=data).database)
    await db.open()
    stopped = await jobs.submit(db, TrainingSpec(name="soak", target_column="target", epochs=epochs))
    await jobs.stop(db, stopped.id)
    async with db.write() as transaction:
        query = select(tables.jobs).where(tables.jobs.c.id == stopped.id)
        row = dict((await transaction.connection.execute(query)).one()._mapping)
        copies = [row | {"id": f"epoch_training_20260101_{n:06}_{n:06x}", "created_at": float(n)} for n in range(tasks)]
        for copy in copies[:long]:
            copy |= {"current_epoch": epochs, "last_seq": epochs}
        await transaction.connection.execute(insert(tables.jobs), copies)
        for copy in copies[:long]:
            await transaction.append([progress(copy["id"], epoch, epochs) for epoch in range(1, epochs + 1)])
    await db.close()
    return [str(copy["id"]) for copy in copies[:long]]


def progress(task_id: str, epoch: int, epochs: int) -> Event:
    """The event of one epoch, as the store writes it."""
    names = "train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate", "time_per_epoch"
    shown = {
        "current_epoch": epoch,
        "total_epochs": epochs,
        "training_state": "running",
        "latest_metrics": {"epoch": epoch} | {name: 0.123456789 / epoch + NOISE[epoch % len(NOISE)] for name in names},
        "best_metrics": {"loss": 0.1, "accuracy": 0.9, "epoch": epoch},
    }
    return Event(task_id, epoch, 1, Type.PROGRESS, {"progress": shown}, float(epoch))


async def measure(url: str, long: str, options: argparse.Namespace) -> int:
    """Apply the load, measure all routes, and return the exit code."""
    limits = httpx.Limits(max_connections=None)
    with ExitStack() as stack:
        async with httpx.AsyncClient(base_url=url + PREFIX, timeout=60, limits=limits, trust_env=False) as client:
            running = await start(client, RUNNING)
            for _ in range(options.queued):
                await start(client, ENDLESS)
            for _ in range(options.unread):
                stack.enter_context(unread(url, f"{PREFIX}/stream-progress/{long}"))
            received = [0] * options.streams
            path = f"{PREFIX}/stream-progress/{running}"
            reading = [asyncio.create_task(read(url, path, received, i)) for i in range(options.streams)]
            reading += [asyncio.create_task(send_slowly(url)) for _ in range(options.slow)]
            await asyncio.sleep(WARM_SECONDS)
            code = await compare(client, url, long, running, options.rounds)
            epochs = (await client.get(f"/progress/{running}")).json()["progress"]["current_epoch"]
            size = sum(received) / 2**20
            print(f"{sum(map(bool, received)):,} streams have received {size:,.0f} MiB of {epochs:,} epochs")
            for task in reading:
                task.cancel()
            await asyncio.gather(*reading, return_exceptions=True)
    return code


async def start(client: httpx.AsyncClient, config: dict[str, Any]) -> str:
    return str((await client.post("/start", json=config)).raise_for_status().json()["task_id"])


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def unread(url: str, path: str) -> socket.socket:
    """A connection whose answer nobody reads."""
    place = httpx.URL(url)
    connection = socket.create_connection((place.host, place.port or 80))
    connection.sendall(request(path))
    return connection


async def read(url: str, path: str, received: list[int], number: int) -> None:
    place = httpx.URL(url)
    reader, writer = await asyncio.open_connection(place.host, place.port)
    writer.write(request(path))
    try:
        while data := await reader.read(65536):
            received[number] += len(data)
    finally:
        writer.close()


async def send_slowly(url: str) -> None:
    """Send a request's head at a header per second, and again from the start when the server has closed it."""
    place = httpx.URL(url)
    while True:
        reader, writer = await asyncio.open_connection(place.host, place.port)
        try:
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
            while not reader.at_eof():
                await asyncio.sleep(1)
                writer.write(b"X-Slow: 1\r\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def compare(client: httpx.AsyncClient, url: str, long: str, running: str, rounds: int) -> int:
    """Request each route in turns; 1 if one is too slow, else 0."""
    routes = {
        "GET /health": f"{url}/health",
        "GET /tasks": "/tasks",
        "GET /tasks?limit=500": "/tasks?limit=500",
        "GET /tasks?offset=9000": "/tasks?offset=9000",
        "GET /tasks?state=cancelled&name=soak": "/tasks?state=cancelled&name=soak",
        "GET /tasks/{task_id}": f"/tasks/{running}",
        "GET /progress/{task_id}": f"/progress/{running}",
        "GET /logs/{task_id}": f"/logs/{running}",
        "GET /history/{task_id} of the running task": f"/history/{running}",
        "GET /datasets": f"{url}/api/v1/datasets",
        "GET /system/reconcile": f"{url}/api/v1/system/reconcile",
        "POST /validate": "/validate",
        "POST /start": "/start",
        "GET /history/{task_id} of all epochs, first byte": f"/history/{long}",
    }
    times: dict[str, list[float]] = {name: [] for name in routes}
    whole: list[float] = []
    for number in range(rounds + 1):
        for name, path in routes.items():
            options = {"json": CONFIG} if name.startswith("POST") else {}
            before = perf_counter()
            async with client.stream(name.split()[0], path, **options) as answer:
                if name.endswith("first byte"):
                    chunks = answer.aiter_raw()
                    await anext(chunks)
                    times[name].append(1000 * (perf_counter() - before))
                    async for _ in chunks:
                        pass
                    whole.append(1000 * (perf_counter() - before))
                else:
                    await answer.aread()
                    times[name].append(1000 * (perf_counter() - before))
                answer.raise_for_status()
        if number == 0:  # the first requests start the processes that read data
            whole.clear()
            for taken in times.values():
                taken.clear()
    for name, taken in times.items():
        print(f"{name:50} median {median(taken):8.1f}  p99 {p99(taken):8.1f}")
    print(f"the whole history: median {median(whole):,.0f} ms")
    pids = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == httpx.URL(url).port]
    memory = max(psutil.Process(one.pid).memory_info().rss for one in pids if one.pid and one.status == "LISTEN")
    print(f"memory of the server: {memory / 2**20:,.0f} MiB")
    return int(max(map(p99, times.values())) > MAX_P99_MS)


def p99(taken: list[float]) -> float:
    return quantiles(taken, n=100, method="inclusive")[98]


if __name__ == "__main__":
    main()
