"""HTTP requests and event streams of one server. An answer is the server's JSON as a dict; an error is the class of
``core.errors`` with the code that the server sent."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from time import monotonic, sleep
from typing import Any, BinaryIO

import httpx
from httpx_sse import EventSource, SSEError

from epochd.core.errors import EpochdError, Problem, ProblemsError, ServerUnreachable, SettingsError
from epochd.core.text import TOKEN_RULE, is_token

DEFAULT_URL = "http://127.0.0.1:8000"
TIMEOUT = httpx.Timeout(90.0, connect=5.0)
"""Seconds; the read timeout is long because ``pause`` and ``stop`` wait for the worker."""
LONG_TIMEOUT = httpx.Timeout(None, connect=5.0)
"""For requests whose duration depends on the size of the data: the server reads a whole dataset before it answers."""
STREAM_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""Seconds without data, even a heartbeat, after which a stream counts as lost."""
MAX_OUTAGE = 120.0
"""Seconds. A restart of the server takes a few, one of the machine a minute or two."""
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between two attempts to take up a lost stream."""
SHUTDOWN = "server_shutdown"
"""The ``type`` of the event with which a server that shuts down ends its streams."""


class Connection:
    """HTTP to the server at ``url``; ``transport`` replaces the network.

    Raises SettingsError for a token that cannot be sent, ServerUnreachable for an invalid URL.
    """

    def __init__(self, url: str, token: str | None, transport: httpx.BaseTransport | None) -> None:
        self.url = url.rstrip("/")
        if token and not is_token(token):
            raise SettingsError(f"EPOCHD_TOKEN or --token has a value that cannot be sent to a server: {TOKEN_RULE}")
        headers = {"Accept-Language": "en"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, transport=transport)
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
        """The answer to one request; what is None in ``query`` is left out. Raises its error, or ServerUnreachable."""
        return self._answer(self._response(method, path, query, **options))

    def content(self, method: str, path: str, query: Mapping[str, Any] | None = None, **options: Any) -> bytes:
        """The body of an answer that is not JSON. Raises the errors of ``request``."""
        response = self._response(method, path, query, **options)
        if response.is_error:
            self._answer(response)
        return response.content

    def _response(self, method: str, path: str, query: Mapping[str, Any] | None, **options: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, params=_without_none(query or {}), **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def text(self, path: str, query: Mapping[str, Any]) -> str:
        """The text of an answer that is no JSON. Raises like ``request``."""
        try:
            response = self._http.get(path, params=_without_none(query))
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        if response.is_error or not response.headers.get("Content-Type", "").startswith("text/"):
            self._answer(response)
            raise self._foreign(response)
        return response.text

    def download(
        self, path: str, file: BinaryIO, progress: Callable[[int, int], None] = lambda received, total: None
    ) -> None:
        """Write the body of an answer into a file as it arrives; ``progress`` is called with the bytes received so far
        and the total. Raises the error of the answer, or ServerUnreachable, also for a body that ends early."""
        try:
            with self._http.stream("GET", path, timeout=STREAM_TIMEOUT) as response:
                if response.is_error:
                    response.read()
                    self._answer(response)
                received, total = 0, int(response.headers.get("content-length", 0))
                for chunk in response.iter_bytes():
                    file.write(chunk)
                    received += len(chunk)
                    progress(received, total)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error

    def events(self, path: str, query: Mapping[str, Any], last: str = "", *, ends: bool) -> Iterator[dict[str, Any]]:
        """The data of a stream's events after the one with the id ``last``; no event is lost or returned twice.

        With ``ends`` the stream ends when the server closes it without a shutdown event, otherwise when the server
        answers 204. Raises ServerUnreachable if there is no connection at first, or none for ``MAX_OUTAGE``.
        """
        wait = FIRST_WAIT
        lost_since: float | None = -inf  # until there has been a connection
        while True:
            try:
                with self._stream(path, query, last) as response:
                    lost_since = None
                    if response.status_code == httpx.codes.NO_CONTENT:
                        return
                    for event in EventSource(response).iter_sse():
                        if not event.data:  # a heartbeat
                            continue
                        data = json.loads(event.data)
                        if data.get("type") == SHUTDOWN:
                            break
                        last, wait = event.id or last, FIRST_WAIT
                        yield data
                    else:
                        if ends:
                            return
            except ServerUnreachable:
                now = monotonic()
                lost_since = lost_since or now
                if now - lost_since > MAX_OUTAGE:
                    raise
            sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)

    @contextmanager
    def _stream(self, path: str, query: Mapping[str, Any], last: str) -> Iterator[httpx.Response]:
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        try:
            params = _without_none(query)
            with self._http.stream("GET", path, params=params, headers=headers, timeout=STREAM_TIMEOUT) as response:
                if response.is_error:
                    response.read()
                    self._answer(response)
                yield response
        except (httpx.TransportError, SSEError) as error:
            raise self._unreachable(error) from error

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object of an answer; raise the error that it contains."""
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or (response.is_error and "message" not in answer):
            raise self._foreign(response)
        if response.is_error:
            raise error_of(answer)
        return answer

    def _foreign(self, response: httpx.Response) -> ServerUnreachable:
        return ServerUnreachable(
            f"{self.url} answered {response.status_code}, but not in the format of an epochd server. "
            "Check the URL, and any proxy in between"
        )

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        reason = str(error) or type(error).__name__
        return ServerUnreachable(
            f"cannot reach an epochd server at {self.url} ({reason}). "
            "Start one with `epochd serve`, or set its address with --url or EPOCHD_URL"
        )


def error_of(answer: Mapping[str, Any]) -> EpochdError:
    """The exception for an error answer, of the class with its code."""
    problems = [Problem(p["field"], p["message"], p.get("hint", "")) for p in answer.get("problems", ())]
    kind = _classes_by_code(EpochdError).get(answer.get("code", ""), EpochdError)
    if issubclass(kind, ProblemsError):
        return kind(problems) if problems else EpochdError(answer["message"])
    return kind(answer["message"], problems)


def _without_none(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in query.items() if value is not None}


def _classes_by_code(base: type[EpochdError]) -> dict[str, type[EpochdError]]:
    classes = {base.code: base}
    for kind in base.__subclasses__():
        classes = _classes_by_code(kind) | classes
    return classes
