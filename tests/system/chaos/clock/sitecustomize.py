"""Lets a test set the time of day. Python loads this when it starts, wherever this folder is on ``PYTHONPATH``."""

import mmap
import os
import struct
import time
from pathlib import Path


def follow(path: Path) -> None:
    """From now on the time of day is off by the number of seconds in this file, which may change at any time."""
    with path.open("rb") as file:
        offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    true = time.time
    time.time = lambda: true() + struct.unpack("d", offset)[0]
    time.time_ns = lambda: int(time.time() * 1e9)


if "CHAOS_CLOCK" in os.environ:
    follow(Path(os.environ["CHAOS_CLOCK"]))
