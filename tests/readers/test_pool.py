import asyncio
import os
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.readers import operations
from tests.support.readers import InProcessReaders

from epochd.core import specs
from epochd.core.errors import Busy, DataError, InternalError, TooLarge
from epochd.readers import protocol
from epochd.readers.pool import ReaderPool


@pytest.fixture
async def pool():
    pool = new_pool()
    yield pool
    await pool.close()


def new_pool(kind: type[ReaderPool] = ReaderPool, **limits) -> ReaderPool:
    return kind(operations.__name__, **{"size": 1, "queue": 2, "seconds": 20, "memory_mb": 512} | limits)


async def becomes_true(condition) -> None:
    async with asyncio.timeout(15):
        while not condition():  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError, FileNotFoundError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.parametrize("kind", [ReaderPool, InProcessReaders])
async def test_values_arrive_as_a_local_call_would_return_them(kind):
    pool = new_pool(kind)
    spec = specs.parse({"target_column": "y", "epochs": 3, "hidden_units": [4, 5], "learning_rate": 1e-3})
    assert await pool.call(operations.echo, spec, Path("/a"), {"x": (1, None)}) == spec
    await pool.close()


async def test_a_reader_takes_call_after_call_and_what_it_prints_is_no_answer(pool):
    first = await pool.call(operations.process)
    assert first != os.getpid()
    assert await pool.call(operations.process) == first


@pytest.mark.parametrize("kind", [ReaderPool, InProcessReaders])
async def test_errors_of_a_function_arrive_with_their_problems(kind):
    pool = new_pool(kind)
    with pytest.raises(DataError) as caught:
        await pool.call(operations.problem)
    assert [problem.as_json() for problem in caught.value.problems] == [
        {"field": "target_column", "message": "there is none", "hint": "name one"}
    ]
    with pytest.raises(TooLarge, match="too many rows"):
        await pool.call(operations.too_large)
    await pool.close()


async def test_a_crash_is_a_problem_of_the_file_and_the_next_call_succeeds(pool):
    with pytest.raises(DataError, match="the file is damaged: the process that read it ended with SIGSEGV"):
        await pool.call(operations.crash)
    assert await pool.call(operations.process)


async def test_memory_is_limited(pool):
    assert await pool.call(operations.allocate, 1 << 20) == 1 << 20
    with pytest.raises(DataError, match="more than 512 MiB of memory"):
        await pool.call(operations.allocate, 1 << 40)


async def test_time_is_limited_and_the_process_is_killed_though_it_never_looks_up(pool, tmp_path, monkeypatch):
    pid = await pool.call(operations.process)
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_seconds", 1)
        with pytest.raises(DataError, match="took longer than 1 second"):
            await pool.call(operations.endless_query, tmp_path / "started")
    await becomes_true(lambda: not is_alive(pid))
    assert await pool.call(operations.process) != pid


async def test_a_cancelled_call_interrupts_its_process_and_frees_the_place(pool, tmp_path):
    task = asyncio.create_task(pool.call(operations.interrupted, tmp_path / "started", tmp_path / "noticed"))
    await becomes_true((tmp_path / "started").exists)
    task.cancel()
    assert await pool.call(operations.process)
    await becomes_true((tmp_path / "noticed").exists)


async def test_calls_beyond_the_queue_are_told_to_come_back(pool, tmp_path):
    running = [asyncio.create_task(pool.call(operations.endless_query, tmp_path / "started")) for _ in range(3)]
    await becomes_true((tmp_path / "started").exists)
    with pytest.raises(Busy) as caught:
        await pool.call(operations.process)
    assert caught.value.retry_seconds > 0
    begun = time.monotonic()
    await pool.close()
    for ended in await asyncio.gather(*running, return_exceptions=True):
        assert isinstance(ended, Busy)
    assert time.monotonic() - begun < 3


async def test_a_mistake_in_the_program_is_not_blamed_on_the_file(pool, caplog):
    with pytest.raises(InternalError):
        await pool.call(operations.bug)
    assert "RuntimeError: a mistake in the program" in caplog.text


async def test_a_reader_that_has_grown_is_replaced_when_nothing_follows(pool):
    await pool.call(operations.wait_for_calls, 600.0)
    pid = await pool.call(operations.grow, 300)
    assert await pool.call(operations.process) == pid
    await pool.call(operations.wait_for_calls, 0.1)
    await becomes_true(lambda: not is_alive(pid))
    assert await pool.call(operations.process) != pid


async def test_a_reader_that_has_grown_very_large_is_replaced_at_once():
    pool = new_pool(memory_mb=2048)
    pid = await pool.call(operations.grow, 1_100)
    assert await pool.call(operations.process) != pid
    await pool.close()


async def test_a_reader_of_a_large_server_is_kept(pool):
    assert len(b"x" * (400 << 20))
    first = await pool.call(operations.process)
    assert await pool.call(operations.process) == first


async def test_a_reader_that_ends_without_an_answer_is_an_error_and_is_not_repeated(pool):
    with pytest.raises(InternalError):
        await pool.call(operations.leave)


async def test_a_reader_that_is_started_while_the_pool_closes_is_ended():
    pool = new_pool(size=2)
    pool.warm()
    call = asyncio.create_task(pool.call(operations.process))
    await asyncio.sleep(0.05)  # both are starting
    await pool.close()
    with pytest.raises(Busy):
        await call
    assert [child for child in psutil.Process().children() if "epochd.readers" in child.cmdline()] == []


async def test_a_caller_that_is_cancelled_leaves_the_reader_that_it_starts_to_the_next(pool):
    first = asyncio.create_task(pool.call(operations.process))
    await asyncio.sleep(0.01)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await becomes_true(lambda: pool._idle)
    [starting] = [child.pid for child in psutil.Process().children() if "epochd.readers" in child.cmdline()]
    assert await pool.call(operations.process) == starting


async def test_a_large_answer_arrives_whole(pool):
    assert await pool.call(operations.many, 1_000_000) == ["text"] * 1_000_000


def test_only_functions_of_the_module_itself_can_be_called():
    with pytest.raises(LookupError):
        protocol.answer(operations, b'{"operation": "Problem", "arguments": ["a", "b"]}')
