"""``epochd serve``: the listening socket, the process's logging, and a graceful shutdown.

The socket is bound first, so that a port in use is reported at once and the URL for the workers is known even if the
system selects the port. On SIGTERM running jobs save a checkpoint while their workers can still report; then the
streams are notified, and the connections closed.
"""

import asyncio
import errno
import logging
import logging.config
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.server import HANDLED_SIGNALS

from epochd import __version__
from epochd.api.app import create_app
from epochd.api.service import Service
from epochd.core.errors import SettingsError
from epochd.core.settings import Settings
from epochd.dispatch.host import processes

RELEASE_SECONDS = 1.0
"""How long running jobs have to save a checkpoint before the server exits; the next server adopts or requeues them."""
CLOSE_SECONDS = 1
"""How long open connections have to finish."""
KEEP_ALIVE_SECONDS = 60

WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}
LEVELS = ("debug", "info", "warning", "error")


def serve(settings: Settings) -> None:
    """Run the server until SIGTERM or SIGINT. Raises SettingsError when it cannot start."""
    configure_logging(settings.log_level)
    processes.become_subreaper()
    listener = bind(settings.host, settings.port)
    with listener:
        url = url_of(settings.host, listener)
        app = create_app(settings, server_url=url)
        Server(app, url).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. Raises SettingsError with the cause if the address cannot be used."""
    try:
        family = _family(host, port)
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host} port {port}: {_reason(error)}") from None


def _family(host: str, port: int) -> socket.AddressFamily:
    """IPv4 if the name has such an address, because clients of ``localhost`` may try IPv4 only."""
    found = {entry[0] for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    return socket.AF_INET if socket.AF_INET in found else socket.AF_INET6


def _reason(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the port is in use. Set EPOCHD_PORT to another port, or stop the process that listens on it"
        case errno.EACCES:
            return "this user may not listen on that port. Set EPOCHD_PORT to a port above 1023"
        case _:
            return f"{error.strerror or error}. Set EPOCHD_HOST to an address of this machine"


def url_of(host: str, listener: socket.socket) -> str:
    """The URL at which processes of this machine reach the server."""
    port = listener.getsockname()[1]
    name = WILDCARDS.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


class Server(uvicorn.Server):
    """uvicorn with the start and shutdown order described above; a shutdown by a signal has exit code 0."""

    def __init__(self, app: FastAPI, url: str) -> None:
        config = uvicorn.Config(
            app,
            lifespan="off",  # entered in ``serve``, so that an error reaches the caller instead of the log
            ws="none",
            log_config=None,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=CLOSE_SECONDS,
        )
        super().__init__(config)
        self.app = app
        self.url = url

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        async with self.app.router.lifespan_context(self.app):
            await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(f"epochd {__version__} listens on {self.url}", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        service: Service = self.app.state.service
        await service.release(RELEASE_SECONDS)
        service.event_bus.close()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for number in HANDLED_SIGNALS:
            loop.add_signal_handler(number, self.handle_exit, number, None)
        try:
            yield
        finally:
            for number in HANDLED_SIGNALS:
                loop.remove_signal_handler(number)


class AccessFilter(logging.Filter):
    """Removes query strings from access log lines, and the lines of worker reports."""

    def filter(self, record: logging.LogRecord) -> bool:
        if not isinstance(record.args, tuple) or len(record.args) != 5:
            return True
        client, method, path, *rest = record.args
        plain = str(path).partition("?")[0]
        record.args = (client, method, plain, *rest)
        return not plain.startswith("/internal/")


def configure_logging(level: str) -> None:
    """Log to standard error. Raises SettingsError for an unknown level."""
    if level.lower() not in LEVELS:
        raise SettingsError(f"invalid settings: EPOCHD_LOG_LEVEL={level}: use {', '.join(LEVELS)}")
    logging.config.dictConfig(_logging(level.upper()))


def _logging(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)-7s %(name)s: %(message)s"}},
        "filters": {"access": {"()": AccessFilter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "loggers": {
            "epochd": {"level": level},
            "uvicorn.error": {"level": "WARNING"},
            "uvicorn.access": {"level": level, "filters": ["access"]},
        },
    }
