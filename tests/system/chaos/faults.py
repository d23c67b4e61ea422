"""What can go wrong, brought about on purpose. Each fault proves that it happened: it returns a sentence, or raises."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil

from .agents import AGENT_FAULTS, AgentArena
from .arena import GRACE_SECONDS, LEASE_SECONDS, Arena, NotFired, Victim, is_gone, until
from .stores import STORE_FAULTS, StoreArena

Fault = Callable[[Arena], str]


def kill_worker(arena: Arena) -> str:
    """SIGKILL: its task loses the attempt and goes on in another."""
    victim = _struck(arena, signal.SIGKILL)
    until(lambda: is_gone(victim.pid), f"process {victim.pid} lives on")
    return f"worker {victim.pid} was killed in attempt {victim.attempt}"


def terminate_worker(arena: Arena) -> str:
    """SIGTERM: it saves a checkpoint and gives its task back."""
    victim = _struck(arena, signal.SIGTERM)
    return f"worker {victim.pid} gave way in attempt {victim.attempt}"


def kill_rank(arena: Arena) -> str:
    """SIGKILL for one of two processes that train as one."""

    def rank(victim: Victim) -> tuple[Victim, int] | None:
        with suppress(psutil.Error):
            ranks = [
                child for child in psutil.Process(victim.pid).children() if "distributed_worker" in str(child.cmdline())
            ]
            return (victim, ranks[0].pid) if ranks else None
        return None

    victim, pid = arena.victim(rank, with_one="ranks")
    os.kill(pid, signal.SIGKILL)
    until(lambda: arena.is_over(victim), f"task {victim.task_id} did not notice the death of rank {pid}")
    return f"rank {pid} of worker {victim.pid} was killed in attempt {victim.attempt}"


def freeze_worker(arena: Arena) -> str:
    """SIGSTOP for longer than the lease, then SIGCONT: its task has been given to another attempt."""
    victim = _struck(arena, signal.SIGSTOP)
    until(lambda: is_gone(victim.pid), f"the stale process {victim.pid} lives on")
    return f"worker {victim.pid} was stopped until its task had been taken from it"


def hold_worker(arena: Arena) -> str:
    """SIGSTOP for less than the lease, then SIGCONT: nobody minds."""
    victim = arena.victim()
    os.kill(victim.pid, signal.SIGSTOP)
    state = until(lambda: _is_stopped(victim.pid), f"process {victim.pid} did not stop")
    time.sleep(arena.random.uniform(0.1, 0.4) * LEASE_SECONDS)
    os.kill(victim.pid, signal.SIGCONT)
    return f"worker {victim.pid} was {state} for a moment"


def kill_server(arena: Arena) -> str:
    """SIGKILL: workers train on, and the next server takes them up again."""
    arena.victim()
    code = arena.end_server(signal.SIGKILL)
    arena.serve_again()
    return _ended("the server was killed", code, -signal.SIGKILL)


def restart_server(arena: Arena) -> str:
    """SIGTERM: running trainings save a checkpoint, and go on with the next server."""
    arena.victim()
    code = arena.end_server(signal.SIGTERM)
    arena.serve_again()
    return _ended("the server was restarted", code, 0)


def kill_both(arena: Arena) -> str:
    """SIGKILL for the server and a worker: the next server finds neither."""
    victim = arena.victim()
    code = arena.end_server(signal.SIGKILL)
    os.kill(victim.pid, signal.SIGKILL)
    until(lambda: is_gone(victim.pid), f"process {victim.pid} lives on")
    arena.serve_again()
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken from its dead worker")
    return _ended(f"the server and worker {victim.pid} were killed", code, -signal.SIGKILL)


def desert_workers(arena: Arena) -> str:
    """No server for longer than the grace: workers save a checkpoint and end by themselves."""
    victim = arena.victim()
    code = arena.end_server(signal.SIGKILL)
    until(lambda: is_gone(victim.pid), f"worker {victim.pid} did not give up its server in time", 30 + GRACE_SECONDS)
    arena.serve_again()
    until(lambda: arena.is_over(victim), f"task {victim.task_id} was not taken up again")
    return _ended(f"worker {victim.pid} ended without a server", code, -signal.SIGKILL)


def fill_disk(arena: Arena) -> str:
    """No byte of room: the server goes on answering, trainings wait or try again."""
    victim, filler = arena.victim(), arena.data_dir / "filler"
    began = time.monotonic()
    fill(filler)
    try:
        while time.monotonic() - began < 1.5:
            arena.server.client.get(f"{arena.server.url}/health")
            time.sleep(0.1)
        answered = arena.server.client.get(f"/progress/{victim.task_id}").status_code
    finally:
        filler.unlink()
    if answered != 200:
        raise NotFired(f"the server answered {answered} while the disk was full")
    return f"the disk was full for {time.monotonic() - began:.1f} s"


def jump_clock(arena: Arena) -> str:
    """The time of day is set, for the server and for all workers."""
    arena.victim()
    before = arena.offset
    arena.set_clock(before + arena.random.choice([-7200.0, -LEASE_SECONDS, 2 * LEASE_SECONDS, 7200.0]))
    asked = arena.now
    task_id = arena.start("plateau")
    answered = arena.now
    created = datetime.fromisoformat(arena.server.task(task_id)["created_at"]).timestamp()
    if not asked - LEASE_SECONDS / 2 <= created <= answered + LEASE_SECONDS / 2:
        raise NotFired(f"a task was created at {created:.1f}, but the clock was between {asked:.1f} and {answered:.1f}")
    return f"the clock was set by {arena.offset - before:+,.0f} s"


def pause_and_resume(arena: Arena) -> str:
    """No accident, but it has to get along with all of them."""
    victim = arena.victim()
    answer = arena.server.client.post(f"/pause/{victim.task_id}")
    if answer.status_code == 409:
        return pause_and_resume(arena)  # it was done in that moment
    until(lambda: arena.server.task(victim.task_id)["state"] != "running", f"task {victim.task_id} did not pause")
    resumed = arena.server.client.post(f"/resume/{victim.task_id}")
    if resumed.status_code == 409 and arena.server.task(victim.task_id)["state"] == "completed":
        return pause_and_resume(arena)
    resumed.raise_for_status()
    return f"task {victim.task_id} was paused in attempt {victim.attempt} and resumed"


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_worker,
        kill_server,
        kill_both,
        kill_rank,
        freeze_worker,
        hold_worker,
        terminate_worker,
        restart_server,
        desert_workers,
        fill_disk,
        jump_clock,
        pause_and_resume,
    )
}
KILLS = ("kill_worker", "kill_server", "kill_both")
"""What the rest of a plan is made of, once it has each fault."""


def planned(arena: Arena, count: int) -> list[str]:
    """Each fault that is possible here, or ``count`` of them, and kills to make up the number; in a random order."""
    without = {"fill_disk": not arena.has_disk, "kill_rank": "ranks" not in arena.trainings}
    possible = [name for name in FAULTS if not without.get(name)]
    arena.random.shuffle(possible)
    rest = [arena.random.choice([*KILLS, *KILLS, *possible]) for _ in range(count - len(possible))]
    plan = possible[:count] + rest
    arena.random.shuffle(plan)
    return plan


def inflict(arena: Arena, name: str) -> str:
    """Bring about one fault at a random moment; what proves it."""
    time.sleep(arena.random.uniform(0.0, 0.6))
    if isinstance(arena, StoreArena) and name in STORE_FAULTS:
        proof = STORE_FAULTS[name](arena)
    elif isinstance(arena, AgentArena) and name in AGENT_FAULTS:
        proof = AGENT_FAULTS[name](arena)
    else:
        proof = FAULTS[name](arena)
    until(arena.is_well, f"the server was not well after {name}")
    return proof


def fill(path: Path) -> None:
    """Write until there is no room for another byte. Raises NotFired if that is not reached."""
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 4096, 1):
            with suppress(OSError):
                while file.tell() < 2**30:
                    file.write(b"\0" * size)
    if os.statvfs(path).f_bavail:
        raise NotFired(f"{path} grew to {path.stat().st_size:,} bytes and there is still room")


def _struck(arena: Arena, number: signal.Signals) -> Victim:
    """Send a worker a signal that ends its attempt; one that was done in that moment does not count.

    One that was stopped is continued afterwards.
    """

    def strike(victim: Victim) -> Victim | None:
        before = arena.server.task(victim.task_id)
        os.kill(victim.pid, number)
        until(lambda: arena.is_over(victim), f"task {victim.task_id} did not lose its worker")
        if number == signal.SIGSTOP:
            with suppress(ProcessLookupError):
                os.kill(victim.pid, signal.SIGCONT)
        after = arena.server.task(victim.task_id)
        counters = ("crashes", "preemptions")
        return victim if any(after[name] > before[name] for name in counters) else None

    return arena.victim(strike)


def _is_stopped(pid: int) -> str | None:
    state = psutil.Process(pid).status()
    return state if state == psutil.STATUS_STOPPED else None


def _ended(what: str, code: int, expected: int) -> str:
    if code != expected:
        raise NotFired(f"{what}, but it ended with code {code} instead of {expected}")
    return what
