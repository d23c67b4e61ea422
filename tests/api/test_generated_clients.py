"""Clients that other tools generate from the OpenAPI description train, with a played worker.

The Python client is generated in every run. The TypeScript client needs Node.js and packages that ``make clients``
installs in ``tests/api/clients``; without them its test is skipped.
"""

import asyncio
import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.api.tasks.test_lineage import kept
from tests.support.house import House, LiveHouse

TYPESCRIPT = Path(__file__).parent / "clients"
RESTORES = {"weights": True, "schedule": {"scheduler": "step", "learning_rate": 0.001}}
POSITION = {"position": {"epochs_done": 1, "steps_done_in_epoch": 0}}


async def described(house: House, folder: Path) -> Path:
    file = folder / "openapi.json"
    file.write_bytes((await house.http.get("/openapi.json")).content)
    return file


async def command(*words: str | Path, cwd: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        *map(str, words), cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()


async def pause(house: House, worker: Any) -> None:
    """Pause as the worker that has trained the first epoch."""
    await worker.ordered("pause")
    await worker.pause(restores=RESTORES | POSITION)


async def complete(house: House) -> None:
    """Train the last epochs as the next worker."""
    worker = await (await house.worker()).begin()
    await worker.epochs(2, 3)
    await kept(house, worker)
    await worker.complete()


FILES = dict.fromkeys(
    [
        "text/csv",
        "application/x-ndjson",
        "application/zip",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        *(f"application/vnd.apache.{name}" for name in ("parquet", "arrow.file", "arrow.stream")),
    ],
    "application/octet-stream",
)
"""The generator knows no other files than these."""


async def test_a_generated_python_client_trains(live: LiveHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = await described(live, tmp_path)
    generate = [sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none", "--path", file]
    (tmp_path / "config.yaml").write_text(json.dumps({"post_hooks": [], "content_type_overrides": FILES}))
    await command(*generate, "--config", "config.yaml", "--fail-on-warning", "--output-path", "generated", cwd=tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def module(name: str) -> Any:
        return importlib.import_module(f"generated.{name}")

    def operation(name: str) -> Any:
        return module(f"api.epoch_training.{name}").asyncio

    models = module("models")
    client = module("client").Client(str(live.http.base_url))
    config = models.TrainingConfig(target_column="target", dataset="iris", epochs=3)
    started = await operation("start_training")(client=client, body=config)
    assert started.config.epochs == 3
    task_id = started.task_id

    worker = await (await live.worker()).begin()
    await worker.epochs(1, 1)
    request = module("api.epoch_training.stream_progress")._get_kwargs(task_id)
    events = []
    async with client.get_async_httpx_client().stream(**request) as stream:
        async for line in stream.aiter_lines():
            if line.startswith('data: {"type": "progress"'):
                events.append(models.ProgressEvent.from_dict(json.loads(line[6:])))
                break
    assert events[0].progress.latest_metrics.train_loss == 1.0

    paused, _ = await asyncio.gather(operation("pause_training")(task_id, client=client), pause(live, worker))
    assert paused.state == "paused"
    changes = models.ResumeOptions(epochs=5, learning_rate=0.01)
    resumed = await operation("resume_training")(task_id, client=client, body=changes)
    assert isinstance(resumed.receipt, models.ReceiptFromCheckpoint)
    assert resumed.receipt.learning_rate.after[0] == [2, 0.01]
    await complete(live)
    continued = await operation("continue_training")(task_id, client=client, body=models.ContinueOptions(epochs=6))
    assert (continued.parent, continued.config.epochs) == (task_id, 6)
    refused = await operation("resume_training")(task_id, client=client, body=models.ResumeOptions())
    assert (refused.success, refused.code.value) == (False, "illegal_move")
    await client.get_async_httpx_client().aclose()


@pytest.mark.skipif(
    shutil.which("node") is None or not (TYPESCRIPT / "node_modules").is_dir(),
    reason="needs Node.js and the packages that `make clients` installs",
)
async def test_a_generated_typescript_client_trains(live: LiveHouse, tmp_path: Path):
    file = await described(live, tmp_path)
    for name in ("client.ts", "package.json", "tsconfig.json"):
        shutil.copy(TYPESCRIPT / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(TYPESCRIPT / "node_modules")
    tools = TYPESCRIPT / "node_modules" / ".bin"
    await command(tools / "openapi-typescript", file, "--default-non-nullable=false", "-o", "schema.d.ts", cwd=tmp_path)
    await command(tools / "tsc", cwd=tmp_path)
    client = await asyncio.create_subprocess_exec(
        "node", "client.js", str(live.http.base_url).rstrip("/"), cwd=tmp_path, stdout=subprocess.PIPE
    )
    assert client.stdout is not None
    assert await client.stdout.readline() == b"train\n"
    worker = await (await live.worker()).begin()
    await worker.epochs(1, 1)
    assert await client.stdout.readline() == b"pause\n"
    await pause(live, worker)
    assert await client.stdout.readline() == b"complete\n"
    await complete(live)
    assert json.loads(await client.stdout.readline()) == {
        "loss": 1.0,
        "paused": "paused",
        "before": [[2, 0.001], [3, 0.001]],
        "after": [[epoch, 0.01] for epoch in range(2, 6)],
        "revisions": 1,
        "parent": True,
        "epochs": 6,
    }
    assert await client.wait() == 0
