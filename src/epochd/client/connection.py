"""HTTP requests and event streams of one server. An answer is the server's JSON as a dict; an error is the class of
``core.errors`` with the code that the server sent."""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from math import inf
from time import monotonic, sleep
from typing import Any, BinaryIO
from urllib.request import getproxies, proxy_bypass

import httpx
from httpx_sse import EventSource, SSEError

from epochd.core.errors import Busy, EpochdError, Problem, ProblemsError, ServerUnreachable, SettingsError
from epochd.core.language import Language, of_environment
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
PROXY_ADVICE = "Correct HTTP_PROXY, or add the host to NO_PROXY if it can be reached without the proxy"
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.0
"""Seconds between two attempts to take up a lost stream."""
SHUTDOWN = "server_shutdown"
"""The ``type`` of the event with which a server that shuts down ends its streams."""


class Connection:
    """HTTP to the server at ``url``; ``transport`` replaces the network, ``language`` that of the environment.

    Raises SettingsError for a token that cannot be sent, ServerUnreachable for an invalid URL.
    """

    def __init__(
        self, url: str, token: str | None, transport: httpx.BaseTransport | None, language: Language | None = None
    ) -> None:
        self.url = url.rstrip("/")
        if token and not is_token(token):
            raise SettingsError(f"EPOCHD_TOKEN or --token has a value that cannot be sent to a server: {TOKEN_RULE}")
        headers: dict[str, str] = {"Accept-Language": language or of_environment()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.proxy = ""
        try:
            self._http = self._client(headers, transport)
        except (httpx.InvalidURL, ValueError, ImportError) as error:  # of the URL, or of that of a proxy
            raise self._unreachable(error) from None

    def _client(self, headers: Mapping[str, str], transport: httpx.BaseTransport | None) -> httpx.Client:
        """The HTTP client, which goes through the proxy of the environment unless the server is on this machine."""
        url = httpx.URL(self.url)
        is_local, direct = is_loopback(url.host), f"all://[{url.host}]" if ":" in url.host else f"all://{url.host}"
        if transport is None and not is_local:
            self.proxy = proxy_of(url.scheme, url.host)
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=TIMEOUT,
            transport=transport,
            mounts={direct: None} if is_local else {},
            trust_env=not (is_local and url.scheme == "http"),  # certificates are set in the environment, too
        )

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
        answers 204. Raises ServerUnreachable, or Busy if a server has answered that, where there is no connection at
        first, or none for ``MAX_OUTAGE``.
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
            except (Busy, ServerUnreachable):
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
        if self.proxy:
            return ServerUnreachable(
                f"{self.url}, through the proxy {self.proxy}, answered {response.status_code}, but not in the format "
                f"of an epochd server. {PROXY_ADVICE}"
            )
        return ServerUnreachable(
            f"{self.url} answered {response.status_code}, but not in the format of an epochd server. "
            "Check the URL, and any proxy in between"
        )

    def _unreachable(self, error: Exception) -> ServerUnreachable:
        reason = str(error) or type(error).__name__
        if self.proxy:
            return ServerUnreachable(
                f"cannot reach an epochd server at {self.url} through the proxy {self.proxy} ({reason}). {PROXY_ADVICE}"
            )
        return ServerUnreachable(
            f"cannot reach an epochd server at {self.url} ({reason}). "
            "Start one with `epochd serve`, or set its address with --url or EPOCHD_URL"
        )


def is_loopback(host: str) -> bool:
    """Whether a host of a URL is this machine, which no proxy leads to."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return False


def proxy_of(scheme: str, host: str) -> str:
    """The proxy that the environment or the system names for requests to a host, without user and password; empty if
    there is none."""
    proxies = getproxies()
    proxy = proxies.get(scheme) or proxies.get("all") or ""
    start, slashes, place = proxy.rpartition("//")
    return "" if proxy_bypass(host) else start + slashes + place.rpartition("@")[2]


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
