"""Faults at random moments, many of them: afterwards nothing is lost, doubled, different or left behind.

``make chaos`` takes some ten minutes, the short form in ``.ci/run`` two; ``CHAOS_FAULTS`` and ``CHAOS_SEED`` say how
many faults there are and which. ``make test`` leaves it out.
"""

import asyncio
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from epochd.artifact import files
from epochd.core.events import Event
from epochd.dispatch.host import processes
from epochd.store import events
from epochd.store.db import Database
from tests.support.stores import Weed

from .agents import AGENT_FAULTS, AgentArena
from .arena import Arena, until
from .checker import Outcome, Record, violations
from .faults import inflict, planned
from .stores import STORE_FAULTS, StoreArena

SHORT = 6
"""With more faults than these the trainings that start slowly take part too."""
FAULTS = int(os.environ.get("CHAOS_FAULTS", SHORT))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))


@pytest.mark.long
@pytest.mark.timeout(480 + 15 * FAULTS)
@pytest.mark.parametrize("store", ["sqlite", "postgresql"])
def test_nothing_is_lost_whatever_dies(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = None
    if store == "postgresql":
        new_postgres: Callable[[], str] = request.getfixturevalue("new_postgres")
        url = new_postgres()
    print(f"\nchaos on {store}: CHAOS_FAULTS={FAULTS} CHAOS_SEED={SEED}", flush=True)
    with Arena(tmp_path, url, SEED, is_long=FAULTS > SHORT).opened() as arena:
        expected = {name: undisturbed(arena, name) for name in arena.trainings}
        fired = rampage(arena, planned(arena, FAULTS))
        settle(arena)
        tasks = judge(arena, url, expected)
    print(f"{len(tasks)} trainings in {sum(task['attempt'] for task in tasks.values())} attempts; {dict(fired)}")


@pytest.mark.long
@pytest.mark.timeout(480 + 25 * FAULTS)
def test_nothing_is_lost_whatever_happens_to_agents(tmp_path: Path) -> None:
    print(f"\nchaos with agents: CHAOS_FAULTS={FAULTS} CHAOS_SEED={SEED}", flush=True)
    with AgentArena(tmp_path, SEED, is_long=FAULTS > SHORT).opened() as arena:
        expected = {name: undisturbed(arena, name) for name in arena.trainings}
        fired = rampage(arena, planned_with_agents(arena, FAULTS))
        settle(arena)
        tasks = judge(arena, None, expected)
        for agent in arena.agents.values():
            assert agent.end(signal.SIGTERM) == 0
            assert processes.find_marked(agent.data_dir) == []
    print(f"{len(tasks)} trainings in {sum(task['attempt'] for task in tasks.values())} attempts; {dict(fired)}")


@pytest.mark.long
@pytest.mark.timeout(480 + 30 * FAULTS)
def test_nothing_is_lost_whatever_happens_to_the_store(tmp_path: Path, weed: Weed) -> None:
    print(f"\nchaos with an object store: CHAOS_FAULTS={FAULTS} CHAOS_SEED={SEED}", flush=True)
    with StoreArena(tmp_path, weed, SEED, is_long=FAULTS > SHORT).opened() as arena:
        expected = {name: undisturbed(arena, name) for name in arena.trainings}
        fired = rampage(arena, planned_with(arena, STORE_FAULTS, FAULTS))
        settle(arena)
        tasks = judge(arena, None, expected)
        assert isinstance(arena, StoreArena)
        print(f"faults of the store: {arena.store.counts}")
    print(f"{len(tasks)} trainings in {sum(task['attempt'] for task in tasks.values())} attempts; {dict(fired)}")


def planned_with(arena: Arena, own: Iterable[str], count: int) -> list[str]:
    """Each of an arena's own faults, and some of the server's, in a random order."""
    plan = [*own, "kill_worker", "kill_server", "restart_server", "pause_and_resume"]
    plan *= 1 + count // len(plan)
    arena.random.shuffle(plan)
    return plan[:count]


def planned_with_agents(arena: AgentArena, count: int) -> list[str]:
    """Each fault of agents that is possible here, and some of the server's, in a random order."""
    possible = [name for name in AGENT_FAULTS if name != "cut_off" or arena.has_network]
    others = ["kill_server", "restart_server", "pause_and_resume"]
    plan = [*possible, *others] * (1 + count // (len(possible) + len(others)))
    arena.random.shuffle(plan)
    return plan[:count]


def judge(arena: Arena, url: str | None, expected: dict[str, Outcome]) -> dict[str, dict[str, Any]]:
    """See that all is as it should be; the tasks, after the end of the server."""
    assert arena.server.findings_after_exits() == []
    tasks = {task_id: arena.server.task(task_id) for task_id in arena.acknowledged}
    outcomes = {task_id: outcome(arena, task) for task_id, task in tasks.items()}
    arena.end_server(signal.SIGTERM)
    until(lambda: not processes.find_marked(arena.data_dir), "processes were left behind", 10)
    logs = read_logs(url or f"sqlite:///{arena.data_dir / 'epochd.db'}", list(tasks))
    records = [
        Record(task_id, task["state"], task["error"], logs[task_id], seen(arena, task_id), outcomes[task_id], known)
        for task_id, task in tasks.items()
        for known in [expected[arena.acknowledged[task_id]]]
    ]
    assert [wrong for record in records for wrong in violations(record)] == []
    assert leftovers(arena.data_dir) == []
    return tasks


def undisturbed(arena: Arena, name: str) -> Outcome:
    """How a training comes out that nothing happens to."""
    task_id = arena.start(name)
    assert arena.server.follow(task_id)["type"] == "complete"
    found = outcome(arena, arena.server.task(task_id))
    assert found is not None
    return found


def rampage(arena: Arena, plan: list[str]) -> "Counter[str]":
    """Bring about the planned faults, one after another; how many there were of each kind."""
    fired: Counter[str] = Counter()
    for number, name in enumerate(plan, 1):
        began = time.monotonic()
        proof = inflict(arena, name)
        fired[name] += 1
        print(f"{number:4d}/{len(plan)}  {name}: {proof} ({time.monotonic() - began:.1f} s)", flush=True)
    assert fired == Counter(plan), "each planned fault has fired"
    return fired


def settle(arena: Arena) -> None:
    """Let all that was begun come to its end."""
    until(lambda: not arena.unfinished(), "trainings did not end", 300)
    for reader in arena.readers.values():
        reader.join(30)


def outcome(arena: Arena, task: dict[str, Any]) -> Outcome | None:
    if task["state"] != "completed":
        return None
    folder = arena.model(task)
    files.verify(folder)
    rows = arena.server.history(task["task_id"])
    history = [{name: value for name, value in row.items() if name != "time_per_epoch"} for row in rows]
    return Outcome(history, (folder / "model.safetensors").read_bytes())


def seen(arena: Arena, task_id: str) -> list[dict[str, Any]]:
    reader = arena.readers[task_id]
    assert reader.error is None, reader.error
    return reader.seen


def read_logs(url: str, ids: list[str]) -> dict[str, list[Event]]:
    """The tasks' events, straight from the database."""

    async def read() -> dict[str, list[Event]]:
        database = Database(url)
        await database.open()
        try:
            return {task_id: await events.after(database, task_id, 0) for task_id in ids}
        finally:
            await database.close()

    return asyncio.run(read())


def leftovers(data_dir: Path) -> list[Path]:
    """What somebody has begun to write and never finished."""
    return [
        path for folder in ("artifacts", "checkpoints") for path in (data_dir / folder).rglob(f"{files.TEMPORARY}*")
    ]
