"""Streams that outlive their connections: broken ones are taken up again behind the last event that was read."""

import json
from collections.abc import Iterator, Mapping
from time import monotonic, sleep
from typing import Any

import httpx
from httpx_sse import EventSource

from epochd.client.connection import Connection
from epochd.core.errors import ServerUnreachable

SHUTDOWN = "server_shutdown"
"""The ``type`` of the notice with which a server that goes down ends its streams."""


def events(
    connection: Connection, path: str, query: Mapping[str, Any], last: str = "", *, ends: bool
) -> Iterator[dict[str, Any]]:
    """The data of a stream's events behind the one with the id ``last``, so that none is lost or comes twice.

    With ``ends`` it is over when the server closes it without a notice, otherwise only when the server has nothing
    more to say (204); the caller may leave before. Raises ServerUnreachable when the server stays away.
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
            outage.bear(error)
        outage.sleep()


def _read(response: httpx.Response) -> Iterator[tuple[str, dict[str, Any]]]:
    """Ids and data of one connection's events; heartbeats have none."""
    for event in EventSource(response).iter_sse():
        if event.data:
            yield event.id, json.loads(event.data)


class Outage:
    """How long a stream has been without a connection, and when to try again (times in seconds)."""

    FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
    PATIENCE = 120.0
    """A server restart takes a few seconds, a machine's restart a minute or two."""

    def __init__(self) -> None:
        self.wait = self.FIRST_WAIT
        self._ever_connected = False
        self._since: float | None = None

    def end(self) -> None:
        self._ever_connected, self._since = True, None

    def bear(self, error: ServerUnreachable) -> None:
        """Raise ``error`` if there was no connection before, or none for too long."""
        now = monotonic()
        self._since = self._since or now
        if not self._ever_connected or now - self._since > self.PATIENCE:
            raise error

    def sleep(self) -> None:
        sleep(self.wait)
        self.wait = min(2 * self.wait, self.LONGEST_WAIT)
