"""A training's share of memory: what it asks for beyond that is refused to it, so that it fails and not the machine."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

STATUS = Path("/proc/self/status")


@contextmanager
def memory_limit(megabytes: int | None) -> Iterator[None]:
    """Let the process take so many MiB more than it has now (Linux; None: as many as there are).

    RLIMIT_DATA counts private writable memory whether it is used or not. The address space as a whole is no
    measure: frameworks reserve far more of it than they use. Where a control group holds the worker
    (``dispatch.cgroups``) this is left out, since the kernel then counts what is used.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if megabytes is None or not STATUS.exists():
        yield
        return
    limit = _data_bytes() + megabytes * 2**20
    with suppress(ValueError, OSError):  # a stricter limit is in force already
        resource.setrlimit(resource.RLIMIT_DATA, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


def _data_bytes() -> int:
    """Private writable memory of this process, in bytes."""
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024
