"""What to say of an attempt that did not end in good order, and what becomes of its job."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from epochd.core.jobs import AttemptKey
from epochd.core.tickets import RANK_FAILED, Ticket
from epochd.dispatch.host.cgroups import Overrun
from epochd.store import attempts
from epochd.store.db import Database

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A code and a sentence. ``is_final``: trying again would end in the same way. If the job ``waits`` then, it is not
    given up: somebody has to put something right."""

    code: str
    message: str
    is_final: bool = False
    waits: bool = False


def of_exit(returncode: int, overrun: Overrun | None = None) -> Outcome:
    """What a worker's end means for a job that it left without a last word."""
    if overrun is not None:
        return of_memory(overrun.limit, overrun.peak)
    if returncode == 0:
        return Outcome("worker_vanished", "the worker ended without saying how the training went; see its log")
    if returncode == RANK_FAILED:
        return Outcome("rank_failed", "one of the processes that train as one has died; see the end of the log")
    if returncode > 0:
        return Outcome("worker_died", f"the worker exited with code {returncode}; see the end of its log")
    known = -returncode in set(signal.Signals)
    name = signal.Signals(-returncode).name if known else str(-returncode)
    hint = "epochd did not send it, the system may have run out of memory" if name == "SIGKILL" else "see its log"
    return Outcome("worker_died", f"the worker was killed by signal {name}; {hint}")


def of_silence(lease_seconds: float) -> Outcome:
    """What it means that a worker's lease ran out."""
    message = (
        f"the worker was silent for more than {lease_seconds:g} s and was ended; "
        "if the machine is merely slow, raise EPOCHD_LEASE_SECONDS"
    )
    return Outcome("worker_silent", message)


def of_hang(idle_seconds: float) -> str:
    """What to tell of a training whose worker is alive and finishes no step."""
    return (
        f"no step has been finished for {idle_seconds:,.0f} s, though the worker is alive; its log may say why. "
        "If steps take that long here, raise EPOCHD_HANG_SECONDS"
    )


def of_no_worker(reason: str, ticket: Ticket) -> Outcome:
    """What it means that no worker can be had."""
    message = f"the training could not be started: {reason}"
    waits = ticket.checkpoint is not None
    type_advice = ". It waits at its last checkpoint: resume it then" if waits else ""
    return Outcome("worker_unavailable", message + type_advice, is_final=True, waits=waits)


GONE = Outcome("worker_died", "the worker, which a former server had started, has died; see the end of its log")
UNHEEDING = Outcome("worker_died", "the worker did not heed its cancellation and was ended")


def of_memory(limit: int, peak: int) -> Outcome:
    """What it means that a worker was ended because it took, or wanted, too much memory (both in bytes)."""
    message = (
        f"the training needs more than the {limit / 2**20:,.0f} MiB of memory that it may use (EPOCHD_MEMORY_MB); its "
        f"peak was {peak / 2**20:,.0f} MiB. Use a smaller batch_size, fewer hidden_units or fewer columns, lower "
        "EPOCHD_RESIDENT_MB so that rows are streamed, or raise the limit"
    )
    return Outcome("out_of_memory", message, is_final=True)


async def carry_out(db: Database, key: AttemptKey, verdict: Outcome, log_tail: Sequence[str]) -> None:
    """Let the attempt's job go on or end by the verdict, unless the attempt runs no more."""
    about: dict[str, Any] = {"code": verdict.code, "message": verdict.message, "log_tail": log_tail}
    if verdict.is_final:
        ended = await attempts.fail_attempt(db, *key, **about, waits=verdict.waits)
    else:
        ended = await attempts.crash_attempt(db, *key, **about)
    if ended:
        logger.warning("task %s, attempt %d: %s", *key, verdict.message)
