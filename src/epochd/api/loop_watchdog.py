"""Names in the log what holds the event loop, so that a request that delays all others can be found."""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LIMIT_SECONDS = 0.2
PAUSE_SECONDS = 0.05
FRAMES = 6
"""How many of the innermost calls are logged."""

logger = logging.getLogger(__name__)


@contextmanager
def watched(loop: asyncio.AbstractEventLoop, limit: float = LIMIT_SECONDS) -> Iterator[None]:
    """Log, from a thread, whatever holds the loop for longer than ``limit`` seconds. Called in the loop's thread."""
    ended = threading.Event()
    arguments = (loop, threading.get_ident(), limit, ended)
    thread = threading.Thread(target=_watch, args=arguments, name="event-loop watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()


def name_request(name: str) -> None:
    """Give the current task the name of its request, by which the watchdog and asyncio's own messages call it."""
    if task := asyncio.current_task():
        task.set_name(name)


def _watch(loop: asyncio.AbstractEventLoop, thread: int, limit: float, ended: threading.Event) -> None:
    """Ask the loop again and again for a sign; look at what it does if none comes in time."""
    while not ended.wait(PAUSE_SECONDS):
        sign, asked = threading.Event(), time.monotonic()
        try:
            loop.call_soon_threadsafe(sign.set)
        except RuntimeError:  # it is closed
            return
        if sign.wait(limit):
            continue
        task, frame = asyncio.current_task(loop), sys._current_frames().get(thread)
        if sign.is_set() or ended.is_set() or _is_idle(frame):
            continue
        name = task.get_name() if task else "a callback"
        logger.warning("%s holds the event loop for more than %g ms:\n%s", name, 1000 * limit, _calls(frame))
        while not sign.wait(limit) and not ended.is_set():
            pass
        logger.warning("%s held the event loop for %.2f s", name, time.monotonic() - asked)


def _is_idle(frame: FrameType | None) -> bool:
    """Whether the thread waits for events, so that not the loop is slow but the machine."""
    return frame is not None and frame.f_code.co_name == "select"


def _calls(frame: FrameType | None) -> str:
    """The innermost calls of a thread."""
    return "".join(traceback.format_list(traceback.extract_stack(frame)[-FRAMES:])).rstrip()
