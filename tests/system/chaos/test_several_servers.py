"""Faults of several servers at random moments: every training completes, and no stream misses or repeats an event.

A part of ``make chaos``; ``CHAOS_FAULTS`` and ``CHAOS_SEED`` say how many faults there are and which.
"""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from tests.support.proxy import NGINX
from tests.support.servers import TRAINING, Follower, Servers, events_in_log, weights

FAULTS = int(os.environ.get("CHAOS_FAULTS", 6))
SEED = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
EPOCHS = 400
STOPPED_SECONDS = 8.0
"""Longer than the lease of the leader."""


def kill(servers: Servers, port: int) -> None:
    servers.kill(port)
    servers.restart(port)


def stop(servers: Servers, port: int) -> None:
    assert servers.running[port].end(signal.SIGTERM) == 0
    servers.restart(port)


def stand_still(servers: Servers, port: int) -> None:
    process = servers.running[port].process
    process.send_signal(signal.SIGSTOP)
    time.sleep(STOPPED_SECONDS)
    process.send_signal(signal.SIGCONT)


def lose_connections(servers: Servers, port: int) -> None:
    """All servers lose all their connections to PostgreSQL."""
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    with psycopg.connect(servers.settings["EPOCHD_DATABASE_URL"], autocommit=True) as connection:
        connection.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")


FAULT_KINDS = kill, stop, stand_still, lose_connections


@pytest.mark.long
@pytest.mark.timeout(600 + 120 * FAULTS)
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed: apt-get install nginx-light")
def test_several_servers_lose_nothing_whatever_dies(
    tmp_path: Path, new_postgres: Callable[..., str], migrated_postgres: str
) -> None:
    print(f"\nchaos of several servers: CHAOS_FAULTS={FAULTS} CHAOS_SEED={SEED}", flush=True)
    chance = random.Random(SEED)
    servers = Servers(tmp_path, new_postgres(migrated_postgres))
    try:
        followers: list[Follower] = []
        for number in range(FAULTS):
            if not followers or not followers[-1].is_alive():
                task_id = servers.client.start(TRAINING | {"epochs": EPOCHS})["task_id"]
                followers.append(Follower(servers.proxy.url, task_id))
            followers[-1].until_epoch(1)
            fault = FAULT_KINDS[number % len(FAULT_KINDS)]
            port = servers.leader() if chance.random() < 0.7 else servers.standby()
            print(f"{fault.__name__} {port}", flush=True)
            fault(servers, port)
            time.sleep(chance.uniform(0.0, 2.0))
        for follower in followers:
            events = follower.finished()
            assert events[-1]["type"] == "complete", events[-1]
            assert follower.epochs() == [*range(1, EPOCHS + 1)]
            numbers = [str(number) for number in range(1, len(events) + 1)]
            assert events_in_log(servers, follower.task_id) == numbers
        assert len({weights(servers, follower.task_id) for follower in followers}) == 1
    finally:
        servers.close()
