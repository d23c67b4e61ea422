"""The report of a training that ended with an error: a code, and a message that says what happened and what to do."""

import resource
import sys
from typing import Any

from epochd.core.errors import DataChanged, DataError, EpochdError, OutOfSpace, StorageUnavailable
from epochd.core.events import ReportKind
from epochd.core.tickets import AttemptTicket, PredictionTicket, Ticket

GPU_MEMORY_ERRORS = frozenset({"OutOfMemoryError"})
"""PyTorch raises this for GPUs only."""
MEMORY_ERRORS = frozenset({"MemoryError", "ResourceExhaustedError"})
MEMORY_MESSAGES = ("can't allocate memory", "not enough memory", "RESOURCE_EXHAUSTED", "Out of memory", "bad_alloc")
"""Messages of PyTorch, TensorFlow, XLA and C++ on a CPU."""
MEMORY_ADVICE = (
    "Use a smaller batch_size, fewer hidden_units or fewer columns, or lower EPOCHD_RESIDENT_MB to stream the rows"
)


PREDICTION_ADVICE = "Name the columns that are passed through in id_columns, or predict the dataset in smaller pieces"


def final_report(error: Exception, ticket: AttemptTicket) -> tuple[ReportKind, dict[str, Any]]:
    """The last report: HELD where the training can continue once the disk has space, the object store works or the data
    are restored, FAILED otherwise."""
    if isinstance(error, OutOfSpace):
        return ReportKind.HELD, error.as_report()
    failure = failure_of(error, ticket)
    if isinstance(error, StorageUnavailable):
        return ReportKind.HELD, failure
    if isinstance(error, DataError | DataChanged) and ticket.checkpoint is not None:
        failure["message"] += f". The {ticket.noun} waits at its last checkpoint: correct the data, then resume it"
        return ReportKind.HELD, failure
    if isinstance(error, DataChanged) and isinstance(ticket, Ticket):
        failure["message"] += ". The training waits: bring the old data back, or allow the change, then resume it"
        return ReportKind.HELD, failure
    return ReportKind.FAILED, failure


def failure_of(error: Exception, ticket: AttemptTicket) -> dict[str, Any]:
    """The payload of a FAILED report."""
    if isinstance(error, EpochdError):
        return {key: value for key, value in error.as_json().items() if key != "success"}
    name, text = type(error).__name__, str(error)
    reason = text.strip().split("\n", 1)[0][:500]
    is_memory_error = name in MEMORY_ERRORS or any(message in text for message in MEMORY_MESSAGES)
    if name in GPU_MEMORY_ERRORS or (ticket.gpus and is_memory_error):
        code, message = "cuda_out_of_memory", f"the GPU is out of memory ({reason}). {MEMORY_ADVICE}"
    elif is_memory_error:
        advice = PREDICTION_ADVICE if isinstance(ticket, PredictionTicket) else MEMORY_ADVICE
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        limit = f", the limit is {ticket.memory_mb:,} MiB (EPOCHD_MEMORY_MB)" if ticket.memory_mb else ""
        usage = f"peak usage {peak / 2**20:,.0f} MiB{limit}"
        code, message = "out_of_memory", f"the {ticket.noun} ran out of memory: {usage}. {advice}"
    else:
        code = "internal_error"
        message = f"an unexpected {name} ended the {ticket.noun}: {reason}; see the log of the attempt for details"
    return {"code": code, "message": message, "problems": []}
