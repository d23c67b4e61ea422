import asyncio
import gc
import json
import logging
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.support import tickets
from tests.support.predictions import prediction
from tests.support.stage import STAND_IN, is_alive, until

from epochd.core.errors import EpochdError, FrameworkMissing
from epochd.core.job_values import MemoryCap
from epochd.core.settings import Settings
from epochd.core.tickets import Ticket
from epochd.dispatch.host import cgroups, memory
from epochd.dispatch.host.cgroups import Groups, Overrun
from epochd.dispatch.workers import pool
from epochd.dispatch.workers.executor import Exit
from epochd.dispatch.workers.pool import LocalExecutor
from epochd.engines import registry


class Place:
    """A LocalExecutor of stand-ins, and the exits that it told."""

    def __init__(
        self,
        data_dir: Path,
        slots: int = 1,
        jobs_per_worker: int = 100,
        *options: str,
        warm_mb: int = 10_000,
        memory_mb: int | None = None,
        others: Sequence[str] = (),
    ) -> None:
        limits = {"slots": slots, "jobs_per_worker": jobs_per_worker, "warm_mb": warm_mb, "memory_mb": memory_mb}
        self.settings = Settings(data_dir=data_dir, gpus="none", **limits)
        self.executor = LocalExecutor(self.settings, command=(*STAND_IN, *options), others=others)
        self.exits: asyncio.Queue[Exit] = asyncio.Queue()

    async def start(self) -> None:
        await self.executor.start(self.exits.put)

    def ticket(
        self, name: str, task_id: str = "task", attempt: int = 1, framework: str = "pytorch", limit: int | None = None
    ) -> Ticket:
        values = {"name": name, "task_id": task_id, "attempt": attempt, "framework": framework}
        return tickets.ticket(self.settings.data_dir, **values).model_copy(update={"memory_mb": limit})

    async def run(self, name: str, task_id: str = "task", framework: str = "pytorch", limit: int | None = None) -> Exit:
        await self.executor.launch(self.ticket(name, task_id, framework=framework, limit=limit))
        return await self.exits.get()

    def log(self, task_id: str = "task") -> list[str]:
        path = self.settings.logs_dir / task_id / "1.log"
        return path.read_text().splitlines() if path.exists() else []

    async def logged(self, start: str, task_id: str = "task") -> str:
        return await until(lambda: next((line for line in self.log(task_id) if line.startswith(start)), None))


@pytest.fixture
async def open_place(tmp_path: Path) -> AsyncIterator[Callable[..., Place]]:
    places: list[Place] = []

    def make(slots: int = 1, jobs_per_worker: int = 100, *options: str, **settings: Any) -> Place:
        places.append(Place(tmp_path, slots, jobs_per_worker, *options, **settings))
        return places[-1]

    yield make
    for place in places:
        await place.executor.close()


@pytest.fixture
async def place(open_place: Callable[..., Place]) -> Place:
    place = open_place()
    await place.start()
    return place


async def test_one_warm_process_takes_ticket_after_ticket(place):
    for task_id in ("first", "second"):
        assert await place.run("done", task_id) == Exit(task_id, 1, 0, place.log(task_id))
    assert place.log("first") == place.log("second")
    assert place.executor.free_slots == 1


async def test_a_prediction_gets_a_process_without_a_framework_and_then_one_is_warm_again(place):
    assert (await place.run("done", "first", "jax")).returncode == 0
    given = prediction(place.settings.data_dir, place.settings.data_dir / "model", name="done", task_id="second")
    await place.executor.launch(given)
    assert (await place.exits.get()).returncode == 0
    assert "framework none" in place.log("second")
    await until(lambda: place.executor.health()["warm"])
    assert place.executor.health()["framework"] == "jax"
    assert (await place.run("done", "third", "jax")).returncode == 0


async def test_each_ticket_gets_a_process_with_its_framework(place):
    for task_id, framework in (("first", "jax"), ("second", "pytorch"), ("third", "pytorch"), ("fourth", "tensorflow")):
        assert (await place.run("done", task_id, framework)).returncode == 0
        assert f"framework {framework}" in place.log(task_id)
    assert place.log("second")[0] == place.log("third")[0], "the framework that was asked for last stays warm"
    assert place.executor.health()["error"] is None


async def test_every_framework_that_was_asked_for_stays_warm(place):
    frameworks = ("jax", "pytorch", "tensorflow")
    for number in range(2):
        for framework in frameworks:
            await place.run("done", f"{framework}-{number}", framework)
    for framework in frameworks:
        assert place.log(f"{framework}-0") == place.log(f"{framework}-1")
    await until(lambda: place.executor.health()["warm"] == 3)
    assert place.executor.frameworks == frozenset(frameworks)
    assert place.executor.free_slots == 1


async def test_without_memory_for_more_there_are_as_many_processes_as_slots(open_place):
    place = open_place(warm_mb=0)
    await place.start()
    for number in range(2):
        for framework in ("jax", "pytorch"):
            await place.run("done", f"{framework}-{number}", framework)
            await until(lambda: place.executor.health()["warm"] == len(place.executor.pids()) == 1)
    assert place.log("jax-0")[0] != place.log("jax-1")[0]
    assert place.executor.frameworks == {"pytorch"}


async def test_the_idle_process_that_was_not_used_for_longest_ends_where_memory_is_scarce(open_place, monkeypatch):
    monkeypatch.setattr(memory, "used_by_processes", lambda pids: dict.fromkeys(pids, 60 * 2**20))
    place = open_place(warm_mb=130)
    await place.start()
    for framework in ("pytorch", "jax", "pytorch", "tensorflow"):
        await place.run("done", framework, framework)
        await until(lambda: place.executor.health()["warm"] == len(place.executor.pids()))
    assert place.executor.frameworks == {"pytorch", "tensorflow"}


async def test_frameworks_that_were_used_before_are_imported_while_nothing_is_asked_for(open_place):
    place = open_place(others=["jax", "pytorch", "unknown", "tensorflow"])
    await place.start()
    await until(lambda: place.executor.health()["warm"] == 3)
    assert place.executor.frameworks == {"pytorch", "jax", "tensorflow"}
    assert len(place.executor.pids()) == 3
    assert place.executor.free_slots == 1


async def test_they_are_not_where_memory_is_scarce(open_place, monkeypatch):
    monkeypatch.setattr(memory, "used_by_processes", lambda pids: dict.fromkeys(pids, 60 * 2**20))
    place = open_place(warm_mb=130, others=["jax", "tensorflow"])
    await place.start()
    await until(lambda: place.executor.health()["warm"] == 2)
    assert (await place.run("done")).returncode == 0
    assert place.executor.frameworks == {"pytorch", "jax"}


async def test_a_process_that_has_grown_is_replaced(place, monkeypatch):
    await place.run("done", "first")
    await until(lambda: place.executor.health()["warm"])
    measure = memory.used_by_processes
    before = measure(place.executor.pids())
    grown = dict.fromkeys(before, 2**30)
    monkeypatch.setattr(
        memory, "used_by_processes", lambda pids: {pid: grown.get(pid, size) for pid, size in measure(pids).items()}
    )
    await place.run("done", "second")
    assert place.log("first")[0] == place.log("second")[0]
    await until(lambda: place.executor.pids() and not {*place.executor.pids()} & before.keys())
    await place.run("done", "third")
    assert place.log("third")[0] != place.log("second")[0]


async def test_a_ticket_that_needs_other_threads_is_returned_and_then_gets_a_process_of_its_own(place):
    await place.run("done", "small", "jax")
    ticket = place.ticket("needs 2x1", "large", framework="jax")
    await place.executor.launch(ticket)
    end = await place.exits.get()
    assert (end.task_id, end.needs) == ("large", "2x1")
    assert place.executor.free_slots == 1
    await place.executor.launch(ticket.model_copy(update={"needs": end.needs}))
    assert (await place.exits.get()).needs is None
    first, second = (line for line in place.log("large") if line.startswith("process"))
    assert first == place.log("small")[0] != second
    await place.executor.launch(place.ticket("done", "larger", framework="jax").model_copy(update={"needs": "2x1"}))
    await place.exits.get()
    assert place.log("larger")[0] == second, "the process that fits takes it"


async def test_two_slots_serve_two_frameworks_side_by_side(open_place):
    place = open_place(slots=2)
    await place.start()
    for number in range(4):
        for framework in ("jax", "pytorch"):
            assert (await place.run("done", f"{framework}-{number}", framework)).returncode == 0
            assert f"framework {framework}" in place.log(f"{framework}-{number}")


async def test_a_slot_is_taken_from_launch_to_exit(open_place):
    place = open_place(slots=2)
    await place.start()
    await place.executor.launch(place.ticket("hang"))
    assert place.executor.free_slots == 1
    await place.executor.kill(("task", 1))
    await place.exits.get()
    assert place.executor.free_slots == 2


async def test_after_its_share_of_jobs_a_process_gives_way_to_a_fresh_one(open_place):
    place = open_place(1, 2)
    await place.start()
    for number in range(4):
        await place.run("done", f"task{number}")
    pids = [place.log(f"task{number}")[0] for number in range(4)]
    assert pids[0] == pids[1] != pids[2] == pids[3]


@pytest.mark.parametrize(("name", "returncode"), [("exit 3", 3), ("vanish", 0), ("crash", -9), ("done, then exit", 0)])
async def test_every_end_is_told_once_and_the_slot_gets_a_fresh_process(place, name, returncode):
    end = await place.run(name, "bad")
    assert (end.task_id, end.attempt, end.returncode) == ("bad", 1, returncode)
    assert (await place.run("done", "good")).returncode == 0
    assert place.log("bad")[0] != place.log("good")[0]
    assert place.exits.empty()


async def test_an_exit_carries_the_last_lines_of_the_log(place):
    end = await place.run("exit 3")
    assert end.log_tail == [f"line {number}" for number in range(80, 100)]


async def test_kill_ends_the_worker_and_its_children(place):
    await place.executor.launch(place.ticket("hang"))
    child = int((await place.logged("child")).split()[1])
    await place.executor.kill(("unknown", 1))
    await place.executor.kill(("task", 1))
    assert (await place.exits.get()).returncode == -signal.SIGKILL
    await until(lambda: not is_alive(child))


async def test_workers_see_none_of_the_servers_settings_and_lead_their_own_session(open_place, monkeypatch):
    monkeypatch.setenv("EPOCHD_TOKENS", "do-not-tell")
    place = open_place()
    await place.start()
    await place.run("look around")
    assert [json.loads(line) for line in place.log()[2:]] == [{"env": ["EPOCHD_WORKER_OF"]}, {"leads": True}]


async def test_launch_waits_for_a_slow_worker_and_nothing_else_does(open_place, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    place = open_place(1, 100, "--gate", str(gate))
    await place.start()
    launch = asyncio.create_task(place.executor.launch(place.ticket("done")))
    await asyncio.wait({launch}, timeout=0.05)
    assert not launch.done()
    assert place.executor.free_slots == 0
    assert place.executor.health()["waiting"] == 1
    await asyncio.to_thread(lambda: open(gate, "w").close())
    await launch
    assert (await place.exits.get()).returncode == 0


async def test_killing_a_task_that_waits_for_a_worker_turns_it_away(open_place, tmp_path):
    os.mkfifo(tmp_path / "gate")
    place = open_place(1, 100, "--gate", str(tmp_path / "gate"))
    await place.start()
    launch = asyncio.create_task(place.executor.launch(place.ticket("done")))
    await asyncio.wait({launch}, timeout=0.05)
    await place.executor.kill(("task", 1))
    with pytest.raises(EpochdError, match="stopped before a worker was ready"):
        await launch
    assert place.executor.free_slots == 1


async def test_workers_that_never_get_ready_fail_the_launch_and_show_in_health(open_place, caplog, monkeypatch):
    monkeypatch.setattr("epochd.dispatch.workers.pool.FIRST_BACKOFF_SECONDS", 0.01)
    place = open_place(1, 100, "--broken")
    await place.start()
    with pytest.raises(EpochdError, match=r"no pytorch worker can be started: .*\n.*not what it was"):
        await place.executor.launch(place.ticket("done"))
    assert "not what it was" in place.executor.health()["error"]
    assert "not what it was" in caplog.text
    assert place.exits.empty()


@pytest.fixture
async def gated(open_place, tmp_path, monkeypatch):
    """A place whose workers are not ready before somebody writes to the gate, the gate, and a launch that waits."""
    monkeypatch.setattr(pool, "FIRST_BACKOFF_SECONDS", 0.01)
    os.mkfifo(gate := tmp_path / "gate")
    place = open_place(1, 100, "--gate", str(gate))
    await place.start()
    return place, gate, asyncio.create_task(place.executor.launch(place.ticket("done")))


async def test_workers_that_are_killed_while_they_warm_up_do_not_fail_the_job_that_waits(gated):
    place, gate, launch = gated
    killed = set()
    while len(killed) < 2 * pool.MAX_FAILURES:
        [pid] = await until(lambda: [pid for pid in place.executor.pids() if pid not in killed])
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    assert place.executor.health()["error"] is None
    await asyncio.to_thread(gate.write_bytes, b"")
    await launch
    assert (await place.exits.get()).returncode == 0


async def test_workers_that_are_killed_again_and_again_are_told(gated, monkeypatch):
    monkeypatch.setattr(pool, "MAX_KILLS_PER_SLOT", 2)
    place, _, launch = gated
    killed = set()
    while not launch.done():
        for pid in {*place.executor.pids()} - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
        await asyncio.sleep(0.01)
    with pytest.raises(EpochdError, match="its return code is -9"):
        await launch


async def test_an_idle_worker_that_dies_is_replaced(place, caplog):
    await place.run("done", "before")
    await until(lambda: place.executor.health()["warm"])
    pid = int(place.log("before")[0].split()[1])
    os.kill(pid, signal.SIGKILL)
    await until(lambda: "its return code is -9" in caplog.text)
    assert (await place.run("done", "after")).returncode == 0
    assert place.log("before") != place.log("after")


async def test_a_task_that_starts_again_before_its_old_process_is_through_keeps_its_own_slot(open_place):
    place = open_place(slots=2)
    await place.start()
    await place.executor.launch(place.ticket("hang", attempt=1))
    await place.executor.launch(place.ticket("done", attempt=2))
    assert (await place.exits.get()).attempt == 2
    assert place.executor.free_slots == 1
    await place.executor.kill(("task", 1))
    assert (await place.exits.get()).attempt == 1
    assert place.executor.free_slots == 2


@pytest.mark.serial
async def test_close_leaves_no_process_and_takes_no_time(open_place):
    place = open_place(slots=2)
    await place.start()
    await place.executor.launch(place.ticket("hang"))
    child = int((await place.logged("child")).split()[1])
    worker = int((await place.logged("process")).split()[1])
    started = time.monotonic()
    await place.executor.close()
    assert time.monotonic() - started < 0.5
    assert not is_alive(worker)
    await until(lambda: not is_alive(child))
    assert place.exits.get_nowait().returncode == -signal.SIGKILL
    with pytest.raises(EpochdError, match="closed"):
        await place.executor.launch(place.ticket("done"))


async def test_a_pool_that_fails_says_so_and_tries_again(open_place, monkeypatch, caplog):
    monkeypatch.setattr(pool, "FIRST_BACKOFF_SECONDS", 0.01)
    failures = iter([RuntimeError("no more processes")])
    start = LocalExecutor._start_missing

    def fail_once(self):
        for error in failures:
            raise error
        start(self)

    monkeypatch.setattr(LocalExecutor, "_start_missing", fail_once)
    place = open_place()
    await place.start()
    assert (await place.run("done")).returncode == 0
    assert "the worker pool failed; it tries again" in caplog.text


async def test_a_handler_that_fails_costs_no_slot(open_place, caplog):
    place = open_place()
    told = asyncio.Event()

    async def fail(end: Exit) -> None:
        told.set()
        raise RuntimeError("the database is away")

    await place.executor.start(fail)
    for task_id in ("first", "second"):
        told.clear()
        await place.executor.launch(place.ticket("done", task_id))
        await told.wait()
    assert "failed to handle the end of task second" in caplog.text


SERVER = """
import asyncio, sys
from pathlib import Path
from epochd.core.settings import Settings
from epochd.dispatch.workers.pool import LocalExecutor

async def main():
    executor = LocalExecutor(Settings(slots=2), command=sys.argv[1:])
    async def on_exit(end): ...
    await executor.start(on_exit)
    while executor.health()["warm"] < 2:
        await asyncio.sleep(0.01)
    print(*[worker.process.pid for worker in executor._workers], flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""


async def test_idle_workers_end_by_themselves_when_the_server_is_killed():
    command = (sys.executable, "-c", SERVER, *STAND_IN)
    server = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    pids = [int(pid) for pid in (await server.stdout.readline()).split()]
    assert [is_alive(pid) for pid in pids] == [True, True]
    server.kill()
    await server.communicate()
    await until(lambda: not any(is_alive(pid) for pid in pids))


async def test_without_a_framework_no_worker_is_started_and_the_log_says_what_to_install_once(
    open_place, monkeypatch, caplog
):
    looks: list[str] = []
    monkeypatch.setattr(registry, "installed", lambda: looks.append("look"))
    monkeypatch.setattr(pool, "INSTALLATION_SECONDS", 0.01)
    place = open_place(2)
    with caplog.at_level(logging.INFO):
        await place.start()
        await until(lambda: len(looks) > 10)
        assert place.executor.pids() == []
        assert place.executor.free_slots == 0
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "nothing can be trained: no deep-learning framework is installed. On the server run: " in record.message
    assert record.exc_info is None


async def test_a_framework_that_is_installed_later_is_used_without_a_restart(open_place, monkeypatch):
    found: list[str] = []
    monkeypatch.setattr(registry, "installed", lambda: found)
    monkeypatch.setattr(pool, "INSTALLATION_SECONDS", 0.01)
    place = open_place()
    await place.start()
    found.append("jax")
    assert (await place.run("done", framework="jax")).returncode == 0
    assert "framework jax" in place.log()


async def test_a_ticket_for_a_framework_that_is_not_installed_is_refused_with_the_command(place, monkeypatch):
    monkeypatch.setattr(registry, "installed", lambda: ["pytorch"])
    with pytest.raises(
        FrameworkMissing, match=r"^framework 'jax' is not installed on the server\. On the server run: "
    ):
        await place.executor.launch(place.ticket("done", framework="jax"))
    assert place.executor.free_slots == 1


async def test_a_training_that_takes_more_than_it_may_is_killed_and_its_exit_has_the_figures(open_place, monkeypatch):
    monkeypatch.setattr(pool, "MEMORY_SECONDS", 0.05)
    place = open_place(memory_mb=256)
    monkeypatch.setattr(place.executor, "_groups", Groups(place.settings.data_dir, None))
    await place.start()
    end = await place.run("take 400 MiB", limit=256)
    assert (end.returncode, end.overrun.limit) == (-signal.SIGKILL, 256 * 2**20)
    assert 256 * 2**20 < end.overrun.peak < 600 * 2**20
    assert (await place.run("done", "second", limit=256)).overrun is None


async def test_what_a_warm_worker_had_before_is_not_the_trainings(open_place, monkeypatch):
    looks = asyncio.Semaphore(0)
    used = iter((900 * 2**20, 1_000 * 2**20, 1_156 * 2**20, 1_157 * 2**20))

    def measured(pids):
        looks.release()
        return dict.fromkeys(pids, next(used) if pids else 0)

    monkeypatch.setattr(pool, "MEMORY_SECONDS", 0.05)
    monkeypatch.setattr(memory, "used_by_groups", measured)
    place = open_place(memory_mb=256)
    monkeypatch.setattr(place.executor, "_groups", Groups(place.settings.data_dir, None))
    await place.start()
    end = await place.run("hang", limit=256)
    assert end.overrun == Overrun(256 * 2**20, 257 * 2**20), "the fourth look is the first above the limit"


async def test_a_worker_with_a_memory_cap_is_left_to_the_kernel(open_place, monkeypatch):
    cap = MemoryCap("/nowhere", before=0, limit=256 * 2**20, kills=0, ooms=0)
    monkeypatch.setattr(cgroups, "limit_memory", lambda group, megabytes: cap)
    monkeypatch.setattr(pool, "MEMORY_SECONDS", 0.01)
    place = open_place(memory_mb=256)
    await place.start()
    await place.executor.launch(place.ticket("take 400 MiB", limit=256))
    (worker,) = place.executor._working
    assert worker.memory_before is None
    await until(lambda: memory.used_by_groups(place.executor.pids())[worker.process.pid] > 300 * 2**20)
    for _ in range(3):
        await asyncio.sleep(0.02)
    assert place.exits.empty()


async def test_a_detached_worker_outlives_the_event_loop_of_its_server(tmp_path):
    async def serve() -> int:
        place = Place(tmp_path)
        await place.start()
        await place.executor.launch(place.ticket("hang"))
        [pid] = place.executor.pids()
        await place.executor.detach()
        return pid

    pid = await asyncio.to_thread(lambda: asyncio.run(serve()))
    gc.collect()
    try:
        assert is_alive(pid)
    finally:
        os.killpg(pid, signal.SIGKILL)
        await until(lambda: not is_alive(pid))
