"""One server over HTTP: requests, streams, and the error that an answer describes.

Every answer is the server's JSON as a dict; every error is the class of ``core.errors`` whose code the server sent.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import httpx
from httpx_sse import SSEError

from epochd.core.errors import EpochdError, Problem, ProblemsError, ServerUnreachable

DEFAULT_URL = "http://127.0.0.1:8000"

TIMEOUT = httpx.Timeout(90.0, connect=5.0)
"""Seconds; reading is patient because ``pause`` and ``stop`` wait for the worker."""
LONG_TIMEOUT = httpx.Timeout(None, connect=5.0)
"""For what takes as long as the data are large: the server reads a dataset through before it answers."""
STREAM_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""Seconds without even a heartbeat after which a stream counts as broken."""


class Connection:
    """Speaks HTTP to the server at ``url``; ``transport`` takes the place of the network."""

    def __init__(self, url: str, token: str | None, transport: httpx.BaseTransport | None) -> None:
        self.url = url.rstrip("/")
        headers = {"Accept-Language": "en"} | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._http = httpx.Client(base_url=self.url, headers=headers, timeout=TIMEOUT, transport=transport)
        except httpx.InvalidURL as error:
            raise self._unreachable(error) from None

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        """The answer to one request. Raises the error that it describes, or ServerUnreachable."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from error
        return self._answer(response)

    @contextmanager
    def stream(self, path: str, query: Mapping[str, Any], last: str) -> Iterator[httpx.Response]:
        """An open stream of events behind the one with the id ``last``; while it is read, raises like ``request``."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        try:
            with self._http.stream("GET", path, params=query, headers=headers, timeout=STREAM_TIMEOUT) as response:
                if response.is_error:
                    response.read()
                    self._answer(response)
                yield response
        except (httpx.TransportError, SSEError) as error:
            raise self._unreachable(error) from error

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        """The JSON object of an answer; raise the error that it describes."""
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or (response.is_error and "message" not in answer):
            raise ServerUnreachable(
                f"{self.url} answered {response.status_code}, but not as an epochd server does. "
                "Check the URL, and any proxy in between"
            )
        if response.is_error:
            raise error_of(answer)
        return answer

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        reason = str(error) or type(error).__name__
        return ServerUnreachable(
            f"cannot reach an epochd server at {self.url} ({reason}). "
            "Start one with `epochd serve`, or give its address with --url or EPOCHD_URL"
        )


def error_of(answer: Mapping[str, Any]) -> EpochdError:
    """The error that a server's error shape describes, as the class that has its code."""
    problems = [Problem(p["field"], p["message"], p.get("hint", "")) for p in answer.get("problems", ())]
    kind = _classes_by_code(EpochdError).get(answer.get("code", ""), EpochdError)
    if issubclass(kind, ProblemsError):
        return kind(problems) if problems else EpochdError(answer["message"])
    return kind(answer["message"], problems)


def _classes_by_code(base: type[EpochdError]) -> dict[str, type[EpochdError]]:
    classes = {base.code: base}
    for kind in base.__subclasses__():
        classes = _classes_by_code(kind) | classes
    return classes
