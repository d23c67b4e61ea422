"""The outcomes of attempts that end without a final report, and how they are recorded."""

import logging
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from epochd.core.job_values import JobError
from epochd.core.jobs import AttemptKey
from epochd.core.tickets import RANK_FAILED, AttemptTicket
from epochd.dispatch.host.cgroups import Overrun
from epochd.store import attempts
from epochd.store.db import Database

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why an attempt ended. ``is_final``: another attempt would end in the same way. A final outcome that
    ``is_blocking`` pauses the job, until a user has solved the problem, instead of failing it."""

    code: str
    message: str
    is_final: bool = False
    is_blocking: bool = False


def of_exit(returncode: int, overrun: Overrun | None = None) -> Outcome:
    """The outcome for a worker that exited without a final report."""
    if overrun is not None:
        return of_memory(overrun.limit, overrun.peak)
    if returncode == 0:
        return Outcome("worker_vanished", "the worker exited without a final report; see its log")
    if returncode == RANK_FAILED:
        return Outcome("rank_failed", "one of the processes (ranks) of the training died; see the end of its log")
    if returncode > 0:
        return Outcome("worker_died", f"the worker exited with code {returncode}; see the end of its log")
    name = signal.Signals(-returncode).name if -returncode in set(signal.Signals) else str(-returncode)
    hint = "not by epochd: the system may have run out of memory" if name == "SIGKILL" else "see its log"
    return Outcome("worker_died", f"the worker was killed by signal {name}; {hint}")


def of_silence(lease_seconds: float) -> Outcome:
    """The outcome for an expired lease."""
    silence = f"the worker has not reported for more than {lease_seconds:g} s and was killed"
    return Outcome("worker_silent", f"{silence}; if the machine is only slow, raise EPOCHD_LEASE_SECONDS")


def hang_message(idle_seconds: float) -> str:
    """The message for a worker that reports but completes no step."""
    hang = f"no step has completed for {idle_seconds:,.0f} s, although the worker is alive; see its log"
    return f"{hang}. If steps regularly take that long, raise EPOCHD_HANG_SECONDS"


def of_no_worker(reason: str, ticket: AttemptTicket) -> Outcome:
    """The outcome if no worker can be started: a job with a checkpoint is blocked, any other fails."""
    message = f"the {ticket.noun} could not be started: {reason}"
    has_checkpoint = ticket.checkpoint is not None
    advice = ". It is paused at its last checkpoint: resume it once workers can be started" if has_checkpoint else ""
    return Outcome("worker_unavailable", message + advice, is_final=True, is_blocking=has_checkpoint)


DIED = Outcome("worker_died", "the worker, which a previous server had started, has died; see the end of its log")
CANCEL_IGNORED = Outcome("worker_died", "the worker ignored its cancellation and was killed")


def of_memory(limit: int, peak: int) -> Outcome:
    """The outcome for a training that exceeds its memory limit (both in bytes)."""
    message = (
        f"the training needs more than the {limit / 2**20:,.0f} MiB of memory that it may use (EPOCHD_MEMORY_MB); its "
        f"peak was {peak / 2**20:,.0f} MiB. Use a smaller batch_size, fewer hidden_units or fewer columns, lower "
        "EPOCHD_RESIDENT_MB to stream the rows, or raise the limit"
    )
    return Outcome("out_of_memory", message, is_final=True)


async def record(db: Database, key: AttemptKey, outcome: Outcome, log_tail: Sequence[str]) -> None:
    """Requeue, block or fail the job of an attempt, unless the attempt is not running any more."""
    error = JobError(outcome.code, outcome.message, log_tail=list(log_tail))
    if outcome.is_final:
        is_ended = await attempts.fail_attempt(db, *key, error, is_blocked=outcome.is_blocking)
    else:
        is_ended = await attempts.crash_attempt(db, *key, error)
    if is_ended:
        logger.warning("task %s, attempt %d: %s", *key, outcome.message)
