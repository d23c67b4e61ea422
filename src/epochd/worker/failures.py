"""The report of a training that ended with an error: a code, and a message that says what happened and what to do."""

import resource
import sys
from typing import Any

from epochd.core.errors import DataChanged, DataError, EpochdError, OutOfSpace
from epochd.core.events import ReportKind
from epochd.core.tickets import Ticket

GPU_MEMORY_ERRORS = frozenset({"OutOfMemoryError"})
"""PyTorch raises this for GPUs only."""
MEMORY_ERRORS = frozenset({"MemoryError", "ResourceExhaustedError"})
MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")
"""Messages of PyTorch, TensorFlow, XLA and C++ on a CPU."""


def final_report(error: Exception, ticket: Ticket) -> tuple[ReportKind, dict[str, Any]]:
    """The last report: HELD where the training can continue once the disk has space or the data are restored, FAILED
    otherwise."""
    if isinstance(error, OutOfSpace):
        return ReportKind.HELD, error.as_report()
    failure = failure_of(error, ticket)
    if isinstance(error, DataError | DataChanged) and ticket.checkpoint is not None:
        failure["message"] += ". The training waits at its last checkpoint: correct the data, then resume it"
        return ReportKind.HELD, failure
    return ReportKind.FAILED, failure


def failure_of(error: Exception, ticket: Ticket) -> dict[str, Any]:
    """The payload of a FAILED report."""
    if isinstance(error, EpochdError):
        return {key: value for key, value in error.as_json().items() if key != "success"}
    name = type(error).__name__
    if name in GPU_MEMORY_ERRORS or (ticket.gpus and is_memory_error(error)):
        return _failure("cuda_out_of_memory", f"the GPU is out of memory ({_first_line(error)}). {_memory_advice()}")
    if is_memory_error(error):
        limit = f", the limit is {ticket.memory_mb:,} MiB (EPOCHD_MEMORY_MB)" if ticket.memory_mb else ""
        usage = f"peak usage {peak_bytes() / 2**20:,.0f} MiB{limit}"
        return _failure("out_of_memory", f"the training ran out of memory: {usage}. {_memory_advice()}")
    message = f"an unexpected {name} ended the training: {_first_line(error)}; see the log of the attempt for details"
    return _failure("internal_error", message)


def is_memory_error(error: Exception) -> bool:
    """Whether any framework reports with this error that memory could not be allocated."""
    return type(error).__name__ in MEMORY_ERRORS or any(message in str(error) for message in MEMORY_MESSAGES)


def peak_bytes() -> int:
    """The peak resident memory of this process."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _failure(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "problems": []}


def _memory_advice() -> str:
    return (
        "Use a smaller batch_size, fewer hidden_units or fewer columns, or lower EPOCHD_RESIDENT_MB to stream the rows"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:500]
