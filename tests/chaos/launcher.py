"""The server with a clock that can be set: ``time.time`` is shifted by what a file says.

``python launcher.py CLOCK``; the rest is ``epochd serve``. Only this process is shifted, as if its machine's clock were
set; workers measure durations and do not look at the time of day.
"""

import mmap
import struct
import sys
import time
from pathlib import Path

SIZE = struct.calcsize("dd")


class Clock:
    """A file of two numbers: how far the clock is off, and what the server last took that to be (both in seconds)."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(SIZE))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), SIZE)

    @property
    def offset(self) -> float:
        return struct.unpack_from("d", self._memory, 0)[0]

    @property
    def seen(self) -> float:
        return struct.unpack_from("d", self._memory, 8)[0]

    def set(self, offset: float) -> None:
        struct.pack_into("d", self._memory, 0, offset)

    def shift(self, real: float) -> float:
        offset = self.offset
        struct.pack_into("d", self._memory, 8, offset)
        return real + offset


def main() -> None:
    clock, real = Clock(Path(sys.argv[1])), time.time
    time.time = lambda: clock.shift(real())
    from epochd.api.server import serve  # noqa: PLC0415 - what it imports may take ``time.time`` by name
    from epochd.core.settings import load  # noqa: PLC0415

    serve(load())


if __name__ == "__main__":
    main()
