"""Event streams that reconnect: after a lost connection they resume after the last event received."""

import json
from collections.abc import Iterator, Mapping
from time import monotonic, sleep
from typing import Any

import httpx
from httpx_sse import EventSource

from epochd.client.connection import Connection
from epochd.core.errors import ServerUnreachable

SHUTDOWN = "server_shutdown"
"""The ``type`` of the event with which a server that shuts down ends its streams."""


def events(
    connection: Connection, path: str, query: Mapping[str, Any], last: str = "", *, ends: bool
) -> Iterator[dict[str, Any]]:
    """The data of a stream's events after the one with the id ``last``; no event is lost or returned twice.

    With ``ends`` the stream ends when the server closes it without a shutdown event, otherwise when the server answers
    204; the caller may stop earlier. Raises ServerUnreachable if the server stays unreachable.
    """
    outage = Outage()
    while True:
        try:
            with connection.stream(path, query, last) as response:
                outage.end()
                if response.status_code == httpx.codes.NO_CONTENT:
                    return
                for event_id, data in _read(response):
                    if data.get("type") == SHUTDOWN:
                        break
                    last, outage.wait = event_id or last, Outage.FIRST_WAIT
                    yield data
                else:
                    if ends:
                        return
        except ServerUnreachable as error:
            outage.record(error)
        outage.sleep()


def _read(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ids and data of one connection's events; heartbeats have none."""
    for event in EventSource(response).iter_sse():
        if event.data:
            yield event.id, json.loads(event.data)


class Outage:
    """The time without a connection, and the wait before the next attempt (in seconds)."""

    FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
    MAX_SECONDS = 120.0
    """A restart of the server takes a few seconds, one of the machine a minute or two."""

    def __init__(self) -> None:
        self.wait = self.FIRST_WAIT
        self._ever_connected = False
        self._since: float | None = None

    def end(self) -> None:
        self._ever_connected, self._since = True, None

    def record(self, error: ServerUnreachable) -> None:
        """Raise ``error`` if there has never been a connection, or none for too long."""
        now = monotonic()
        self._since = self._since or now
        if not self._ever_connected or now - self._since > self.MAX_SECONDS:
            raise error

    def sleep(self) -> None:
        sleep(self.wait)
        self.wait = min(2 * self.wait, self.LONGEST_WAIT)
