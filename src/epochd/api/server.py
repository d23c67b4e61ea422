"""``epochd serve``: the listening socket and a graceful shutdown.

On SIGTERM running jobs save a checkpoint while their workers can still report; then the streams are notified, and the
connections closed.
"""

import asyncio
import errno
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, NoReturn

import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from epochd import __version__
from epochd.api import loop_watchdog, server_log
from epochd.api.app import create_app
from epochd.api.connections import Connection, ConnectionLimit, connection_limit
from epochd.api.service import Service
from epochd.core.errors import SettingsError
from epochd.core.language import chinese, of_environment, translated
from epochd.core.settings import Settings, unknown_variables
from epochd.dispatch.host import processes

logger = logging.getLogger(__name__)

BACKLOG = 2048
ACCEPTED_AT_ONCE = 4
"""How many connections asyncio accepts before it runs anything else: a burst must not use up all descriptors."""
RELEASE_SECONDS = 1.0
"""How long running jobs have to save a checkpoint before the server exits; the next server adopts or requeues them."""
EXIT_SECONDS = 8.0
"""How long a shutdown may take. After this time the process ends even if a request holds the event loop, or if a thread
never returns, for example one that waits for a file system that does not answer; the next server takes over the
workers."""


def serve(settings: Settings) -> None:
    """Run the server until SIGTERM or SIGINT. Raises SettingsError when it cannot start."""
    server_log.configure(settings)
    for sentence in unknown_variables(os.environ):
        logger.warning("%s", sentence)
    os.umask(0o077)  # for all files, also those of the workers
    processes.become_subreaper()
    with bind(settings.host, settings.port) as listener:
        url = url_of(settings.host, listener)
        Server(create_app(settings, server_url=url), url, exit_seconds=EXIT_SECONDS).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError with the cause if the address cannot be used."""
    try:
        found = {entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
        # IPv4 if the name has such an address, because clients of ``localhost`` may try IPv4 only.
        family = socket.AF_INET if socket.AF_INET in found else socket.AF_INET6
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # Connections inherit it. Without it the body of an answer waits 40 ms until its head is acknowledged: asyncio
        # sets the option only for sockets that were created with the number of the protocol.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        reason = f"{error.strerror or error}. Set EPOCHD_HOST to an address of this machine"
        if error.errno == errno.EADDRINUSE:
            reason = "the port is in use. Set EPOCHD_PORT to another port, or stop the process that listens on it"
        elif error.errno == errno.EACCES:
            reason = "this user may not listen on that port. Set EPOCHD_PORT to a port above 1023"
        raise SettingsError(f"cannot listen on {host} port {port}: {reason}") from None


def url_of(host: str, listener: socket.socket) -> str:
    """The URL at which processes of this machine reach the server."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


class Server(uvicorn.Server):
    """uvicorn with the start and shutdown order described above; a shutdown by a signal has exit code 0.

    With ``exit_seconds`` the process ends at most so long after a signal."""

    def __init__(self, app: FastAPI, url: str, exit_seconds: float | None = None) -> None:
        limit = ConnectionLimit(connection_limit(app.state.service.settings.slots))
        http: Any = partial(Connection, limit=limit)
        config = uvicorn.Config(
            app,
            http=http,
            backlog=ACCEPTED_AT_ONCE,
            lifespan="off",  # entered in ``serve``, so that an error reaches the caller instead of the log
            ws="none",
            log_config=None,
            server_header=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=1,
        )
        super().__init__(config)
        self.app = app
        self.url = url
        self.exit_seconds = exit_seconds

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        with loop_watchdog.watched(asyncio.get_running_loop()):
            async with self.app.router.lifespan_context(self.app):
                await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for listener in sockets or ():
            listener.listen(BACKLOG)
        told = f"epochd {__version__} listens on {self.url}"
        print(translated(told, of_environment()), flush=True)
        logger.info("epochd %s started: process %d listens on %s", __version__, os.getpid(), self.url)
        threading.Thread(target=chinese, name="warm-up", daemon=True).start()  # the first translation needs it

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("epochd shuts down")
        service: Service = self.app.state.service
        await service.release(RELEASE_SECONDS)
        service.event_bus.close()
        await service.close_readers()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Let a thread receive the signals, which can end the process even if the event loop is held."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        receiver, sender = socket.socketpair()
        sender.setblocking(False)
        arguments = (receiver, asyncio.get_running_loop())
        threading.Thread(target=self._await_signals, args=arguments, name="signals", daemon=True).start()
        previous = {number: signal.signal(number, lambda *_: None) for number in HANDLED_SIGNALS}
        descriptor = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(descriptor)
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._sender = sender if self.should_exit else None  # open, the thread limits the time of what follows

    def _await_signals(self, receiver: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Forward each signal to the event loop; end the process when the first one is ``exit_seconds`` old."""
        ends: float | None = None
        while True:
            receiver.settimeout(None if ends is None else max(0.001, ends - time.monotonic()))
            try:
                received = receiver.recv(1)
            except TimeoutError:
                _exit_now(self.exit_seconds or 0.0)
            if not received:
                return
            if ends is None and self.exit_seconds is not None:
                ends = time.monotonic() + self.exit_seconds
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self.handle_exit, received[0], None)


def _exit_now(seconds: float) -> NoReturn:
    """End the process without waiting for its threads."""
    names = ", ".join(sorted(thread.name for thread in threading.enumerate() if not thread.daemon))
    logger.error("the shutdown took longer than %g s; the process ends now. Threads that still run: %s", seconds, names)
    logging.shutdown()
    os._exit(0)
