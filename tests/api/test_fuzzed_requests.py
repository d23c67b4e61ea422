"""Requests made up from the OpenAPI description: no answer of 500, no undocumented status, no answer of another form.

``FUZZ_EXAMPLES`` is the number of requests of each operation; ``make fuzz`` sends ten thousand.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from epochd.api.app import create_app
from epochd.api.responses import PING
from epochd.api.server import Server, bind, url_of
from epochd.api.tasks import live
from epochd.core.settings import Settings
from tests.api.test_openapi import OPERATIONS
from tests.support.executors import FakeExecutor
from tests.support.house import House
from tests.support.trained_models import train

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "6"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODEL = "models/churn"
STREAMS = {"stream_progress", "get_logs"}
"""Operations whose answer ends only if the task has ended."""


@pytest.fixture(scope="module")
def task_ids() -> list[str]:
    """Tasks in several states; the first two are final. Requests use them as often as unknown ones."""
    return []


async def until_quiet(opened: live.OpenFeed, sent: Any = live.sent) -> AsyncIterator[bytes]:
    """The stream of several trainings, which has no end, until nothing has happened for a moment."""
    async for part in sent(opened):
        yield part
        if part == PING:
            return


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory, task_ids: list[str]) -> Iterator[Any]:
    """A server in a thread, whose one worker is never heard of; the description of its operations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(live, "sent", until_quiet)
        patch.setattr(live, "PING_SECONDS", 0.1)
        yield from served(tmp_path_factory, task_ids)


def served(tmp_path_factory: pytest.TempPathFactory, task_ids: list[str]) -> Iterator[Any]:
    folder: Path = tmp_path_factory.mktemp("fuzzed")
    listener, ready, ended = bind("127.0.0.1", 0), Future[Server](), threading.Event()
    url = url_of("127.0.0.1", listener)

    async def seeded(house: House) -> None:
        task_ids.append(await house.completed())
        await train(house, dataset="iris", target_column="target", output_path=MODEL)
        await house.start()  # occupies the worker
        await house.worker()
        for command in ("stop", "pause"):
            task_ids.append(await house.start())
            await house.post(f"/{command}/{task_ids[-1]}")

    async def serve() -> None:
        executor = FakeExecutor()
        app = create_app(
            Settings(data_dir=folder / "data", slots=1, lease_seconds=3600, pause_wait_seconds=0), executor=executor
        )
        server = Server(app, url)
        serving = asyncio.create_task(server.serve([listener]))
        async with httpx.AsyncClient(base_url=url, timeout=30) as http:
            await http.get("/health")
            await seeded(House(app, executor, http))
        ready.set_result(server)
        await serving

    def run() -> None:
        try:
            asyncio.run(serve())
            ended.set()
        except BaseException as error:
            ready.set_exception(error)

    thread = threading.Thread(target=run)
    thread.start()
    server = ready.result(120)
    yield schemathesis.openapi.from_url(f"{url}/openapi.json")
    server.should_exit = True
    thread.join(30)
    assert ended.is_set()


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_answers_are_as_described(api: Any, task_ids: list[str], name: str) -> None:
    operation = api.find_operation_by_id(name)
    known = task_ids[:2] if name in STREAMS else task_ids
    requests = st.one_of([operation.as_strategy(generation_mode=mode) for mode in GenerationMode])

    @hypothesis.settings(
        max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )
    @hypothesis.given(requests, st.sampled_from([None, *known]))
    def answer_is_as_described(case: schemathesis.Case, task_id: str | None) -> None:
        for parameter in {"task_id", "model"} & set(case.path_parameters if task_id is not None else ()):
            case.path_parameters[parameter] = MODEL if parameter == "model" else task_id
        if "version" in case.path_parameters and task_id is not None:
            case.path_parameters["version"] = "latest"
        case.call_and_validate(checks=CHECKS, timeout=20)

    answer_is_as_described()
