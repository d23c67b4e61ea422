"""The log of one attempt: all that the process prints while it trains, at any level, up to a limit."""

import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from epochd.core.tickets import Ticket

logger = logging.getLogger(__name__)

WATCH_SECONDS = 1.0


@contextmanager
def attempt_log(ticket: Ticket) -> Iterator[Path]:
    """Send standard output and error, down to what C code writes, to the attempt's log for a while.

    A disk without room for a log is no reason not to train.
    """
    path = ticket.log_path
    try:
        log = _opened(path)
    except OSError as error:
        logger.warning("no log is kept of this attempt: %s", error)
        yield path
        return
    kept = os.dup(1), os.dup(2)
    done = threading.Event()
    watch = threading.Thread(target=_watch, args=(log, ticket.log_mb * 2**20, done), daemon=True, name="log")
    watch.start()
    try:
        _point(log, log)
        yield path
    finally:
        _point(*kept)
        done.set()
        watch.join()
        for descriptor in (log, *kept):
            os.close(descriptor)


def _opened(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)


def _watch(log: int, limit: int, done: threading.Event) -> None:
    """Look at the log's size now and then, and a last time at the end."""
    while not done.wait(WATCH_SECONDS):
        trim(log, limit)
    trim(log, limit)


def trim(log: int, limit: int) -> None:
    """Keep the newer half of a log that has grown beyond ``limit`` bytes.

    The file is emptied in place and writers append, so whoever has it open goes on at its new end; lines that are
    written in that moment are lost.
    """
    size = os.fstat(log).st_size
    if size <= limit:
        return
    tail = os.pread(log, limit // 2, size - limit // 2).partition(b"\n")[2]
    os.ftruncate(log, 0)
    note = b"[%d bytes were dropped: a log is limited to %d MiB, EPOCHD_LOG_MB]\n" % (size - len(tail), limit >> 20)
    os.write(log, note + tail)


def _point(out: int, err: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # what no longer fits on the disk is not written, wherever it points
            stream.flush()
    os.dup2(out, 1)
    os.dup2(err, 2)
