"""How a training that went wrong ends: a code and a sentence that says what happened and what to do about it."""

import resource
import sys
from typing import Any

from epochd.core.errors import DataChanged, DataError, EpochdError, OutOfSpace
from epochd.core.events import ReportKind
from epochd.core.tickets import Ticket

GPU_TYPES = frozenset({"OutOfMemoryError"})
"""PyTorch raises this for its GPUs only."""
MEMORY_TYPES = frozenset({"MemoryError", "ResourceExhaustedError"})
MEMORY_WORDS = ("can't allocate memory", "not enough memory", "RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")
"""How PyTorch, TensorFlow, XLA and C++ put it on a CPU."""


def last_word_of(error: Exception, ticket: Ticket) -> tuple[ReportKind, dict[str, Any]]:
    """What to report: a training that would get on if only the disk had room, or its data were what they were, waits
    for that where it has got to. Any other has failed."""
    if isinstance(error, OutOfSpace):
        return ReportKind.HELD, error.as_report()
    failure = failure_of(error, ticket)
    if isinstance(error, DataError | DataChanged) and ticket.checkpoint is not None:
        failure["message"] += ". The training waits at its last checkpoint: put the data right, then resume it"
        return ReportKind.HELD, failure
    return ReportKind.FAILED, failure


def failure_of(error: Exception, ticket: Ticket) -> dict[str, Any]:
    """The payload of a FAILED report."""
    if isinstance(error, EpochdError):
        return {key: value for key, value in error.as_json().items() if key != "success"}
    name = type(error).__name__
    if name in GPU_TYPES or (ticket.gpus and is_memory(error)):
        return _failure("cuda_out_of_memory", f"the GPU has run out of memory ({_first_line(error)}). {_smaller()}")
    if is_memory(error):
        return _failure("out_of_memory", f"the training has run out of memory{_figures(ticket)}. {_smaller()}")
    sentence = f"an unexpected {name} ended the training: {_first_line(error)}; its log has the details"
    return _failure("internal_error", sentence)


def is_memory(error: Exception) -> bool:
    """Whether an error says, in the words of any framework, that memory could not be had."""
    return type(error).__name__ in MEMORY_TYPES or any(words in str(error) for words in MEMORY_WORDS)


def peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _failure(code: str, message: str) -> dict[str, Any]:
    return {"code": code, "message": message, "problems": []}


def _figures(ticket: Ticket) -> str:
    limit = f", its limit is {ticket.memory_mb:,} MiB (EPOCHD_MEMORY_MB)" if ticket.memory_mb else ""
    return f": its peak was {peak_bytes() / 2**20:,.0f} MiB{limit}"


def _smaller() -> str:
    return (
        "Use a smaller batch_size, fewer hidden_units or fewer columns, or lower EPOCHD_RESIDENT_MB to stream the rows"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:500]
