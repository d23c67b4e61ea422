"""Limits of one attempt: the size of its log, which takes all output of the process, and the memory it may take."""

import logging
import os
import resource
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epochd.core.tickets import AttemptTicket

logger = logging.getLogger(__name__)

CHECK_SECONDS = 1.0
PROCESS_STATUS = Path("/proc/self/status")


@contextmanager
def attempt_log(ticket: AttemptTicket) -> Iterator[Path]:
    """Redirect standard output and error, including output of C code, to the attempt's log.

    If the log cannot be opened, the training runs without one.
    """
    path = ticket.log_path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        log = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        logger.warning("this attempt runs without a log: %s", error)
        yield path
        return
    kept = os.dup(1), os.dup(2)
    done = threading.Event()
    limiter = threading.Thread(target=_limit_size, args=(log, ticket.log_mb * 2**20, done), daemon=True, name="log")
    limiter.start()
    try:
        _redirect(log, log)
        yield path
    finally:
        _redirect(*kept)
        done.set()
        limiter.join()
        for descriptor in (log, *kept):
            os.close(descriptor)


def _limit_size(log: int, limit: int, done: threading.Event) -> None:
    """Limit the log's size every second and at the end."""
    while not done.wait(CHECK_SECONDS):
        trim(log, limit)
    trim(log, limit)


def trim(log: int, limit: int) -> None:
    """Keep the newer half of a log that has grown beyond ``limit`` bytes.

    The file is truncated in place; writers append, so they continue at its new end. Lines written meanwhile are lost.
    """
    size = os.fstat(log).st_size
    if size <= limit:
        return
    tail = os.pread(log, limit // 2, size - limit // 2).partition(b"\n")[2]
    os.ftruncate(log, 0)
    note = b"[%d bytes were dropped: the log is limited to %d MiB, EPOCHD_LOG_MB]\n" % (size - len(tail), limit >> 20)
    os.write(log, note + tail)


def _redirect(out: int, err: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the disk may be full
            stream.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)


@contextmanager
def memory_limit(megabytes: int | None) -> Iterator[None]:
    """Limit the memory that the process may take in addition to what it has now (Linux; None: no limit).

    RLIMIT_DATA counts private writable memory, used or not. The address space (RLIMIT_AS) is not suitable: frameworks
    reserve far more of it than they use.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if megabytes is None or not PROCESS_STATUS.exists():
        yield
        return
    line = next(line for line in PROCESS_STATUS.read_text().splitlines() if line.startswith("VmData:"))
    limit = int(line.split()[1]) * 1024 + megabytes * 2**20
    with suppress(ValueError, OSError):  # a stricter limit exists already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
