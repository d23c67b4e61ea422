"""A reader: a process that calls the functions of one module for the server, one at a time.

``python -m epochd.readers MODULE --memory-mb N`` reads calls from standard input and writes answers to standard output.
At the end of input it exits at once, also in the middle of a call, so that it never outlives the server. What a library
writes to standard output goes to standard error.
"""

import argparse
import importlib
import os
import queue
import resource
import sys
import threading
import traceback

import psutil

from epochd.readers import protocol

RETIRE_MB, RETIRE_AT_ONCE_MB, QUIET_SECONDS = 256, 1_024, 1.0
"""A reader that still keeps so much memory when it has had no call for a while is replaced, or after a call at once:
allocators return memory late or never. ``ru_maxrss`` does not tell: a process inherits its parent's."""


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m epochd.readers", description="Started by the epochd server.")
    parser.add_argument("module")
    parser.add_argument("--memory-mb", type=int, required=True)
    options = parser.parse_args(arguments)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    # Allocations count, mapped files do not: a file larger than memory can still be scanned.
    resource.setrlimit(resource.RLIMIT_DATA, (options.memory_mb << 20, options.memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    module = importlib.import_module(options.module)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(calls,), daemon=True).start()
    answers.write(b"ready\n")
    while _resident_mb() < RETIRE_AT_ONCE_MB:
        try:
            call = calls.get(timeout=QUIET_SECONDS)
        except queue.Empty:
            if _resident_mb() > RETIRE_MB:
                return
            call = calls.get()
        _write(answers.fileno(), protocol.answer(module, call))


def _resident_mb() -> float:
    resident: int = psutil.Process().memory_info().rss
    return resident / 2**20


def _receive(calls: queue.SimpleQueue[bytes]) -> None:
    for line in sys.stdin.buffer:
        calls.put(line)
    os._exit(0)


def _write(descriptor: int, line: bytes) -> None:
    """Write all of a line; a pipe may accept only a part at a time."""
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


if __name__ == "__main__":
    status = 1
    try:
        main()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)  # the thread that waits for input prevents an ordinary exit
